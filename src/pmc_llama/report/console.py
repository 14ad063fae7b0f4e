"""The results as a table for the terminal."""

from rich.console import Console
from rich.table import Table

from pmc_llama.records.results import Results
from pmc_llama.report.text import p_value, percent, points, signed_interval


def print_results(results: Results) -> None:
    """Print base beside adapted for every regime and task: means over seeds, their difference, its interval and p."""
    table = Table(title="accuracy, mean over seeds", title_justify="left", box=None, pad_edge=False)
    for heading in ("regime", "task", "protocol"):
        table.add_column(heading)
    for heading in ("n", "base", "adapted", "difference", "95 % interval", "p (Holm)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results.summary:
        table.add_row(
            row.regime,
            row.task,
            row.protocol.replace("_", " "),
            str(row.n),
            percent(row.base_mean),
            percent(row.adapted_mean),
            points(row.delta_mean),
            signed_interval(row.ci95),
            p_value(row.holm_p),
        )
    Console(width=None if Console().is_terminal else 120).print(table)
