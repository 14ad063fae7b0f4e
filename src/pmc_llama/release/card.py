"""Model cards: everything in them is read from what the run wrote to disk."""

from pathlib import Path
from typing import Any

import msgspec
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pmc_llama import __version__
from pmc_llama.files import write_text
from pmc_llama.hub import is_hub_id
from pmc_llama.licenses import count_licenses
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import corpus_path
from pmc_llama.release.trained import Trained, first_recipe, read_if_there, revisions_of

TEMPLATES = Path(__file__).parent / "templates"
DISCLAIMER = (
    "This model is a research artefact. It is not a medical device, it makes mistakes, and it must not be used for "
    "diagnosis, treatment or any other clinical decision."
)


def write_model_card(model: Trained, out: Path, *, merged: bool = True, license: str | None = None) -> Path:
    """Write `README.md` for an exported model.

    `merged`: whether the folder holds whole weights; `license`: the model's licence identifier (None: that of the
    base's own card, if it is known).
    """
    results = read_if_there(model.run_dir / "results.json") or {}
    origin = first_recipe(model.run_dir)
    license = license or _base_license(origin)
    card = ModelCard.from_template(
        _model_data(model, results, merged, license),
        template_path=str(TEMPLATES / "model_card.md"),
        disclaimer=DISCLAIMER,
        model=model,
        merged=merged,
        recipe=model.recipe,
        base=origin.base.path or "a LLaMA trained from scratch on the general corpus of the recipe",
        revision=len(revisions_of(model.run_dir)),
        table=results_table(results),
        summary=results.get("summary", []),
        baselines=results.get("baselines", []),
        corpora={name: _corpus_facts(model, name) for name in model.recipe.corpora},
        contamination=contamination_lines(model),
        heldout=_heldout(model.run_dir),
        environment=read_if_there(model.run_dir / "environment.json") or {},
        license=license,
        version=__version__,
    )
    write_text(out / "README.md", str(card))
    return out / "README.md"


def results_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One line a regime, task and seed: base, adapted and their paired comparison, from the value of `results.json`."""
    rows = {(row["model"], row["regime"], row["task"], row["seed"]): row for row in results.get("rows", [])}
    return [
        {"base": rows["base", *key], "adapted": rows["adapted", *key], **pair}
        for pair in results.get("comparisons", [])
        for key in [(pair["regime"], pair["task"], pair["seed"])]
    ]


def contamination_lines(model: Trained) -> list[str]:
    """One line a corpus and evaluation set: how many of its questions were found. Empty where it was not measured."""
    return [
        f"{name}, {task}: {found['questions_hit']} of {found['questions']} questions found in the papers"
        for name in model.recipe.corpora
        for task, found in (_totals(model, name).get("contamination") or {}).items()
    ]


def _model_data(model: Trained, results: dict[str, Any], merged: bool, license: str | None) -> ModelCardData:
    regime, origin, _ = [*model.which.split("/"), "", ""][:3] if "/" in model.which else ("zero_shot", model.which, "")
    seed = int(model.which.rpartition("seed-")[2]) if "/" in model.which else None
    kinds = {name: section.kind for name, section in model.recipe.regimes.items()}
    mine = [
        row
        for row in results.get("rows", [])
        if row["model"] == origin
        and (row["regime"] == regime or kinds.get(row["regime"]) == regime)
        and seed in (None, row["seed"])
    ]
    base = first_recipe(model.run_dir).base.path
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


def _eval_result(model: Trained, row: dict[str, Any]) -> EvalResult:
    low, high = row["ci95"]
    return EvalResult(
        task_type="multiple-choice",
        task_name="Multiple choice",
        dataset_type=model.recipe.tasks[row["task"]].format if row["task"] in model.recipe.tasks else row["task"],
        dataset_name=row["task"],
        metric_type="accuracy",
        metric_name=f"accuracy ({row['correct']} of {row['n']}, 95 % interval {low:.3f} to {high:.3f})",
        metric_value=round(row["accuracy"], 4),
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
    return str(found) if found else None


def _totals(model: Trained, name: str) -> dict[str, Any]:
    return read_if_there(corpus_path(model.recipe, name) / "corpus.json") or {}


def _corpus_facts(model: Trained, name: str) -> dict[str, Any] | None:
    totals = _totals(model, name)
    store = read_if_there(model.run_dir / "tokens" / name / "store.json") or {}
    licenses = [(name or "not stated", n) for name, n in count_licenses(corpus_path(model.recipe, name))]
    return {**totals, "tokens": store.get("tokens"), "licenses": licenses} if totals else None


def _heldout(run_dir: Path) -> dict[str, tuple[float, float]]:
    """Perplexity on each held-out set before and after continued pre-training."""
    file = run_dir / "train" / "pretrain" / "metrics.jsonl"
    if not file.is_file():
        return {}
    lines = [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]
    measured = [line["heldout"] for line in lines if "heldout" in line]
    if len(measured) < 2:
        return {}
    first, last = measured[0], measured[-1]
    return {name: (first[name]["perplexity"], last[name]["perplexity"]) for name in last if name in first}
