"""A store holds what was encoded, is the same for any number of workers, and is refused when damaged or foreign."""

from pathlib import Path

import numpy as np
import pytest

from pmc_llama.errors import InputError, StoreError
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.tokens import encode, shards
from pmc_llama.tokens.encode import append_corpus, encode_corpus, load_encoder, open_store
from pmc_llama.tokens.store import TokenStore

from .conftest import MakeCorpus, MakeStore, prose

TEXTS = [prose(5 + 7 * i, i) for i in range(23)] + ["", None]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_documents_come_back_as_encoded(make_store: MakeStore, small_model: Path) -> None:
    store, encoder = make_store(TEXTS), load_encoder(small_model)
    expected = {f"pmc:{i}": encoder.encode(text or "").tolist() for i, text in enumerate(TEXTS)}
    assert {paper: store[i].tolist() for i, paper in enumerate(store.paper_ids)} == expected
    assert store.n_tokens == sum(map(len, expected.values())) == store.info.tokens
    assert store.info.empty_documents == 2
    assert store.dtype == np.dtype("<u2")
    assert not store[0].flags.owndata
    store.verify()


def test_workers_and_interruptions_leave_no_trace(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, section = make_corpus(TEXTS, parts=4), TokensSection(heldout_fraction=0.2)
    encode_corpus(section, corpus, small_model, tmp_path / "one", workers=1)
    encode_corpus(section, corpus, small_model, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")

    write, calls = encode.write_shard_index, []

    def killed(*args: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(encode, "write_shard_index", killed)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(section, corpus, small_model, tmp_path / "three", workers=1)
    with pytest.raises(StoreError, match="not finished"):
        TokenStore.open(tmp_path / "three")
    encode_corpus(section, corpus, small_model, tmp_path / "three", workers=1)
    assert len(calls) == 3 + 2, "the two whole shards are not encoded again"
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_a_corpus_with_fewer_parts_replaces_the_store(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path
) -> None:
    for texts, parts, name in [(TEXTS, 4, "long"), (TEXTS[:3], 1, "short")]:
        corpus = make_corpus(texts, parts, name)
        encode_corpus(TokensSection(), corpus, small_model, tmp_path / "store", workers=1)
    encode_corpus(TokensSection(), corpus, small_model, tmp_path / "fresh", workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "fresh")


def test_the_held_out_split_is_stable_when_the_corpus_grows(make_store: MakeStore) -> None:
    texts = [prose(3, i) for i in range(400)]
    small, large = make_store(texts[:200], heldout=0.2, name="small"), make_store(texts, heldout=0.2, name="large")

    def ids(store: TokenStore) -> set[str]:
        return {store.paper_ids[i] for i in store.documents("heldout")}

    assert ids(small) == {paper for paper in ids(large) if int(paper.split(":")[1]) < 200}
    assert 50 < len(ids(large)) < 115
    assert set(large.documents("train")) | set(large.documents("heldout")) == set(large.documents())
    assert len(large.documents("train")) + len(large.documents("heldout")) == 400


def cut_bin(path: Path) -> None:
    file = path / "shard-00001.bin"
    file.write_bytes(file.read_bytes()[:-2])


def lose_bin(path: Path) -> None:
    (path / "shard-00002.bin").unlink()


def offset_past_the_end(path: Path) -> None:
    offsets = np.fromfile(path / "offsets.bin", "<u8")
    offsets[3] = offsets[-1] + 5
    offsets.tofile(path / "offsets.bin")


def not_json(path: Path) -> None:
    (path / "store.json").write_text("{")


def other_format(path: Path) -> None:
    (path / "store.json").write_text('{"format": "something else"}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_bin, "shard-00001.bin has .* bytes, store.json says"),
        (lose_bin, "shard-00002.bin is missing"),
        (offset_past_the_end, "points past their end"),
        (not_json, "not valid JSON"),
        (other_format, "not of the format"),
    ],
)
def test_damage_is_refused(make_store: MakeStore, damage: object, sentence: str) -> None:
    path = make_store(TEXTS).path
    damage(path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=sentence) as error:
        TokenStore.open(path)
    assert "\n" not in str(error.value)


def test_a_foreign_tokenizer_or_corpus_is_refused(make_store: MakeStore) -> None:
    store = make_store(TEXTS)
    TokenStore.open(store.path, store.info.tokenizer_sha256, store.info.corpora[0])
    with pytest.raises(StoreError, match="made from another tokenizer"):
        TokenStore.open(store.path, "0" * 64)
    with pytest.raises(StoreError, match="made from another corpus"):
        TokenStore.open(store.path, corpus_sha256="0" * 64)


def test_a_store_is_opened_for_its_own_tokenizer_and_corpus_only(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path
) -> None:
    corpus, folder = make_corpus(TEXTS), tmp_path / "store"
    encode_corpus(TokensSection(), corpus, small_model, folder, workers=1)
    assert len(open_store(folder, small_model, corpus)) == len(TEXTS)
    (tmp_path / "other.model").write_bytes(small_model.read_bytes() + b"\x12\x00")
    with pytest.raises(StoreError, match="made from another tokenizer"):
        open_store(folder, tmp_path / "other.model", corpus)
    grown = make_corpus([*TEXTS, "one more"])
    with pytest.raises(StoreError, match=r"made from another corpus .*: tokenize the corpus again"):
        open_store(folder, small_model, grown)
    append_corpus(TokensSection(), grown, small_model, folder, workers=1)
    assert len(open_store(folder, small_model, grown)) == len(TEXTS) + 1


def test_a_document_past_the_end_is_refused(make_store: MakeStore) -> None:
    store = make_store(TEXTS)
    for number in (len(store), -1):
        with pytest.raises(StoreError, match=f"documents 0 to 24, not {number}"):
            store[number]


def test_a_flipped_byte_is_found_by_verify(make_store: MakeStore) -> None:
    store = make_store(TEXTS)
    file = store.path / "shard-00000.bin"
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-00000\.bin has changed"):
        TokenStore.open(store.path).verify()


def test_a_corpus_that_is_not_what_its_ledger_says_is_refused(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path
) -> None:
    corpus = make_corpus(TEXTS)
    part = corpus / "parts" / "part-00001.parquet"
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"not the one that corpus\.json names"):
        encode_corpus(TokensSection(), corpus, small_model, tmp_path / "store", workers=1)
    with pytest.raises(InputError, match="has no parts"):
        encode_corpus(TokensSection(), tmp_path / "nowhere", small_model, tmp_path / "store", workers=1)


def test_a_paper_that_comes_twice_is_refused(make_corpus: MakeCorpus, small_model: Path, tmp_path: Path) -> None:
    corpus = make_corpus(["a", "b"], parts=1)
    first = (corpus / "parts" / "part-00000.parquet").read_bytes()
    (corpus / "corpus.json").unlink()
    (corpus / "parts" / "part-00001.parquet").write_bytes(first)
    with pytest.raises(StoreError, match=r"paper pmc:\d is in the corpus more than once"):
        encode_corpus(TokensSection(), corpus, small_model, tmp_path / "store", workers=1)


def test_appending_adds_new_papers_only_and_changes_nothing_else(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path
) -> None:
    section, folder = TokensSection(heldout_fraction=0.3), tmp_path / "store"
    first = make_corpus(TEXTS[:10], parts=2, name="first")
    encode_corpus(section, first, small_model, folder, workers=1)
    before = {
        i: (paper, TokenStore.open(folder)[i].tolist()) for i, paper in enumerate(TokenStore.open(folder).paper_ids)
    }
    later = make_corpus(TEXTS, parts=3, name="later")
    info = append_corpus(section, later, small_model, folder, workers=1)
    store, encoder = TokenStore.open(folder), load_encoder(small_model)
    store.verify()
    assert {i: (store.paper_ids[i], store[i].tolist()) for i in before} == before
    assert sorted(store.paper_ids) == sorted(f"pmc:{i}" for i in range(len(TEXTS)))
    for number, paper in enumerate(store.paper_ids):
        assert store[number].tolist() == encoder.encode(TEXTS[int(paper[4:])] or "").tolist()
    assert append_corpus(section, later, small_model, folder, workers=1) == info == store.info
    whole = encode_corpus(section, later, small_model, tmp_path / "whole", workers=1)
    assert info.heldout_documents == whole.heldout_documents
    with pytest.raises(StoreError, match=r"holds out 0\.3 of its documents, not 0\.1"):
        append_corpus(TokensSection(heldout_fraction=0.1), later, small_model, folder, workers=1)


def test_a_killed_append_continues(
    make_corpus: MakeCorpus, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = make_corpus(TEXTS[:10], parts=2, name="first"), make_corpus(TEXTS, parts=3, name="later")
    for name in ("whole", "killed"):
        encode_corpus(TokensSection(), first, small_model, tmp_path / name, workers=1)
    append_corpus(TokensSection(), later, small_model, tmp_path / "whole", workers=2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_json", killed)  # everything is there but store.json
        with pytest.raises(KeyboardInterrupt):
            append_corpus(TokensSection(), later, small_model, tmp_path / "killed", workers=1)
    append_corpus(TokensSection(), later, small_model, tmp_path / "killed", workers=1)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
