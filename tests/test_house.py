"""The house of docs/architecture.md: nothing imports upwards, rooms on one floor do not import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pmc_llama

ROOT = Path(pmc_llama.__file__).parent
FLOORS = [
    {"recipe", "recipes", "stamps", "files", "errors", "progress", "environment", "hub", "licenses"},
    {"train", "model", "qa"},
    {"corpus", "tokens", "minimed", "experiment", "report", "release", "serve"},
    {"stages", "pretraining", "pipeline", "plan", "doctor"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
BETWEEN_NEIGHBOURS = {
    ("stamps", "files"),
    ("recipe", "errors"),
    ("recipe", "hub"),
    ("hub", "errors"),
    ("train", "model"),
    ("qa", "train"),  # examples are training batches
    ("qa", "model"),
    ("experiment", "tokens"),  # the tokenizer
    ("pipeline", "stages"),
    ("stages", "pretraining"),
}


def imports() -> list[tuple[str, str, str]]:
    """(file, its room, imported room) for every import between rooms."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if isinstance(node, ast.ImportFrom) and node.module == "pmc_llama":
                names = [f"pmc_llama.{alias.name}" for alias in node.names]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                pieces = name.split(".")
                if pieces[0] == "pmc_llama" and len(pieces) > 1 and pieces[1] in FLOOR_OF and parts[0] in FLOOR_OF:
                    found.append((str(path.relative_to(ROOT)), parts[0], pieces[1]))
    return found


def test_nothing_imports_upwards() -> None:
    assert [entry for entry in imports() if FLOOR_OF[entry[2]] > FLOOR_OF[entry[1]]] == []


def test_neighbours_are_only_used_where_the_architecture_says_so() -> None:
    between = {
        (file, room, other)
        for file, room, other in imports()
        if room != other and FLOOR_OF[room] == FLOOR_OF[other] and (room, other) not in BETWEEN_NEIGHBOURS
    }
    ground = {entry for entry in between if FLOOR_OF[entry[1]] == 0}  # the ground floor is one small toolbox
    assert between - ground == set()


def test_every_module_has_a_floor() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix in {".py", ""}}
    assert {room for room in rooms if not room.startswith("__")} - set(FLOOR_OF) == set()


@pytest.mark.parametrize("heavy", ["torch", "transformers", "pyarrow", "polars", "pydantic", "numpy", "rich"])
def test_help_imports_nothing_heavy(heavy: str) -> None:
    script = f"import sys, pmc_llama.cli; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
