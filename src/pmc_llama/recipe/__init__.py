"""The recipe: one YAML file that is the whole experiment, typed, with clear errors and a hash per stage."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from pmc_llama.errors import RecipeError
from pmc_llama.recipe.base import Section
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.recipe.effects import NOTHING, affects
from pmc_llama.recipe.minimed import MiniMedSection
from pmc_llama.recipe.qa import EvaluateSection, RegimeSection, TaskSection, with_shares
from pmc_llama.recipe.shipped import find_recipe, shipped_names
from pmc_llama.recipe.tokens import TokenizerSection, TokensSection
from pmc_llama.recipe.training import BaseSection, PretrainSection
from pmc_llama.recipe.update import UpdateSection

RESERVED = ("corpus", "general", "earlier", "all")
"""Names of texts that are not for further corpora; `earlier` and `all` are an update's and a mixture's own."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class DataSection(Section):
    """Where the input lies."""

    root: Annotated[str | None, NOTHING] = None
    """Folder that relative input paths start from (None: `data` in the run directory, where MiniMed writes)."""


class Recipe(Section):
    """The whole experiment. See `recipes/` for complete examples."""

    name: Annotated[str, affects("report")]
    """Names the experiment in the report and in model cards."""
    run_dir: Annotated[str, NOTHING]
    """Folder of everything that the recipe makes."""
    seed: Annotated[int, affects("world", "base", "pretrain")] = Field(default=0, ge=0)
    """Of the synthetic world, the initial weights and the order of the training data."""
    seeds: Annotated[list[int], affects("tuning", "score")] = Field(default=[0], min_length=1)
    """Seeds of the tuning runs; each regime is run once a seed for both models."""
    workers: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Processes for corpus and tokens (None: one a core)."""
    data: Annotated[DataSection, NOTHING] = DataSection()
    minimed: Annotated[MiniMedSection | None, affects("world")] = None
    """Write a synthetic medical world first, and use it as input."""
    corpus: Annotated[CorpusSection, affects("corpus")]
    """The papers to adapt to."""
    general: Annotated[CorpusSection | None, affects("corpus")] = None
    """Text outside the domain: a base from scratch is trained on it, and its held-out part shows forgetting."""
    extra: Annotated[dict[str, CorpusSection], affects("corpus")] = {}
    """Further corpora by name, as `books`, for `pretrain.mixture` to mix in."""
    tokenizer: Annotated[TokenizerSection, NOTHING]
    tokens: Annotated[TokensSection, affects("tokens")] = TokensSection()
    base: Annotated[BaseSection, NOTHING]
    """The model before."""
    pretrain: Annotated[PretrainSection, affects("pretrain")] = PretrainSection()
    """Continued pre-training on the corpus: what makes the adapted model."""
    tasks: Annotated[dict[str, TaskSection], NOTHING] = {}
    """Question sets by name."""
    regimes: Annotated[dict[str, RegimeSection], affects("tuning")] = {}
    """Ways of tuning or asking, each applied to the base and to the adapted model."""
    evaluate: Annotated[EvaluateSection, affects("score")] = EvaluateSection()
    update: Annotated[UpdateSection | None, NOTHING] = None
    """Make this run the next revision of another one; the corpus names the new papers only."""

    @field_validator("regimes")
    @classmethod
    def _one_regime_a_share(cls, regimes: dict[str, RegimeSection]) -> dict[str, RegimeSection]:
        return with_shares(regimes)

    @model_validator(mode="after")
    def _references_exist(self) -> "Recipe":
        for name in [self.name, *self.tasks, *self.regimes, *self.extra]:
            if not NAME.fullmatch(name):
                raise ValueError(f"name {name!r} becomes a folder: use letters, digits, '.', '_' and '-' only")
        for regime, section in self.regimes.items():
            for task in section.tasks:
                if task not in self.tasks:
                    raise ValueError(
                        f"regimes.{regime}.tasks names {task!r}, which is not in tasks{_nearest(task, self.tasks)}"
                    )
                if self.tasks[task].train is None and section.kind != "instruct":
                    raise ValueError(f"regimes.{regime} tunes on {task!r}, but tasks.{task}.train is not given")
        if self.base.train is not None and self.general is None:
            raise ValueError("base.train needs the `general` corpus to train on")
        for name in self.extra:
            if name in RESERVED:
                raise ValueError(f"extra names {name!r}, which is another text's name: {', '.join(RESERVED)} are taken")
        for source in self.pretrain.mixture.ratios if self.pretrain.mixture else ():
            if source not in self.corpora:
                known = ", ".join(self.corpora)
                raise ValueError(f"pretrain.mixture names {source!r}; the corpora of this recipe: {known}")
        if self.data.root is None and self.minimed is None:
            raise ValueError("data.root is not given, and there is no `minimed` section that would write data")
        return self

    @property
    def run_path(self) -> Path:
        """The run directory."""
        return Path(self.run_dir)

    @property
    def corpora(self) -> dict[str, CorpusSection]:
        """All corpora, by the names that mixtures and token stores have."""
        general = {} if self.general is None else {"general": self.general}
        return {"corpus": self.corpus, **general, **self.extra}

    @property
    def data_root(self) -> Path:
        """The folder that relative input paths start from."""
        return Path(self.data.root) if self.data.root is not None else self.run_path / "data"


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe, a file or one of the package's by name, and apply `key.path=value` overrides (values are YAML).

    Raises RecipeError naming the key path, the value, what was expected and the nearest right key.
    """
    path = find_recipe(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist{_nearest_file(path)}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"recipe {path} must be a mapping of keys to values, not {type(raw).__name__}")
    for override in overrides or []:
        _apply_override(raw, override)
    return parse_recipe(raw, str(path))


def parse_recipe(raw: dict[str, Any], origin: str = "recipe") -> Recipe:
    """Check a recipe given as plain values. Raises RecipeError listing every wrong key and value."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(problem, raw) for problem in error.errors()]
        raise RecipeError(f"{origin}:\n" + "\n".join(f"  - {problem}" for problem in problems)) from None


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override!r}: expected key.path=value, for example --set pretrain.lr=1e-5")
    node: Any = raw
    *parents, last = key.split(".")
    for parent in parents:
        child = node.get(parent) if isinstance(node, dict) else _list_item(node, parent, key)
        if child is None and isinstance(node, dict):
            child = node[parent] = {}
        if not isinstance(child, dict | list):
            raise RecipeError(f"--set {override!r}: {parent!r} holds the value {child!r}, not a section")
        node = child
    value = _yaml_value(key, text)
    if isinstance(node, list):
        _list_item(node, last, key)
        node[int(last)] = value
    else:
        node[last] = value


def _list_item(node: list[Any], index: str, key: str) -> Any:
    if not index.isdigit() or int(index) >= len(node):
        raise RecipeError(f"--set {key}: {index!r} is not a position in a list of {len(node)} (count from 0)")
    return node[int(index)]


def _yaml_value(key: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        raise RecipeError(f"--set {key}: the value {text!r} is not valid YAML") from None
    if isinstance(value, str):  # YAML 1.1 reads 1e-5 as text; people mean the number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(problem: Any, raw: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    path = ".".join(location) or "recipe"
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key (value {problem['input']!r}){_nearest(location[-1], _fields_at(location[:-1]))}"
    if problem["type"] == "missing":
        return f"{path}: required, but not given"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{path}: {message}" if location else message
    return f"{path}: {problem['input']!r} is not valid: {message[0].lower()}{message[1:]}"


def _fields_at(location: list[str]) -> list[str]:
    """The keys that the section at `location` knows."""
    model: Any = Recipe
    for part in location:
        model = (
            _inner_section(model.model_fields[part].annotation)
            if _is_section(model) and part in model.model_fields
            else model
        )
    return list(model.model_fields) if _is_section(model) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _inner_section(annotation: Any) -> Any:
    """The Section inside `X`, `X | None`, `list[X]` or `dict[str, X]`."""
    if _is_section(annotation):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_section(argument)
        if found is not None:
            return found
    return None


def _nearest(word: str, known: Any) -> str:
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def _nearest_file(path: Path) -> str:
    here = [found.name for found in sorted(path.parent.glob("*.yaml"))]
    return _nearest(path.name, here) if here else _nearest(path.stem, shipped_names())
