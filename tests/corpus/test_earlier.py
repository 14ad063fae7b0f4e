"""Appending to a corpus: only papers that it lacks come in, and its own are taken over as they are."""

import errno
import json
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.samples import write_lines
from pmc_llama.corpus.build import build_corpus
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CorpusSection, DedupSection, NearSection


def document(number: int, **more: Any) -> dict[str, Any]:
    text = f"Paper {number} says that substance {number} lowers blood pressure, and more. " * 5
    return {"id": f"d{number}", "pmcid": f"PMC{number}", "doi": f"10.1/{number}", "text": text} | more


def build(root: Path, name: str, documents: list[dict[str, Any]], append_to: str | None = None, **more: Any) -> Any:
    if not (root / f"{name}.jsonl").exists():
        write_lines(root / f"{name}.jsonl", documents)
    value = {"sources": [{"name": name, "format": "jsonl", "paths": [f"{name}.jsonl"]}]}
    section = CorpusSection.model_validate(value | {"select": {"pmcid": "any"}, "clean": {"profile": "raw"}} | more)
    earlier = None if append_to is None else root / append_to
    return msgspec.to_builtins(build_corpus(section, root, root / name, workers=1, append_to=earlier))


def papers(corpus: Path) -> pl.DataFrame:
    return pl.read_parquet(corpus / "parts/*.parquet")


def test_only_unknown_papers_come_in_and_the_books_hold(tmp_path: Path) -> None:
    build(tmp_path, "first", [document(i) for i in range(1, 11)])
    shards = [document(i) for i in range(11, 15)] + [
        document(3),
        document(99, id="e1", pmcid="PMC4"),
        document(98, id="e2", pmcid=None, doi="10.1/5"),
        document(6, id="e3", pmcid=None, doi=None, text=document(6)["text"].upper().replace(" ", "\n")),
        document(14, id="e4", pmcid=None),
    ]
    totals = build(tmp_path, "second", shards, append_to="first")
    assert (totals["in"], totals["kept"]) == (19, 14) and totals["dropped"] == {"known": 4, "duplicate_doi": 1}
    assert totals["appended"]["kept"] == 4 and totals["appended"]["dropped"] == totals["dropped"]
    assert papers(tmp_path / "second")["paper_id"].to_list() == [f"pmc:{i}" for i in range(1, 15)]
    ledgers = [json.loads(path.read_text()) for path in sorted((tmp_path / "second/ledger").glob("*.json"))]
    assert [ledger["source"] for ledger in ledgers] == ["first", "second"]
    assert all(ledger["in"] == ledger["kept"] + sum(ledger["dropped"].values()) for ledger in ledgers)
    assert sum(ledger["kept"] for ledger in ledgers) == sum(part["rows"] for part in totals["parts"]) == 14
    assert "of an earlier revision" in (tmp_path / "second/README.md").read_text()
    old = tmp_path / "first/parts/part-00000.parquet"
    assert (tmp_path / "second/parts/part-00000.parquet").samefile(old)
    third = build(tmp_path, "third", [document(14), document(15), document(2)], append_to="second")
    assert third["appended"]["kept"] == 1 and third["kept"] == 15 and list(third["sources"]) == [
        "first", "second", "third",
    ]  # fmt: skip


def test_the_same_call_again_changes_nothing(tmp_path: Path) -> None:
    build(tmp_path, "first", [document(1)])
    totals = build(tmp_path, "second", [document(1), document(2)], append_to="first")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "second").rglob("*") if path.is_file()}
    assert build(tmp_path, "second", [document(1), document(2)], append_to="first") == totals
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "second").rglob("*") if path.is_file()}


def test_another_file_system_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    build(tmp_path, "first", [document(1)])
    monkeypatch.setattr(Path, "hardlink_to", elsewhere)
    build(tmp_path, "second", [document(2)], append_to="first")
    copy, part = (tmp_path / name / "parts/part-00000.parquet" for name in ("second", "first"))
    assert copy.read_bytes() == part.read_bytes() and not copy.samefile(part)


def test_near_duplicates_of_earlier_papers_are_dropped(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    words = [f"w{n}" for n in range(200)]
    near = {"dedup": DedupSection(near=NearSection()).model_dump()}
    build(tmp_path, "first", [document(1, text=" ".join(words))], **near)
    changed = document(2, text=" ".join([*words[:190], "other"]))
    totals = build(tmp_path, "second", [changed, document(3)], append_to="first", **near)
    assert totals["dropped"] == {"near_duplicate": 1}
    assert papers(tmp_path / "second")["paper_id"].to_list() == ["pmc:1", "pmc:3"]


def test_what_is_appended_to_must_be_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished corpus"):
        build(tmp_path, "third", [document(4)], append_to="nothing")


keys = st.lists(st.tuples(st.none() | st.integers(1, 5), st.none() | st.sampled_from("abc")), min_size=1, max_size=8)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=keys, came=keys)
def test_what_comes_in_shares_no_key_with_what_was_there(
    old: list[tuple[int | None, str | None]], came: list[tuple[int | None, str | None]], tmp_path_factory: Any
) -> None:
    root = tmp_path_factory.mktemp("keys")

    def documents(pairs: list[tuple[int | None, str | None]], start: int) -> list[dict[str, Any]]:
        ids = [(pmc and f"PMC{pmc}", doi and f"10.1/{doi}") for pmc, doi in pairs]
        return [document(start + i, pmcid=pmc, doi=doi) for i, (pmc, doi) in enumerate(ids)]

    build(root, "first", documents(old, 100))
    build(root, "second", documents(came, 200), append_to="first")
    before, after = papers(root / "first"), papers(root / "second")
    assert after.head(len(before)).equals(before)
    groups: list[tuple[set[Any], bool]] = []  # of papers that share a key: their keys, and whether one is old
    there = [(row["pmcid"], row["doi"] and row["doi"].removeprefix("10.1/")) for row in before.iter_rows(named=True)]
    for number, (pair, is_old) in enumerate([(pair, True) for pair in there] + [(pair, False) for pair in came]):
        named = {key for key in pair if key is not None} or {("nameless", number)}
        met = [group for group in groups if group[0] & named]
        groups = [group for group in groups if group not in met]
        groups.append((named.union(*(one for one, _ in met)), is_old or any(one for _, one in met)))
    assert len(after) - len(before) == sum(not is_old for _, is_old in groups)
