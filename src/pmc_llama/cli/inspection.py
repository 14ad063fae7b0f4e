"""Verbs that look at what was made: corpus, tokens, questions, two runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pmc_llama.cli.options import RecipePath, RunDirectory, Settings

corpus = typer.Typer(no_args_is_help=True, help="Build and inspect a corpus of papers.")
tokens = typer.Typer(no_args_is_help=True, help="Inspect and export token stores.")
qa = typer.Typer(no_args_is_help=True, help="Look at question sets.")


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(corpus, name="corpus")
    app.add_typer(tokens, name="tokens")
    app.add_typer(qa, name="qa")
    app.command(epilog="Example: pmc-llama compare runs/minimed runs/higher-lr")(compare)


@tokens.command("inspect", epilog="Example: pmc-llama tokens inspect runs/minimed/tokens/corpus")
def inspect_tokens(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A token store.")],
    document: Annotated[str | None, typer.Option(help="Decode this document: a paper id, or its number.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="The tokenizer, to decode with.")] = None,
    start: Annotated[int, typer.Option(help="First token of the document to show.")] = 0,
    count: Annotated[int, typer.Option(help="How many tokens to show.")] = 200,
    verify: Annotated[bool, typer.Option(help="Read every byte and compare the hashes.")] = False,
) -> None:
    """Say what a token store holds, or decode one of its documents."""
    from pmc_llama.errors import InputError
    from pmc_llama.tokens.inspect import decode_document, describe

    if document is None:
        shown = describe(store, verify=verify)
    elif tokenizer is None:
        raise InputError("to decode a document give the tokenizer: --tokenizer path/to/tokenizer.model")
    else:
        shown = decode_document(store, tokenizer, document, start=start, tokens=count)
    for name, value in shown.items():
        print(f"{name:20} {value}")


@qa.command("show", epilog="Example: pmc-llama qa show recipes/minimed.yaml direct_fact --n 3")
def show_task(
    recipe: RecipePath,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task in the recipe.")],
    n: Annotated[int, typer.Option(help="How many questions.")] = 3,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which questions.")] = "test",
    settings: Settings = None,
) -> None:
    """Print what a model sees of a task's questions, and what is scored."""
    from pmc_llama.errors import RecipeError
    from pmc_llama.qa.show import show_questions
    from pmc_llama.recipe import load_recipe

    loaded = load_recipe(recipe, settings)
    if task not in loaded.tasks:
        raise RecipeError(f"{recipe} has no task {task!r}; its tasks are {', '.join(loaded.tasks)}")
    print(show_questions(task, loaded.tasks[task], loaded.data_root, n=n, split=split))


def compare(
    run_a: RunDirectory,
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run to compare it with.")],
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it as an HTML page.")] = None,
) -> None:
    """Compare two runs on the questions that both answered, in pairs."""
    from pmc_llama.report.compare import compare as compare_runs

    comparison = compare_runs(run_a, run_b)
    print(comparison.markdown(), end="")
    if page is not None:
        print(f"page: {comparison.write(page)}")
