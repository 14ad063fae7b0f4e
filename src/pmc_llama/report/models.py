"""The models that were asked: what each is, where it is from, and how large it is."""

from collections.abc import Mapping

from pmc_llama.recipe.comparisons import in_order
from pmc_llama.records.models import ModelFacts
from pmc_llama.records.prompts import PromptChoice
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.run import Run
from pmc_llama.report.section import Section
from pmc_llama.results.text import count, percent

KINDS = {
    "folder": "weights",
    "vllm": "weights, asked through vLLM",
    "endpoint": "endpoint",
    "predictions": "answers of a file",
}
SHOWN_DIGITS = 12
"""Of a hash: enough to tell tokenizers apart."""


def models_section(run: Run, regime: str | None) -> Section:
    """Which models were asked."""
    tables = [table for table in [models_table(run.models), choices_table(run.choices)] if table.rows]
    return Section("models", "Models", tables, missing="Nothing was written down on the models of this run.")


def models_table(models: Mapping[str, ModelFacts]) -> Table:
    """One row per model."""
    columns = [
        Column("model", "Model"),
        Column("kind", "Kind"),
        Column("where", "Where"),
        Column("revision", "Revision"),
        Column("parameters", "Parameters", count),
        Column("dtype", "Number format"),
        Column("tokenizer", "Tokenizer"),
    ]
    rows = [Row(_values(name, models[name]), "", {"model": name}) for name in in_order(list(models))]
    note = "As they are before tuning. Revision: commit of a hub id, or the model's name at an endpoint or in a file."
    return Table("models", "Models that were asked", columns, rows, note)


def _values(name: str, facts: ModelFacts) -> dict[str, object]:
    digest = facts.tokenizer_sha256
    return {
        "model": name,
        "kind": KINDS.get(facts.kind, facts.kind) + (f", {facts.asked}" if facts.asked else ""),
        "where": facts.where,
        "revision": facts.revision,
        "parameters": facts.parameters,
        "dtype": facts.dtype,
        "tokenizer": None if digest is None else digest[:SHOWN_DIGITS],
    }


def choices_table(choices: Mapping[str, PromptChoice]) -> Table:
    """How each prompt did that a model's prompt was chosen from: one row per model, prompt and task."""
    columns = [
        Column("model", "Model"),
        Column("prompt", "Prompt"),
        Column("task", "Task"),
        Column("correct", "Right", count),
        Column("n", "Questions", count),
        Column("accuracy", "Accuracy", percent),
        Column("chosen", "Taken"),
    ]
    rows = []
    for model, choice in choices.items():
        for one in choice.scores:
            values = {"model": model, "prompt": one.prompt, "task": one.task, "correct": one.correct, "n": one.n}
            values |= {"accuracy": one.correct / one.n, "chosen": "yes" if one.prompt == choice.chosen else "no"}
            rows.append(Row(values, "", {"model": model, "prompt": one.prompt, "task": one.task}))
    note = (
        "Training questions, asked before anything was scored. The prompt with the highest accuracy is taken, the mean "
        "over tasks; of equal ones the one that the recipe names first."
    )
    return Table("prompts", "Prompts tried", columns, rows, note)
