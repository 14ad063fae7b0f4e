"""Verbs that look at what was made: corpus, tokens, questions, two runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pmc_llama.cli.options import RecipePath, Settings
from pmc_llama.cli.tokens import tokens

corpus = typer.Typer(no_args_is_help=True, help="Build and inspect a corpus of papers.")
qa = typer.Typer(no_args_is_help=True, help="Download question sets, and look at them.")


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(corpus, name="corpus")
    app.add_typer(tokens, name="tokens")
    app.add_typer(qa, name="qa")
    app.command(epilog="Example: pmc-llama compare runs/minimed runs/higher-lr:adapted")(compare)


@corpus.command("stats", epilog="Example: pmc-llama corpus stats runs/minimed/corpus")
def corpus_stats(
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus, as runs/minimed/corpus.")],
) -> None:
    """Say what a corpus holds.

    Papers, licences, years, sections, and what each rule removed.
    """
    from rich.console import Console

    from pmc_llama.corpus.stats import corpus_stats as count
    from pmc_llama.corpus.stats import render_stats

    Console().print(render_stats(count(folder)))


@corpus.command("show", epilog="Example: pmc-llama corpus show real-sample PMC1950857")
def corpus_show(
    recipe: RecipePath,
    paper: Annotated[
        str, typer.Argument(metavar="PAPER", help="PMC1950857, s2:<corpus id>, or a name of the column paper_id.")
    ],
    settings: Settings = None,
) -> None:
    """Show one paper before and after cleaning, side by side."""
    from rich.console import Console

    from pmc_llama.corpus.show import render_shown, show_paper
    from pmc_llama.recipe import load_recipe

    loaded = load_recipe(recipe, settings)
    for shown in show_paper(loaded.corpus, loaded.data_root, paper):
        Console().print(render_shown(shown))


@corpus.command("audit", epilog="Example: pmc-llama corpus audit ../shared/data/pmc_oa")
def corpus_audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="JATS articles, or tarballs of them.")],
    papers: Annotated[int | None, typer.Option(min=1, help="At most so many, in order of their names.")] = None,
) -> None:
    """Check clean texts against the articles themselves.

    The table is by publisher; the exit status is 1 for any finding.
    """
    from rich.console import Console

    from pmc_llama.corpus.audit import audit_folder, render_audit

    audit = audit_folder(folder, papers)
    Console().print(render_audit(audit))
    if audit.found:
        raise typer.Exit(1)


@corpus.command("download", epilog="Example: pmc-llama corpus download s2orc -o data/s2orc")
def corpus_download(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="pmc, or a data set of the S2 API: s2orc, papers, …")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to; goes on where it stopped.")],
    release: Annotated[str, typer.Option(help="Release of the S2 data set.")] = "latest",
    since: Annotated[str | None, typer.Option(help="Only what changed since this release.")] = None,
    license: Annotated[list[str] | None, typer.Option(help="pmc: only these licences. May be repeated.")] = None,
    ids: Annotated[Path | None, typer.Option(metavar="FILE", help="pmc: only these articles, an id per line.")] = None,
    connections: Annotated[int, typer.Option(help="Files at once.")] = 8,
) -> None:
    """Download S2ORC, papers or PMC; resumable and checked. S2 data sets need a key in S2_API_KEY."""
    from pmc_llama.corpus.download.pmc import Wanted, download_pmc, read_pmcids
    from pmc_llama.corpus.download.s2 import download_dataset, download_diffs

    if what == "pmc":
        wanted = Wanted(licenses=tuple(license) if license else None, pmcids=read_pmcids(ids) if ids else None)
        done: object = download_pmc(out, wanted, connections=connections)
    elif since is not None:
        done = download_diffs(what, out, start=since, end=release, connections=connections)
    else:
        done = download_dataset(what, out, release=release, connections=connections)
    print(done)


@qa.command("show", epilog="Example: pmc-llama qa show minimed direct_fact --n 3")
def show_task(
    recipe: RecipePath,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task in the recipe.")],
    n: Annotated[int, typer.Option(help="How many questions.")] = 3,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which questions.")] = "test",
    regime: Annotated[str | None, typer.Option(help="As this regime asks, with its shots.")] = None,
    settings: Settings = None,
) -> None:
    """Print what a model sees of a task's questions, and what is scored.

    Shots and the chat template are part of it.
    """
    from pmc_llama.escape import terminal
    from pmc_llama.experiment.preview import show_task_of
    from pmc_llama.recipe import load_recipe

    print(terminal(show_task_of(load_recipe(recipe, settings), task, regime, n=n, split=split)))


@qa.command("download", epilog="Example: pmc-llama qa download medqa pubmedqa medxpertqa -o data")
def download_sets(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Sets; none lists those known.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The data's root.")] = Path("data"),
) -> None:
    """Download question sets from the hub; what is there stays.

    Each lies in qa/NAME of the folder, where a recipe with `data.root: FOLDER` finds it as `tasks: {NAME: {}}`.
    """
    from pmc_llama.qa.download import describe_sets, download_set, told

    for name in names or ():
        print(told(name, download_set(name, out), out), flush=True)
    if not names:
        print("\n".join(describe_sets()))


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[:MODEL]...",
            help="Run directories, the first is the one that the others are compared with. `runs/mine:adapted` takes "
            "one model; else each model is compared with its namesake.",
        ),
    ],
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it as an HTML page.")] = None,
) -> None:
    """Compare runs or models on the questions that both answered."""
    from pmc_llama.escape import terminal
    from pmc_llama.report.compare import compare as compare_runs

    comparison = compare_runs(*runs)
    print(terminal(comparison.markdown()), end="")
    if page is not None:
        print(f"page: {comparison.write(page)}")
