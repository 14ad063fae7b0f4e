"""The recipes that come with the package, found by their names."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "recipes"


def find_recipe(path: Path) -> Path:
    """`path` itself, or, where it is a bare name and no file, the package's recipe of that name."""
    shipped = FOLDER / f"{path}.yaml"
    return shipped if len(path.parts) == 1 and not path.is_file() and shipped.is_file() else path


def shipped_names() -> list[str]:
    """Names of all of them."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
