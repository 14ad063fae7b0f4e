"""Training on text: which documents of the token stores in which mixture, from which weights, into which model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pmc_llama.files import write_json
from pmc_llama.model.load import ModelOrigin
from pmc_llama.pipeline.stage import Context
from pmc_llama.pipeline.update import EARLIER
from pmc_llama.recipe.inputs import base_model_path, tokenizer_path
from pmc_llama.recipe.tokens import MixtureSection, OrderSection
from pmc_llama.recipe.training import PretrainSection
from pmc_llama.records.training import read_metrics
from pmc_llama.run_dir import RunDir, pretraining_label
from pmc_llama.tokens.encode import hf_tokenizer, open_store
from pmc_llama.tokens.layout import Documents
from pmc_llama.tokens.mixture import Mixture, mixture
from pmc_llama.tokens.order import batches
from pmc_llama.tokens.store import TokenStore
from pmc_llama.train.batches import BatchSource
from pmc_llama.train.loop import train


class Texts(NamedTuple):
    """Documents of one token store: all of them, or those with numbers in a range."""

    store: TokenStore
    within: range | None = None


def train_base(context: Context, out: RunDir) -> str:
    """Train the base model from scratch on the general corpus; returns a summary of one line."""
    recipe = context.recipe
    assert recipe.base.train is not None
    origin = ModelOrigin(config=recipe.base.config)
    mixed = recipe.base.train.mixture
    return _train_on_text(
        context,
        out,
        origin,
        recipe.base.train,
        mixed,
        corpus="general",
        label="base",
        export_to=out.base_model,
        seed=recipe.seed,
    )


def continue_pretraining(context: Context, out: RunDir, further: int | None = None) -> str:
    """Train the base model on the papers, with the first seed or with a `further` one.

    An update goes on from the last checkpoint before it, where that was kept.
    """
    recipe = context.recipe
    origin = ModelOrigin(path=base_model_path(recipe))
    return _train_on_text(
        context,
        out,
        origin,
        recipe.pretrain,
        context.mode.mixture(recipe.pretrain),
        corpus="corpus",
        label=pretraining_label(further),
        export_to=out.adapted_model_of(further),
        seed=recipe.pretrain_seeds[0] if further is None else further,
        continues=context.mode.continues(),
    )


def _train_on_text(
    context: Context,
    out: RunDir,
    origin: ModelOrigin,
    options: PretrainSection,
    mixed: MixtureSection | None,
    *,
    corpus: str,
    label: str,
    export_to: Path,
    seed: int,
    continues: Path | None = None,
) -> str:
    """Train on a corpus; held-out loss is measured on all the texts there are, so that forgetting shows."""
    recipe = context.recipe
    tokenizer = hf_tokenizer(tokenizer_path(recipe))
    texts = _texts(context)
    shape: dict[str, Any] = {"seq_len": options.seq_len, "global_batch": options.global_batch, "seed": seed}
    shape |= {"bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id}
    source = _batches(texts, options, mixed, corpus, shape)
    if isinstance(source, Mixture) and context.writes:
        curves = source.coverage_curves(min(source.steps, options.max_steps or source.steps))
        write_json(out.training(label).coverage, curves)
    summary = train(
        model=origin,
        batches=source,
        options=options,
        out=out.training(label).root,
        export_to=export_to,
        tokenizer=tokenizer,
        seed=seed,
        heldout={
            name: batches(store, OrderSection(), split="heldout", epochs=1, within=within, **shape)
            for name, (store, within) in texts.items()
            if len(Documents.of(store, "heldout", within).numbers)
        },
        label=label,
        continues=continues,
    )
    metrics = read_metrics(out.training(label).metrics)
    measured = {name: metrics.heldout_curve(name, "perplexity") for name in metrics.heldout_names}
    heldout = ", ".join(f"{name} {curve[0][1]:.2f} -> {curve[-1][1]:.2f}" for name, curve in measured.items() if curve)
    seen = f"{summary.steps:,} steps, last loss {summary.loss:.3f}, {summary.tokens_per_second:,.0f} tokens/s"
    return f"{seen}; held-out perplexity: {heldout or 'not measured'}"


def _texts(context: Context) -> dict[str, Texts]:
    """The corpora by name; in an update, `corpus` are the papers that came in, and those before them are apart."""
    tokenizer, texts = tokenizer_path(context.recipe), {}
    for name in context.recipe.corpora:
        store = open_store(context.run.store(name), tokenizer, context.run.corpus(name).root)
        earlier = context.mode.earlier_documents(name)
        texts[name] = Texts(store, range(earlier, len(store)) if earlier else None)
        if earlier:
            texts[EARLIER] = Texts(store, range(earlier))
    return texts


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
