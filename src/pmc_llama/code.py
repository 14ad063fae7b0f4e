"""A hash of the code that makes something, so that its results are known to be of another version when it changed."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent
DATA = (".yaml", ".html", ".css", ".js", ".md")
"""Suffixes of the files besides sources that a package reads."""


@cache
def code_hash(module: str, *lazy: str) -> str:
    """Hex SHA-256 over the source of `module` and of all that it imports, anywhere in it, of its own top-level package,
    and over the package's data files.

    `lazy`: modules of that package that it loads by name. Other packages are not followed: what they do to a result is
    part of the results that it builds on, or of none.
    """
    package = module.split(".")[1]
    waiting, sources = [module, *lazy], dict[str, str]()
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in sources or path is None:
            continue
        source = path.read_text()
        sources[name] = source
        waiting += [other for other in _imported(source) if other.split(".")[1:2] == [package]]
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}\n{sources[name]}".encode())
    for path in sorted(path for path in (ROOT / package).rglob("*") if path.suffix in DATA):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _path(module: str) -> Path | None:
    """The source file of a module of this package; None where the name is of something inside a module."""
    place = ROOT.joinpath(*module.split(".")[1:])
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _imported(source: str) -> tuple[str, ...]:
    """The modules of this package that a source imports, and names that may be modules."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("pmc_llama.")]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pmc_llama":
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)
