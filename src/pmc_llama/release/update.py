"""Continuous training: later papers make the next revision of a run, which must not be worse than the one before.

A revision is a run directory of its own. Its recipe says what is done: the base is the previous revision's adapted
model, `update` names that revision, the corpus' sources are the new shards, and the tasks and regimes are the same. So
"base against adapted" of its results is "previous against new", with the paired tests of any run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_text
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import adapted_model_path
from pmc_llama.release.trained import read_if_there, read_recipe, revisions_of

SIGNIFICANT = 0.05
Run = Callable[..., object]
"""`run(recipe, settings, until=STAGE)` runs a recipe: the pipeline's `run_recipe`."""


@dataclass(frozen=True)
class Revision:
    """What an update did."""

    run_dir: Path
    incoming: int
    """Records that the new shards hold."""
    new: int
    """Papers of them that the corpus lacked."""
    known: int
    better: tuple[str, ...]
    """Regimes and tasks in which the new revision is significantly better than the previous one (Holm, 5 %)."""
    worse: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.incoming:,} records came in: {self.new:,} new papers, {self.known:,} known ones",
            f"significantly better: {', '.join(self.better) or 'nothing'}",
            f"significantly worse: {', '.join(self.worse) or 'nothing'}",
        ]
        verdict = "the revision is not to be published" if self.worse else f"the revision is in {self.run_dir}"
        return "\n".join([*lines, verdict])


def update(
    run_dir: Path,
    sources: Sequence[str],
    out: Path,
    *,
    run: Run,
    papers: Sequence[str] = (),
    replay: float = 0.25,
    settings: Sequence[str] = (),
) -> Revision:
    """Make the next revision of `run_dir` in `out` from new shards; the same call goes on after an interruption.

    `sources` and `papers` are paths like a recipe's, read as the recipe's first source; `replay` is the share of the
    training rows that are earlier papers; `settings` override keys of the revision's recipe (`pretrain.lr=1e-5`). The
    learning rate is warmed up again from 0 to the recipe's peak. Raises InputError if the shards bring nothing new.
    """
    if not 0 <= replay < 1:
        raise InputError(f"replay {replay}: expected a share from 0 to below 1")
    run_dir, out = run_dir.resolve(), out.resolve()
    recipe = read_recipe(run_dir)
    if not adapted_model_path(recipe).is_dir():
        raise InputError(f"{run_dir} has no adapted model to go on from: run its recipe first")
    revision = _revision_recipe(recipe, run_dir, out, sources, papers, replay)
    write_text(out / "update.yaml", yaml.safe_dump(revision, sort_keys=False))
    run(out / "update.yaml", list(settings), until="corpus")
    came = read_json(out / "corpus" / "corpus.json")["appended"]
    if not came["kept"]:
        raise InputError(f"nothing new: of {came['in']:,} records in the new shards none is a paper that was not there")
    run(out / "update.yaml", list(settings))
    better, worse = judge(read_json(out / "results.json"))
    known = came["dropped"].get("known", 0)
    return Revision(out, came["in"], came["kept"], known, tuple(better), tuple(worse))


def judge(results: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(better, worse): where the value of `results.json` says that adapted differs significantly from base."""
    pairs = [pair for pair in results["comparisons"] if pair["holm_p"] < SIGNIFICANT and pair["delta"]]
    named = [(pair["delta"] > 0, f"{pair['regime']}/{pair['task']}/seed-{pair['seed']}") for pair in pairs]
    return [name for up, name in named if up], [name for up, name in named if not up]


def check_not_worse(run_dir: Path) -> None:
    """Raises InputError for a revision that is significantly worse than the previous one, or was not compared."""
    update = read_recipe(run_dir).update
    if update is None:
        return
    results = read_if_there(run_dir / "results.json")
    if results is None:
        raise InputError(f"{run_dir} was not compared with the previous revision yet: let `pmc-llama update` finish")
    worse = judge(results)[1]
    if worse:
        raise InputError(
            f"{run_dir} is significantly worse than {update.previous} in {', '.join(worse)}: "
            "it is not exported unless you allow it (--allow-worse)"
        )


def _revision_recipe(
    recipe: Recipe, run_dir: Path, out: Path, sources: Sequence[str], papers: Sequence[str], replay: float
) -> dict[str, Any]:
    """The previous recipe, going on from that run, with the new shards as the corpus' source."""
    value = recipe.model_dump(mode="json", exclude_none=True, exclude={"minimed", "base", "update"})
    first = value["corpus"]["sources"][0] | {"name": f"revision-{len(revisions_of(run_dir)) + 1}"}
    first |= {"paths": _absolute(sources)} | ({"papers": _absolute(papers)} if papers else {})
    value["corpus"]["sources"] = [first]
    return value | {
        "run_dir": str(out),
        "data": {"root": str(recipe.data_root.resolve())},
        "base": {"path": str(run_dir / "models" / "adapted")},
        "update": {"previous": str(run_dir), "replay": replay},
    }


def _absolute(patterns: Sequence[str]) -> list[str]:
    return [pattern if "://" in pattern else str(Path.cwd() / pattern) for pattern in patterns]
