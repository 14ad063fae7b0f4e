"""The layers of docs/architecture.md: a package imports what lies below it, never beside or above it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pmc_llama

ROOT = Path(pmc_llama.__file__).parent
LAYERS = [
    {"errors"},
    {"files", "progress", "hub", "code", "signals", "stats", "escape"},
    {"run_dir"},
    {"records"},
    {"recipe", "recipes", "environment", "licenses"},
    {"model"},
    {"train"},
    {"qa"},
    {"results"},
    {"corpus", "tokens", "minimed", "report", "release", "serve"},
    {"experiment"},
    {"checks", "plan"},
    {"doctor"},
    {"pipeline"},
    {"cli"},
]
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}


def imports() -> list[tuple[str, str, str]]:
    """(file, its package, imported package) for every import between packages."""
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
                if pieces[0] == "pmc_llama" and len(pieces) > 1 and pieces[1] in LAYER_OF and parts[0] in LAYER_OF:
                    found.append((str(path.relative_to(ROOT)), parts[0], pieces[1]))
    return found


def test_nothing_imports_upwards_or_sideways() -> None:
    wrong = [(file, other) for file, package, other in imports() if package != other and not below(other, package)]
    assert wrong == [], "there are no exceptions"


def below(other: str, package: str) -> bool:
    return LAYER_OF[other] < LAYER_OF[package]


def test_every_module_has_a_layer() -> None:
    packages = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix in {".py", ""}}
    assert {package for package in packages if not package.startswith("__")} - set(LAYER_OF) == set()


def test_each_package_says_what_it_holds() -> None:
    silent = [
        path.name
        for path in ROOT.iterdir()
        if (path / "__init__.py").is_file() and not ast.get_docstring(ast.parse((path / "__init__.py").read_text()))
    ]
    assert silent == []


FILES_OF_A_RUN = (
    "primary.json",
    *("corpus.json", "contamination.json", "decontamination.json", "predictions.parquet", "questions.parquet"),
    *("results.json", "report.html", "metrics.jsonl", "summary.json", "coverage.json", "environment.json"),
    *("instructions.json", "history.jsonl", "update.yaml", "recipe.yaml", "store.json", "stamp.json"),
)
FOLDERS_OF_A_RUN = (
    *("stamps", "making", "models", "tune", "predictions", "contamination", "extra", "ledger", "parts", "logs"),
)


def test_only_one_file_knows_where_anything_of_a_run_lies() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())) if path.name != "run_dir.py" else ():
            joined = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            part = node.right.value if joined and isinstance(node.right, ast.Constant) else None
            if part in FILES_OF_A_RUN + FOLDERS_OF_A_RUN:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    assert found == [], "say it in run_dir.py"


def test_code_that_comes_with_a_model_is_never_run() -> None:
    """Without the argument transformers asks in the terminal, and runs it on a `y`."""
    found, asking = 0, []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if re.fullmatch(r"Auto\w+\.from_\w+", called):
                assert isinstance(node, ast.Call)
                found += 1
                said = {one.arg: one.value for one in node.keywords}.get("trust_remote_code")
                if not (isinstance(said, ast.Constant) and said.value is False):
                    asking.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
    assert found and asking == [], "say trust_remote_code=False"


@pytest.mark.parametrize("heavy", ["torch", "transformers", "pyarrow", "polars", "pydantic", "numpy", "rich"])
def test_help_imports_nothing_heavy(heavy: str) -> None:
    script = f"import sys, pmc_llama.cli; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
