"""First pass: an input item becomes staged files of selected, cleaned papers, and a record of what was dropped."""

import functools
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pmc_llama.corpus.boilerplate import line_hashes
from pmc_llama.corpus.bounds import TooLarge
from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.contamination import load_probes
from pmc_llama.corpus.engine import count_read_bytes
from pmc_llama.corpus.items import Item, printable
from pmc_llama.corpus.join import PaperMap, PmcIds
from pmc_llama.corpus.near import signatures
from pmc_llama.corpus.paper import Paper, Skip, hash64, text_hash
from pmc_llama.corpus.readers import base
from pmc_llama.corpus.readers.base import Block, Options
from pmc_llama.corpus.readers.sniff import READERS, reader_for
from pmc_llama.corpus.select import Selector
from pmc_llama.corpus.storage import InputFile
from pmc_llama.corpus.tally import MOST_UNREAD, UNREAD, StagedItem, Tally, read_tally
from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path, write_json
from pmc_llama.recipe.corpus import CorpusSection

SEGMENT_BYTES = 2**30
"""Uncompressed input bytes behind one staged file and one part; what a kill can cost a worker."""

PAPER_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("paper_id", pa.string()),
    ("pmcid", pa.int64()),
    ("pmid", pa.int64()),
    ("doi", pa.string()),
    ("corpusid", pa.int64()),
    ("title", pa.string()),
    ("year", pa.int32()),
    ("journal", pa.string()),
    ("license", pa.string()),
    ("source", pa.string()),
    ("text", pa.large_string()),
]
KEY_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("format", pa.string()),
    ("version", pa.int64()),
    ("doi_hash", pa.int64()),
    ("text_hash", pa.int64()),
    ("signature", pa.binary()),
    ("lines", pa.large_binary()),
]
PAPER_SCHEMA = pa.schema(PAPER_COLUMNS)
STAGED_SCHEMA = pa.schema(PAPER_COLUMNS + KEY_COLUMNS)

Row = dict[str, Any]
"""One paper by column."""
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


class Job(msgspec.Struct, frozen=True):
    """What every worker must know: the recipe's section and where the work lies."""

    section_json: str
    work: str

    @property
    def staged(self) -> Path:
        """Folder of staged files."""
        return Path(self.work) / "staged"

    def paper_map(self, source: int) -> Path:
        """What `papers` shards know of the papers of one source."""
        return Path(self.work) / f"papers-{source}.npy"

    def pmc_ids(self, source: int) -> Path:
        """PMC ids by DOI and PMID for one source."""
        return Path(self.work) / f"pmc-ids-{source}.npz"

    def deleted(self, source: int) -> Path:
        """Corpus ids that diffs delete from one source."""
        return Path(self.work) / f"deleted-{source}.npy"

    @property
    def probes(self) -> Path:
        """The evaluation questions, where there are any."""
        return Path(self.work) / "probes.json"


class Context:
    """The selection, cleaning and reader options of one source, built once per process."""

    def __init__(self, job: Job, source: int) -> None:
        section = CorpusSection.model_validate_json(job.section_json)
        self.source = section.sources[source]
        self.selector = Selector(
            section.select,
            PaperMap(job.paper_map(source)) if self.source.papers else None,
            PmcIds(job.pmc_ids(source)) if self.source.pmc_ids else None,
            frozenset(np.load(job.deleted(source)).tolist()) if self.source.deleted else frozenset(),
        )
        self.cleaner = Cleaner(section.clean)
        self.contamination = load_probes(job.probes) if job.probes.exists() else None
        self.section = section
        quick = self.selector.refuse_ids if self.selector.decides_on_ids else None
        self.options = Options(self.source.name, self.cleaner.kinds, quick, self.source.split_on)


context_of = functools.lru_cache(maxsize=None)(Context)


def stage_item(job: Job, item: Item, mapper: Mapper = map) -> str | None:
    """Stage one item unless it is staged already; returns the reason why it could not be read, or None.

    `mapper` runs the blocks: in this process, or on all workers while this process only reads and writes.
    """
    done = job.staged / f"{item.index:05d}.json"
    if done.exists():
        count_read_bytes(item.size_bytes)
        return None
    started_s = time.monotonic()
    files = [InputFile(path, name, count_read_bytes) for path, name, _ in item.files]
    total, segments = Tally(), 0
    try:
        for segment, blocks in itertools.groupby(_in_segments(_blocks(job, item, files)), key=lambda pair: pair[0]):
            total.add(_stage_segment(job, item, segment, (block for _, block in blocks), mapper))
            segments = segment + 1
    except InputError as error:
        return str(error)
    hashes = [file.sha256 for file in files]
    record = StagedItem(
        **{name: getattr(total, name) for name in Tally.__struct_fields__},
        segments=segments,
        bytes=sum(file.size_bytes for file in files),
        sha256=hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest(),
        seconds=round(time.monotonic() - started_s, 3),
    )
    write_json(done, record)
    return None


def staged_path(job: Job, item: int, segment: int) -> Path:
    """Where the papers of one segment of an item are staged."""
    return job.staged / f"{item:05d}-{segment:05d}.arrow"


def _blocks(job: Job, item: Item, files: list[InputFile]) -> Iterator[tuple[str, Block]]:
    """The blocks of all files of an item with their reader's name; small ones are joined."""
    context = context_of(job, item.source)
    waiting: tuple[str, Block] | None = None
    errors: list[str] = []
    for name, block in itertools.chain.from_iterable(_of_file(file, context, errors) for file in files):
        if waiting and waiting[0] == name and waiting[1].size_bytes + block.size_bytes <= base.BLOCK_BYTES:
            waiting[1].records.extend(block.records)
            waiting[1].dropped.update(block.dropped)
            waiting[1].unread += block.unread
            waiting[1].size_bytes += block.size_bytes
            continue
        if waiting:
            yield waiting
        waiting = (name, block)
    if waiting and not errors:
        yield waiting
    if errors:
        raise InputError("\n  - ".join(errors))


def _of_file(file: InputFile, context: Context, errors: list[str]) -> Iterator[tuple[str, Block]]:
    """The blocks of one file with its reader's name; what is wrong with the file goes to `errors`."""
    try:
        reader = reader_for(file.path, context.source.format)
        for block in reader.blocks(file, context.options):
            if errors:
                continue  # only looked at, so that all that is wrong is told at once
            block.unread = [f"{printable(file.name)}: {reason}" for reason in block.dropped if reason in UNREAD]
            yield reader.name, block
    except TooLarge:  # its other records stay, and so do those of the other files
        yield reader.name, Block([], Counter(too_large=1), unread=[f"{printable(file.name)}: too_large"])
    except InputError as error:
        errors.append(str(error))


def _in_segments(blocks: Iterator[tuple[str, Block]]) -> Iterator[tuple[int, tuple[str, Block]]]:
    position_bytes = 0
    for name, block in blocks:
        yield position_bytes // SEGMENT_BYTES, (name, block)
        position_bytes += block.size_bytes


def _stage_segment(job: Job, item: Item, segment: int, blocks: Iterator[tuple[str, Block]], mapper: Mapper) -> Tally:
    path = staged_path(job, item.index, segment)
    tally_path = path.with_suffix(".json")
    if tally_path.exists():
        return read_tally(tally_path, Tally)
    tally = Tally()
    process = functools.partial(process_block, job, item.source)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with atomic_path(path) as partial, pa.ipc.new_file(str(partial), STAGED_SCHEMA, options=options) as writer:
        for batch, block_tally in mapper(process, blocks):
            tally.add(block_tally)
            if batch.num_rows:
                writer.write_batch(batch)
    write_json(tally_path, tally)
    return tally


def process_block(job: Job, source: int, block: tuple[str, Block]) -> tuple[pa.RecordBatch, Tally]:
    """Decode, select and clean the records of one block. A pure function of its arguments."""
    name, records = block
    context, reader = context_of(job, source), READERS[name]
    tally = Tally(seen=records.seen, dropped=Counter(records.dropped), unread=records.unread[:MOST_UNREAD])
    rows: list[Row] = []
    for record in records.records:
        try:
            paper = reader.paper(record, context.options)
            text = _cleaned(paper, context, tally, is_text=name == "text")
        except Skip as skip:
            tally.dropped[skip.reason] += 1
            if skip.reason in UNREAD and len(tally.unread) < MOST_UNREAD:
                tally.unread += [f"{printable(place)}: {skip.reason}" for place in _places(record)]
            continue
        rows.append(_row(paper, text, context.source.name, name))
    _add_sketches(rows, context.section)
    return pa.RecordBatch.from_pylist(rows, schema=STAGED_SCHEMA), tally


def _places(record: Any) -> list[str]:
    """Where a record stands, as far as its reader notes it."""
    return [part for part in record if isinstance(part, str)][:1] if isinstance(record, tuple) else []


def _cleaned(paper: Paper, context: Context, tally: Tally, is_text: bool) -> str:
    reason = context.selector.refuse(paper, is_text=is_text)
    if reason is not None:
        raise Skip(reason)
    text, removed, reason = context.cleaner.text(paper)
    reason = reason if reason is not None else context.selector.refuse_text(text)
    if reason is not None:
        raise Skip(reason)
    if context.contamination is not None:
        hits = context.contamination.hits(paper.paper_id, text, paper.pmid)
        tally.hits += hits
        if hits:
            raise Skip("contaminated")
    tally.chars_in += len(paper.text)
    tally.removed.update(removed)
    tally.invalid_spans += paper.invalid_spans
    return text


def _add_sketches(rows: list[Row], section: CorpusSection) -> None:
    """What the comparison of all papers needs, where the recipe asks for it."""
    if section.dedup.near is not None:
        for row, signature in zip(rows, signatures([row["text"] for row in rows], section.dedup.near), strict=True):
            row["signature"] = signature
    if section.clean.boilerplate is not None:
        for row in rows:
            row["lines"] = line_hashes(row["text"])


def _row(paper: Paper, text: str, source: str, reader_name: str) -> Row:
    return {
        "paper_id": paper.paper_id,
        "pmcid": paper.pmcid,
        "pmid": paper.pmid,
        "doi": paper.doi,
        "corpusid": paper.corpusid,
        "title": paper.title,
        "year": paper.year,
        "journal": paper.journal,
        "license": paper.license,
        "source": source,
        "text": text,
        "format": reader_name,
        "version": paper.version,
        "doi_hash": hash64(paper.doi) if paper.doi else None,
        "text_hash": text_hash(text),
    }
