"""Recipe sections of the tokens room: tokenizer, store, order of the batches."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, affects, reads


class TokenizerSection(Section):
    """The tokenizer: a SentencePiece `tokenizer.model`, a Hugging Face folder, or a hub id."""

    path: Annotated[str, reads("tokens", "base", "pretrain", "tuning", "score", as_="tokenizer")]
    """Relative to `data.root`; what is not there, and of the form `owner/name`, is a hub id."""


class TokensSection(Section):
    """The token store."""

    heldout_fraction: Annotated[float, affects(HERE)] = Field(default=0.005, ge=0, lt=1)
    """Share of documents, chosen by a hash of their id, that training never sees; perplexity is measured on them."""


class OrderSection(Section):
    """The order in which training sees the tokens.

    `packed`: every token once an epoch, documents joined and isolated from each other. `sweep`: one window per paper an
    epoch, each epoch one not seen before. `windows`: one random window per paper and epoch, as PMC-LLaMA did.
    """

    kind: Annotated[Literal["packed", "sweep", "windows"], affects(HERE)] = "packed"
    packing: Annotated[Literal["joined", "best_fit"], affects(HERE)] = "joined"
    """`packed` only. `joined`: documents follow each other and are cut at the ends of rows. `best_fit`: a document is
    cut only where it is longer than a row, and its last piece shares a row with others that fit."""


class MixtureSection(Section):
    """Sources of one run mixed in every global batch, for example 1 % of general text against forgetting."""

    ratios: Annotated[dict[str, float], affects(HERE)] = Field(min_length=2)
    """Share of the rows by source, in any unit: `{corpus: 99, general: 1}`."""
    epochs_of: Annotated[str, affects(HERE)]
    """The source whose `epochs` make the run; the others are read on, again and again if need be."""
    orders: Annotated[dict[str, OrderSection], affects(HERE)] = {}
    """Orders of sources that differ from the run's own `order`."""

    @model_validator(mode="after")
    def _names_and_shares(self) -> "MixtureSection":
        if any(ratio <= 0 for ratio in self.ratios.values()):
            raise ValueError("each ratio must be above 0; leave a source out to mix none of it")
        for name in (self.epochs_of, *self.orders):
            if name not in self.ratios:
                raise ValueError(f"{name!r} has no ratio: expected one of {', '.join(self.ratios)}")
        return self
