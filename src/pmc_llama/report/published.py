"""The original's own table, with the statistics it was printed without.

Accuracies of chaoyi-wu/PMC-LLaMA, README of April and May 2023 (13B rows: its later edits). Test sizes are those of the
public sets: 1,273 MedQA-USMLE questions and 4,183 of MedMCQA's dev split. The size of its PubMedQA test was never
stated, and its digits fit neither 500 nor 1,000; answers question by question were not published, so that no paired
test is possible: intervals and p are those of two independent samples, which are too wide for a true pair.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from pmc_llama.recipe import Recipe
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.results.text import count, interval, listing, p_equals, p_value, percent, points, signed_interval
from pmc_llama.stats.intervals import Z95, wilson
from pmc_llama.stats.paired import unpaired_se

COLUMNS = {
    "medqa/out_of_domain": Column("medqa/out_of_domain", "MedQA-USMLE", percent, "out of domain"),
    "medqa/in_domain": Column("medqa/in_domain", "MedQA-USMLE", percent, "in domain"),
    "medmcqa": Column("medmcqa", "MedMCQA", percent, "in domain"),
    "pubmedqa": Column("pubmedqa", "PubMedQA", percent, "in domain"),
}
SIZES = {"medqa/out_of_domain": (1273,), "medqa/in_domain": (1273,), "medmcqa": (4183,), "pubmedqa": (500, 1000)}
"""Questions behind each column; two where it is not known which."""
NOTE = (
    "Numbers that the authors of PMC-LLaMA printed, not measured here. Intervals and p are ours: Wilson, and the "
    "unpaired z test on counts, since single answers were not published. The size of their PubMedQA test is not known: "
    "p is given for 1\u202f000 and for 500 questions. The in-domain MedQA column was tuned on MedQA alone. People, "
    "InstructGPT and ChatGPT: not tuned, in whatever column; the authors took these rows from LMFlow, without numbers "
    "of questions, so that they have no interval."
)


@dataclass(frozen=True)
class Pair:
    """A base and an adapted model of the published table, in percent, in the order of COLUMNS."""

    method: str
    base: str
    adapted: str
    base_percent: tuple[float, float, float, float]
    adapted_percent: tuple[float, float, float, float]


PAIRS = (
    Pair("full", "LLaMA-7B", "PMC-LLaMA-7B", (44.55, 35.66, 48.15, 73.41), (44.70, 40.61, 50.54, 69.53)),
    Pair("PEFT", "LLaMA-7B", "PMC-LLaMA-7B", (29.38, 27.34, 32.37, 65.81), (30.64, 28.52, 34.33, 68.23)),
    Pair("full", "LLaMA-13B", "MedLLaMA-13B", (45.48, 39.36, 51.42, 76.4), (48.15, 43.52, 54.15, 77.1)),
    Pair("PEFT", "LLaMA-13B", "MedLLaMA-13B", (38.73, 38.73, 39.56, 65.4), (39.12, 39.98, 41.26, 69.4)),
)


@dataclass(frozen=True)
class Reference:
    """A row of the published table that is part of no pair, in percent; None where nothing was printed."""

    method: str
    model: str
    percent: tuple[float | None, float | None, float | None, float | None]


REFERENCES = (
    Reference("people", "pass mark", (50.0, None, None, 60.0)),
    Reference("people", "experts", (87.0, None, 90.0, 78.0)),
    Reference("zero-shot", "InstructGPT-175B", (46.0, None, 44.0, 73.2)),
    Reference("zero-shot", "ChatGPT", (57.0, None, 44.7, 63.9)),
)


def unpaired_p(n: int, k_x: int, k_y: int) -> float:
    """Two-sided p of the z test for two accuracies on n questions each, as if the questions were not the same."""
    se = unpaired_se(n, k_x, k_y)
    return 2 * NormalDist().cdf(-abs(k_y - k_x) / n / se) if se else 1.0


def published_table(formats: set[str]) -> Table:
    """The published rows of the tasks whose format is among `formats`; empty if none is."""
    columns = {key: column for key, column in COLUMNS.items() if key.split("/")[0] in formats}
    rows = [row for one in REFERENCES if (row := _reference(one, columns)) is not None]
    for pair in PAIRS if columns else ():
        places = [list(COLUMNS).index(key) for key in columns]
        cells = list(zip(columns, places, strict=True))
        about = {"method": pair.method, "pair": pair.base}
        for model, values in ((pair.base, pair.base_percent), (pair.adapted, pair.adapted_percent)):
            accuracies = {key: _accuracy(key, values[place]) for key, place in cells}
            rows.append(Row({"method": pair.method, "model": model, **accuracies}, "published", about))
        differences = {
            key: _difference(key, pair.base_percent[place], pair.adapted_percent[place]) for key, place in cells
        }
        rows.append(Row({"method": pair.method, "model": "difference", **differences}, "published difference", about))
    head = [Column("method", "Published"), Column("model", "Model")]
    return Table("published", "Published for PMC-LLaMA, tested here", [*head, *columns.values()], rows, NOTE)


def _reference(one: Reference, columns: Iterable[str]) -> Row | None:
    """What people or a model without a pair scored; None where no column has anything of it."""
    printed = {key: share for key, share in zip(COLUMNS, one.percent, strict=True) if key in columns}
    values = {key: Value(share / 100, percent(share / 100, 2)) for key, share in printed.items() if share is not None}
    about = {"method": one.method, "pair": one.model}
    return Row({"method": one.method, "model": one.model, **values}, "published", about) if values else None


def _accuracy(key: str, value: float) -> Value:
    share = value / 100
    if len(SIZES[key]) > 1:
        return Value(share, percent(share, 2), "n not stated")
    n = SIZES[key][0]
    k = round(share * n)
    return Value(share, percent(share, 2), f"{interval(wilson(k, n))}\n≈ {count(k)} / {count(n)}")


def _difference(key: str, base: float, adapted: float) -> Value:
    difference = (adapted - base) / 100
    counts = [(n, round(base / 100 * n), round(adapted / 100 * n)) for n in SIZES[key]]
    ps = [unpaired_p(*one) for one in counts]
    if len(ps) > 1:
        return Value(difference, points(difference), f"p {listing([p_value(p) for p in reversed(ps)])}")
    half = Z95 * unpaired_se(*counts[0])
    more = counts[0][2] - counts[0][1]
    detail = f"{signed_interval((difference - half, difference + half))}\n{p_equals(ps[0])}, {more:+,} right"
    return Value(difference, points(difference), detail.replace("-", "−"))


def real_formats(recipe: Recipe | None) -> set[str]:
    """Formats of the recipe's scored tasks if its questions are real ones, not MiniMed's."""
    if recipe is None or recipe.minimed is not None:
        return set()
    return {section.format for section in recipe.tasks.values() if section.test}
