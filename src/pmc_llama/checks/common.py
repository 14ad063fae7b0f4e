"""What the checks share: errors as sentences, and what a run of MiniMed writes only later."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pmc_llama.errors import PmcLlamaError
from pmc_llama.recipe import Recipe


@contextmanager
def told(found: list[str], key: str = "") -> Iterator[None]:
    """Note an error of the block as a problem of `key`."""
    try:
        yield
    except PmcLlamaError as error:
        text = str(error)
        found.append(text if not key or text.startswith(key) else f"{key}: {text}")
    except OSError as error:
        found.append(f"{key}: {error.filename or 'a file'} cannot be read: {error.strerror}")


def written_later(recipe: Recipe, path: str) -> bool:
    """Whether a file is not there yet because the recipe's own synthetic world will write it."""
    makes_data = recipe.minimed is not None and recipe.data.root is None
    return makes_data and not Path(path).is_absolute() and not any(recipe.data_root.glob(path))
