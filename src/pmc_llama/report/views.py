"""`results.json` as the report's tables: the paper's layout, differences, every cell, baselines."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET

from pmc_llama.qa.question import LETTERS
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import Pair
from pmc_llama.recipe.qa import RegimeSection
from pmc_llama.records.results import Accuracy, Baseline, Difference, Mean, OverSeeds, Results, Side, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.results.text import (
    count,
    decimal,
    decimal_interval,
    interval,
    listing,
    p_equals,
    p_value,
    percent,
    plural,
    points,
    signed_interval,
)
from pmc_llama.results.verdict import tone

PAPER_ORDER = ("medqa", "medmcqa", "pubmedqa")
PROTOCOLS = {"out_of_domain": "out of domain", "in_domain": "in domain"}
PAPER_NOTE = (
    "Accuracy: mean over seeds, beneath it the Wilson 95 % interval over questions. Difference: the model named first "
    "less the other in points, beneath it its 95 % interval over questions and seeds, and p after Holm's correction "
    "over the tasks of the regime. In domain: the task's own training questions were tuned on."
)
CELLS_NOTE = (
    "An answer that could not be parsed is wrong; for ECE and Brier it was sure of itself. Macro-F1: beneath it the "
    "bootstrap 95 % interval. ECE: expected calibration error of the chosen option's probability, 15 bins of equal "
    "width; beneath it the bootstrap 95 % interval, and the ECE to expect of so many answers from perfect "
    "probabilities. Truncated: questions too long for the model, which lost their beginning."
)
DIFFERENCES_NOTE = (
    "Each row is about two models: exact two-sided McNemar test on the questions that only one of them answers right, "
    "Tango's score interval, which never contradicts it; Holm's correction over the tasks of one comparison, regime "
    "and seed."
)


def paper_table(results: Results, recipe: Recipe | None) -> Table:
    """The paper's layout: a column per task (MedQA: one per protocol); a row per model and comparison per regime."""
    place = _paper_columns(results, recipe)
    columns = [Column("regime", "Regime"), Column("model", "Model")]
    columns += {column.key: column for column in place.values()}.values()
    rows: list[Row] = []
    for regime in dict.fromkeys(row.regime for row in results.means):
        name = Value(regime, regime, _tuned_on(None if recipe is None else recipe.regimes.get(regime)))
        about: dict[str, dict[str, Value]] = {}
        for row in results.means:
            if row.regime == regime:
                about.setdefault(row.model, {})[place[row.task, row.protocol].key] = accuracy(row)
        rows += [
            Row({"regime": name, "model": model, **found}, model, {"regime": regime}) for model, found in about.items()
        ]
        for pair in results.compared:
            mine = [row for row in results.between(pair).summary if row.regime == regime]
            found = {place[row.task, row.protocol].key: _difference(row) for row in mine}
            about_pair = {"regime": regime, "first": pair[0], "second": pair[1]}
            if found:
                rows.append(Row({"regime": name, "model": less(pair), **found}, "difference", about_pair))
    rows += _baseline_rows(results, {column.key: task for (task, _), column in place.items()})
    return Table("paper", "Accuracy of every model", columns, rows, PAPER_NOTE)


def _paper_columns(results: Results, recipe: Recipe | None) -> dict[tuple[str, str], Column]:
    """The column of each (task, protocol), in the paper's order: MedQA, MedMCQA, PubMedQA, then the others.

    As in the paper, only MedQA has a column a protocol; another task has one column for both.
    """
    formats = {} if recipe is None else {name: section.format for name, section in recipe.tasks.items()}
    found = list(dict.fromkeys((row.task, row.protocol) for row in results.means))
    asked = {row.task: plural(row.n, "question") for row in results.means}

    def rank(key: tuple[str, str]) -> tuple[int, int]:
        form = formats.get(key[0])
        return PAPER_ORDER.index(form) if form in PAPER_ORDER else len(PAPER_ORDER), list(PROTOCOLS).index(key[1])

    columns = {}
    for task, protocol in sorted(found, key=rank):
        mine = [PROTOCOLS[other] for name, other in found if name == task]
        if formats.get(task) == "medqa":
            columns[task, protocol] = Column(
                f"{task}/{protocol}", task, percent, f"{PROTOCOLS[protocol]}\n{asked[task]}"
            )
        else:
            about = "\n".join([*mine[: len(mine) == 1], asked[task]])
            columns[task, protocol] = Column(task, task, percent, about)
    return columns


def _tuned_on(section: RegimeSection | None) -> str:
    """What a regime was tuned on, and how, or how it asks."""
    if section is None:
        return ""
    if section.kind == "few_shot":
        return f"not tuned, {plural(section.shots, 'solved question')} before each"
    if section.kind == "zero_shot":
        return "not tuned"
    part = "" if section.fraction == 1 else f"{100 * section.fraction:g} % of "
    what = "instructions" if section.kind == "instruct" else listing(section.tasks)
    return f"{'LoRA, ' if section.lora is not None else ''}tuned on {part}{what}"


def less(pair: Pair) -> str:
    """The difference of two models in words: 'adapted − base'."""
    return f"{pair[1]} − {pair[0]}"


def pair_columns(pairs: Sequence[Pair]) -> list[Column]:
    """The columns that name the two models of a row, where not all rows are about the same two."""
    return [Column("first", "First"), Column("second", "Second")] if len(pairs) > 1 else []


def side_names(pairs: Sequence[Pair]) -> dict[Side, str]:
    """What the two models of a row are called in headings: by their names where all rows are about the same two."""
    first, second = pairs[0] if len(pairs) == 1 else ("first", "second")
    return {"first": first, "second": second}


def training_columns(rows: Iterable[Mean | OverSeeds]) -> list[Column]:
    """How often was trained: tuning seeds, and pre-trainings where any row is about several."""
    seeds = Column("seeds", "Seeds", count)
    several = any(row.pretrainings is not UNSET for row in rows)
    return [Column("pretrainings", "Pre-trainings", count), seeds] if several else [seeds]


def _pretraining(rows: Iterable[Accuracy | Difference]) -> list[Column]:
    """Which adapted model a row is about, where several were pre-trained."""
    several = any(row.pretrain_seed is not UNSET for row in rows)
    return [Column("pretrain_seed", "Pre-training", str)] if several else []


def mean_accuracy(row: OverSeeds, side: Side) -> Value:
    """The mean accuracy of one of the two models of a comparison, with its interval."""
    return Value(row.mean(side), percent(row.mean(side)), interval(row.mean_ci95(side)))


def accuracy(row: Mean) -> Value:
    """One model's mean accuracy, with its interval."""
    return Value(row.mean, percent(row.mean), interval(row.ci95))


def _difference(row: OverSeeds) -> Value:
    detail = f"{signed_interval(row.ci95)}\n{p_equals(row.holm_p)}"
    return Value(row.delta_mean, points(row.delta_mean), detail, tone(row))


def _baseline_rows(results: Results, task_of: dict[str, str]) -> list[Row]:
    of = {row.task: row for row in results.baselines}
    rows = []
    for label, share in (("majority label", _majority), ("always the first option", _always_first)):
        shares = {column: share(of[task]) for column, task in task_of.items()}
        rows.append(Row({"regime": "no model", "model": label, **shares}, "baseline"))
    return rows if task_of else []


def _majority(row: Baseline) -> Value:
    return Value(row.majority, percent(row.majority), f"{count(row.majority_correct)} / {count(row.n)}")


def _always_first(row: Baseline) -> Value:
    return Value(row.always_first, percent(row.always_first), f"{count(row.always_first_correct)} / {count(row.n)}")


def cells_table(results: Results) -> Table:
    """Every cell of the experiment: one row per model, regime, seed and task."""
    columns = [
        Column("regime", "Regime"),
        Column("task", "Task"),
        Column("protocol", "Protocol"),
        Column("model", "Model"),
        *_pretraining(results.rows),
        Column("seed", "Seed", str),
        Column("correct", "Right", count),
        Column("n", "Questions", count),
        Column("accuracy", "Accuracy", percent, "95 % interval"),
        Column("macro_f1", "Macro-F1", decimal),
        Column("ece", "ECE", decimal),
        Column("brier", "Brier", decimal),
        Column("parse_rate", "Parsed", percent),
        Column("truncated", "Truncated", count),
    ]
    rows = []
    for row in results.rows:
        accuracy = Value(row.accuracy, percent(row.accuracy), interval(row.ci95))
        values = fields(row) | {"protocol": PROTOCOLS[row.protocol], "accuracy": accuracy}
        values |= _labels_and_calibration(row)
        rows.append(
            Row(values, row.model, {"regime": row.regime, "task": row.task, "model": row.model, "seed": row.seed})
        )
    return Table("cells", "Every measurement", columns, rows, CELLS_NOTE, sortable=True)


def _labels_and_calibration(row: Accuracy) -> dict[str, Value]:
    """Macro-F1 and ECE with their intervals, and what the ECE would be if every probability were right."""
    values = {}
    if row.macro_f1_ci95 is not None:
        values["macro_f1"] = Value(row.macro_f1, decimal(row.macro_f1), decimal_interval(row.macro_f1_ci95))
    if row.ece is not None and row.ece_ci95 is not None and row.ece_floor is not None:
        detail = f"{decimal_interval(row.ece_ci95)}\nperfect {decimal(row.ece_floor)}"
        values["ece"] = Value(row.ece, decimal(row.ece), detail)
    return values


def differences_table(results: Results) -> Table:
    """Two models on the same questions: one row a comparison, regime, task and seed."""
    named = side_names(results.compared)
    columns = [
        *pair_columns(results.compared),
        Column("regime", "Regime"),
        Column("task", "Task"),
        *_pretraining(results.comparisons),
        Column("seed", "Seed", str),
        Column("n", "Questions", count),
        Column("b", f"Only {named['first']} right", count),
        Column("c", f"Only {named['second']} right", count),
        Column("delta", "Difference", points, "points, 95 % interval"),
        Column("mcnemar_p", "McNemar p", p_value),
        Column("holm_p", "Holm p", p_value),
    ]
    rows = []
    for row in results.comparisons:
        values = fields(row) | {"delta": Value(row.delta, points(row.delta), signed_interval(row.ci95))}
        about = {"first": row.first, "second": row.second, "regime": row.regime, "task": row.task, "seed": row.seed}
        rows.append(Row(values, "", about))
    return Table("differences", "Differences seed by seed", columns, rows, DIFFERENCES_NOTE, sortable=True)


def baselines_table(results: Results, options: Mapping[str, Sequence[str]]) -> Table:
    """What needs no model: the majority label, always the first option, chance.

    `options` holds the options of tasks where every question has the same ones (yes, no, maybe): they name the label.
    """
    columns = [
        Column("task", "Task"),
        Column("n", "Questions", count),
        Column("majority_label", "Majority label"),
        Column("majority", "Majority", percent),
        Column("always_first", "Always first", percent),
        Column("chance", "Chance", percent),
    ]
    rows = []
    for row in results.baselines:
        label = row.majority_label
        word = options[row.task][LETTERS.index(label)] if row.task in options else label
        values = fields(row) | {"majority_label": Value(label, word)}
        values |= {"majority": _majority(row), "always_first": _always_first(row)}
        rows.append(Row(values, "baseline", {"task": row.task}))
    return Table("baselines", "What a constant answer scores", columns, rows)
