"""Addresses of inputs: what is secret in one stands in an environment variable, whose value is put in to open it alone.

So the recipe, ledgers, history and messages hold `https://me:${PASSWORD}@host/a.jsonl`, as the recipe gives it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.escape import without_secrets

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_GLOB = re.compile(r"[*?\[]")


def is_remote(path: str) -> bool:
    """Whether a path is a URL (`s3://`, `gs://`, `hf://`, `https://` …), which fsspec opens."""
    return "://" in path


def is_pattern(url: str) -> bool:
    """Whether an address has wildcards. What follows `?` in one of the web is a query."""
    plain = url.partition("?")[0] if url.startswith(("http://", "https://")) else url
    return _GLOB.search(_VARIABLE.sub("", plain)) is not None


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path inside it. Raises InputError for one that cannot be opened here."""
    import fsspec

    with told_plainly(url):
        found, path = fsspec.core.url_to_fs(_filled(url))
    return found, path


@contextmanager
def told_plainly(url: str) -> Iterator[None]:
    """Raise InputError for what a store refuses, without what is secret in the address. A file that is missing passes.

    Each store's client has errors of its own, and those of the web show the whole address.
    """
    try:
        yield
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:
        raise InputError(f"{url}: {as_given(str(error) or type(error).__name__, url)}") from None


def as_given(text: str, url: str) -> str:
    """A text about an address, or the address itself, with the names of its variables in place of their values."""
    for name in _VARIABLE.findall(url):
        if value := os.environ.get(name):
            text = text.replace(value, f"${{{name}}}")
    return text if text.startswith(url.split("://", maxsplit=1)[0] + "://") else without_secrets(text)


def _filled(url: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not os.environ.get(name):
            raise InputError(f"{url}: the environment variable {name} is not set")
        return os.environ[name]

    return _VARIABLE.sub(value, url)
