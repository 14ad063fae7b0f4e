"""The stage that writes a corpus into a token store, and appends new papers to one."""

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pmc_llama.errors import InputError, StoreError
from pmc_llama.files import atomic_path, sha256_file, sha256_json
from pmc_llama.progress import Progress
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.records.corpus import PartFile, read_corpus_summary
from pmc_llama.records.tokens import StoreInfo, read_store_info
from pmc_llama.run_dir import CorpusDir
from pmc_llama.signals import leave_to_the_first, ready, signals_held
from pmc_llama.tokens.convert import hf_tokenizer
from pmc_llama.tokens.encoders import load_encoder, tokenizer_sha256
from pmc_llama.tokens.fast import FastEncoder
from pmc_llama.tokens.reference import Encoder
from pmc_llama.tokens.shards import Shard, finish_store, read_shard, shard_paths, write_shard_index
from pmc_llama.tokens.store import TokenStore

__all__ = ["Encoder", "append_corpus", "encode_corpus", "hf_tokenizer", "load_encoder", "open_store"]

BATCH_DOCUMENTS = 64
CHECKED_DOCUMENTS = 16
"""Documents of the corpus on which a fast encoder is compared with the reference before the work starts."""


@dataclass(frozen=True)
class _Job:
    """One corpus part to encode into one shard; `skip` are papers that the store has already."""

    number: int
    source: Path
    part: PartFile
    tokenizer: Path
    fast: bool
    out: Path
    skip: frozenset[str] = frozenset()


def encode_corpus(
    section: TokensSection, corpus_dir: Path, tokenizer_path: Path, out: Path, *, workers: int
) -> StoreInfo:
    """Write every document of a corpus into the token store `out`; returns the value of its `store.json`.

    One shard a corpus part, so the store's bytes do not depend on `workers`. Shards that are whole and were made from
    the same part with the same tokenizer are kept, so an interrupted run continues. Raises InputError for a corpus that
    cannot be read.
    """
    parts = _corpus_parts(corpus_dir)
    encoder = load_encoder(tokenizer_path)
    fast = _holds_on_corpus(encoder, corpus_dir / parts[0].file)
    jobs = [_Job(number, corpus_dir / part.file, part, tokenizer_path, fast, out) for number, part in enumerate(parts)]
    return finish_store(out, _run(jobs, workers), encoder, [corpus_hash(parts)], section.heldout_fraction)


def append_corpus(
    section: TokensSection, corpus_dir: Path, tokenizer_path: Path, out: Path, *, workers: int
) -> StoreInfo:
    """Add the papers of a later corpus that the store `out` does not have; returns the value of its `store.json`.

    What is there stays byte for byte, and a paper keeps the split that it is in. Appending the same corpus again does
    nothing. Raises StoreError for a store of another tokenizer or held-out fraction.
    """
    info, parts, encoder = read_store_info(out), _corpus_parts(corpus_dir), load_encoder(tokenizer_path)
    if info.tokenizer_sha256 != encoder.sha256:
        raise StoreError(f"token store {out} was made with another tokenizer than {tokenizer_path}: nothing appended")
    if info.heldout_fraction != section.heldout_fraction:
        raise StoreError(
            f"token store {out} holds out {info.heldout_fraction} of its documents, not {section.heldout_fraction}: "
            "appending must keep the split"
        )
    if corpus_hash(parts) in info.corpora:
        return info
    old = [read_shard(out, number, {}, encoder.dtype) for number in range(len(info.shards))]
    whole = [shard for shard in old if shard is not None]
    if len(whole) < len(old):
        raise StoreError(f"token store {out}: {info.shards[old.index(None)].file} is damaged or has no index")
    known = pa.chunked_array([chunk for shard in whole for chunk in shard.paper_ids.chunks], pa.string())
    fast = _holds_on_corpus(encoder, corpus_dir / parts[0].file)
    jobs: list[_Job] = []
    for part in parts:
        source = corpus_dir / part.file
        skip = _known_papers(source, known)
        if len(skip) < part.rows:
            jobs.append(_Job(len(old) + len(jobs), source, part, tokenizer_path, fast, out, skip))
    corpora = [*info.corpora, corpus_hash(parts)]
    return finish_store(out, [*whole, *_run(jobs, workers)], encoder, corpora, section.heldout_fraction)


def open_store(out: Path, tokenizer_path: Path, corpus_dir: Path) -> TokenStore:
    """Open the store of a corpus. Raises StoreError where it is damaged, or made with another tokenizer or corpus."""
    return TokenStore.open(out, tokenizer_sha256(tokenizer_path), corpus_hash(_corpus_parts(corpus_dir)))


def corpus_hash(parts: Sequence[PartFile]) -> str:
    """Hash of a corpus: of its parts' names and hashes."""
    return sha256_json([[part.file, part.sha256] for part in parts])


def _corpus_parts(corpus_dir: Path) -> list[PartFile]:
    """The parts as `corpus.json` lists them; a folder without one is taken as it is."""
    corpus = CorpusDir(corpus_dir)
    if corpus.summary.is_file():
        parts = read_corpus_summary(corpus.summary).parts
    else:
        files = sorted(corpus.parts.glob("*.parquet"))
        parts = [
            PartFile(file.relative_to(corpus_dir).as_posix(), pq.read_metadata(file).num_rows, sha256_file(file))
            for file in files
        ]
    if not parts:
        raise InputError(f"corpus {corpus_dir} has no parts: build the corpus first")
    return parts


def _holds_on_corpus(encoder: Encoder, part: Path) -> bool:
    """Whether the workers may encode fast."""
    return isinstance(encoder, FastEncoder) and encoder.holds(
        [text for _, texts in islice(_documents(part, CHECKED_DOCUMENTS), 1) for text in texts]
    )


def _known_papers(part: Path, known: pa.ChunkedArray) -> frozenset[str]:
    ids = pq.read_table(part, columns=["paper_id"])["paper_id"]
    return frozenset(ids.filter(pc.is_in(ids, value_set=known)).to_pylist())


def _run(jobs: list[_Job], workers: int) -> list[Shard]:
    """Encode all jobs, each into a shard; in this process where one worker is enough."""
    shards: dict[int, Shard] = {}
    with Progress("tokenize", total=sum(job.part.rows for job in jobs), unit="documents") as progress:
        for number, shard in _results(jobs, min(workers, len(jobs))):
            shards[number] = shard
            progress.advance(shard.documents, f"{sum(s.tokens for s in shards.values()):,} tokens")
    return [shards[job.number] for job in jobs]


def _results(jobs: list[_Job], workers: int) -> Iterator[tuple[int, Shard]]:
    if workers <= 1:
        yield from map(_encode_part, jobs)
        _worker_encoder.cache_clear()  # its caches are large, and this process goes on to other stages
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=leave_to_the_first) as pool:
        try:
            with signals_held():
                pool.submit(ready)
            for future in as_completed([pool.submit(_encode_part, job) for job in jobs]):
                yield future.result()
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _encode_part(job: _Job) -> tuple[int, Shard]:
    """Encode one corpus part into one shard, unless it is there already."""
    encoder = _worker_encoder(job.tokenizer, job.fast)
    stamp = {"part": job.part.file, "part_sha256": job.part.sha256, "tokenizer_sha256": encoder.sha256}
    stamp["skipped"] = sha256_json(sorted(job.skip))
    found = read_shard(job.out, job.number, stamp, encoder.dtype)
    if found is not None:
        return job.number, found
    if not job.source.is_file() or sha256_file(job.source) != job.part.sha256:
        raise InputError(f"corpus part {job.source} is not the one that corpus.json names: build the corpus again")
    paper_ids: list[str] = []
    lengths: list[int] = []
    digest = hashlib.sha256()
    binary, _ = shard_paths(job.out, job.number)
    with atomic_path(binary) as partial, partial.open("wb") as file, ThreadPoolExecutor(1) as beside:
        documents, written = _documents(job.source, BATCH_DOCUMENTS, job.skip), Future[None]()
        written.set_result(None)
        coming = beside.submit(next, documents, None)
        while (batch := coming.result()) is not None:
            coming = beside.submit(next, documents, None)  # read, and written, while this thread encodes
            encoded = encoder.encode_batch(batch[1])
            paper_ids += batch[0]
            lengths += map(len, encoded)
            written.result()
            written = beside.submit(_write, file, digest, encoded)
        written.result()
    stamp["bin_sha256"] = digest.hexdigest()
    return job.number, write_shard_index(job.out, job.number, paper_ids, lengths, stamp)


def _write(file: BinaryIO, digest: Any, encoded: list[NDArray[Any]]) -> None:
    ids = np.concatenate(encoded) if encoded else np.empty(0)
    digest.update(ids.data)
    file.write(ids.data)


@lru_cache(maxsize=1)
def _worker_encoder(path: Path, fast: bool) -> Encoder:
    return load_encoder(path, fast=fast, proven=True)


def _documents(
    part: Path, batch_size: int, skip: frozenset[str] = frozenset()
) -> Iterator[tuple[list[str], list[bytes]]]:
    """Paper ids and texts (UTF-8), batch by batch; a missing text is an empty one, and counted as such in the store."""
    try:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size, columns=["paper_id", "text"], use_threads=False):
                kept = batch.filter(_is_new(batch["paper_id"], skip)) if skip else batch
                texts = pc.fill_null(kept["text"].cast(pa.string()), "")
                texts.validate(full=True)  # what is not UTF-8 would become other ids than the text's
                texts = texts.cast(pa.binary())
                yield kept["paper_id"].to_pylist(), texts.to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(
            f"corpus part {part} cannot be read as Parquet with columns paper_id and text: {error}"
        ) from None


def _is_new(paper_ids: pa.Array, skip: frozenset[str]) -> pa.Array:
    return pc.invert(pc.is_in(paper_ids, value_set=pa.array(sorted(skip), paper_ids.type)))
