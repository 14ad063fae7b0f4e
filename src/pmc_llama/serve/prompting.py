"""Chat messages as token ids: by the model's own template, or as the questions that tuning showed it."""

from collections.abc import Sequence
from typing import Any

from pmc_llama.qa.encoding import encode_texts, render_chat


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of a conversation that ends where the model is to answer.

    A model without a chat template was never tuned on conversations. It gets the plain form of the question prompts,
    `Question: … Answer:`, in which system messages come first as they are. Special tokens that a message spells are
    text.
    """
    if tokenizer.chat_template is not None:
        return encode_texts(tokenizer, [render_chat(tokenizer, messages)], bos_in_chats=False)[0]
    return encode_texts(tokenizer, [plain_transcript(messages)])[0]


def plain_transcript(messages: Sequence[dict[str, str]]) -> str:
    """A conversation in the form of the question prompts."""
    marks = {"system": "", "user": "Question: ", "assistant": "Answer: "}
    lines = [marks[message["role"]] + message["content"].strip() for message in messages]
    return "\n".join([*lines, "Answer:"])
