"""Kill it anywhere, feed it anything: the same parts, a counted reason, never a crash or a hang."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.corpus.samples import jats, s2orc_row, write_lines, write_tar
from tests.corpus.test_build import check_accounts, part_bytes, section

from pmc_llama.corpus import stage
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.paper import Paper, Skip
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Options
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CleanSection

SOURCE = {"name": "s2orc", "paths": ["*.jsonl.gz"]}
KILLED = """
import sys
from pathlib import Path
from pmc_llama.corpus import stage
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers import base
from tests.corpus.test_build import section
base.BLOCK_BYTES, stage.SEGMENT_BYTES = 20_000, 100_000
build_corpus(section({source}), Path(sys.argv[1]), Path(sys.argv[2]), workers=1)
"""


def many_rows(count: int, first: int = 1) -> list[dict]:
    chance = random.Random(first)
    return [
        s2orc_row(n, pmcid=str(n), text=f"Paper {n} " + "word " * chance.randrange(50, 400), paragraph=[(0, 200)])
        for n in range(first, first + count)
    ]


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(stage, "SEGMENT_BYTES", 100_000)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    for n in range(4):
        write_lines(tmp_path / f"{n}.jsonl.gz", many_rows(250, 1 + 200 * n))  # neighbours share 50 papers
    build_corpus(section(SOURCE), tmp_path, tmp_path / "whole", workers=1)
    chance = random.Random(5)
    for attempt in range(3):
        script = [sys.executable, "-c", KILLED.format(source=SOURCE), str(tmp_path), str(tmp_path / f"cut{attempt}")]
        process = subprocess.Popen(script, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
        out = tmp_path / f"cut{attempt}"
        while not (out / "work").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        build_corpus(section(SOURCE), tmp_path, out, workers=1)
        check_accounts(out)
        assert part_bytes(out) == part_bytes(tmp_path / "whole")


def test_one_large_file_is_shared_by_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    write_lines(tmp_path / "big.jsonl.gz", many_rows(400))
    for workers in (1, 2):
        build_corpus(section(SOURCE), tmp_path, tmp_path / f"out{workers}", workers=workers)
    parts = part_bytes(tmp_path / "out1")
    assert len(parts) > 3  # segments of one file
    assert parts == part_bytes(tmp_path / "out2")


def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a.jsonl.gz", many_rows(20))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        build_corpus(section(SOURCE), tmp_path, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "corpus.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))
    monkeypatch.undo()
    build_corpus(section(SOURCE), tmp_path, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["kept"] == 20


def test_ray_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    for n in range(3):
        write_lines(tmp_path / f"{n}.jsonl.gz", many_rows(60, 1 + 50 * n))
    build_corpus(section(SOURCE), tmp_path, tmp_path / "local", workers=1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        build_corpus(section(SOURCE, engine="ray"), tmp_path, tmp_path / "ray", workers=1)
    finally:
        ray.shutdown()
    check_accounts(tmp_path / "ray")
    assert part_bytes(tmp_path / "ray") == part_bytes(tmp_path / "local")


def read_anything(path: Path, stated: str) -> None:
    """Reading and cleaning end in papers, counted reasons or an InputError; anything else fails the test."""
    cleaner = Cleaner(CleanSection())
    options = Options("x", kinds=cleaner.kinds, quick=lambda corpusid, pmcid: None)
    try:
        reader = reader_for(str(path), stated)
        for block in reader.blocks(InputFile(str(path)), options):
            for record in block.records:
                try:
                    paper = reader.paper(record, options)
                except Skip:
                    continue
                assert isinstance(paper, Paper)
                cleaner.text(paper)
    except InputError:
        return


BODY = (
    '<sec><title>A</title><p>b <xref ref-type="bibr" rid="r">[1]</xref></p><fig><caption><p>c</p></caption></fig></sec>'
)
PARAGRAPH = '{"text": "It [1].", "section": "A::B", "cite_spans": [{"start": 3, "end": 6, "ref_id": "B"}]}'
SEEDS = {
    "s2orc_v1": lambda path: write_lines(path, [s2orc_row(1, pmcid="5", bibref=[(3, 5, {"ref_id": "b0"})])]),
    "s2orc_v2": lambda path: write_lines(
        path,
        [
            {
                "corpusid": 1,
                "title": "t",
                "body": {"text": "ab cd", "annotations": {"paragraph": '[{"start":0,"end":2}]'}},
            }
        ],
    ),
    "s2orc_legacy": lambda path: write_lines(
        path, [b'{"paper_id": "1", "abstract": [], "body_text": [%s], "ref_entries": {}}' % PARAGRAPH.encode()]
    ),
    "bioc": lambda path: write_lines(
        path, [{"infons": {}, "documents": [{"id": "1", "passages": [{"text": "x", "infons": {"type": "title_1"}}]}]}]
    ),
    "jats": lambda path: path.write_bytes(jats(1, BODY)),
    "jats_tar": lambda path: write_tar(path, {"a/PMC1.xml": jats(1, BODY), "a/PMC2.xml": jats(2)}),
    "jsonl": lambda path: write_lines(path, [{"id": 1, "text": "x", "year": 2000}, {"text": "y"}]),
    "text": lambda path: path.write_bytes("= A =\nx é\n".encode()),
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small whole file of each format."""
    folder = tmp_path_factory.mktemp("seeds")
    contents = {}
    for name, write in SEEDS.items():
        path = folder / (name + (".tar.gz" if name == "jats_tar" else ".gz" if name == "jsonl" else ".x"))
        write(path)
        contents[name] = path.read_bytes()
    return contents


@pytest.mark.parametrize("name", SEEDS)
@settings(
    max_examples=int(os.environ.get("PMC_LLAMA_FUZZ", "60")), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_mutated_inputs_end_in_papers_reasons_or_a_clear_error(
    name: str, data: st.DataObject, seeds: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(seeds[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 12))
        new = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b'"', b"null", b"-1", b"9" * 25, b"[", b"{", b"<p>", b"</p>", b"&x;", b"\n"])
        )
        content[place : place + length] = new
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(bytes(content))
    for stated in ("auto", name.removesuffix("_tar")):
        read_anything(path, stated)
