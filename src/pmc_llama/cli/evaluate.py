"""The verb `evaluate`: the models of a recipe, or any models without one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pmc_llama.cli.options import DryRun, Overrides, Retrain, Settings, joined

EXAMPLES = """\b
Example: pmc-llama evaluate minimed
  pmc-llama evaluate --model models/ours --against models/other --tasks medqa,pubmedqa --data data -o scores
  pmc-llama evaluate --model http://127.0.0.1:8000 --tasks medqa --data data --limit 100
  pmc-llama evaluate --model runs/mine --against other/predictions.parquet --data data -o scores
  pmc-llama evaluate --model '{endpoint: "https://host/v1", model: gpt-4o, key_env: OPENAI_API_KEY}' --data data"""
OF_RECIPES = ["overrides", "settings", "force", "dry_run", "retrain"]
OF_MODELS = ["against", "tasks", "data", "limit", "prompt", "answers", "method", "shots", "out"]
OF_MODELS += ["max_new_tokens", "precision"]


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(epilog=EXAMPLES)(evaluate)


def evaluate(
    context: typer.Context,
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A YAML file, or a recipe of the package by name.")
    ] = None,
    overrides: Overrides = None,
    settings: Settings = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Instead of a recipe: a folder or hub id, a run, a URL with OpenAI's API, a .parquet of predictions, "
            "or the keys of a recipe's `models` as {endpoint: URL, model: NAME, key_env: VARIABLE}.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Compare with this one, given alike. May be repeated.")
    ] = None,
    tasks: Annotated[
        str, typer.Option(metavar="NAMES", help="Sets, with commas (see pmc-llama qa download).")
    ] = "medqa,pubmedqa",
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the question sets.")] = Path("data"),
    limit: Annotated[int | None, typer.Option(min=1, help="So many questions of each set, always the same.")] = None,
    prompt: Annotated[str, typer.Option(help="lm-eval, plain, chat, pmc-llama-v1 or pmc-llama-v2.")] = "lm-eval",
    answers: Annotated[
        Literal["letters", "texts"] | None, typer.Option(help="Score letters or texts (default: as the prompt has it).")
    ] = None,
    method: Annotated[
        Literal["likelihood", "generation"], typer.Option(help="Score options, or read what is written.")
    ] = "likelihood",
    shots: Annotated[int, typer.Option(min=0, help="Solved questions before each.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest written answer.")] = 64,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Of weights that are loaded.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Keep the answers; goes on where it stopped.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Redo it although it is up to date.")] = False,
    dry_run: DryRun = False,
    retrain: Retrain = False,
) -> None:
    """Score test questions: a recipe's models, or any with --model."""
    from pmc_llama.errors import RecipeError

    if (recipe is None) == (model is None):
        raise RecipeError("give either a recipe or --model (pmc-llama evaluate --help shows examples)")
    other = OF_MODELS if model is None else OF_RECIPES
    stray = [name for name in other if getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT"]
    if stray:
        named, only = {"settings": "set"}.get(stray[0], stray[0]).replace("_", "-"), "a recipe" if model else "--model"
        raise RecipeError(f"--{named} belongs to {only}" + ("; a recipe says it itself" if model is None else ""))
    if recipe is not None:
        from pmc_llama.pipeline.run import run_recipe

        forced, given = "evaluate" if force else None, joined(overrides, settings)
        run_recipe(recipe, given, until="evaluate", force=forced, dry_run=dry_run, retrain=retrain)
        return
    from pmc_llama.experiment.evaluation import Asking, evaluate_and_print

    assert model is not None
    keys = {"limit": limit, "prompt": prompt, "answers": answers, "method": method, "shots": shots}
    how = {"precision": precision, "generation": {"max_new_tokens": max_new_tokens}}
    asking = Asking.of([name.strip() for name in tasks.split(",") if name.strip()], data, keys, how)
    evaluate_and_print(model, against or [], asking, out)
