"""Inputs that grow when they are read: each is counted as a failure of its own, and the others are read."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.corpus.samples import jats
from tests.corpus.test_build import check_accounts, read_parts, section

from pmc_llama.corpus import bounds
from pmc_llama.corpus.bounds import TooLarge, gunzip
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers import base
from pmc_llama.errors import InputError

MB = 2**20
ZEROS = b"A" * MB


def packed(path: Path, *pieces: bytes) -> None:
    with gzip.open(path, "wb", 6) as file:
        for piece in pieces:
            file.write(piece)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def parquet(path: Path) -> None:
    """One long text, stored once, in every row."""
    pq.write_table(pa.table({"text": pa.array(["B" * MB] * 80, pa.large_string())}), path, compression="zstd")


BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "one.xml.gz": ("jats", lambda path: packed(path, b"<article><body><p>", *[ZEROS] * 70)),
    "one.txt.gz": ("text", lambda path: packed(path, *[ZEROS] * 70)),
    "one.json.gz": ("bioc", lambda path: packed(path, b'[{"documents": [{"infons": {"a": "', *[ZEROS] * 70)),
    "one.jsonl.gz": ("jsonl", lambda path: packed(path, b'{"text": "first"}\n{"text": "', *[ZEROS] * 70)),
    "attributes.tar.gz": (
        "jats",
        lambda path: packed(path, header("./PaxHeaders/x", 70 * MB, tarfile.XHDTYPE), *[ZEROS] * 70),
    ),
    "name.tar.gz": (
        "jats",
        lambda path: packed(path, header("././@LongLink", 70 * MB, tarfile.GNUTYPE_LONGNAME), *[ZEROS] * 70),
    ),
    "member.tar.gz": (
        "jats",
        lambda path: packed(path, *[piece for n in range(7) for piece in (header(f"{n}.xml", 10 * MB), *[ZEROS] * 10)]),
    ),
    "one.parquet": ("parquet", parquet),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_beyond_all_text_is_counted_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(bounds, "RATIO_FROM_BYTES", 8 * MB)
    form, write = BOMBS[name]
    (tmp_path / "PMC77.xml").write_bytes(jats(77))
    write(tmp_path / name)
    held: list[int] = []
    monkeypatch.setattr(io, "BytesIO", counting(held))
    sources = [{"name": "good", "format": "jats", "paths": ["PMC77.xml"]}, {"name": "bad", "paths": [name]}]
    sources[1]["format"] = form
    build_corpus(section(*sources, select={"pmcid": "any"}), tmp_path, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert summary["dropped"]["too_large"] == 1 and summary["unread"] == [f"{name}: too_large"]
    assert "pmc:77" in read_parts(tmp_path / "out").get_column("paper_id").to_list()
    assert max(held, default=0) <= 16 * MB, "the content is let go as soon as it is known for what it is"
    ledgers = [json.loads(path.read_text()) for path in (tmp_path / "out" / "ledger").iterdir()]
    assert (tmp_path / name).stat().st_size in [ledger["bytes"] for ledger in ledgers], "the whole file was hashed"


def counting(held: list[int]) -> type[io.BytesIO]:
    """A class of buffers that notes how much is written to them."""

    class Counting(io.BytesIO):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            count = super().write(content)
            held.append(self.tell())
            return count

    return Counting


def test_a_document_or_line_that_is_none_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_RECORD_BYTES", 50_000)
    monkeypatch.setattr(base, "MAX_RECORD_BYTES", 50_000)
    (tmp_path / "PMC1.xml").write_bytes(jats(1))
    (tmp_path / "PMC2.xml").write_bytes(jats(2, "<p>" + "word " * 20_000 + "</p>"))
    (tmp_path / "a.jsonl").write_text('{"text": "first"}\n{"text": "' + "b" * 2 * MB + '"}\n{"text": "never read"}\n')
    sources = [{"name": name, "paths": [name]} for name in ("*.xml", "a.jsonl")]
    build_corpus(section(*sources, select={"pmcid": "any"}), tmp_path, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert summary["dropped"] == {"too_large": 2} and summary["kept"] == 2
    assert sorted(summary["unread"]) == ["PMC2.xml: too_large", "a.jsonl: too_large"]


def test_text_that_repeats_itself_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of one value a thousand times, a text that is compressed well: rows and blocks stay what they were."""
    monkeypatch.setattr(base, "BLOCK_BYTES", 10_000)
    texts = ["same " * 500, None, "other", *["same " * 500] * 20]
    table = {"text": texts, "id": [str(n) for n in range(23)], "year": [2000] * 23, "journal": ["J", None, *["J"] * 21]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    found = section({"name": "a", "paths": ["*.parquet"]}, select={"pmcid": "any"}, dedup={"exact": False})
    build_corpus(found, tmp_path, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert summary["kept"] == 22 and summary["dropped"] == {"no_text": 1}
    parts = read_parts(tmp_path / "out")
    assert parts.get_column("paper_id").to_list() == [f"a:{n}" for n in range(23) if n != 1]
    assert parts.get_column("journal").to_list() == ["J"] * 22 and set(parts.get_column("year").to_list()) == {2000}


def test_a_machine_that_is_too_small_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MEMORY_SHARE", 1e-6)
    (tmp_path / "PMC1.xml").write_bytes(jats(1, "<p>" + "word " * 4 * MB + "</p>"))
    with pytest.raises(InputError, match=r"needs more memory than is free here: use fewer `workers`"):
        build_corpus(section({"name": "a", "paths": ["*.xml"]}), tmp_path, tmp_path / "out", workers=1)


def test_downloads_are_unpacked_within_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gunzip(gzip.compress(b"a,b\n") + gzip.compress(b"c"), "list") == b"a,b\nc"
    monkeypatch.setattr(bounds, "RATIO_FROM_BYTES", 2 * MB)
    with pytest.raises(TooLarge, match="no text is compressed more than 200 to 1"):
        gunzip(gzip.compress(ZEROS * 5), "list")
    with pytest.raises(InputError, match="cannot be read to its end"):
        gunzip(gzip.compress(b"abc" * 100)[:-9], "list")
