"""Verbs for the recipes that come with the package."""

from pathlib import Path
from typing import Annotated

import typer

recipes = typer.Typer(no_args_is_help=True, help="List, show and copy the recipes of the package.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe of the package, as minimed.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(recipes, name="recipes")


@recipes.command("list", epilog="Example: pmc-llama recipes list")
def list_recipes() -> None:
    """Names of the recipes, and the first sentence of each."""
    from pmc_llama.recipe.shipped import about, shipped_names

    names = shipped_names()
    for name in names:
        print(f"{name:{max(map(len, names))}}  {about(name)}")


@recipes.command("show", epilog="Example: pmc-llama recipes show minimed")
def show_recipe(name: Name) -> None:
    """Print a recipe."""
    from pmc_llama.recipe.shipped import shipped_path

    print(shipped_path(name).read_text(), end="")


@recipes.command("copy", epilog="Example: pmc-llama recipes copy smollm2-135m my-recipe.yaml")
def copy_recipe(
    name: Name,
    to: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to (default: NAME.yaml here).")] = None,
) -> None:
    """Copy a recipe to a file of your own, to be changed."""
    from pmc_llama.errors import InputError
    from pmc_llama.files import write_text
    from pmc_llama.recipe.shipped import shipped_path

    source, target = shipped_path(name), to or Path(f"{name}.yaml")
    if target.exists():
        raise InputError(f"{target} is there already; it is not overwritten")
    write_text(target, source.read_text())
    print(f"{target} written; run it with: pmc-llama run {target}")
