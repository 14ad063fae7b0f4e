"""Builds a corpus: stage every input item, decide on duplicates over all of them, write the parts and the ledgers."""

import functools
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pmc_llama.corpus.dedup import exact_duplicates
from pmc_llama.corpus.engine import LocalEngine
from pmc_llama.corpus.items import Item, find_files, plan_items
from pmc_llama.corpus.join import read_papers_shard, write_paper_map, write_pmc_ids
from pmc_llama.corpus.parts import Part, read_keys, write_part
from pmc_llama.corpus.stage import Job, stage_item, staged_path
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_bytes, sha256_json, write_json
from pmc_llama.progress import Progress
from pmc_llama.recipe.corpus import CorpusSection


def build_corpus(section: CorpusSection, data_root: Path, out: Path, *, workers: int) -> dict[str, Any]:
    """Write `parts/`, `ledger/` and `corpus.json` under `out`; returns the value of `corpus.json`.

    What an interrupted call with the same recipe, code and inputs had finished is kept; anything else in `out` is
    rebuilt. The parts are the same bytes for any number of workers. Raises InputError after all other items were
    staged when inputs could not be read; the next call then only does those.
    """
    items = plan_items(section, data_root)
    papers = [find_files(source.papers, data_root, "papers") if source.papers else [] for source in section.sources]
    fingerprint = _fingerprint(section, items, papers)
    summary_path, work = out / "corpus.json", out / "work"
    if summary_path.exists() and read_json(summary_path)["fingerprint"] == fingerprint:
        shutil.rmtree(work, ignore_errors=True)
        return dict(read_json(summary_path))
    _start(out, work, fingerprint)
    job = Job(section.model_dump_json(), str(work))
    with LocalEngine(workers) as engine:
        _map_ids(job, section, data_root, papers, engine)
        _stage(job, items, engine)
        records = [read_json(job.staged / f"{item.index:05d}.json") for item in items]
        staged = [(item, n) for item, record in zip(items, records, strict=True) for n in range(record["segments"])]
        verdicts, reasons = _duplicates(job, section, staged)
        parts = _write_parts(job, out, staged, verdicts, engine)
    summary = _account(section, out, items, records, staged, verdicts, reasons, parts)
    summary["fingerprint"] = fingerprint
    write_json(summary_path, summary)
    shutil.rmtree(work)
    return summary


def _fingerprint(section: CorpusSection, items: list[Item], papers: list[list[Path]]) -> str:
    """A hash of everything the parts depend on: recipe, this package's code, and size and time of each input file."""
    code = {path.name: sha256_bytes(path.read_bytes()) for path in sorted(Path(__file__).parent.rglob("*.py"))}
    files = [path for item in items for path, _, _ in item.files] + [str(path) for paths in papers for path in paths]
    inputs = [[path, stat.st_size, stat.st_mtime_ns] for path in files for stat in [Path(path).stat()]]
    return sha256_json({"section": section.model_dump(mode="json"), "code": code, "inputs": inputs})


def _start(out: Path, work: Path, fingerprint: str) -> None:
    """Make `out` ready: keep what belongs to this very job, remove everything that belongs to another."""
    state = work / "state.json"
    if state.exists() and read_json(state) == fingerprint:
        return
    (out / "corpus.json").unlink(missing_ok=True)
    for folder in (work, out / "parts", out / "ledger"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (out / "parts", out / "ledger"):
        folder.mkdir(parents=True)
    write_json(state, fingerprint)


def _map_ids(job: Job, section: CorpusSection, data_root: Path, papers: list[list[Path]], engine: LocalEngine) -> None:
    """Turn what other tables know into maps. Rows without PMC id matter only where years or fields are asked for."""
    select = section.select
    all_rows = any(wish is not None for wish in (select.fields, select.min_year, select.max_year))
    for source, paths in enumerate(papers):
        if paths and not job.paper_map(source).exists():
            with _reading("papers", paths, engine):
                tables = list(engine.map(read_papers_shard, [(str(path), all_rows) for path in paths]))
            write_paper_map(tables, job.paper_map(source))
        ids = section.sources[source].pmc_ids
        if ids is not None and not job.pmc_ids(source).exists():
            write_pmc_ids(str(find_files([ids], data_root, "pmc_ids")[0]), job.pmc_ids(source))


def _stage(job: Job, items: list[Item], engine: LocalEngine) -> None:
    """Stage all items: one a worker, or, when there are fewer items than workers, all workers on each."""
    with _reading("corpus", [Path(path) for item in items for path, _, _ in item.files], engine):
        if len(items) >= engine.workers:
            errors = list(engine.map(functools.partial(stage_item, job), items))
        else:
            with ThreadPoolExecutor(len(items)) as readers:
                errors = list(readers.map(lambda item: stage_item(job, item, engine.map), items))
    failed = [error for error in errors if error is not None]
    if failed:
        raise InputError(
            f"{len(failed)} of {len(items)} inputs could not be read; the others are done and kept:\n"
            + "\n".join(f"  - {error}" for error in failed)
        )


@contextmanager
def _reading(label: str, paths: list[Path], engine: LocalEngine) -> Iterator[None]:
    """A progress bar over the bytes of `paths` that the engine's processes read."""
    stop = threading.Event()
    start_bytes = engine.read_bytes
    total_mb = sum(path.stat().st_size for path in paths) / 1e6

    def follow(progress: Progress) -> None:
        waiting = True
        while waiting:
            waiting = not stop.wait(0.5)
            progress.advance((engine.read_bytes - start_bytes) / 1e6 - progress.done)

    with Progress(label, total=total_mb, unit="MB") as progress:
        follower = threading.Thread(target=follow, args=(progress,), daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()


def _duplicates(job: Job, section: CorpusSection, staged: list[tuple[Item, int]]) -> tuple[list[np.ndarray], list[str]]:
    """For each staged file the verdict on its rows (0: stays), and the reasons that other verdicts stand for."""
    keys = [read_keys(staged_path(job, item.index, segment)) for item, segment in staged]
    if not section.dedup.exact or not keys:
        return [np.zeros(table.num_rows, dtype=np.uint8) for table in keys], []
    import pyarrow as pa

    verdict, reasons = exact_duplicates(pa.concat_tables(keys), section.dedup.prefer)
    return np.split(verdict, np.cumsum([table.num_rows for table in keys])[:-1]), reasons


def _write_parts(
    job: Job, out: Path, staged: list[tuple[Item, int]], verdicts: list[np.ndarray], engine: LocalEngine
) -> list[Part]:
    """Write one part for each staged file of which rows stay, numbered in the order of the inputs."""
    tasks: list[tuple[str, str, str, np.ndarray]] = []
    for (item, segment), verdict in zip(staged, verdicts, strict=True):
        if (verdict == 0).any():
            name = f"part-{len(tasks):05d}"
            record = Path(job.work) / f"{name}.json"
            path = out / "parts" / f"{name}.parquet"
            tasks.append((str(staged_path(job, item.index, segment)), str(path), str(record), verdict == 0))
    parts = []
    with Progress("parts", total=len(tasks), unit="parts") as progress:
        for part in engine.map(write_part, tasks):
            parts.append(part)
            progress.advance()
    return parts


def _account(
    section: CorpusSection,
    out: Path,
    items: list[Item],
    records: list[dict[str, Any]],
    staged: list[tuple[Item, int]],
    verdicts: list[np.ndarray],
    reasons: list[str],
    parts: list[Part],
) -> dict[str, Any]:
    """Write a ledger for each item and return the totals; in every one of them in = kept + Σ dropped."""
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    sources: dict[str, dict[str, Any]] = {
        source.name: {"in": 0, "kept": 0, "dropped": Counter()} for source in section.sources
    }
    for item, record in zip(items, records, strict=True):
        mine = [verdict for (owner, _), verdict in zip(staged, verdicts, strict=True) if owner is item]
        ledger = _ledger(section, item, record, mine, reasons)
        write_json(out / "ledger" / f"{item.index:05d}-{Path(item.name).name}.json", ledger)
        total.update({key: ledger[key] for key in ("in", "kept", "bytes")})
        dropped.update(ledger["dropped"])
        removed.update(ledger["chars_removed"])
        source = sources[ledger["source"]]
        source["in"] += ledger["in"]
        source["kept"] += ledger["kept"]
        source["dropped"].update(ledger["dropped"])
    return {
        "recipe_hash": sha256_json(section.model_dump(mode="json")),
        "in": total["in"],
        "kept": total["kept"],
        "dropped": dict(dropped),
        "chars": sum(part.chars for part in parts),
        "chars_removed": dict(removed),
        "bytes_in": total["bytes"],
        "sources": sources,
        "parts": [{"file": f"parts/{part.file}", "rows": part.rows, "sha256": part.sha256} for part in parts],
    }


def _ledger(
    section: CorpusSection, item: Item, record: dict[str, Any], verdicts: list[np.ndarray], reasons: list[str]
) -> dict[str, Any]:
    verdict = np.concatenate(verdicts) if verdicts else np.zeros(0, dtype=np.uint8)
    dropped = Counter(record["dropped"])
    for position, reason in enumerate(reasons, start=1):
        dropped[reason] += int((verdict == position).sum())
    kept = int((verdict == 0).sum())
    assert record["seen"] == kept + sum(dropped.values()), f"{item.name}: records were lost"
    return {
        "file": item.name,
        "files": len(item.files),
        "source": section.sources[item.source].name,
        "in": record["seen"],
        "kept": kept,
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "invalid_spans": record["invalid_spans"],
        "chars_in": record["chars_in"],
        "chars_removed": record["removed"],
        "bytes": record["bytes"],
        "sha256": record["sha256"],
        "seconds": record["seconds"],
    }
