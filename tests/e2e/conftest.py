"""A workplace with a shrunk copy of the demo's recipe, run once for all tests here."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL_TUNING = {"seq_len": 128, "global_batch": 8, "micro_batch": 8, "max_steps": 2}


def shrunk() -> dict[str, Any]:
    """The demo's recipe with a small world and a handful of steps."""
    recipe: dict[str, Any] = yaml.safe_load((RECIPES / "minimed.yaml").read_text())
    recipe["seeds"] = [0]
    recipe["minimed"] |= {"drugs": 8, "papers_per_drug": 3, "general_papers": 40}
    recipe["base"]["train"] |= {"max_steps": 6}
    recipe["pretrain"] |= {"max_steps": 6}
    recipe["regimes"] = {
        "zero_shot": {"kind": "zero_shot"},
        "full": {"kind": "full", "tasks": ["direct_fact"], **SMALL_TUNING},
        "peft": {"kind": "peft", "tasks": ["direct_fact"], **SMALL_TUNING},
        "few_shot": {"kind": "few_shot", "shots": 1},
        "instruct": {"kind": "instruct", "files": ["qa/instructions.jsonl"], **SMALL_TUNING},
    }
    return recipe


def pmc_llama(workplace: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in the workplace."""
    command = [sys.executable, "-m", "pmc_llama.cli", *arguments]
    return subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)


def new_workplace(folder: Path) -> Path:
    """A folder with `recipes/` as the project has them, the demo's one shrunk."""
    shutil.copytree(RECIPES, folder / "recipes")
    (folder / "recipes" / "minimed.yaml").write_text(yaml.safe_dump(shrunk(), sort_keys=False))
    return folder


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workplace in which the shrunk demo has been run into `runs/minimed`."""
    folder = new_workplace(tmp_path_factory.mktemp("workplace"))
    done = pmc_llama(folder, "run", "recipes/minimed.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def finished(workplace: Path) -> Path:
    """The run directory of the shrunk demo."""
    return workplace / "runs" / "minimed"
