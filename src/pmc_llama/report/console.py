"""The results as a table for the terminal."""

from rich.console import Console
from rich.table import Table

from pmc_llama.escape import markup
from pmc_llama.records.results import Results, Side, Summary
from pmc_llama.report.views import side_names
from pmc_llama.results.caveats import unparsed
from pmc_llama.results.text import interval, p_value, points, signed_interval


def print_accuracies(results: Results) -> None:
    """Print what each model got right, task by task, with its interval and how many answers could be read."""
    table = Table(title="accuracy in percent (95 % interval)", title_justify="left", box=None, pad_edge=False)
    for heading in ("model", "task"):
        table.add_column(heading)
    for heading in ("n", "right", "accuracy", "macro-F1", "answers read"):
        table.add_column(heading, justify="right")
    for row in results.rows:
        shares = (f"{100 * row.accuracy:.1f} ({interval(row.ci95)})", f"{100 * row.macro_f1:.1f}")
        counts = (markup(row.model), markup(row.task), str(row.n), str(row.correct))
        table.add_row(*counts, *shares, f"{100 * row.parse_rate:.1f} %")
    Console(width=None if Console().is_terminal else 140).print(table)


def print_results(results: Results) -> None:
    """Print the two models of every comparison, regime and task: means over seeds with intervals, difference and p."""
    title = "accuracy in percent, mean over seeds (95 % interval)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("regime", "task", "protocol"):
        table.add_column(heading)
    named = side_names(results.compared)
    for heading in ("n", *named.values(), "difference", "p (Holm)"):
        table.add_column(markup(heading), justify="right")
    for row in results.summary:
        table.add_row(
            markup(row.regime),
            markup(row.task),
            row.protocol.replace("_", " "),
            str(row.n),
            *(_mean(row, side, of_several=len(results.compared) > 1) for side in named),
            f"{points(row.delta_mean)} ({signed_interval(row.ci95)})",
            p_value(row.holm_p),
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for sentence in unparsed(results.rows):
        console.print(markup(sentence))


def _mean(row: Summary, side: Side, *, of_several: bool) -> str:
    name = f"{row.first if side == 'first' else row.second} " if of_several else ""
    return f"{markup(name)}{100 * row.mean(side):.1f} ({interval(row.mean_ci95(side))})"
