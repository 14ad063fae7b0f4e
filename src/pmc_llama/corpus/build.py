"""Builds a corpus: stage every input item, compare all papers, write the parts and the ledgers."""

import functools
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from pmc_llama.code import code_hash
from pmc_llama.corpus.account import Outcome, nothing_kept, write_accounts
from pmc_llama.corpus.card import write_card
from pmc_llama.corpus.compare import Verdict, find_boilerplate, find_duplicates
from pmc_llama.corpus.contamination import Probe, load_probes, save_probes
from pmc_llama.corpus.earlier import EarlierCorpus
from pmc_llama.corpus.engine import Engine, open_engine
from pmc_llama.corpus.items import Item, find_files, plan_items, with_word_counts
from pmc_llama.corpus.join import read_deleted, read_papers_shard, write_array, write_paper_map, write_pmc_ids
from pmc_llama.corpus.parts import Part, PartTask, write_part
from pmc_llama.corpus.stage import Job, stage_item, staged_path
from pmc_llama.corpus.storage import stat
from pmc_llama.corpus.tally import StagedItem, read_tally
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_json, told_where, write_json
from pmc_llama.progress import Progress
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.recipe.registry import modules
from pmc_llama.records.corpus import CorpusSummary, read_corpus_summary
from pmc_llama.run_dir import CorpusDir


def build_corpus(
    section: CorpusSection,
    data_root: Path,
    out: Path,
    *,
    workers: int,
    probes: Sequence[Probe] = (),
    append_to: Path | None = None,
) -> CorpusSummary:
    """Write `parts/`, `ledger/`, `README.md` and `corpus.json` under `out`; returns the value of `corpus.json`.

    `probes` are the evaluation questions for which papers are dropped where the section says `decontaminate`; what was
    found stands in `decontamination.json`. Papers of an earlier corpus were checked when that one was built.
    With `append_to`, an earlier corpus, `out` holds that one's papers, as links to its parts, and those of the sources
    that it lacks by PMC id, corpus id, DOI and text; the earlier papers are not read again but for these keys.
    What an interrupted call with the same recipe, code and inputs had finished is kept; anything else in `out` is
    rebuilt. The parts are the same bytes for any number of workers. Raises InputError after all other items were
    staged when inputs could not be read; the next call then only does those. Raises it too when no paper is kept.
    """
    earlier = None if append_to is None else EarlierCorpus(append_to)
    items = plan_items(section, data_root, first=earlier.items if earlier else 0)
    joined = _joined_files(section, data_root)
    located = with_word_counts(section, data_root)
    files = [path for item in items for path, _, _ in item.files]
    files += [path for tables in joined for paths in tables for path in paths]
    files += [located.clean.word_counts] if located.clean.word_counts else []
    if not section.decontaminate:
        probes = ()
    fingerprint = _fingerprint(section, files, probes, earlier)
    corpus = CorpusDir(out)
    with told_where(out):
        out.mkdir(parents=True, exist_ok=True)
    if corpus.summary.exists() and (found := read_corpus_summary(corpus.summary)).fingerprint == fingerprint:
        shutil.rmtree(corpus.work, ignore_errors=True)
        return found
    job = Job(located.model_dump_json(), str(corpus.work.absolute()))
    with told_where(out):
        _start(corpus, fingerprint)
    if probes:
        save_probes(probes, job.probes)
    with open_engine(section, workers) as engine:
        _map_ids(job, section, joined, engine)
        _stage(job, items, engine)
        staged = _staged(job, items)
        segments = [path for one in staged for path in one.segments]
        known = earlier.keys(section.dedup.near, engine) if earlier else None
        verdicts, reasons = find_duplicates(section, segments, known)
        lines = find_boilerplate(section, segments, verdicts, corpus.work / "boilerplate.npy")
        first_part = earlier.parts if earlier else 0
        parts = _write_parts(job, out, segments, verdicts, lines, engine, first_part)
    summary = write_accounts(section, out, _outcomes(staged, verdicts, parts), reasons)
    if earlier:
        earlier.take_over(out)
        summary = earlier.add_to(summary)
    if (problem := nothing_kept(summary, out)) is not None:
        raise InputError(problem)
    if probes:
        hits = [hit for one in staged for hit in one.record.hits]
        write_json(corpus.decontamination, load_probes(job.probes).report(hits))
    summary = msgspec.structs.replace(summary, fingerprint=fingerprint)
    write_card(section, summary, out)
    write_json(corpus.summary, summary)
    shutil.rmtree(corpus.work)
    return summary


class Staged(NamedTuple):
    """An item that was read: what its record says, and the files of its papers."""

    item: Item
    record: StagedItem
    segments: list[Path]


def _staged(job: Job, items: list[Item]) -> list[Staged]:
    records = [read_tally(job.staged / f"{item.index:05d}.json", StagedItem) for item in items]
    return [
        Staged(item, record, [staged_path(job, item.index, number) for number in range(record.segments)])
        for item, record in zip(items, records, strict=True)
    ]


def _outcomes(staged: list[Staged], verdicts: list[Verdict], parts: list[Part | None]) -> list[Outcome]:
    """What became of each item; `verdicts` and `parts` follow the segments of all items in a row."""
    judged = iter(zip(verdicts, parts, strict=True))
    outcomes = []
    for one in staged:
        own = list(islice(judged, len(one.segments)))
        written = [part for _, part in own if part is not None]
        outcomes.append(Outcome(one.item, one.record, [verdict for verdict, _ in own], written))
    return outcomes


class Joined(NamedTuple):
    """The tables that complete one source."""

    papers: list[str]
    pmc_ids: list[str]
    deleted: list[str]


def _joined_files(section: CorpusSection, data_root: Path) -> list[Joined]:
    return [
        Joined(
            find_files(source.papers, data_root, "papers"),
            find_files([source.pmc_ids] if source.pmc_ids else [], data_root, "pmc_ids"),
            find_files(source.deleted, data_root, "deleted"),
        )
        for source in section.sources
    ]


def _fingerprint(
    section: CorpusSection, files: list[str], probes: Sequence[Probe], earlier: EarlierCorpus | None
) -> str:
    """A hash of all that the parts depend on: settings, the code that makes them, questions, inputs by size, time."""
    inputs = [[path.encode(errors="surrogateescape").hex(), *stat(path)] for path in files]
    before = {} if earlier is None else {part.file: part.sha256 for part in earlier.summary.parts}
    settings = section.settings("corpus")
    return sha256_json([settings, code_hash(__name__, *modules()), inputs, [list(probe) for probe in probes], before])


def _start(corpus: CorpusDir, fingerprint: str) -> None:
    """Make the folder ready: keep what belongs to this very job, remove everything that belongs to another."""
    state = corpus.work / "state.json"
    if state.exists() and read_json(state) == fingerprint:
        return
    for file in (corpus.summary, corpus.decontamination, corpus.card):
        file.unlink(missing_ok=True)
    for folder in (corpus.work, corpus.parts, corpus.ledger):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (corpus.parts, corpus.ledger):
        folder.mkdir(parents=True)
    write_json(state, fingerprint)


def _map_ids(job: Job, section: CorpusSection, joined: list[Joined], engine: Engine) -> None:
    """Turn what other tables know into maps. Rows without PMC id matter only where years or fields are asked for."""
    select = section.select
    all_rows = any(wish is not None for wish in (select.fields, select.min_year, select.max_year))
    for source, (papers, pmc_ids, deleted) in enumerate(joined):
        if papers and not job.paper_map(source).exists():
            with _reading("papers", papers, engine):
                tables = list(engine.map(read_papers_shard, [(path, all_rows) for path in papers]))
            write_paper_map(tables, job.paper_map(source))
        if pmc_ids and not job.pmc_ids(source).exists():
            write_pmc_ids(pmc_ids[0], job.pmc_ids(source))
        if deleted and not job.deleted(source).exists():
            write_array(np.array(sorted(read_deleted(deleted)), dtype=np.int64), job.deleted(source))


def _stage(job: Job, items: list[Item], engine: Engine) -> None:
    """Stage all items: one per worker, or, when there are fewer items than workers, all workers on each."""
    with _reading("corpus", [path for item in items for path, _, _ in item.files], engine):
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
def _reading(label: str, paths: list[str], engine: Engine) -> Iterator[None]:
    """A progress bar over the bytes of `paths` that the engine's processes read."""
    stop = threading.Event()
    start_bytes = engine.read_bytes
    total_mb = sum(stat(path).size_bytes for path in paths) / 1e6

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


def _write_parts(
    job: Job,
    out: Path,
    staged: list[Path],
    verdicts: list[Verdict],
    boilerplate: str | None,
    engine: Engine,
    first: int,
) -> list[Part | None]:
    """Write one part for each staged file of which rows stay, numbered from `first` in the order of the inputs."""
    tasks: dict[int, PartTask] = {}
    for place, (path, verdict) in enumerate(zip(staged, verdicts, strict=True)):
        if (verdict == 0).any():
            name = f"part-{first + len(tasks):05d}"
            part, record = CorpusDir(out.absolute()).parts / f"{name}.parquet", Path(job.work) / f"{name}.json"
            tasks[place] = PartTask(str(path), str(part), str(record), verdict == 0, boilerplate)
    parts: list[Part | None] = [None] * len(staged)
    with Progress("parts", total=len(tasks), unit="parts") as progress:
        for place, part_made in zip(tasks, engine.map(write_part, tasks.values()), strict=True):
            parts[place] = part_made
            progress.advance()
    return parts
