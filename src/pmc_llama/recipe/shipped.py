"""The recipes that come with the package, found by their names."""

import difflib
from pathlib import Path

from pmc_llama.errors import RecipeError

FOLDER = Path(__file__).parents[1] / "recipes"


def find_recipe(path: Path) -> Path:
    """`path` itself, or, where it is a bare name and no file, the package's recipe of that name."""
    shipped = FOLDER / f"{path}.yaml"
    return shipped if len(path.parts) == 1 and not path.is_file() and shipped.is_file() else path


def shipped_names() -> list[str]:
    """Names of all of them."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def shipped_path(name: str) -> Path:
    """The file of one. Raises RecipeError for a name that none has."""
    if name not in shipped_names():
        near = difflib.get_close_matches(name, shipped_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"there is no recipe {name!r}{hint}; recipes of the package: {', '.join(shipped_names())}")
    return FOLDER / f"{name}.yaml"


def about(name: str) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = []
    for line in shipped_path(name).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).partition(". ")[0].partition(": ")[0].rstrip(".")
