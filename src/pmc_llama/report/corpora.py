"""What the report shows of the corpora: sources, why papers fell out, licences, years, sections, cleaning."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pmc_llama.report.layout import Column, Row, Table
from pmc_llama.report.run import Corpus
from pmc_llama.report.svg import ADAPTED, BASE, INK, RULE, Figure, figure
from pmc_llama.results.text import count, percent, plural, short


def figures(corpus: Corpus) -> list[Figure]:
    """What became of the papers, and when they were published."""
    return [shown for shown in (funnel(corpus), years(corpus)) if shown]


def tables(corpus: Corpus) -> list[Table]:
    """Sources, licences, sections and cleaning, as far as they are known."""
    found = [make(corpus) for make in (sources_table, licences_table, sections_table, cleaning_table)]
    return [table for table in found if table.rows]


def funnel(corpus: Corpus) -> Figure | None:
    """What became of the papers: all that came in, what was dropped for each reason, what was kept."""
    total, kept = corpus.totals.documents_in, corpus.totals.kept
    if not total:
        return None
    dropped = sorted(corpus.totals.dropped.items(), key=lambda item: (-item[1], item[0]))
    bars = [("in", total), *((reason.replace("_", " "), number) for reason, number in dropped), ("kept", kept)]

    def plot(axes: Axes) -> None:
        left = total
        for place, (label, number) in enumerate(bars):
            outcome = label in ("in", "kept")
            start = 0 if outcome else left - number
            left -= 0 if outcome else number
            axes.barh(
                place,
                number,
                left=start,
                height=0.6,
                color={"in": BASE, "kept": ADAPTED}.get(label, RULE),
                linewidth=0,
            )
            axes.text(start + number + 0.01 * total, place, count(number), va="center", color=INK)
        axes.set_yticks(range(len(bars)), [label for label, _ in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, total * 1.12)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("papers")

    reasons = ", ".join(f"{reason.replace('_', ' ')} {count(number)}" for reason, number in dropped)
    return figure(
        f"funnel-{corpus.name}",
        f"{corpus.name.capitalize()}: what came in, and why papers fell out",
        plot,
        alt=f"{count(total)} papers in, {count(kept)} kept; dropped: {reasons or 'none'}",
        columns=[Column("step", "Step"), Column("papers", "Papers", count), Column("share", "Of all", percent)],
        rows=[Row({"step": label, "papers": number, "share": number / total}) for label, number in bars],
        height_in=0.8 + 0.32 * len(bars),
    )


def years(corpus: Corpus) -> Figure | None:
    """Kept papers by year of publication; needs two years or more."""
    known = [(year, number) for year, number in corpus.years if year is not None]
    if len(known) < 2:
        return None
    unknown = sum(number for year, number in corpus.years if year is None)

    def plot(axes: Axes) -> None:
        axes.bar([year for year, _ in known], [number for _, number in known], width=0.8, color=ADAPTED, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("papers")

    total = sum(number for _, number in corpus.years)
    most = max(known, key=lambda one: one[1])
    return figure(
        f"years-{corpus.name}",
        f"{corpus.name.capitalize()}: year of publication",
        plot,
        alt=f"Papers by year, {known[0][0]} to {known[-1][0]}; most in {most[0]}, {count(most[1])}",
        columns=[Column("year", "Year", str), Column("papers", "Papers", count), Column("share", "Of all", percent)],
        rows=[Row({"year": year, "papers": number, "share": number / total}) for year, number in known],
        note=f"{plural(unknown, 'paper')} without a year." if unknown else "",
    )


def corpus_sentence(corpus: Corpus) -> str:
    """The corpus in one sentence: papers, characters, tokens, years."""
    totals = corpus.totals
    parts = [f"{count(totals.kept)} of {count(totals.documents_in)} papers kept"]
    if totals.chars:
        parts.append(f"{short(totals.chars)} characters")
    if corpus.store is not None:
        parts.append(f"{short(corpus.store.tokens)} tokens")
    known = [year for year, _ in corpus.years if year is not None]
    if known:
        parts.append(f"published {known[0]} to {known[-1]}")
    return f"{corpus.name.capitalize()}: {', '.join(parts)}."


def sources_table(corpus: Corpus) -> Table:
    """Papers in and kept by source, with the reasons of the others."""
    columns = [
        Column("source", "Source"),
        Column("in", "In", count),
        Column("kept", "Kept", count),
        Column("dropped", "Dropped, by reason"),
    ]
    rows = []
    for name, one in corpus.totals.sources.items():
        reasons = [f"{key.replace('_', ' ')} {count(number)}" for key, number in sorted(one.dropped.items())]
        values = {"in": one.documents_in, "kept": one.kept, "dropped": ", ".join(reasons) or "none"}
        rows.append(Row(values | {"source": name}))
    return Table(f"sources-{corpus.name}", f"Sources of {corpus.name}", columns, rows)


def licences_table(corpus: Corpus) -> Table:
    """Kept papers by licence."""
    columns = [Column("license", "Licence"), Column("papers", "Papers", count), Column("share", "Share", percent)]
    total = sum(number for _, number in corpus.licenses)
    rows = [Row({"license": name, "papers": number, "share": number / total}) for name, number in corpus.licenses]
    return Table(f"licences-{corpus.name}", f"Licences of {corpus.name}", columns, rows)


def sections_table(corpus: Corpus) -> Table:
    """The most frequent section headings."""
    columns = [Column("section", "Section"), Column("papers", "Papers", count), Column("share", "Share", percent)]
    rows = [
        Row({"section": name, "papers": number, "share": number / corpus.looked_into})
        for name, number in corpus.sections
    ]
    note = f"Of the first {plural(corpus.looked_into, 'paper')}; headings that differ in capitals alone are one."
    return Table(f"sections-{corpus.name}", f"Sections of {corpus.name}", columns, rows, note)


def cleaning_table(corpus: Corpus) -> Table:
    """Characters that each cleaning rule took away from the kept papers."""
    columns = [Column("rule", "Cleaning rule"), Column("chars", "Characters removed", count)]
    removed = sorted(corpus.totals.chars_removed.items(), key=lambda item: -item[1])
    rows = [Row({"rule": rule.replace("_", " "), "chars": number}) for rule, number in removed if number]
    return Table(f"cleaning-{corpus.name}", f"Cleaning of {corpus.name}", columns, rows, "Below zero: added.")
