"""Inputs that were damaged at random: each ends in papers, counted reasons or a clear error, and soon.

`PMC_LLAMA_FUZZ=10000 pytest tests/corpus/test_mutations.py` tries that many of each format.
"""

import gzip
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.corpus.samples import jats, papers_row, s2orc_row, write_lines, write_tar

from pmc_llama.corpus.clean import PROFILES
from pmc_llama.corpus.join import read_papers_shard, write_pmc_ids
from pmc_llama.corpus.readers.base import Options
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.stage import Job, context_of, process_block
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CorpusSection

CASES = int(os.environ.get("PMC_LLAMA_FUZZ", "40"))
LIMIT_S = 5
SENTENCE = "It was shown [1] and (Doe et al., 2001; see 2) in Figure 1 that é helps. "
PARAGRAPH = {
    "text": "It [1].",
    "section": "A::B",
    "sec_num": "1.2",
    "cite_spans": [{"start": 3, "end": 6, "ref_id": "BIBREF0"}],
    "ref_spans": [{"start": 0, "end": 2, "ref_id": "FIGREF0"}],
}
PARSE = {
    "abstract": [PARAGRAPH],
    "body_text": [PARAGRAPH, PARAGRAPH],
    "back_matter": [PARAGRAPH],
    "bib_entries": {"BIBREF0": {"title": "T", "authors": [{"last": "Doe"}], "year": 2001, "venue": "J"}},
    "ref_entries": {"FIGREF0": {"text": "A curve.", "type": "figure"}},
}
METADATA = {"paper_id": "1", "title": "On drugs", "year": 2007, "pmc_id": "PMC7", "doi": "10.1/x", "pubmed_id": "3"}
BODY = (
    '<sec id="s"><label>1</label><title>A</title><p>b <xref ref-type="bibr" rid="r">[1]</xref> <list><list-item><p>c'
    "</p></list-item></list></p><fig><label>F</label><caption><p>c</p></caption></fig><table-wrap><table><tr><td>1</td>"
    "</tr></table></table-wrap><p><mml:math xmlns:mml='m'><mml:mi>x</mml:mi></mml:math></p></sec><sec><title>Funding"
    "</title><p>We thank.</p></sec>"
)
PASSAGES = [
    {"infons": {"section_type": "TITLE", "article-id_pmc": "9", "year": "2011"}, "text": "On drugs"},
    {"infons": {"section_type": "METHODS", "type": "title_1"}, "text": "Methods"},
    {"infons": {"section_type": "METHODS", "type": "paragraph"}, "text": "x"},
]
BIOC = {"infons": {}, "documents": [{"id": "PMC9", "infons": {}, "passages": PASSAGES}]}
V1 = s2orc_row(
    1,
    pmcid="5",
    doi="10.1/x",
    text="On drugs\nJ Test 2019\nMethods\n" + SENTENCE,
    title=[(0, 8)],
    venue=[(9, 20)],
    sectionheader=[(21, 28, {"n": "2.1"}), (21, 28, {"n": "2.1"})],
    paragraph=[(29, 29 + len(SENTENCE)), (29, 29 + len(SENTENCE))],
    bibref=[(42, 45, {"ref_id": "b0"})],
)
V2 = {
    "corpusid": 1,
    "title": "t",
    "openaccessinfo": {"externalids": {"PubMedCentral": "7", "DOI": "10.1/x"}, "license": "CCBY"},
    "body": {
        "text": "Methods\n" + SENTENCE,
        "annotations": {"section_header": '[{"start":0,"end":7}]', "paragraph": '[{"start":8,"end":40}]'},
    },
    "bibliography": {"text": "Doe", "annotations": {"bib_entry": '[{"start":0,"end":3,"attributes":{"id":"b0"}}]'}},
}
FILE_LIST = (
    b"Article File,Article Citation,AccessionID,LastUpdated,PMID,License,Retracted\n"
    b"a/PMC1.xml,,PMC1,2026-06-18,0,CC0,no\n"
)
BESIDE = json.dumps({"pmcid": "PMC1", "version": 2, "pmid": 3, "license_code": "TDM", "is_retracted": False}).encode()


def lines(*rows: Any) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": ["1", None], "text": ["one", "two"], "year": [2000, None]}), path)


def tar(members: dict[str, bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(gzip.decompress(write_tar(path.with_suffix(".gz"), members).read_bytes()))


SEEDS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "s2orc_v1": ("x", lines(V1, s2orc_row(2))),
    "s2orc_v2": ("x", lines(V2)),
    "s2orc_2020": ("x", lines({"paper_id": "1", "_pdf_hash": "0", **PARSE})),
    "s2orc_2019": ("x", lines({"paper_id": "1", "metadata": METADATA, "abstract": "x", "grobid_parse": PARSE})),
    "s2orc_2021": ("x", lines({"paper_id": "1", "metadata": METADATA, **PARSE})),
    "jats": ("xml", lambda path: path.write_bytes(jats(1, BODY))),
    "jats_tar": ("tar", tar({"a/PMC1.xml": jats(1, BODY), "a/PMC2.xml": jats(2)})),
    "bioc": ("json", lines(BIOC)),
    "bioc_tar": ("tar", tar({"PMC9.xml": json.dumps(BIOC).encode(), "PMC10.xml": json.dumps([BIOC]).encode()})),
    "jsonl": ("jsonl", lines({"id": 1, "text": SENTENCE, "year": 2000}, {"text": "y", "corpusid": 3, "pmid": 4})),
    "jsonl_gz": ("jsonl.gz", lambda path: write_lines(path, [{"id": 1, "text": SENTENCE}, {"text": "y"}])),
    "parquet": ("parquet", parquet),
    "text": ("txt", lambda path: path.write_bytes("= A =\nx é\n".encode())),
}
BESIDES = {  # files that lie beside an input and tell more of it; damaged in place of the input
    "jats_beside": ("jats", "input.json", BESIDE),
    "jats_file_list": ("jats_tar", "input.filelist.csv", FILE_LIST),
}
TABLES: dict[str, tuple[bytes, Callable[[Path, Path], Any]]] = {
    "papers": (
        json.dumps(papers_row(3, "103") | {"s2fieldsofstudy": [{"category": "Medicine"}]}).encode() + b"\n",
        lambda path, scratch: read_papers_shard((str(path), True)),
    ),
    "pmc_ids": (
        b"Journal Title,Year,DOI,PMCID,PMID\nJ,2011,10.1/A,PMC11,21\n",
        lambda path, scratch: write_pmc_ids(str(path), scratch / "ids.npz"),
    ),
}
PIECES = [
    *(b'"', b"null", b"-1", b"9" * 25, b"1e999", b"[", b"{", b"}", b"]", b"[[]]", b'{"a":1}', b'"\\ud800"', b"\\u0000"),
    *(b"\xff", b"\x00", b"\xef\xbb\xbf", b"\n", b"<p>", b"</p>", b"&x;", b"<!DOCTYPE a>", b"\xee\x80\x80"),
]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with one to four places overwritten, cut out, doubled or filled with what parsers dislike."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place, length = draw(st.integers(0, len(content))), draw(st.integers(0, 12))
        new = draw(st.binary(max_size=6) | st.sampled_from(PIECES) | st.just(b"copy"))
        if new == b"copy":
            start = draw(st.integers(0, len(content)))
            new = bytes(content[start : start + draw(st.integers(0, 200))])
        content[place : place + length] = new
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content)


def within_limit(work: Callable[[], None]) -> None:
    """Run `work`; after LIMIT_S seconds it is interrupted and fails."""

    def late(number: int, frame: object) -> None:
        pytest.fail(f"not done after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        work()
    except InputError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def job_of(profile: str, work: Path) -> Job:
    section = {
        "sources": [{"name": "x", "paths": ["x"]}],
        "select": {"pmcid": "any", "languages": ["en", "un", "de"], "licenses": None, "min_year": None},
        "clean": {"profile": profile, "boilerplate": 2},
        "dedup": {"near": {"bands": 2}},
    }
    return Job(CorpusSection.model_validate(section).model_dump_json(), str(work))


def read_whole(path: Path, stated: str, profile: str) -> None:
    """Everything the first pass does with an input."""
    job = job_of(profile, path.parent / "work")
    options = Options("x", kinds=context_of(job, 0).options.kinds, quick=lambda corpusid, pmcid: None)
    reader = reader_for(str(path), stated)
    for block in reader.blocks(InputFile(str(path)), options):
        batch, tally = process_block(job, 0, (reader.name, block))
        assert tally.seen == batch.num_rows + sum(tally.dropped.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def scaled(test: Any) -> Any:
    checks = list(HealthCheck)
    return settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=checks)(test)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_inputs(name: str, folder: Path) -> None:
    suffix, write = SEEDS[name]
    path = folder / f"{name}.{suffix}"
    write(path)
    whole = path.read_bytes()
    profiles = ["clean"] * 3 + [profile for profile in PROFILES if profile != "clean"]
    stated = "s2orc_legacy" if name.startswith("s2orc_20") else name.removesuffix("_tar").removesuffix("_gz")
    read_whole(path, "auto", "clean")

    @scaled
    @given(damaged(whole), st.sampled_from(["auto", stated]), st.sampled_from(profiles))
    def run(content: bytes, stated: str, profile: str) -> None:
        path.write_bytes(content)
        within_limit(lambda: read_whole(path, stated, profile))

    run()


@pytest.mark.parametrize("name", BESIDES)
def test_damaged_files_beside_inputs(name: str, folder: Path) -> None:
    of, beside_name, whole = BESIDES[name]
    suffix, write = SEEDS[of]
    path, beside = folder / f"input.{suffix}", folder / beside_name
    write(path)
    beside.write_bytes(whole)
    read_whole(path, "auto", "clean")

    @scaled
    @given(damaged(whole))
    def run(content: bytes) -> None:
        beside.write_bytes(content)
        within_limit(lambda: read_whole(path, "auto", "clean"))

    run()


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(name: str, folder: Path) -> None:
    whole, read = TABLES[name]
    path = folder / name
    path.write_bytes(whole)
    read(path, folder)

    @scaled
    @given(damaged(whole))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        within_limit(lambda: read(path, folder))

    run()
