"""Training on text: which documents of the token stores in which mixture, from which weights, into which model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pmc_llama.files import write_json
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import (
    adapted_model_path,
    base_model_path,
    corpus_path,
    scratch_model_path,
    tokenizer_path,
)
from pmc_llama.recipe.tokens import MixtureSection, OrderSection
from pmc_llama.recipe.training import PretrainSection
from pmc_llama.tokens.encode import hf_tokenizer, open_store
from pmc_llama.tokens.layout import Documents
from pmc_llama.tokens.mixture import Mixture, mixture
from pmc_llama.tokens.order import batches
from pmc_llama.tokens.store import TokenStore
from pmc_llama.train.batches import BatchSource
from pmc_llama.train.loop import train

EARLIER = "earlier"
"""In an update, the papers of the revisions before."""


class Texts(NamedTuple):
    """Documents of one token store: all of them, or those with numbers in a range."""

    store: TokenStore
    within: range | None = None


def train_base(recipe: Recipe) -> str:
    """Train the base model from scratch on the general corpus; returns a summary of one line."""
    assert recipe.base.train is not None
    origin = ModelOrigin(config=recipe.base.config)
    return _train_on_text(recipe, origin, recipe.base.train, "general", "base", scratch_model_path(recipe))


def continue_pretraining(recipe: Recipe) -> str:
    """Train the base model on the papers; an update goes on from the last checkpoint before it, where that was kept."""
    origin, update = ModelOrigin(path=base_model_path(recipe)), recipe.update
    continues = None if update is None else update.run_path / "train" / "pretrain" / "checkpoints"
    return _train_on_text(
        recipe, origin, recipe.pretrain, "corpus", "pretrain", adapted_model_path(recipe), continues=continues
    )


def _train_on_text(
    recipe: Recipe,
    origin: ModelOrigin,
    options: PretrainSection,
    corpus: str,
    label: str,
    export_to: Path,
    continues: Path | None = None,
) -> str:
    """Train on a corpus; held-out loss is measured on all the texts there are, so that forgetting shows."""
    tokenizer = hf_tokenizer(tokenizer_path(recipe))
    texts = _texts(recipe)
    shape: dict[str, Any] = {"seq_len": options.seq_len, "global_batch": options.global_batch, "seed": recipe.seed}
    shape |= {"bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id}
    source = _batches(texts, options, _mixture(recipe, options), corpus, shape)
    if isinstance(source, Mixture) and int(os.environ.get("RANK", "0")) == 0:
        curves = source.coverage_curves(min(source.steps, options.max_steps or source.steps))
        write_json(recipe.run_path / "train" / label / "coverage.json", curves)
    summary = train(
        model=origin,
        batches=source,
        options=options,
        out=recipe.run_path / "train" / label,
        export_to=export_to,
        tokenizer=tokenizer,
        seed=recipe.seed,
        heldout={
            name: batches(store, OrderSection(), split="heldout", epochs=1, within=within, **shape)
            for name, (store, within) in texts.items()
            if len(Documents.of(store, "heldout", within).numbers)
        },
        label=label,
        continues=continues,
    )
    heldout = ", ".join(f"{name} {measured['perplexity']:.2f}" for name, measured in summary.heldout.items())
    seen = f"{summary.steps:,} steps, last loss {summary.loss:.3f}, {summary.tokens_per_second:,.0f} tokens/s"
    return f"{seen}; held-out perplexity: {heldout or 'not measured'}"


def _texts(recipe: Recipe) -> dict[str, Texts]:
    """The corpora by name; in an update, `corpus` are the papers that came in, and those before them are apart."""
    tokenizer, folder = tokenizer_path(recipe), recipe.run_path / "tokens"
    texts = {name: Texts(open_store(folder / name, tokenizer, corpus_path(recipe, name))) for name in recipe.corpora}
    if recipe.update is not None:
        store = texts["corpus"].store
        earlier = len(TokenStore.open(recipe.update.run_path / "tokens" / "corpus"))
        texts |= {"corpus": Texts(store, range(earlier, len(store))), EARLIER: Texts(store, range(earlier))}
    return texts


def _mixture(recipe: Recipe, options: PretrainSection) -> MixtureSection | None:
    """What batches are mixed of: in an update, the papers' share is divided between new and earlier ones."""
    mixed, update = options.mixture, recipe.update
    if update is None or not update.replay:
        return mixed
    ratios = {"corpus": 1.0} if mixed is None else dict(mixed.ratios)
    papers = ratios.pop("corpus", 0.0)
    ratios |= {"corpus": papers * (1 - update.replay), EARLIER: papers * update.replay}
    orders = {} if mixed is None else dict(mixed.orders)
    if "corpus" in orders:
        orders[EARLIER] = orders["corpus"]
    return MixtureSection(ratios=ratios, epochs_of="corpus" if mixed is None else mixed.epochs_of, orders=orders)


def _batches(
    texts: Mapping[str, Texts],
    options: PretrainSection,
    mixed: MixtureSection | None,
    corpus: str,
    shape: dict[str, Any],
) -> BatchSource:
    orders = {} if mixed is None else mixed.orders
    sources = {
        name: batches(
            texts[name].store,
            orders.get(name, options.order),
            split="train",
            epochs=options.epochs,
            within=texts[name].within,
            **shape,
        )
        for name in ([corpus] if mixed is None else mixed.ratios)
    }
    if mixed is None:
        return sources[corpus]
    return mixture(sources, mixed.ratios, epochs_of=mixed.epochs_of, global_batch=options.global_batch)
