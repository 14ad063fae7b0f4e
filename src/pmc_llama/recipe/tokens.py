"""Recipe sections of the tokens room: tokenizer, store, order of the batches."""

from typing import Literal

from pydantic import Field

from pmc_llama.recipe.base import Section


class TokenizerSection(Section):
    """The tokenizer: a SentencePiece `tokenizer.model`, or a Hugging Face folder."""

    path: str


class TokensSection(Section):
    """The token store."""

    heldout_fraction: float = Field(default=0.005, ge=0, lt=1)
    """Share of documents, chosen by a hash of their id, that training never sees; perplexity is measured on them."""


class OrderSection(Section):
    """The order in which training sees the tokens.

    `packed`: every token once an epoch, documents joined and isolated from each other. `sweep`: one window a paper an
    epoch, each epoch one not seen before. `windows`: one random window a paper an epoch, as PMC-LLaMA did.
    """

    kind: Literal["packed", "sweep", "windows"] = "packed"
