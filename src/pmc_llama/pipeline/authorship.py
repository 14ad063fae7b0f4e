"""The files at the top of a run directory that each call writes anew, and those that a user put there instead."""

from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.files import json_bytes, read_record, sha256_bytes, sha256_file, write_bytes, write_json
from pmc_llama.records.environment import Environment
from pmc_llama.records.stamps import Authorship
from pmc_llama.run_dir import RunDir


def write_own(run: RunDir, recipe: str, environment: Environment | None) -> None:
    """Write the resolved recipe, and the environment where something is made; raises InputError as `refuse_foreign`."""
    refuse_foreign(run)
    contents = {run.recipe: recipe.encode()}
    if environment is not None:
        contents[run.environment] = json_bytes(environment)
    before = _known(run)
    new = {path.name: [sha256_bytes(content)] for path, content in contents.items()}
    both = {name: before.get(name, []) + new.get(name, []) for name in before.keys() | new.keys()}
    write_json(run.authorship, Authorship(both))  # first, so that a call that is cut off here knows its own files again
    for path, content in contents.items():
        write_bytes(path, content)
    write_json(run.authorship, Authorship(before | new))


def refuse_foreign(run: RunDir) -> None:
    """Raise InputError for a recipe.yaml or environment.json that this package did not write, or not like that."""
    known = _known(run)
    for path in (run.recipe, run.environment):
        if path.is_file() and sha256_file(path) not in known.get(path.name, []):
            raise InputError(
                f"{path} was not written by this package, or was changed since, and would be overwritten: "
                "give another run_dir, or move the file away"
            )


def _known(run: RunDir) -> dict[str, list[str]]:
    path: Path = run.authorship
    return read_record(path, Authorship).files if path.is_file() else {}
