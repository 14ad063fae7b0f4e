"""Each recipe field changes what it is declared to change, and nothing else: tried on finished runs."""

import shutil
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from e2e.conftest import SMALL_TUNING, pmc_llama, shrunk
from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.run import Pipeline
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import ARTEFACTS, Artefact, effect_of, is_declared
from pmc_llama.recipe.models import MergeSection, ModelSection

Place = tuple[str | int, ...]
TINY_TRAINING = {"seq_len": 128, "global_batch": 4, "micro_batch": 4, "max_steps": 2, "precision": "fp32"}


def sections(kind: type[Section] = Recipe, path: str = "", here: frozenset[Artefact] = frozenset()) -> Iterator[Any]:
    """(path, field, what it is declared to affect) of every field that a recipe can have; `*` stands for any name."""
    for name, field in kind.model_fields.items():
        affected = effect_of(field).resolved(here)
        place = f"{path}.{name}".lstrip(".")
        inner, step = inner_section(field.annotation)
        yield place, field, affected
        if inner is not None:
            yield from sections(inner, place + step, affected)


def owners(kind: type[Section] = Recipe, path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """(path, section) of every field that a recipe can have."""
    for name, field in kind.model_fields.items():
        place = f"{path}.{name}".lstrip(".")
        inner, step = inner_section(field.annotation)
        yield place, kind
        if inner is not None:
            yield from owners(inner, place + step)


def inner_section(annotation: Any) -> tuple[type[Section] | None, str]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    step = ".*" if get_origin(annotation) in (dict, list) else ""
    for argument in get_args(annotation):
        found, deeper = inner_section(argument)
        if found is not None:
            return found, step + deeper
    return None, ""


FIELDS = list(sections())
DECLARED = {path: affected for path, _, affected in FIELDS}
OWNERS = {path: (kind, path.rpartition(".")[2]) for path, kind in owners()}
"""The section and name of each field; the same section may stand in several places."""
LEAVES = [path for path, field, _ in FIELDS if inner_section(field.annotation)[0] is None]


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_every_field_says_of_every_artefact_whether_it_affects_it(artefact: Artefact) -> None:
    undeclared = [path for path, field, _ in FIELDS if not is_declared(field)]
    assert undeclared == [], "say beside the type what a field affects: affects(…), reads(…) or NOTHING"
    assert any(artefact in affected for affected in DECLARED.values())


def test_an_undeclared_field_would_count_everywhere() -> None:
    class Careless(Section):
        new: int = 0

    assert all(Careless(new=1).settings(artefact) == {"new": 1} for artefact in ARTEFACTS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """Files that other values of a recipe may name: each has another content than the one it stands for."""
    root = tmp_path_factory.mktemp("others")
    data = finished / "data"
    for file in ("qa/medmcqa/train.json", "qa/medmcqa/dev.json", "qa/pubmedqa/ori_pqal.json"):
        (root / Path(file).name).write_bytes((data / file).read_bytes() + b"\n")
    (root / "ids.json").write_bytes((data / "qa/pubmedqa/test_ground_truth.json").read_bytes() + b" ")
    (root / "rows.jsonl").write_bytes((data / "qa/instructions.jsonl").read_bytes() + b"\n")
    (root / "shard.jsonl").write_text('{"corpusid": 1}\n')
    (root / "counts.csv").write_text("the,100\n")
    (root / "tokenizer.model").write_bytes((data / "tokenizer/tokenizer.model").read_bytes())
    with (root / "tokenizer.model").open("ab") as file:
        file.write(b"\x12\x00")
    shutil.copy(finished / "predictions.parquet", root)
    (root / "run").symlink_to(finished)
    (root / "base").mkdir()
    for file in (finished / "models/base").iterdir():
        (root / "base" / file.name).write_bytes(file.read_bytes() + (b"\n" if file.suffix == ".json" else b""))
    return root


def from_data(finished: Path, place: Path) -> dict[str, Any]:
    """A recipe on the demo's data that has what the demo's own does not: a base by path, further corpora, a mixture."""
    recipe = shrunk()
    for key in ("minimed", "general"):
        recipe.pop(key)
    train, data = str(finished / "data/qa/medmcqa/train.json"), finished / "data"
    columns = {"question": "question", "options": ["opa", "opb", "opc", "opd"], "answer": "cop", "first": 1, "id": "id"}
    test = str(data / "qa/medmcqa/dev.json")
    own = {"format": "own", "train": train, "test": test, "columns": columns, "prompt": "plain", "limit": 4}
    shards = recipe["corpus"]["sources"]
    recipe |= {
        "name": "from-data",
        "run_dir": str(place / "run"),
        "data": {"root": str(data)},
        "base": {"path": str(finished / "models/base")},
        "extra": {"books": {"sources": shards, "select": {"pmcid": "absent"}, "dedup": {"near": {}}}},
        "tasks": {"own": own, "abstract": recipe["tasks"]["abstract"] | {"limit": 4}},
        "pretrain": TINY_TRAINING
        | {"mixture": {"ratios": {"corpus": 3, "books": 1}, "epochs_of": "corpus", "orders": {"books": {}}}},
        "regimes": {
            "full": {"kind": "full", "tasks": ["own", "abstract"], **SMALL_TUNING},
            "few_shot": {"kind": "few_shot", "shots": 1},
        },
        "models": {
            "tuned": {
                "path": str(finished / "models/adapted"),
                "tuned": True,
                "prompt": {"choose": ["lm-eval", "plain"]},
            },
            "other": {"path": str(finished / "models/adapted"), "prompt": "lm-eval"},
            "merged": {"merge": {"of": ["base", "adapted"]}, "prompt": "lm-eval"},
        },
    }
    return recipe


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory, workplace: Path, finished: Path) -> dict[str, Recipe]:
    """Finished runs: the shrunk demo, one on its data, and an update of the demo."""
    place = tmp_path_factory.mktemp("effects")
    second = from_data(finished, place)
    demo = yaml.safe_load((finished / "recipe.yaml").read_text()) | {"run_dir": str(finished)}
    third = yaml.safe_load(yaml.safe_dump(demo))
    third.pop("minimed")
    third |= {"run_dir": str(place / "update"), "data": {"root": str(finished / "data")}, "tasks": {}, "regimes": {}}
    third |= {"base": {"path": str(finished / "models/adapted")}, "update": {"previous": str(finished)}}
    third["corpus"]["select"] = {"pmcid": "absent"}
    third["corpus"]["sources"][0]["name"] = "later"
    for name, recipe in (("second", second), ("third", third)):
        (place / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        done = pmc_llama(place, "run", f"{name}.yaml", *(["--until", "pretrain"] if name == "third" else []))
        assert done.returncode == 0, done.stderr
    return {name: parse_recipe(raw) for name, raw in (("demo", demo), ("second", second), ("third", third))}


def leaves(value: Section, path: Place = ()) -> Iterator[tuple[Place, Section, str]]:
    """(path, section, name) of every plain field of the sections that a recipe has."""
    for name, field in type(value).model_fields.items():
        found = getattr(value, name)
        if inner_section(field.annotation)[0] is None:
            yield (*path, name), value, name
        elif isinstance(found, Section):
            yield from leaves(found, (*path, name))
        elif isinstance(found, dict | list):
            inside = found.items() if isinstance(found, dict) else enumerate(found)
            for key, one in inside:
                yield from leaves(one, (*path, name, key))


def others(path: Place, section: Section, name: str, root: Path) -> list[Any]:
    """Other values for a field, that a recipe takes."""
    special = special_values(root)
    pattern = pattern_of(path)
    for known in (pattern, pattern.rpartition(".")[2]):
        if known in special:
            return special[known]
    value, annotation = getattr(section, name), type(section).model_fields[name].annotation
    kinds = get_args(annotation) if get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    for kind in kinds:
        if get_origin(kind) is Literal:
            return [one for one in get_args(kind) if one != value][:1]
        if kind is bool:
            return [not value]
        if kind is int:
            return [(value or 8) + 1]
        if kind is float:
            return [(value or 0.5) * 0.5]
    raise AssertionError(f"{pattern}: name another value in special_values")


def special_values(root: Path) -> dict[str, list[Any]]:
    """By path or name: values that the types alone do not give; files are others with another content."""
    return {
        "name": ["another"],
        "run_dir": [],  # another run
        "root": [],  # where the same files lie; what is in them is tried below
        "corpus.sources.*.name": ["another"],
        "general.sources.*.name": ["another"],
        "extra.*.sources.*.name": ["another"],
        "seeds": [[0, 1]],
        "paths": [[str(root / "shard.jsonl")]],
        "papers": [[str(root / "shard.jsonl")]],
        "deleted": [[str(root / "shard.jsonl")]],
        "pmc_ids": [str(root / "shard.jsonl")],
        "split_on": ["x+"],
        "licenses": [["CC0"]],
        "fields": [["Medicine"]],
        "languages": [["en"]],
        "off": [["characters"]],
        "boilerplate": [3],
        "profile": ["pes2o"],
        "word_counts": [{"profile": "pes2o", "word_counts": str(root / "counts.csv")}],
        "prefer": [["s2orc_v1"]],
        "near": [{"bands": 3}],
        "ray_address": ["elsewhere"],
        "ratios": [{"corpus": 2, "books": 1}],
        "epochs_of": ["books"],
        "orders": [{}],
        "trackers": [["wandb"]],
        "betas": [[0.8, 0.9]],
        "max_steps": [1],
        "eval_every": [1],
        "keep_every": [1],
        "shard_processes": [2],
        "skip_spikes": [3.0],
        "time_limit_s": [1.0],
        "targets": [["k_proj"]],
        "quantize": ["nf4"],
        "config": [{"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}],
        "base.path": [str(root / "base")],
        "tokenizer.path": [str(root / "tokenizer.model")],
        "update.previous": [str(root)],
        "tasks.*.format": ["medqa"],
        "tasks.*.train": [str(root / "train.json")],
        "tasks.*.test": [str(root / "dev.json")],
        "tasks.*.test_ids": [str(root / "ids.json")],
        "tasks.*.subjects": [["anatomy"]],
        "tasks.*.limit": [3],
        "tasks.*.fold": [1],
        "question": ["another"],
        "options": ["another"],
        "answer": ["another"],
        "first": [0],
        "id": ["another"],
        "context": ["another"],
        "subject": ["another"],
        "group": ["another"],
        "regimes.*.kind": [{"kind": "instruct", "files": [str(root / "rows.jsonl")]}],
        "regimes.*.tasks": [["abstract"]],
        "regimes.*.files": [[str(root / "rows.jsonl")]],
        "regimes.*.fraction": [0.5],
        "regimes.*.fractions": [[0.5]],
        "regimes.*.min_steps": [5],
        "models.*.path": [str(root / "base")],
        "models.*.revision": ["v1"],
        "models.*.run": [{"path": None, "run": str(root / "run"), "model": "base"}],
        "models.*.model": [{"path": None, "run": str(root / "run"), "model": "base"}],
        "models.*.endpoint": [{"path": None, "prompt": None, "endpoint": "http://127.0.0.1:9"}],
        "models.*.predictions": [{"path": None, "prompt": None, "predictions": str(root / "predictions.parquet")}],
        "models.*.tokenizer": [str(root / "tokenizer.model")],
        **{f"models.*.{name}": [] for name in OF_ENDPOINTS},
        "choose": [["plain", "lm-eval"]],
        "comparisons": [[["base", "adapted"]]],
        "primary.regime": ["few_shot"],
        "primary.tasks": [["abstract"]],
        "seq_len": [96],
        "schedule_stretch": [2.0],
        "models.*.merge.of": [["adapted", "base"]],
        "extra.*.select.max_chars": [10**6],
        "max_chars": [10**6],
    }


def pattern_of(path: Place) -> str:
    """A path with `*` for names, as in DECLARED."""
    parts: list[str] = []
    for part in map(str, path):
        parts.append(part if f"{'.'.join([*parts, part])}" in DECLARED else "*")
    return ".".join(parts)


def changed(recipe: Recipe, path: Place, value: Any) -> Recipe:
    """The recipe with another value; a value that is a mapping for a plain field changes its neighbours too."""
    raw = recipe.model_dump(mode="json", exclude_none=True)
    node: Any = raw
    for part in path[:-1]:
        node = node[part]
    special = isinstance(value, dict) and path[-1] in value
    node.update(value) if special else node.__setitem__(path[-1], value)
    if value == "nf4" or path[-1] == "fractions":
        node.pop("fraction", None)
    return parse_recipe(raw)


def stale(recipe: Recipe) -> set[str]:
    """The artefacts that would be made again for their own sake, not for what they build on."""
    found = set()
    for work, reason in Pipeline(recipe).stale().items():
        if reason is not None and not reason.startswith(("builds on", "its inputs are written anew")):
            found.add(artefact_of(work))
    return found


def artefact_of(work: str) -> str:
    first = work.partition("/")[0]
    named = {"minimed": "world", "general": "corpus", "extra": "corpus", "tune": "tuning", "evaluate": "score"}
    named |= {"choose": "score", "merge": "score"}  # a prompt, or a merge, is part of what is asked
    return named.get(first, first)


def only_for(recipe: Recipe, path: Place) -> bool:
    """Regimes of other kinds do not have the artefact at all: shots matter where a regime asks with some."""
    if path[0] == "regimes":
        regime, name = recipe.regimes[str(path[1])], path[2]
        if not regime.tuned:
            return name in ("shots", "shots_draw") and regime.kind == "few_shot"
        if name in ("shots", "shots_draw"):
            return False
        if name == "files":
            return regime.kind == "instruct"
        return name not in ("tasks", "kind", "fractions") or regime.kind == "full"
    return True


def test_each_field_of_a_finished_run_reruns_what_it_is_declared_to_affect(
    recipes: dict[str, Recipe], root: Path
) -> None:
    seen: dict[str, set[str]] = {}
    wrong: list[str] = []
    for recipe in recipes.values():
        assert stale(recipe) == set() or recipe.update is not None
        made = {artefact_of(work) for work in Pipeline(recipe).stale()}
        before = stale(recipe)
        for path, section, name in leaves(recipe):
            pattern = pattern_of(path)
            for value in others(path, section, name, root) if only_for(recipe, path) else ():
                try:
                    other = changed(recipe, path, value)
                except RecipeError:  # does not go with this recipe's other values; `untried` tells if with none
                    continue
                found = stale(other) - before
                declared = set(DECLARED[pattern])
                wrong += [f"{path} = {value!r} reruns {found - declared}"] if found - declared else []
                seen.setdefault(pattern, set()).update(found)
                assert made >= found
    assert wrong == [], "a change reran what the field is not declared to affect"
    missing = {
        path: DECLARED[path] - seen.get(path, set())
        for path in LEAVES
        if path in seen and DECLARED[path] - seen[path] - UNSEEN.get(path, set())
    }
    assert missing == {}, "declared to affect what did not become stale"
    tried = {OWNERS[path] for path in seen}
    untried = [path for path in LEAVES if OWNERS[path] not in tried and path not in UNTRIED]
    assert untried == [], "no finished run here has these fields"


OF_ENDPOINTS = (*("key_env", "concurrency", "timeout_s", "max_tokens_total", "max_cost", "price_in", "price_out"),)


def test_what_an_endpoint_may_cost_changes_no_answer() -> None:
    limits: dict[str, Any] = {"key_env": "KEY", "concurrency": 2, "timeout_s": 3.0, "max_tokens_total": 4}
    limits |= {"max_cost": 5.0, "price_in": 6.0, "price_out": 7.0}
    assert set(limits) == set(OF_ENDPOINTS)
    section = ModelSection(endpoint="http://127.0.0.1:9", **limits)
    assert section.settings("score") == {"endpoint": "http://127.0.0.1:9"}
    assert all(DECLARED[f"models.*.{name}"] == frozenset() for name in OF_ENDPOINTS)


UNTRIED = {"run_dir", "data.root", "models.*.prompt.on", *(f"models.*.{name}" for name in OF_ENDPOINTS)}
"""Where things lie is no part of what they are; `on` has one value; endpoints are tried above."""
UNSEEN: dict[str, set[str]] = {f"models.*.merge.{name}": {"tuning"} for name in MergeSection.model_fields}
