import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pmc_llama.errors import InputError
from pmc_llama.serve.engine import Busy, Engine, Limits
from pmc_llama.serve.jobs import Job, Piece
from pmc_llama.serve.prompting import chat_ids, plain_transcript
from pmc_llama.serve.sampling import Sampler, Sampling
from pmc_llama.serve.text import TextStream
from release.tiny import ANSWER, QUESTION


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[Engine]:
    engine = Engine(model_folder)
    yield engine
    engine.close()


def ask(engine: Engine, prompt: str, *, max_tokens: int = 20, **more: Any) -> "queue.SimpleQueue[Piece]":
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    engine.submit(Job(list(engine.tokenizer(prompt)["input_ids"]), max_tokens, pieces.put, **more))
    return pieces


def read(pieces: "queue.SimpleQueue[Piece]") -> tuple[str, Piece]:
    text = ""
    while True:
        piece = pieces.get(timeout=60)
        text += piece.text
        if piece.finish:
            return text, piece


def test_answers_and_stops_at_the_end_token(engine: Engine) -> None:
    text, last = read(ask(engine, QUESTION))
    assert text == ANSWER and last.finish == "stop" and last.tokens < 10


def test_what_shares_a_batch_does_not_change_an_answer(engine: Engine) -> None:
    prompts = [QUESTION, "zolimab", "Patients with hypertension received", "A B C"]
    sampled = [Sampling(), Sampling(1.0, 0.9, seed=3), Sampling(0.7, seed=4), Sampling(1.5, seed=5)]
    asked = list(zip(prompts, sampled, strict=True))
    alone = [read(ask(engine, prompt, sampling=one)) for prompt, one in asked]
    blocker = ask(engine, "blood", max_tokens=60, sampling=Sampling(2.0, seed=1))  # the others gather behind it
    together = [ask(engine, prompt, sampling=one) for prompt, one in asked]
    read(blocker)
    assert [read(pieces) for pieces in together] == alone


def test_limits_of_length_and_stop_strings(engine: Engine) -> None:
    text, last = read(ask(engine, "Patients with", max_tokens=3))
    assert (last.finish, last.tokens) == ("length", 3)
    text, last = read(ask(engine, QUESTION, stops=("es",)))
    assert (text, last.finish) == (" y", "stop")


def test_a_full_queue_refuses_and_loses_nobody(model_folder: Path) -> None:
    engine = Engine(model_folder, Limits(batch=2, waiting=3))
    running = threading.Event()
    blocking = threading.Event()

    def hold(piece: Piece) -> None:
        running.set()
        blocking.wait(60)

    engine.submit(Job([1, 5], 2, hold))
    assert running.wait(60)
    asked = [ask(engine, QUESTION) for _ in range(3)]
    with pytest.raises(Busy, match="3 requests are waiting already"):
        ask(engine, QUESTION)
    blocking.set()
    assert [read(pieces)[0] for pieces in asked] == [ANSWER] * 3
    engine.close()


def test_late_and_cancelled_jobs_end(model_folder: Path) -> None:
    engine = Engine(model_folder, Limits(timeout_s=0.0))
    assert read(ask(engine, QUESTION))[1].finish == "timeout"
    engine.limits = Limits()
    cancelled = threading.Event()
    cancelled.set()
    assert read(ask(engine, QUESTION, cancelled=cancelled))[1].finish == "timeout"
    engine.close()


def test_the_engine_outlives_a_failure(engine: Engine) -> None:
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    engine.submit(Job([10**6], 5, pieces.put))  # no such token
    assert read(pieces)[1].finish == "error"
    assert read(ask(engine, QUESTION))[0] == ANSWER


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        Engine(tmp_path)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30), stops=st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_pieces_join_to_the_text_before_the_first_stop(engine: Engine, text: str, stops: list[str]) -> None:
    tokenizer = engine.tokenizer
    ids = tokenizer("Q:" + text, add_special_tokens=False)["input_ids"]
    start = len(tokenizer("Q:", add_special_tokens=False)["input_ids"])
    whole = TextStream(tokenizer, ids[:start], [])
    expected = "".join(whole.add(token) for token in ids[start:]) + whole.finish()
    assert tokenizer.decode(ids[start - 1 :]) == tokenizer.decode(ids[start - 1 : start]) + expected
    stream, got = TextStream(tokenizer, ids[:start], stops), ""
    for token in ids[start:]:
        got += stream.add(token)
        if stream.stopped:
            break
    got += stream.finish()
    ends = [expected.find(stop) for stop in stops if stop in expected]
    assert got == (expected[: min(ends)] if ends else expected)


def test_sampler_follows_the_distribution_and_top_p() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    sampler = Sampler(Sampling(1.0, 0.7, seed=3))
    counts = torch.bincount(torch.tensor([sampler.draw(logits) for _ in range(3000)]), minlength=3)
    assert counts[2] == 0  # the first two have 0.8 together
    assert abs(counts[0] / 3000 - 0.5 / 0.8) < 0.04
    assert {Sampler(Sampling(seed=seed)).draw(logits) for seed in range(20)} == {0}


@pytest.mark.parametrize(
    "odd", [{"temperature": 1e-40}, {"temperature": 1e-320}, {"top_p": 1e-300}, {"seed": 2**64 - 1}]
)
def test_extreme_settings_have_their_limits_meaning(odd: dict[str, Any]) -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, -50.0])
    drawn = Sampler(Sampling(**({"temperature": 1.0, "top_p": 1e-9} | odd))).draw(logits)
    assert drawn == 1


def test_without_a_seed_every_draw_is_another() -> None:
    logits = torch.zeros(1000)
    assert len({Sampler(Sampling(1.0)).draw(logits) for _ in range(8)}) > 1
    assert len({Sampler(Sampling(1.0, seed=5)).draw(logits) for _ in range(8)}) == 1


def test_chat_uses_the_template_or_the_form_of_the_questions(engine: Engine) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert plain_transcript(messages) == "Be brief.\nQuestion: Why?\nAnswer:"
    tokenizer = engine.tokenizer
    assert chat_ids(tokenizer, messages) == tokenizer("Be brief.\nQuestion: Why?\nAnswer:")["input_ids"]
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    try:
        assert tokenizer.decode(chat_ids(tokenizer, messages)).endswith("<system>Be brief.<user>Why?")
    finally:
        tokenizer.chat_template = None


def test_a_short_request_passes_a_long_one(engine: Engine) -> None:
    seen: list[str] = []

    def noted(name: str) -> Any:
        return lambda piece: seen.append(name) if piece.finish else None

    ids = engine.tokenizer("Patients with")["input_ids"]
    long = Job(ids, 110, noted("long"), sampling=Sampling(2.0, seed=1))
    long_end = threading.Event()
    deliver = long.deliver
    long.deliver = lambda piece: (deliver(piece), long_end.set() if piece.finish else None)  # type: ignore[func-returns-value,assignment,return-value]
    engine.submit(long)
    read(ask(engine, QUESTION, max_tokens=2))
    seen.append("short")
    assert long_end.wait(60) and seen == ["short", "long"]


def test_what_never_fits_is_refused_and_what_fits_later_waits(model_folder: Path) -> None:
    small = Engine(model_folder, Limits(memory_bytes=0))
    token = small.token_bytes
    small.close()
    engine = Engine(model_folder, Limits(memory_bytes=80 * token))
    assert engine.room_tokens == 80
    with pytest.raises(InputError, match="may come to 61 tokens, and the server has memory for 60"):
        engine.submit(Job([5] * 41, 20, lambda piece: None))
    asked = [ask(engine, QUESTION, max_tokens=10) for _ in range(12)]
    held = []
    while any(one.empty() for one in asked):
        held.append(sum(one.job.tokens for one in list(engine._running)))
    assert [read(one)[0] for one in asked] == [ANSWER] * 12
    assert max(held) <= 80
    engine.close()


def test_a_model_whose_positions_depend_on_the_longest_row_is_asked_row_by_row(tmp_path: Path) -> None:
    from transformers import Phi3Config, Phi3ForCausalLM

    from release.tiny import save_model, tiny_tokenizer

    tokenizer = tiny_tokenizer(tmp_path)
    factors = {"short_factor": [1.0] * 8, "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 30, "factor": 8.0}
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Phi3Config(
        vocab_size=len(tokenizer), **sizes, rope_parameters=rope | factors, original_max_position_embeddings=30,
        max_position_embeddings=240, pad_token_id=0, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Phi3ForCausalLM(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim > 1:
                value.normal_(0, 0.3)
    save_model(model, tokenizer, tmp_path / "longrope")
    engine = Engine(tmp_path / "longrope")
    prompts = ["zolimab", "blood " * 14, "Patients with hypertension received " * 6]  # one grows beyond 30 tokens
    together = [ask(engine, prompt, max_tokens=12, logprobs=1) for prompt in prompts]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        written = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        expected.append(written.tolist())
    assert [written_ids(pieces) for pieces in together] == expected
    engine.close()


def written_ids(pieces: "queue.SimpleQueue[Piece]") -> list[int]:
    found: list[int] = []
    while True:
        piece = pieces.get(timeout=60)
        found += [one.token for one in piece.told]
        if piece.finish:
            return found


def test_characters_of_byte_tokens_are_whole() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "▁dose", "▁", "a", *(f"<0x{value:02X}>" for value in range(256))]
    backend = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True, unk_token="<unk>")
    )
    replaced = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(replaced)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)

    def of(text: bytes) -> list[int]:
        return [4 + value for value in text]

    ids = [*of("🩺".encode()), 2, *of("💉".encode()), 1]
    stray = [*of("🩺".encode()), *of(b"\x9f"), 1, *of("é".encode()[:1])]
    for tokens, text in ((ids, "🩺 💉 dose"), (stray, "🩺\ufffd dose\ufffd")):
        stream = TextStream(tokenizer, [3], [])
        assert "".join(stream.add(token) for token in tokens) + stream.finish() == text
