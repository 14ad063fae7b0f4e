"""A tokenizer of LLaMA's kind, a tiny seeded LLaMA and questions about nothing, for the qa tests."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pmc_llama.qa.question import Question

WORDS = ("alpha", "beta", "drug", "heart", "liver", "dose", "cell", "treats", "blocks", "lowers", "which", "of", "the")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A SentencePiece BPE tokenizer of 400 pieces with byte fallback, loaded as a LLaMA tokenizer."""
    import sentencepiece
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    letters = [
        f"Question: {word}?\nA. one\nB. two\nC. three\nD. four\nAnswer: {label}" for word in WORDS for label in "ABCD"
    ]
    text = [*letters, *(f"Answer: {word} yes no maybe" for word in WORDS)] * 4
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "add_bos_token": True}))
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def model() -> Any:
    """A LLaMA of 2 layers with weights large enough that options differ; 96 positions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def make_questions(count: int, *, seed: int = 0, options: int = 4, words: bool = False) -> list[Question]:
    """Questions of random words, of many lengths, with options of one to five words."""
    rng = random.Random(seed)

    def phrase(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))

    made = []
    for i in range(count):
        texts = ("yes", "no", "maybe") if words else tuple(phrase(1, 5) + f" {j}" for j in range(options))
        abstract = phrase(2, 8) if words else None
        gold = rng.randrange(len(texts))
        made.append(
            Question("made", f"q{i}", phrase(2, 9), texts, gold, context=abstract, format="medmcqa", words=words)
        )
    return made


@pytest.fixture
def questions() -> list[Question]:
    return make_questions(24)


@pytest.fixture
def write_lines(tmp_path: Path) -> Any:
    """Write values as JSON lines to a named file of the test's folder, and give its path."""

    def write(name: str, *values: Any) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return path

    return write
