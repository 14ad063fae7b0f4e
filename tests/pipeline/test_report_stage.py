"""The report of a later revision also compares with the base that all revisions started from."""

from pathlib import Path

import pytest
import yaml

from pmc_llama.pipeline.stage import Context
from pmc_llama.pipeline.stages.report import Report
from pmc_llama.pipeline.stamps import Stamps
from pmc_llama.pipeline.update import mode_of
from pmc_llama.recipe import load_recipe
from pmc_llama.records.results import Results, read_results
from pmc_llama.run_dir import RunDir
from report.fake_run import REGIMES, write_run


def revision(folder: Path, previous: Path | None) -> Path:
    run = write_run(folder, n=20, regimes={"full": REGIMES["full"]}, training=False, corpora=False)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    if previous is not None:
        recipe["update"] = {"previous": str(previous)}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return run


def reported(run_dir: Path) -> tuple[list[str], Results]:
    recipe, run = load_recipe(run_dir / "recipe.yaml"), RunDir(run_dir)
    context = Context(recipe, run, mode_of(recipe), Stamps(run))
    (work,) = Report().works(context)
    named = [one.name for one in work.inputs()]
    Report().make(context, work, run)
    return named, read_results(run.results)


@pytest.mark.parametrize("gone", [False, True])
def test_a_third_revision_is_compared_with_the_first_base_where_its_answers_are_there(
    gone: bool, tmp_path: Path
) -> None:
    first = revision(tmp_path / "first", None)
    second = revision(tmp_path / "second", first)
    third = revision(tmp_path / "third", second)
    if gone:
        (second / "recipe.yaml").unlink()
    named, results = reported(third)
    assert ("the first revision's answers" in named) != gone
    assert {row.task for row in results.original} == (set() if gone else {"pubmed", "mcqa", "usmle"})
    assert all(row.primary for row in results.summary + results.original)
    assert reported(first)[1].original == []
