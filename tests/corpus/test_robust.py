"""Kill it anywhere, fill its disk, run it anywhere: the same parts."""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.corpus.samples import s2orc_row, write_lines
from tests.corpus.test_build import check_accounts, part_bytes, section

from pmc_llama.corpus import stage
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers import base
from pmc_llama.errors import StorageError

SOURCE = {"name": "s2orc", "paths": ["*.jsonl.gz"]}
KILLS = int(os.environ.get("PMC_LLAMA_KILLS", "3"))
KILLED = """
import sys
from pathlib import Path
from pmc_llama.corpus import stage
from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers import base
from tests.corpus.test_build import section
base.BLOCK_BYTES, stage.SEGMENT_BYTES = 20_000, 100_000
build_corpus(section({source}), Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
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


def start_build(root: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """A build in a process of its own."""
    script = [sys.executable, "-c", KILLED.format(source=SOURCE), str(root), str(out), str(workers)]
    return subprocess.Popen(script, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])


def watched(process: subprocess.Popen[bytes], out: Path, count: float) -> int:
    """How many different files and folders a build was seen to make, when it has made `count` of them or ends.

    What it has made tells how far it is whatever else the machine does; the clock does not.
    """
    seen: set[str] = set()
    while len(seen) < count and process.poll() is None:
        seen.update(name for folder, folders, files in os.walk(out) for name in (*folders, *files))
        time.sleep(0.002)
    return len(seen)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    for n in range(4):
        write_lines(tmp_path / f"{n}.jsonl.gz", many_rows(120, 1 + 90 * n))  # neighbours share 30 papers
    made = {}
    for workers in (1, 2):
        process = start_build(tmp_path, tmp_path / f"whole{workers}", workers)
        made[workers] = watched(process, tmp_path / f"whole{workers}", math.inf)
        assert process.returncode == 0
    chance, killed = random.Random(5), 0
    while killed < KILLS:
        workers, out = 1 + killed % 2, tmp_path / "cut"
        shutil.rmtree(out, ignore_errors=True)
        process = start_build(tmp_path, out, workers)
        watched(process, out, chance.randrange(1, made[workers]))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += not (out / "corpus.json").exists()  # else it was done already
        build_corpus(section(SOURCE), tmp_path, out, workers=workers)
        check_accounts(out)
        assert part_bytes(out) == part_bytes(tmp_path / f"whole{workers}")  # workers do not see the small blocks


def test_workers_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from pmc_llama.corpus.engine import LocalEngine\n"
        "with LocalEngine(2) as engine:\n"
        "    print(next(engine.map(eval, ['__import__(\"os\").getpid()'])), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    worker = Path("/proc") / process.stdout.readline().decode().strip()
    assert worker.exists()
    process.kill()
    process.wait()
    while worker.exists():  # the test run's own time limit ends it
        time.sleep(0.01)


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
    with pytest.raises(StorageError, match="No space left"):
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


@pytest.mark.parametrize("kind", ["dangling", "file", "below a file", "long", "loop", "parts"])
def test_a_place_that_is_none_is_a_sentence(tmp_path: Path, kind: str) -> None:
    name = "ä" * 124 + ".jsonl2"  # 255 bytes, the most that a file system takes
    (tmp_path / name).write_text('{"text": "words"}\n')
    out = tmp_path / ("y" * 300 if kind == "long" else "out")
    aim = {"dangling": tmp_path / "nowhere", "loop": out}.get(kind)
    if aim is not None:
        out.symlink_to(aim)
    if "file" in kind:
        out.write_text("mine")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine").write_text("mine")
    if kind == "parts":
        out.mkdir()
        (out / "parts").symlink_to(kept)
    source = section({"name": "s", "paths": ["*.jsonl2"]}, select={"pmcid": "any"})
    with pytest.raises(StorageError, match="cannot be written"):
        build_corpus(source, tmp_path, out / "below" if kind == "below a file" else out, workers=1)
    assert (kept / "mine").read_text() == "mine" and ("file" not in kind or out.read_text() == "mine")
    build_corpus(source, tmp_path, tmp_path / "other", workers=1)
    assert check_accounts(tmp_path / "other")["kept"] == 1
