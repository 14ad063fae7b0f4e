"""A person can look into a store."""

from pathlib import Path

import pytest

from pmc_llama.errors import StoreError
from pmc_llama.tokens.inspect import decode_document, describe

from .conftest import MakeStore, prose


def test_a_store_says_what_it_is_made_of(make_store: MakeStore) -> None:
    store = make_store([prose(20, i) for i in range(9)] + [""], heldout=0.3)
    figures = describe(store.path, verify=True)
    assert (figures["documents"], figures["empty documents"], figures["shards"]) == (10, 1, 3)
    assert figures["tokens"] == store.n_tokens and figures["bytes"] == 2 * store.n_tokens
    assert figures["held-out documents"] == len(store.documents("heldout"))
    assert figures["hashes"] == "all as written"


def test_any_document_is_decoded_by_id_or_number(make_store: MakeStore, small_model: Path) -> None:
    texts = ["the  first\nof all ", prose(30, 1), "aspirin 12.5 µg 😀"]
    store = make_store(texts, parts=1)
    for number, text in enumerate(texts):
        by_id, by_number = (decode_document(store.path, small_model, name) for name in (f"pmc:{number}", str(number)))
        assert by_id == by_number
        assert (by_id["text"], by_id["split"], by_id["ids"]) == (text, "train", store[number].tolist())
    part = decode_document(store.path, small_model, "pmc:1", start=3, tokens=4)
    assert part["ids"] == store[1][3:7].tolist() and part["tokens"] == len(store[1])


def test_what_is_not_there_is_said(make_store: MakeStore, small_model: Path, tmp_path: Path) -> None:
    store = make_store(["a", "b"])
    with pytest.raises(StoreError, match=r"no paper 'PMC1'$"):
        decode_document(store.path, small_model, "PMC1")
    with pytest.raises(StoreError, match=r"no paper 'c:1'; there is pmc:1"):
        decode_document(store.path, small_model, "c:1")
    with pytest.raises(StoreError, match="documents 0 to 1, not 7"):
        decode_document(store.path, small_model, "7")
    (tmp_path / "other.model").write_bytes(small_model.read_bytes() + b"\x12\x00")
    with pytest.raises(StoreError, match="made from another tokenizer"):
        decode_document(store.path, tmp_path / "other.model", "pmc:1")
