"""From texts to token ids: the encoders, and the stage that writes a corpus into a token store."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmc_llama.errors import InputError
from pmc_llama.files import atomic_path, read_json, sha256_file, sha256_json
from pmc_llama.progress import Progress
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.tokens.convert import hf_tokenizer, sentencepiece_file
from pmc_llama.tokens.sentencepiece import SentencePieceEncoder, token_dtype
from pmc_llama.tokens.shards import Shard, finish_store, read_shard, shard_paths, write_shard_index

__all__ = ["Encoder", "encode_corpus", "hf_tokenizer", "load_encoder"]

BATCH_DOCUMENTS = 64
CHECKED_DOCUMENTS = 16
"""Documents of the corpus on which the word memo is compared with plain SentencePiece before the work starts."""


class Encoder(Protocol):
    """Turns text into ids, without BOS and EOS."""

    @property
    def vocab_size(self) -> int: ...  # noqa: D102

    @property
    def bos_id(self) -> int | None: ...  # noqa: D102

    @property
    def eos_id(self) -> int | None: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def encode(self, text: str) -> NDArray[Any]: ...  # noqa: D102

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]: ...  # noqa: D102


class HuggingFaceEncoder:
    """Ids of a `tokenizer.json`, in batches of the Rust library."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"tokenizer {folder} has neither a LLaMA-type `tokenizer.model` nor a `tokenizer.json`")
        self.sha256 = sha256_file(file)
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        whole = hf_tokenizer(folder)
        self.vocab_size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self.bos_id, self.eos_id = whole.bos_token_id, whole.eos_token_id
        self.dtype = token_dtype(self.vocab_size)

    def encode(self, text: str) -> NDArray[Any]:
        """Ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Ids of many texts, in their order."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encodings]


def load_encoder(path: Path, *, memo: bool = True) -> Encoder:
    """The encoder of a SentencePiece `tokenizer.model` or of a Hugging Face folder.

    Raises InputError where there is none.
    """
    if not path.exists():
        raise InputError(
            f"tokenizer {path} does not exist: expected a SentencePiece `tokenizer.model` or a Hugging Face folder"
        )
    model = sentencepiece_file(path)
    return SentencePieceEncoder(model, memo=memo) if model is not None else HuggingFaceEncoder(path)


def encode_corpus(
    section: TokensSection, corpus_dir: Path, tokenizer_path: Path, out: Path, *, workers: int
) -> dict[str, Any]:
    """Write every document of a corpus into the token store `out`; returns the value of its `store.json`.

    One shard a corpus part, so the store's bytes do not depend on `workers`. Shards that are whole and were made from
    the same part with the same tokenizer are kept, so an interrupted run continues. Raises InputError for a corpus that
    cannot be read.
    """
    parts = _corpus_parts(corpus_dir)
    encoder = load_encoder(tokenizer_path)
    memo = _check_on_corpus(encoder, corpus_dir / parts[0]["file"])
    jobs = [(number, part, corpus_dir, tokenizer_path, memo, out) for number, part in enumerate(parts)]
    shards: dict[int, Shard] = {}
    with Progress("tokenize", total=sum(part["rows"] for part in parts), unit="documents") as progress:
        for number, shard in _run(jobs, min(workers, len(jobs))):
            shards[number] = shard
            progress.advance(shard.documents, f"{sum(s.tokens for s in shards.values()):,} tokens")
    ordered = [shards[number] for number in range(len(parts))]
    return finish_store(
        out,
        ordered,
        tokenizer_sha256=encoder.sha256,
        vocab_size=encoder.vocab_size,
        dtype=encoder.dtype,
        corpus_sha256=corpus_hash(parts),
        heldout_fraction=section.heldout_fraction,
    )


def corpus_hash(parts: Sequence[dict[str, Any]]) -> str:
    """Hash of a corpus: of its parts' names and hashes."""
    return sha256_json([[part["file"], part["sha256"]] for part in parts])


def _corpus_parts(corpus_dir: Path) -> list[dict[str, Any]]:
    """The parts as `corpus.json` lists them; a folder without one is taken as it is."""
    import pyarrow.parquet as pq

    ledger = corpus_dir / "corpus.json"
    if ledger.is_file():
        parts = [dict(part, file=_part_path(part["file"])) for part in read_json(ledger)["parts"]]
    else:
        files = sorted((corpus_dir / "parts").glob("*.parquet"))
        parts = [
            {"file": f"parts/{file.name}", "rows": pq.read_metadata(file).num_rows, "sha256": sha256_file(file)}
            for file in files
        ]
    if not parts:
        raise InputError(f"corpus {corpus_dir} has no parts: build the corpus first")
    return parts


def _part_path(file: str) -> str:
    return file if "/" in file else f"parts/{file}"


def _check_on_corpus(encoder: Encoder, part: Path) -> bool:
    if not isinstance(encoder, SentencePieceEncoder):
        return True
    return encoder.check(text for _, text in islice(_documents(part), CHECKED_DOCUMENTS))


Job = tuple[int, dict[str, Any], Path, Path, bool, Path]


def _run(jobs: list[Job], workers: int) -> Iterator[tuple[int, Shard]]:
    """Results of `_encode_part` as they come; in this process where one worker is enough."""
    if workers <= 1:
        yield from map(_encode_part, jobs)
        _worker_encoder.cache_clear()  # its memo is large, and this process goes on to other stages
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(_encode_part, job) for job in jobs]):
            yield future.result()


def _encode_part(job: Job) -> tuple[int, Shard]:
    """Encode one corpus part into one shard, unless it is there already."""
    number, part, corpus_dir, tokenizer_path, memo, out = job
    encoder = _worker_encoder(tokenizer_path, memo)
    source = corpus_dir / part["file"]
    stamp = {"part": part["file"], "part_sha256": part["sha256"], "tokenizer_sha256": encoder.sha256}
    found = read_shard(out, number, stamp, encoder.dtype)
    if found is not None:
        return number, found
    if not source.is_file() or sha256_file(source) != part["sha256"]:
        raise InputError(f"corpus part {source} is not the one that corpus.json names: build the corpus again")
    paper_ids: list[str] = []
    lengths: list[int] = []
    binary, _ = shard_paths(out, number)
    with atomic_path(binary) as partial, partial.open("wb") as file:
        documents = _documents(source)
        while batch := list(islice(documents, BATCH_DOCUMENTS)):
            paper_ids += [paper_id for paper_id, _ in batch]
            for ids in encoder.encode_batch([text for _, text in batch]):
                lengths.append(len(ids))
                file.write(ids.tobytes())
    return number, write_shard_index(out, number, paper_ids, lengths, dict(stamp, bin_sha256=sha256_file(binary)))


@lru_cache(maxsize=1)
def _worker_encoder(path: Path, memo: bool) -> Encoder:
    return load_encoder(path, memo=memo)


def _documents(part: Path) -> Iterator[tuple[str, str]]:
    """(paper_id, text) of every row; a missing text is an empty one, and counted as such in `store.json`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(BATCH_DOCUMENTS, columns=["paper_id", "text"]):
                columns = batch.to_pydict()
                yield from (
                    (paper_id, text or "") for paper_id, text in zip(columns["paper_id"], columns["text"], strict=True)
                )
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(
            f"corpus part {part} cannot be read as Parquet with columns paper_id and text: {error}"
        ) from None
