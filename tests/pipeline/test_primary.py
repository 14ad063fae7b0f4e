"""The primary question is written down before the first score, once."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.primary import write_primary
from pmc_llama.pipeline.stage import Context
from pmc_llama.pipeline.stamps import Stamps
from pmc_llama.pipeline.update import mode_of
from pmc_llama.recipe import load_recipe
from pmc_llama.records.primary import Primary, read_primary
from pmc_llama.run_dir import RunDir
from report.fake_run import REGIMES, recipe


def context(root: Path, **more: Any) -> Context:
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(root / "run", REGIMES, (0,), minimed=True) | more, sort_keys=False))
    loaded, run = load_recipe(path), RunDir(root / "run")
    return Context(loaded, run, mode_of(loaded), Stamps(run))


def test_it_is_written_once_whatever_the_recipe_becomes(tmp_path: Path) -> None:
    first = context(tmp_path, primary={"tasks": ["mcqa"], "margin": 0.03})
    write_primary(first)
    asked = Primary("full", ["mcqa"], margin=0.03)
    assert read_primary(first.run.primary) == asked
    write_primary(context(tmp_path, primary={"regime": "peft"}))
    assert read_primary(first.run.primary) == asked


def test_written_when_there_are_scores_it_says_so(tmp_path: Path) -> None:
    started = context(tmp_path)
    answers = started.run.task_predictions("full-base-seed-0", "mcqa")
    answers.parent.mkdir(parents=True)
    answers.write_bytes(b"")
    write_primary(started)
    written = read_primary(started.run.primary)
    assert written == msgspec.structs.replace(Primary("full", ["pubmed", "mcqa", "usmle"]), after_scores=True)


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ({"regime": "ful"}, "not in regimes; did you mean 'full'"),
        ({"tasks": ["mcq"]}, "no task with test questions; did you mean 'mcqa'"),
        ({"margin": 0}, "primary.margin"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(primary: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        context(tmp_path, primary=primary)
