"""The results as a table for the terminal."""

from rich.console import Console
from rich.table import Table

from pmc_llama.records.results import Results
from pmc_llama.report.caveats import unparsed
from pmc_llama.report.text import interval, p_value, points, signed_interval


def print_results(results: Results) -> None:
    """Print base beside adapted for every regime and task: means over seeds with their intervals, difference and p."""
    title = "accuracy in percent, mean over seeds (95 % interval)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("regime", "task", "protocol"):
        table.add_column(heading)
    for heading in ("n", "base", "adapted", "difference", "p (Holm)"):
        table.add_column(heading, justify="right")
    for row in results.summary:
        table.add_row(
            row.regime,
            row.task,
            row.protocol.replace("_", " "),
            str(row.n),
            f"{100 * row.base_mean:.1f} ({interval(row.base_ci95)})",
            f"{100 * row.adapted_mean:.1f} ({interval(row.adapted_ci95)})",
            f"{points(row.delta_mean)} ({signed_interval(row.ci95)})",
            p_value(row.holm_p),
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for sentence in unparsed(results.rows):
        console.print(sentence)
