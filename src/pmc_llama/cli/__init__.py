"""The command line: verbs only. Each parses, calls one function, and prints."""

import sys
from typing import Annotated, Any

import typer
import typer.core

from pmc_llama import __version__
from pmc_llama.cli import evaluate, inspection, models, recipes
from pmc_llama.cli.options import STAGES, DryRun, Overrides, RecipePath, Retrain, Settings, joined

MEANT = {
    "demo": "run minimed",
    "download": "corpus download",
    "eval": "evaluate",
    "list": "recipes list",
    "score": "evaluate",
    "train": "pretrain' or 'finetune",
    "tune": "finetune",
    "upload": "publish",
}
"""What people call the verbs, where the spelling alone would lead to another."""


class Verbs(typer.core.TyperGroup):
    """The verbs, and an answer to those that other tools have."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the arguments begin with; ends with a usage error where there is none."""
        if args and args[0] in MEANT:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{MEANT[args[0]]}'?")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="pmc-llama",
    cls=Verbs,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One recipe file from S2ORC shards to a medical LLaMA, and a report that says whether it got better.",
    epilog="Start with: pmc-llama run minimed",
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command(epilog="Example: pmc-llama run minimed pretrain.lr=1e-5 --until pretrain")
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    settings: Settings = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help=f"Stop after this stage: {STAGES}.")] = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="Redo this stage (a name as for --until); what depends on it follows if the result differs.",
        ),
    ] = None,
    dry_run: DryRun = False,
    retrain: Retrain = False,
) -> None:
    """Run a whole recipe. What is up to date stays, what was interrupted continues."""
    from pmc_llama.pipeline.run import run_recipe

    run_recipe(recipe, joined(overrides, settings), until=until, force=force, dry_run=dry_run, retrain=retrain)


@app.command(epilog="Example: pmc-llama report minimed --open")
def report(
    recipe: RecipePath,
    overrides: Overrides = None,
    settings: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Redo it although it is up to date.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    dry_run: DryRun = False,
    retrain: Retrain = False,
) -> None:
    """Write results.json and the HTML report."""
    from pmc_llama.pipeline.run import run_recipe

    forced = "report" if force else None
    given = joined(overrides, settings)
    page = run_recipe(recipe, given, until="report", force=forced, dry_run=dry_run, retrain=retrain)
    if show and not dry_run:
        import webbrowser

        webbrowser.open(page.as_uri())


def _stage_verb(group: typer.Typer, name: str, stage: str, description: str) -> None:
    """Add a verb that runs one stage, after bringing what it builds on up to date."""

    def verb(
        recipe: RecipePath,
        overrides: Overrides = None,
        settings: Settings = None,
        force: Annotated[bool, typer.Option("--force", help="Redo it although it is up to date.")] = False,
        dry_run: DryRun = False,
        retrain: Retrain = False,
    ) -> None:
        from pmc_llama.pipeline.run import run_recipe

        forced = stage if force else None
        given = joined(overrides, settings)
        run_recipe(recipe, given, until=stage, force=forced, dry_run=dry_run, retrain=retrain)

    prefix = "corpus " if group is inspection.corpus else ""
    group.command(name, help=description, epilog=f"Example: pmc-llama {prefix}{name} minimed")(verb)


_stage_verb(inspection.corpus, "build", "corpus", "Build the corpora: read, select, clean, deduplicate the papers.")
_stage_verb(app, "tokenize", "tokens", "Encode the corpora into token stores.")
_stage_verb(app, "pretrain", "pretrain", "Continue pre-training on the corpus. Under torchrun it uses all processes.")
_stage_verb(app, "finetune", "finetune", "Tune the models in every regime of the recipe.")
evaluate.add_to(app)
inspection.add_to(app)
models.add_to(app)
recipes.add_to(app)


def main() -> None:
    """Entry point: errors a user can mend are one sentence on stderr and exit status 2."""
    from pmc_llama.errors import PmcLlamaError, Stopped
    from pmc_llama.escape import terminal

    try:
        app()
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.status)
    except PmcLlamaError as error:
        print(f"error: {terminal(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        sentence = _about_storage(error)
        if sentence is None:
            raise
        print(f"error: {terminal(sentence)}", file=sys.stderr)
        sys.exit(2)


def _about_storage(error: BaseException | None) -> str | None:
    """Libraries wrap a full disk or a folder that may not be written to in errors of their own: what lies beneath."""
    from pmc_llama.files import STORAGE, storage_sentence

    while error is not None:
        if isinstance(error, OSError) and error.errno in STORAGE:
            return storage_sentence(error)
        if "No space left on device" in str(error):
            return "the disk is full; make room, what is finished is kept, and the same command goes on"
        error = error.__cause__ or error.__context__
    return None
