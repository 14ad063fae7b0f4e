"""Scoring by generation: the model writes, a parser reads, and what cannot be read counts as wrong.

Decoding is always explicit: nothing is taken from the checkpoint's own generation settings. Sampled answers depend on
the seed and the question alone, so that they do not change with the number of processes or the order.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.errors import PmcLlamaError
from pmc_llama.progress import Progress
from pmc_llama.qa.encoding import encode_instructions
from pmc_llama.qa.parse import parse_answer
from pmc_llama.qa.prompts import Answers, render
from pmc_llama.qa.question import Question


class Decoding(msgspec.Struct, frozen=True):
    """How answers are written. One sample is greedy; more are drawn, and the majority counts (self-consistency)."""

    max_new_tokens: int = 64
    samples: int = 1
    temperature: float = 0.7
    top_p: float = 0.95
    seed: int = 0


class Generated(msgspec.Struct, frozen=True):
    """What a model wrote about one question, and how it was read."""

    question_id: str
    texts: tuple[str, ...]
    """One a sample."""
    parsed: tuple[int, ...]
    """The option that each text names, −1 where it names none."""
    chosen: int
    """The option named most often, the earliest of them on a tie; −1 if no text could be read."""
    tie: bool


Generator = Callable[[Sequence[list[int]], Sequence[int], Decoding], list[list[str]]]
"""Writes `decoding.samples` texts after each of the prompts (token ids), each prompt with its own seed."""


def generate(
    generator: Generator,
    tokenizer: Any,
    questions: Sequence[Question],
    *,
    prompt: str = "lm-eval",
    answers: Answers | None = None,
    decoding: Decoding | None = None,
    shots: Sequence[Sequence[Question]] | None = None,
) -> list[Generated]:
    """Let a model answer questions, in their order. Only what it wrote is searched for an answer, never the prompt."""
    how = decoding or Decoding()
    solved = shots if shots is not None else [()] * len(questions)
    prompts = [render(prompt, one, answers, examples) for one, examples in zip(questions, solved, strict=True)]
    seeds = [zlib.crc32(f"{how.seed}/{one.task}/{one.question_id}".encode()) for one in questions]
    texts = generator(encode_instructions(tokenizer, prompts), seeds, how)
    return [read_answers(question, mine) for question, mine in zip(questions, texts, strict=True)]


def read_answers(question: Question, texts: Sequence[str]) -> Generated:
    """Parse the texts written about one question and take the majority of those that could be read."""
    read = [parse_answer(text, question) for text in texts]
    parsed = tuple(-1 if one is None else one for one in read)
    votes = Counter(one for one in parsed if one >= 0).most_common()  # equal counts keep the order of first sight
    return Generated(
        question_id=question.question_id,
        texts=tuple(texts),
        parsed=parsed,
        chosen=votes[0][0] if votes else -1,
        tie=len(votes) > 1 and votes[0][1] == votes[1][1],
    )


def transformers_generator(model: Any, tokenizer: Any, *, batch_tokens: int = 16384) -> Generator:
    """Generation by transformers: greedy in batches of similar length, sampling a question at a time."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()  # else the checkpoint's settings fill in what ours leave open

    def write(prompts: Sequence[list[int]], seeds: Sequence[int], how: Decoding) -> list[list[str]]:
        texts: list[list[str]] = [[] for _ in prompts]
        with Progress("generate", len(prompts), "questions") as progress:
            for batch in _batches(prompts, how, batch_tokens):
                written = _write_batch(model, tokenizer, [prompts[i] for i in batch], seeds[batch[0]], how)
                for i, mine in zip(batch, written, strict=True):
                    texts[i] = mine
                progress.advance(len(batch))
        return texts

    return write


def vllm_generator(path: Path, **engine: Any) -> Generator:
    """Generation by vLLM, for a Hugging Face folder; `engine`: keyword arguments of `vllm.LLM`."""
    try:
        from vllm import LLM, SamplingParams  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise PmcLlamaError("generation through vLLM needs the extra `vllm`: pip install 'pmc-llama[vllm]'") from None
    llm = LLM(model=str(path), **engine)

    def write(prompts: Sequence[list[int]], seeds: Sequence[int], how: Decoding) -> list[list[str]]:
        drawn = {"temperature": how.temperature, "top_p": how.top_p} if how.samples > 1 else {"temperature": 0.0}
        settings = [SamplingParams(n=how.samples, max_tokens=how.max_new_tokens, seed=seed, **drawn) for seed in seeds]
        outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], settings)
        return [[one.text for one in output.outputs] for output in outputs]

    return write


def _batches(prompts: Sequence[list[int]], how: Decoding, batch_tokens: int) -> list[list[int]]:
    """Indices of prompts that are written together."""
    if how.samples > 1:
        return [[i] for i in range(len(prompts))]
    batches: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
        longest = len(prompts[batches[-1][0]]) + how.max_new_tokens if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _write_batch(model: Any, tokenizer: Any, prompts: Sequence[list[int]], seed: int, how: Decoding) -> list[list[str]]:
    import torch
    from transformers import GenerationConfig

    room = model.config.max_position_embeddings - how.max_new_tokens
    kept = [prompt[-room:] for prompt in prompts]
    length = max(len(prompt) for prompt in kept)
    ids = torch.tensor([[0] * (length - len(prompt)) + prompt for prompt in kept], device=model.device)  # [B, T]
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in kept], device=model.device)
    drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=how.max_new_tokens,
        num_return_sequences=how.samples,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **(drawn if how.samples > 1 else {"do_sample": False}),
    )
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        written = model.generate(ids, attention_mask=mask, generation_config=config)[:, length:]
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [texts[i : i + how.samples] for i in range(0, len(texts), how.samples)]
