"""Questions of random words, and a tokenizer that knows them: for benchmarks that must not download any."""

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pmc_llama.qa.question import Question

NAMED = ["<unk>", "<s>", "</s>", "A", "B", "C", "D", "Question", "Answer", ":", "."]


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` words: what prompts are made of, and w11, w12 and so on."""
    known = {word: number for number, word in enumerate([*NAMED, *(f"w{n}" for n in range(len(NAMED), vocabulary))])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def questions(count: int, *, length: int, vocabulary: int) -> list[Question]:
    """Questions of four options, of `length` words on average and four words an option."""
    rng = np.random.default_rng(0)

    def text(size: int) -> str:
        return " ".join(f"w{number}" for number in rng.integers(len(NAMED), vocabulary, size))

    return [
        Question(
            task="random",
            question_id=str(number),
            question=text(int(rng.integers(length // 2, length + length // 2))),
            options=tuple(text(4) for _ in range(4)),
            gold=int(rng.integers(4)),
        )
        for number in range(count)
    ]
