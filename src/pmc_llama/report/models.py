"""The models that were asked: what each is, where it is from, and how large it is."""

from collections.abc import Mapping

from pmc_llama.recipe.comparisons import in_order
from pmc_llama.records.models import ModelFacts
from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.text import count

KINDS = {
    "folder": "weights",
    "vllm": "weights, asked through vLLM",
    "endpoint": "endpoint",
    "predictions": "answers of a file",
}
SHOWN_DIGITS = 12
"""Of a hash: enough to tell tokenizers apart."""


def models_table(models: Mapping[str, ModelFacts]) -> Table:
    """One row a model."""
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
