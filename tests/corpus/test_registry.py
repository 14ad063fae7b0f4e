"""The registry of formats and rules: what stands in its lines is there, and what is there stands in a line."""

import ast
from pathlib import Path

import pytest

from pmc_llama.corpus import pieces
from pmc_llama.corpus.clean import PROFILES, Cleaner
from pmc_llama.corpus.paper import Paper, Span
from pmc_llama.corpus.readers.sniff import READERS
from pmc_llama.recipe import registry
from pmc_llama.recipe.corpus import CleanSection, DedupSection, SourceSection

CORPUS = Path(pieces.__file__).parent


def decorated() -> dict[str, str]:
    """Rule -> `module:function` of every function that is made a rule."""
    found = {}
    for path in sorted(CORPUS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "rule":
                    assert isinstance(mark.args[0], ast.Constant)
                    module = ".".join(path.relative_to(CORPUS).with_suffix("").parts)
                    found[str(mark.args[0].value)] = f"{module}:{node.name}"
    return found


def test_every_rule_has_its_line() -> None:
    assert decorated() == {name: line.function for name, line in registry.RULES.items()}


def test_every_profile_runs_the_rules_that_name_it() -> None:
    for profile in PROFILES:
        section = CleanSection.model_validate({"profile": profile})
        assert list(Cleaner(section).rules) == registry.rules_of(profile)
    named = {profile for line in registry.RULES.values() for profile in line.profiles}
    assert named == set(PROFILES) - {"raw"}


def test_every_reader_has_its_line() -> None:
    assert {name: reader.name for name, reader in READERS.items()} == {
        name: name for name in [*registry.FORMATS, "empty"]
    }


def test_the_recipe_knows_formats_and_their_order_from_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["auto", *registry.FORMATS]:
        assert SourceSection.model_validate({"name": "a", "paths": ["b"], "format": name}).format == name
    assert DedupSection().prefer == ["jats", "bioc", "s2orc_v2", "s2orc_v1", "s2orc_legacy"]
    monkeypatch.setitem(registry.FORMATS, "medline", registry.Format("readers.plain:TextReader", dedup_rank=-1))
    assert registry.by_dedup_rank()[0] == "medline"


def test_a_rule_for_cut_paragraphs_leaves_true_ones_alone() -> None:
    def text(true_paragraphs: bool) -> str:
        body = "It was cut\n\nin two."
        spans = (Span("paragraph", 0, 10), Span("paragraph", 12, len(body)))
        return Cleaner(CleanSection()).text(Paper(body, spans, true_paragraphs=true_paragraphs))[0]

    assert text(True) == "It was cut\n\nin two."
    assert text(False) == "It was cut in two."


def test_a_new_rule_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @pieces.rule("shout", version=7)
    def shout(found: list[pieces.Piece], paper: Paper) -> list[pieces.Piece]:
        for piece in found:
            piece.text = piece.text.upper() + f" ({paper.year})"
        return found

    monkeypatch.setitem(registry.RULES, "shout", registry.Rule("rules:rejoin", ("clean",)))  # a module that is there
    cleaner = Cleaner(CleanSection())
    assert cleaner.rules["shout"] == 7
    text, removed, _ = cleaner.text(Paper("One.", (Span("paragraph", 0, 4),), year=1999))
    assert (text, removed["shout"]) == ("ONE. (1999)", -7)
    monkeypatch.delitem(pieces.MADE, "shout")
