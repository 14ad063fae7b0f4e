"""What the report says of test questions that stand in the papers, and what accuracies are without them."""

from typing import Any

from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.run import Run
from pmc_llama.report.text import count, p_value, percent, plural, points, signed_interval
from pmc_llama.report.verdict import finding
from pmc_llama.report.views import MODELS, Results


def contamination_table(found: dict[str, Any]) -> Table:
    """How many test questions of each task were found in the papers, and by what."""
    columns = [
        Column("task", "Task"),
        Column("questions", "Questions", count),
        Column("questions_hit", "Found in papers", count),
        Column("share", "Share", percent),
        Column("papers_hit", "Papers", count),
        Column("untestable", "Not testable", count),
        Column("kinds", "Found by"),
    ]
    rows = []
    for task, facts in found.items():
        kinds = ", ".join(f"{kind.replace('_', ' ')} {count(number)}" for kind, number in facts["kinds"].items())
        share = facts["questions_hit"] / facts["questions"] if facts["questions"] else None
        rows.append(Row(facts | {"task": task, "share": share, "kinds": kinds or None}, "", {"task": task}))
    note = "Not testable: questions too short to be recognised, and without a PubMed id."
    return Table("contamination", "Test questions found in the papers", columns, rows, note)


def uncontaminated_table(results: Results) -> Table:
    """Base against adapted on the questions that were not found, for the tasks of which some were."""
    columns = [
        Column("regime", "Regime"),
        Column("task", "Task"),
        Column("n", "Questions left", count),
        *(Column(f"{model}_mean", model.capitalize(), percent, "of all questions beneath") for model in MODELS),
        Column("delta_mean", "Difference", points, "points"),
        Column("holm_p", "Holm p", p_value),
    ]
    everything = {(row["regime"], row["task"]): row for row in results["summary"]}
    rows = []
    for row in results["uncontaminated"]:
        key = {name: row[name] for name in ("regime", "task")}
        of_all = everything[row["regime"], row["task"]]
        accuracies = {
            name: Value(row[name], percent(row[name]), percent(of_all[name]))
            for name in (f"{model}_mean" for model in MODELS)
        }
        delta = Value(
            row["delta_mean"], points(row["delta_mean"]), signed_interval(row["ci95"]), finding(row).replace("none", "")
        )
        rows.append(Row(row | accuracies | {"delta_mean": delta}, "", key))
    note = (
        "Means over seeds, without the questions that stand in papers that the adapted model was trained on. Paired "
        "bootstrap 95 % interval; Holm's correction over all tasks of the regime."
    )
    return Table("uncontaminated", "Accuracy without the questions found in papers", columns, rows, note, sortable=True)


def examples_table(found: dict[str, Any]) -> Table:
    """Some of the questions found, with the papers."""
    columns = [
        Column(key, label) for key, label in (("task", "Task"), ("question_id", "Question"), ("paper_id", "Paper"))
    ]
    columns += [Column("kind", "Found by"), Column("text", "Text")]
    rows = [Row({"task": task} | example) for task, facts in found.items() for example in facts["examples"]]
    return Table("contamination-examples", "Examples", columns, rows, sortable=True)


def sentences(run: Run) -> list[str]:
    """What was found, in one sentence."""
    hit = sum(facts["questions_hit"] for facts in run.contamination.values())
    if not run.contamination:
        return []
    if not hit:
        return ["None of the test questions was found in the papers."]
    if run.recipe.get("corpus", {}).get("decontaminate"):
        return [f"{plural(hit, 'test question')} found; the papers that hold them were left out of the corpus."]
    return [f"{plural(hit, 'test question')} found in papers that the adapted model was trained on."]
