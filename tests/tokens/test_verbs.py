"""The verbs on token stores, as a person types them."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pmc_llama.cli import app
from pmc_llama.errors import StoreError
from pmc_llama.tokens.store import TokenStore

from .conftest import MakeCorpus, MakeStore, prose

TEXTS = [prose(10 + i, i) for i in range(40)]


def call(*arguments: object) -> str:
    """Run `pmc-llama tokens …` and return what it prints; what goes wrong is raised."""
    result = CliRunner().invoke(app, ["tokens", *map(str, arguments)], catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("megatron", ["train.bin", "train.idx", "validation.bin", "validation.idx"]),
        ("datatrove", [f"{s}/tokens.ds{end}" for s in ("train", "validation") for end in ("", ".index", ".metadata")]),
        ("huggingface", ["train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"]),
    ],
)
def test_a_store_is_exported(
    make_store: MakeStore, small_model: Path, tmp_path: Path, name: str, files: list[str]
) -> None:
    store, out = make_store(TEXTS, heldout=0.3), tmp_path / "out"
    printed = call("export", store.path, "--format", name, "-o", out, "--tokenizer", small_model)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == sorted(files)
    assert all(str(out / file) in printed for file in files)
    marks = 2 * len(TEXTS)
    if name == "huggingface":
        rows = [row for file in files for row in pq.read_table(out / file).to_pylist()]
        assert sum(len(row["input_ids"]) for row in rows) == store.n_tokens + marks
        assert {(row["input_ids"][0], row["input_ids"][-1]) for row in rows} == {(1, 2)}
    else:
        size_bytes = sum((out / file).stat().st_size for file in files if file.endswith((".bin", ".ds")))
        assert size_bytes == 2 * (store.n_tokens + marks)


def test_a_foreign_tokenizer_exports_nothing(make_store: MakeStore, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "other.model").write_bytes(small_model.read_bytes() + b"\x12\x00")
    arguments = ["--format", "megatron", "-o", tmp_path / "out", "--tokenizer", tmp_path / "other.model"]
    with pytest.raises(StoreError, match="made from another tokenizer"):
        call("export", make_store(TEXTS).path, *arguments)
    assert not (tmp_path / "out").exists()


def test_new_papers_are_appended_once(make_store: MakeStore, make_corpus: MakeCorpus, small_model: Path) -> None:
    store, later = make_store(TEXTS[:30], heldout=0.3), make_corpus(TEXTS, name="later")
    assert "10 documents and" in call("append", store.path, later, "--tokenizer", small_model)
    assert len(TokenStore.open(store.path)) == 40
    assert "0 documents and 0 tokens added; now 40" in call("append", store.path, later, "--tokenizer", small_model)


def test_inspect_prints_figures_and_documents(make_store: MakeStore, small_model: Path) -> None:
    store = make_store(TEXTS)
    assert f"{store.n_tokens}" in call("inspect", store.path, "--verify")
    assert TEXTS[3][:20] in call("inspect", store.path, "--document", "pmc:3", "--tokenizer", small_model)
