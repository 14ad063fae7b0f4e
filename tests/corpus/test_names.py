"""File names as they come: brackets, blanks, other scripts, bytes that are no text, names as long as they may be."""

import os
from pathlib import Path
from typing import Any

import pytest

from corpus.samples import s2orc_row, write_lines
from corpus.test_build import check_accounts, section
from pmc_llama.corpus.build import build_corpus
from pmc_llama.errors import InputError
from pmc_llama.recipe.inputs import input_files

ROWS = [s2orc_row(1, pmcid="11"), s2orc_row(2, pmcid="22")]


def build(root: Path, *paths: str) -> dict[str, Any]:
    build_corpus(section({"name": "s2orc", "paths": list(paths)}), root, root.parent / "out", workers=1)
    return check_accounts(root.parent / "out")


@pytest.mark.parametrize("name", ["data [2024]", "data * star", "what?", "blank and 数据 🩺", 'it\'s "x"'])
def test_the_roots_own_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    write_lines(root / "s2orc" / "a.jsonl.gz", ROWS)
    assert build(root, "s2orc/*.jsonl.gz")["kept"] == 2
    assert [path.name for path in input_files(root, ["s2orc/*.gz"])] == ["a.jsonl.gz"]


@pytest.mark.parametrize(
    "name", ["n" * 240 + ".jsonl.gz", "a\nb.jsonl.gz", "shard [1].jsonl.gz", "é" * 100 + ".jsonl.gz"]
)
def test_a_shard_may_have_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    write_lines(root / name, ROWS)
    assert build(root, "*.gz")["kept"] == 2
    assert build(root, name)["kept"] == 2


def test_a_name_that_is_no_text_is_read_and_shown_by_its_bytes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_lines(root / "plain.jsonl.gz", ROWS)
    os.rename(os.fsencode(root / "plain.jsonl.gz"), os.fsencode(root) + b"/a\xff\xfeb.jsonl.gz")  # noqa: PTH104
    assert build(root, "*.gz")["kept"] == 2
    (ledger,) = (tmp_path / "out" / "ledger").iterdir()
    assert r"a\\xff\\xfeb.jsonl.gz" in ledger.read_text()


def test_what_only_looks_like_an_input_is_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_lines(root / "a.jsonl.gz", ROWS)
    (root / "b.jsonl.gz").symlink_to("/nowhere")
    with pytest.raises(InputError, match=r"b.jsonl.gz' is a link to '/nowhere', which is not there"):
        build(root, "*.gz")
    (root / "b.jsonl.gz").unlink()
    (root / "b.jsonl.gz").mkdir()
    with pytest.raises(InputError, match=r"b.jsonl.gz' is a folder"):
        build(root, "*.gz")
    (root / "b.jsonl.gz").rmdir()
    os.mkfifo(root / "b.jsonl.gz")
    with pytest.raises(InputError, match=r"b.jsonl.gz' is neither a file nor a folder"):
        build(root, "*.gz")


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_lines(tmp_path / "elsewhere" / "a.jsonl.gz", ROWS)
    root.mkdir()
    (root / "a.jsonl.gz").symlink_to(tmp_path / "elsewhere" / "a.jsonl.gz")
    assert build(root, "*.gz")["kept"] == 2
