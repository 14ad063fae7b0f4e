"""Model cards: everything in them is read from what the run wrote to disk."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from msgspec import UNSET

from pmc_llama import __version__
from pmc_llama.escape import markdown
from pmc_llama.files import read_record, write_text
from pmc_llama.hub import is_hub_id
from pmc_llama.licenses import count_licenses
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import OWN_MODELS
from pmc_llama.records.contamination import TaskFound, read_contamination
from pmc_llama.records.corpus import CorpusSummary, read_corpus_summary
from pmc_llama.records.environment import Environment
from pmc_llama.records.results import Accuracy, Difference, Results
from pmc_llama.records.tokens import read_store_info
from pmc_llama.records.training import read_metrics
from pmc_llama.release.trained import Trained, first_recipe, on_invented_questions, pretraining_of, revisions_of
from pmc_llama.run_dir import ExportDir, RunDir

_LICENSE = re.compile(r"[\w][\w.+-]{0,80}", re.ASCII)
"""What the hub takes for the name of a licence."""
TEMPLATES = Path(__file__).parent / "templates"
DISCLAIMER = (
    "This model is a research artefact. It is not a medical device, it makes mistakes, and it must not be used for "
    "diagnosis, treatment or any other clinical decision."
)


def write_model_card(
    model: Trained,
    results: Results,
    out: Path,
    *,
    merged: bool = True,
    license: str | None = None,
    dtype: str | None = None,
) -> Path:
    """Write `README.md` for an exported model, with the results that belong to it.

    `merged`: whether the folder holds whole weights; `license`: the model's licence identifier (None: that of the
    base's own card, if it is known); `dtype`: the type of the weights (None: several, or an
    adapter's).
    """
    origin = first_recipe(model.run.root)
    license = license or _base_license(origin)
    environment = model.run.environment
    card = ModelCard.from_template(
        _model_data(model, results, merged, license),
        template_path=str(TEMPLATES / "model_card.md"),
        disclaimer=DISCLAIMER,
        model=model,
        merged=merged,
        dtype=dtype,
        recipe=model.recipe,
        base=markdown(origin.base.path or "") or "a LLaMA trained from scratch on the general corpus of the recipe",
        revision=len(revisions_of(model.run.root)),
        table=results_table(results),
        baselines=results.baselines,
        invented=on_invented_questions(model.run.root),
        corpora={name: facts for name in model.recipe.corpora if (facts := _corpus_facts(model, name)) is not None},
        contamination=contamination_lines(model),
        heldout=_heldout(model.run),
        packages=read_record(environment, Environment).packages if environment.is_file() else {},
        license=license,
        version=__version__,
    )
    write_text(ExportDir(out).card, str(card))
    return ExportDir(out).card


@dataclass(frozen=True)
class Line:
    """One line of the card's table: base, adapted and their comparison for one regime, task and seed."""

    base: Accuracy
    adapted: Accuracy
    pair: Difference


def results_table(results: Results) -> list[Line]:
    """One line per regime, task, seed and adapted model."""
    rows = {(row.model, row.pretrain_seed, row.regime, row.task, row.seed): row for row in results.rows}
    return [
        Line(rows["base", UNSET, *key], rows["adapted", pair.pretrain_seed, *key], pair)
        for pair in results.between(OWN_MODELS).comparisons
        for key in [(pair.regime, pair.task, pair.seed)]
    ]


def contamination_lines(model: Trained) -> list[str]:
    """One line per text and evaluation set: how many of its questions were found, and what became of what holds them.

    Empty where it was not measured.
    """
    lines = [
        f"{markdown(name)}, {markdown(task)}: {found.questions_hit} of {found.questions} questions found"
        + (f", in {found.documents_hit} documents, which were trained on" if found.questions_hit else "")
        for name, text in read_contamination(model.run.contamination_report).texts.items()
        for task, found in text.tasks.items()
    ]
    for name, corpus in model.run.corpora().items():
        file = corpus.decontamination
        dropped = read_record(file, dict[str, TaskFound]) if file.is_file() else {}
        lines += [
            f"{markdown(name)}, {markdown(task)}: {found.documents_hit} papers with {found.questions_hit} "
            "of the questions were left out"
            for task, found in dropped.items()
            if found.questions_hit
        ]
    return lines


def _model_data(model: Trained, results: Results, merged: bool, license: str | None) -> ModelCardData:
    regime, start, _ = [*model.which.split("/"), "", ""][:3] if "/" in model.which else ("zero_shot", model.which, "")
    origin, pretrained = pretraining_of(start, model.recipe)
    seed = int(model.which.rpartition("seed-")[2]) if "/" in model.which else None
    kinds = {name: section.kind for name, section in model.recipe.regimes.items()}
    mine = [
        row
        for row in results.rows
        if row.model == origin
        and (row.regime == regime or kinds.get(row.regime) == regime)
        and seed in (None, row.seed)
        and row.pretrain_seed in (UNSET, pretrained)
    ]
    base = first_recipe(model.run.root).base.path
    return ModelCardData(
        language="en",
        license=license or "other",
        license_name=None if license else "not-stated",
        library_name="transformers" if merged or model.adapter is None else "peft",
        pipeline_tag="text-generation",
        tags=["medical", "biomedical", "llama", "continued-pretraining"],
        base_model=base if base and is_hub_id(base) else None,
        model_name=model.name,
        eval_results=[_eval_result(model, row) for row in mine] or None,
    )


def _eval_result(model: Trained, row: Accuracy) -> EvalResult:
    low, high = row.ci95
    section, invented = model.recipe.tasks.get(row.task), on_invented_questions(model.run.root)
    known = section is not None and section.format != "own" and not invented
    return EvalResult(
        task_type="multiple-choice",
        task_name="Multiple choice",
        dataset_type=section.format if section is not None and known else "minimed" if invented else "own",
        dataset_name=f"{row.task} (invented questions)" if invented else row.task,
        metric_type="accuracy",
        metric_name=f"accuracy ({row.correct} of {row.n}, 95 % interval {low:.3f} to {high:.3f})",
        metric_value=round(row.accuracy, 4),
    )


def _base_license(recipe: Recipe) -> str | None:
    """The licence that the base's own card names: beside its weights, or in the hub's copy that was downloaded."""
    from huggingface_hub import try_to_load_from_cache

    path = recipe.base.path
    if path is None:
        return None
    cached = try_to_load_from_cache(path, "README.md") if is_hub_id(path) else recipe.data_root / path / "README.md"
    if not isinstance(cached, str | Path) or not Path(cached).is_file():
        return None
    try:
        found = ModelCard.load(cached).data.license
    except (ValueError, yaml.YAMLError):  # a card without valid front matter names no licence
        return None
    return found if isinstance(found, str) and _LICENSE.fullmatch(found) else None


@dataclass(frozen=True)
class CorpusFacts:
    """What the card says of a corpus."""

    totals: CorpusSummary
    tokens: int | None
    licenses: list[tuple[str, int]]


def _corpus_facts(model: Trained, name: str) -> CorpusFacts | None:
    corpus, store = model.run.corpus(name), model.run.store(name)
    if not corpus.summary.is_file():
        return None
    licenses = [(markdown(license or "not stated"), n) for license, n in count_licenses(corpus.root)]
    tokens = read_store_info(store).tokens if store.is_dir() else None
    return CorpusFacts(read_corpus_summary(corpus.summary), tokens, licenses)


def _heldout(run: RunDir) -> dict[str, tuple[float, float]]:
    """Perplexity on each held-out set before and after continued pre-training."""
    metrics = read_metrics(run.training("pretrain").metrics)
    curves = {name: metrics.heldout_curve(name, "perplexity") for name in metrics.heldout_names}
    return {name: (curve[0][1], curve[-1][1]) for name, curve in curves.items() if len(curve) > 1}
