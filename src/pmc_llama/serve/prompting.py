"""Chat messages as token ids: by the model's own template, or as the questions that tuning showed it."""

from collections.abc import Sequence
from typing import Any


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of a conversation that ends where the model is to answer.

    A model without a chat template was never tuned on conversations. It gets the plain form of the question prompts,
    `Question: … Answer:`, in which system messages come first as they are.
    """
    if tokenizer.chat_template is not None:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return [int(token) for token in ids]
    return [int(token) for token in tokenizer(plain_transcript(messages))["input_ids"]]


def plain_transcript(messages: Sequence[dict[str, str]]) -> str:
    """A conversation in the form of the question prompts."""
    marks = {"system": "", "user": "Question: ", "assistant": "Answer: "}
    lines = [marks[message["role"]] + message["content"].strip() for message in messages]
    return "\n".join([*lines, "Answer:"])
