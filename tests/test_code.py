"""The hash of the code that makes something changes with that code, and with nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmc_llama import code
from pmc_llama.recipe.registry import modules


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, to be edited."""
    root = tmp_path / "pmc_llama"
    shutil.copytree(code.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", root)
    code.code_hash.cache_clear()
    yield root
    code.code_hash.cache_clear()


def edited(copy: Path, file: str) -> bool:
    """Whether an edit of a file changes the hash of the code that builds corpora."""
    before = code.code_hash("pmc_llama.corpus.build", *modules())
    path = copy / file
    path.write_text(path.read_text() + "\n# edited\n")
    code.code_hash.cache_clear()
    return code.code_hash("pmc_llama.corpus.build", *modules()) != before


@pytest.mark.parametrize(
    "file", ["corpus/build.py", "corpus/rules.py", "corpus/readers/jats.py", "corpus/meditron.py", "corpus/near.py"]
)
def test_what_makes_a_corpus_counts(copy: Path, file: str) -> None:
    assert edited(copy, file)


@pytest.mark.parametrize(
    "file", ["corpus/show.py", "corpus/stats.py", "corpus/download/s2.py", "qa/score.py", "files.py"]
)
def test_what_only_looks_at_one_does_not(copy: Path, file: str) -> None:
    assert not edited(copy, file)


def test_data_files_count_too(copy: Path) -> None:
    before = code.code_hash("pmc_llama.minimed.world")
    fields = copy / "minimed" / "fields.yaml"
    fields.write_text(fields.read_text() + "\n# edited\n")
    code.code_hash.cache_clear()
    assert code.code_hash("pmc_llama.minimed.world") != before
