"""What the report says of test questions that stand in the papers, and what accuracies are without them."""

import msgspec

from pmc_llama.records.contamination import Contamination
from pmc_llama.records.results import Results, Summary, fields
from pmc_llama.report.layout import Column, Row, Table, Value
from pmc_llama.report.run import Run
from pmc_llama.report.views import pair_columns, side_names
from pmc_llama.results.text import count, listing, p_value, percent, plural, points, signed_interval


def text_name(name: str) -> str:
    """A text that models are trained on, as people call it."""
    kind, _, of = name.partition("/")
    if of:
        return f"training questions of {of}" if kind == "questions" else f"instructions of {of}"
    return {"corpus": "papers", "general": "general text"}.get(name, name)


def contamination_table(found: Contamination) -> Table:
    """How many test questions of each task were found in each text that models are trained on, and by what."""
    columns = [
        Column("text", "Text"),
        Column("task", "Task"),
        Column("questions", "Questions", count),
        Column("questions_hit", "Found", count),
        Column("share", "Share", percent),
        Column("documents_hit", "In documents", count),
        Column("untestable", "Not testable", count),
        Column("kinds", "Found by"),
    ]
    rows = []
    for name, text in found.texts.items():
        for task, facts in text.tasks.items():
            kinds = ", ".join(f"{kind.replace('_', ' ')} {count(number)}" for kind, number in facts.kinds.items())
            values = msgspec.structs.asdict(facts) | {"text": text_name(name), "task": task, "kinds": kinds or None}
            values["share"] = facts.questions_hit / facts.questions if facts.questions else None
            rows.append(Row(values, "", {"text": name, "task": task}))
    note = "Not testable: questions too short to be recognised, and without a PubMed id."
    return Table("contamination", "Test questions found in what models are trained on", columns, rows, note)


def uncontaminated_table(results: Results) -> Table:
    """Two models on the questions that were not found, for the tasks of which some were."""
    named = side_names(results.compared)
    columns = [
        *pair_columns(results.compared),
        Column("regime", "Regime"),
        Column("task", "Task"),
        Column("n", "Questions left", count),
        *(Column(f"{side}_mean", name, percent, "of all questions beneath") for side, name in named.items()),
        Column("delta_mean", "Difference", points, "points"),
        Column("holm_p", "Holm p", p_value),
    ]
    everything = {_about(row): row for row in results.summary}
    rows = []
    for row in results.uncontaminated:
        key = {"first": row.first, "second": row.second, "regime": row.regime, "task": row.task}
        of_all = everything[_about(row)]
        accuracies = {
            f"{side}_mean": Value(row.mean(side), percent(row.mean(side)), percent(of_all.mean(side))) for side in named
        }
        delta = Value(row.delta_mean, points(row.delta_mean), signed_interval(row.ci95))
        rows.append(Row(fields(row) | accuracies | {"delta_mean": delta}, "", key))
    note = (
        "Means over seeds, without the questions that stand in a text that a model was trained on. 95 % interval over "
        "questions and seeds; Holm's correction over all tasks of the regime."
    )
    return Table("uncontaminated", "Accuracy without the questions found", columns, rows, note, sortable=True)


def _about(row: Summary) -> tuple[str, str, str, str]:
    return row.first, row.second, row.regime, row.task


def examples_table(found: Contamination) -> Table:
    """Some of the questions found, with the documents."""
    named = {"text": "Text", "task": "Task", "question_id": "Question", "document_id": "Document"}
    columns = [Column(key, label) for key, label in named.items()]
    columns += [Column("kind", "Found by"), Column("words", "Words")]
    rows = [
        Row({"text": text_name(name), "task": task, "question_id": one.question_id, "document_id": one.document_id,
             "kind": one.kind, "words": one.text})
        for name, text in found.texts.items()
        for task, facts in text.tasks.items()
        for one in facts.examples
    ]  # fmt: skip
    return Table("contamination-examples", "Examples", columns, rows, sortable=True)


def sentences(run: Run) -> list[str]:
    """What was found, and where; and what was left out for it."""
    texts = run.contamination.texts
    said = [
        f"{plural(hit, 'test question')} found in {text_name(name)}, which stayed in what was trained on."
        for name, text in texts.items()
        if (hit := sum(facts.questions_hit for facts in text.tasks.values()))
    ]
    if texts and not said:
        said = [f"None of the test questions was found in {listing([text_name(name) for name in texts])}."]
    for corpus in run.corpora:
        hit = sum(facts.questions_hit for facts in corpus.dropped_for.values())
        if hit:
            where = text_name(corpus.name)
            said.append(f"{plural(hit, 'test question')} stood in documents that were left out of {where} for it.")
    return said
