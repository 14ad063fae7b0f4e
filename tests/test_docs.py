"""What the documents say is true: commands are understood, the reference is generated, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from pmc_llama.cli import app
from pmc_llama.errors import RecipeError
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.reference import render_reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(?:bash|console|sh)\n(.*?)```", re.DOTALL)


def documented_commands() -> list[tuple[str, str]]:
    """(document, command line) of every pmc-llama command in a shell block, continuation lines joined."""
    found = []
    for document in DOCUMENTS:
        for block in BLOCK.findall(document.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("  #")[0].strip().removeprefix("$ ")
                if re.match(r"(\S+=\S+ )*(\S*/)?pmc-llama\b", command) or "-m pmc_llama.cli" in command:
                    found.append((document.name, command))
    return found


def words_of(command: str) -> list[str]:
    """The arguments after the program's name."""
    words = shlex.split(command)
    start = next(i for i, word in enumerate(words) if word.endswith(("pmc-llama", "pmc_llama.cli")))
    end = next((i for i, word in enumerate(words) if word in {"|", ">", "&&", "&", ";"}), len(words))
    return words[start + 1 : end]


@pytest.mark.parametrize(("document", "command"), documented_commands())
def test_documented_command_is_understood(document: str, command: str) -> None:
    """Its verb, arguments and options exist, and its recipe with its settings is valid."""
    words = words_of(command)
    verb, rest = get_command(app), words
    while rest and hasattr(verb, "commands") and not rest[0].startswith("-"):
        verb, rest = verb.commands[rest[0]], rest[1:]
    if "--help" not in rest and not hasattr(verb, "commands"):
        verb.make_context("verb", list(rest))
    recipes = [word for word in words if word.startswith("recipes/")]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    for recipe in recipes:
        load_recipe(ROOT / recipe, settings)


def test_there_are_documented_commands() -> None:
    assert len(documented_commands()) > 10


def test_recipe_reference_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == render_reference(), "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (document.parent / target).exists(), target


def test_wrong_recipe_in_a_document_would_be_found() -> None:
    with pytest.raises(RecipeError):
        load_recipe(ROOT / "recipes" / "minimed.yaml", ["pretrain.lrr=1"])


ODD = re.compile(
    r"\b(?:tokens|rows|papers|bytes|questions|windows?|phrases|megabytes|requests) an? "
    r"(?:second|row|step|paper|record|task|regime|relation|core|process|document)\b"
    r"|\bone an? (?:line|model|regime|seed|worker|process|task|file)\b"
    r"|no turning back|begins? anew|costs only itself|met before|page a room",
    re.IGNORECASE,
)
"""Translated phrases: a rate or a share is per something."""


def test_no_translated_phrases() -> None:
    files = [*DOCUMENTS, *(file for folder in ("src", "benchmarks") for file in (ROOT / folder).rglob("*.py"))]
    found = [(file.name, one.group()) for file in files for one in ODD.finditer(file.read_text())]
    assert found == []
