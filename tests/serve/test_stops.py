"""Stop strings that are special tokens, as clients of chat models send them."""

import itertools
import queue
from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pmc_llama.serve.engine import Engine
from pmc_llama.serve.jobs import Job, Piece
from pmc_llama.serve.text import TextStream
from release.tiny import save_model, tiny_tokenizer

WORDS = ["A", "B", "<|im_end|>", "C", "D", "</s>"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model that writes WORDS one after another, whatever it is asked."""
    root = tmp_path_factory.mktemp("stops")
    tokenizer = tiny_tokenizer(root)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in WORDS]
    size, width = len(tokenizer), 512
    config = LlamaConfig(
        **{"vocab_size": size, "hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 64},
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.zero_()
        codes = torch.eye(size, width)
        model.model.embed_tokens.weight.copy_(codes)
        for one, following in itertools.pairwise(ids):
            model.lm_head.weight[following] = codes[one]
    save_model(model, tokenizer, root / "model")
    engine = Engine(root / "model")
    yield engine
    engine.close()


def ids_of(engine: Engine, word: str) -> list[int]:
    return list(engine.tokenizer(word, add_special_tokens=False)["input_ids"])


def written(engine: Engine, *stops: str) -> tuple[str, str | None]:
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    engine.submit(Job(engine.tokenizer("A")["input_ids"], 20, pieces.put, stops=stops))
    text, piece = "", Piece()
    while piece.finish is None:
        piece = pieces.get(timeout=60)
        text += piece.text
    return text.replace(" ", ""), piece.finish


def test_a_special_token_ends_an_answer_although_no_text_shows_it(engine: Engine) -> None:
    assert written(engine) == ("BCD", "stop")
    assert written(engine, "<|im_end|>") == ("B", "stop")
    assert written(engine, "D", "<|im_start|>") == ("BC", "stop")


def test_a_stop_string_may_hold_a_special_token_and_text(engine: Engine) -> None:
    after = TextStream(engine.tokenizer, ids_of(engine, "B"), []).add(ids_of(engine, "C")[-1])
    assert written(engine, "<|im_end|>" + after) == ("B", "stop")
    assert written(engine, "B<|im_end|>") == ("", "stop")
    assert written(engine, "<|im_end|>X", "A<|im_end|>") == ("BCD", "stop"), "a token that stops nothing is not shown"
