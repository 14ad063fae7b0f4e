"""The command line as people meet it: help, names, overrides, recipes."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pmc_llama.cli import MEANT, app
from pmc_llama.cli.options import STAGES, joined
from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.stages import STAGES as PIPELINE
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.shipped import about, shipped_names, shipped_path

ROOT = Path(__file__).parents[1]


def called(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pmc_llama.cli", *words], check=False, capture_output=True, text=True)


def test_short_helps_are_whole() -> None:
    for words in ([], ["corpus"], ["tokens"], ["qa"], ["recipes"]):
        shown = CliRunner().invoke(app, [*words, "-h"], terminal_width=80).output
        assert "Commands:" in shown and "..." not in shown.split("Commands:")[1], words


def test_help_names_the_stages_of_the_pipeline() -> None:
    assert ", ".join(stage.name for stage in PIPELINE) == STAGES


def test_a_run_that_only_looks_loads_neither_torch_nor_transformers() -> None:
    script = "import sys, pmc_llama.pipeline.run; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_near_misses_of_verbs_name_the_verb_that_there_is() -> None:
    verbs = set(get_command(app).commands)
    assert not verbs & set(MEANT)
    for word, meant in MEANT.items():
        done = CliRunner().invoke(app, [word])
        assert done.exit_code == 2 and f"Did you mean '{meant}'?" in done.output
        assert {one.strip(" '").split()[0] for one in meant.split(" or ")} <= verbs


def test_overrides_may_stand_without_an_option() -> None:
    given = joined(["pretrain.lr=0.5", "seed=3"], ["pretrain.lr=0.25"])
    recipe = load_recipe(Path("minimed"), given)
    assert (recipe.pretrain.lr, recipe.seed) == (0.25, 3)
    line = called("run", "minimed", "pretrain.lrr=1", "--dry-run")
    assert line.returncode == 2 and "pretrain.lrr" in line.stderr and "Traceback" not in line.stderr


def test_extras_that_messages_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for path in [*(ROOT / "src").rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for group in re.findall(r"(?:pmc-llama|\.)\[([a-z,]+)\]'", path.read_text())
        for extra in group.split(",")
    }
    assert {"near", "language", "serve"} <= named <= set(extras)


def test_recipes_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    listed = run(app, ["recipes", "list"]).output
    assert all(name in listed and about(name) in listed for name in shipped_names())
    assert run(app, ["recipes", "show", "minimed"]).output == shipped_path("minimed").read_text()
    monkeypatch.chdir(tmp_path)
    assert run(app, ["recipes", "copy", "minimed"]).exit_code == 0
    assert Path("minimed.yaml").read_text() == shipped_path("minimed").read_text()
    Path("minimed.yaml").write_text("mine")
    assert run(app, ["recipes", "copy", "minimed"]).exit_code != 0
    assert Path("minimed.yaml").read_text() == "mine"
    with pytest.raises(RecipeError, match="did you mean 'minimed'"):
        shipped_path("minimd")


def test_every_verb_has_an_example() -> None:
    def verbs(command: object, name: str) -> list[tuple[str, object]]:
        inner = getattr(command, "commands", {})
        return [pair for word, one in inner.items() for pair in verbs(one, f"{name} {word}")] or [(name, command)]

    for name, command in verbs(get_command(app), "pmc-llama"):
        assert f"Example: {name} " in f"{getattr(command, 'epilog', '')} ", name


def test_clean_leaves_runs_alone() -> None:
    done = subprocess.run(["make", "-n", "clean"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "build" in done and "runs" not in done
