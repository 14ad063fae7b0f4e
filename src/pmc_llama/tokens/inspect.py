"""A look into a token store: what it is made of, and any document decoded."""

from pathlib import Path

from pmc_llama.errors import StoreError
from pmc_llama.tokens.convert import hf_tokenizer
from pmc_llama.tokens.encoders import load_encoder
from pmc_llama.tokens.store import TokenStore


def describe(path: Path, *, verify: bool = False) -> dict[str, str | int]:
    """Figures of a store, to print: documents, tokens, bytes, splits, tokenizer and corpora.

    `verify` also reads every byte and compares the hashes. Raises StoreError for a store that is damaged.
    """
    store = TokenStore.open(path)
    if verify:
        store.verify()
    info = store.info
    lengths = store.lengths
    return {
        "documents": info.documents,
        "held-out documents": info.heldout_documents,
        "empty documents": info.empty_documents,
        "tokens": info.tokens,
        "held-out tokens": info.heldout_tokens,
        "tokens per document": f"{lengths.mean():,.0f} on average, {lengths.max():,} at most"
        if len(lengths)
        else "none",
        "bytes": info.tokens * store.dtype.itemsize,
        "type": f"{info.dtype}, vocabulary of {info.vocab_size:,}",
        "shards": len(info.shards),
        "tokenizer": info.tokenizer_sha256,
        "corpora": ", ".join(info.corpora),
        "hashes": "all as written" if verify else "not checked",
    }


def decode_document(
    path: Path, tokenizer_path: Path, document: str, *, start: int = 0, tokens: int | None = None
) -> dict[str, str | int | list[int]]:
    """A document decoded: `document` is a paper id or a number; `start` and `tokens` choose a part of it.

    Returns paper_id, number, split, tokens, ids and text. Raises StoreError where the store has no such document, or
    was made with another tokenizer.
    """
    store = TokenStore.open(path, load_encoder(tokenizer_path, fast=False).sha256)
    number = _find(store, document)
    ids = store[number][start : None if tokens is None else start + tokens].tolist()
    return {
        "paper_id": store.paper_ids[number],
        "number": number,
        "split": "heldout" if number in store.documents("heldout") else "train",
        "tokens": len(store[number]),
        "ids": ids,
        "text": hf_tokenizer(tokenizer_path).decode(ids),
    }


def _find(store: TokenStore, document: str) -> int:
    if document in store.paper_ids:
        return store.paper_ids.index(document)
    if document.isdecimal():
        store[int(document)]
        return int(document)
    near = [paper for paper in store.paper_ids if document in paper][:3]
    hint = f"; there is {', '.join(near)}" if near else ""
    raise StoreError(f"token store {store.path} has no paper {document!r}{hint}")
