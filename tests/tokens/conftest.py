"""A small LLaMA-type vocabulary, corpora and stores."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from pmc_llama.files import sha256_file, write_json
from pmc_llama.recipe.tokens import TokensSection
from pmc_llama.tokens.encode import encode_corpus
from pmc_llama.tokens.store import TokenStore

WORDS = ["the", "of", "in", "patients", "treatment", "with", "protein", "randomised", "aspirin", "dose", "12.5", "mg"]

MakeCorpus = Callable[..., Path]
MakeStore = Callable[..., TokenStore]


def prose(words: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + draw.choice([" ", " ", " ", "\n", ". ", "  "]) for _ in range(words))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece BPE model with byte fallback, of the kind that MiniMed trains."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made_up = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=7)) for i in range(400)]
    (folder / "text.txt").write_text("\n".join([prose(60, i) for i in range(50)] + made_up))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=700,
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        byte_fallback=True,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Writes texts as a corpus of `parts` parts, ids `pmc:0` … in order."""

    def make(texts: Sequence[str | None], parts: int = 3, name: str = "corpus", first: int = 0) -> Path:
        folder = tmp_path / name
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        listed = []
        for number in range(parts):
            rows = range(number, len(texts), parts)
            path = folder / "parts" / f"part-{number:05d}.parquet"
            columns = {"paper_id": [f"pmc:{first + i}" for i in rows], "text": [texts[i] for i in rows]}
            pq.write_table(pa.table(columns, schema=pa.schema({"paper_id": pa.string(), "text": pa.string()})), path)
            listed.append({"file": f"parts/{path.name}", "rows": len(rows), "sha256": sha256_file(path)})
        write_json(folder / "corpus.json", {"parts": listed})
        return folder

    return make


@pytest.fixture
def make_store(tmp_path: Path, small_model: Path, make_corpus: MakeCorpus) -> MakeStore:
    """Encodes texts into a store."""

    def make(texts: Sequence[str | None], *, heldout: float = 0.0, parts: int = 3, name: str = "store") -> TokenStore:
        corpus = make_corpus(texts, parts, f"{name}-corpus")
        section = TokensSection(heldout_fraction=heldout)
        encode_corpus(section, corpus, small_model, tmp_path / name, workers=1)
        return TokenStore.open(tmp_path / name)

    return make
