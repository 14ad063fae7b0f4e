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
from pmc_llama.files import write_text
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.comparisons import OWN_MODELS
from pmc_llama.records.corpus import read_corpus_summary
from pmc_llama.records.results import read_results
from pmc_llama.release.provenance import fitting_results
from pmc_llama.release.trained import read_recipe, revisions_of
from pmc_llama.results.gate import Gate, compare_revision
from pmc_llama.results.verdict import finding
from pmc_llama.run_dir import RunDir

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
    """Regimes and tasks in which the new revision is shown to be better than the previous one (Holm, 5 %)."""
    gate: Gate

    @property
    def worse(self) -> tuple[str, ...]:
        """Regimes and tasks in which it is shown to be worse than an earlier model, and not within the margin."""
        return self.gate.worse

    def __str__(self) -> str:
        lines = [
            f"{self.incoming:,} records came in: {self.new:,} new papers, {self.known:,} known ones",
            f"better than the previous revision: {', '.join(self.better) or 'not shown'}",
            *self.gate.lines(),
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
    recipe, new = read_recipe(run_dir), RunDir(out)
    if not RunDir(run_dir).adapted_model.is_dir():
        raise InputError(f"{run_dir} has no adapted model to go on from: run its recipe first")
    revision = _revision_recipe(recipe, run_dir, out, sources, papers, replay)
    write_text(new.update_recipe, yaml.safe_dump(revision, sort_keys=False))
    run(new.update_recipe, list(settings), until="corpus")
    came = read_corpus_summary(new.corpus("corpus").summary).appended
    assert came is not None  # the corpus of an update is appended to one
    if not came.kept:
        raise InputError(
            f"nothing new: of {came.documents_in:,} records in the new shards none is a paper that was not there"
        )
    run(new.update_recipe, list(settings))
    results = read_results(new.results)
    ours = results.between(OWN_MODELS).summary
    better = [f"{row.regime}/{row.task}" for row in ours if finding(row) == "gain"]
    section = read_recipe(out).update
    assert section is not None  # it was written above
    gate = compare_revision(results, section.margin)
    return Revision(out, came.documents_in, came.kept, came.dropped.get("known", 0), tuple(better), gate)


def check_not_worse(run_dir: Path) -> None:
    """Raises InputError for a revision that is shown to be worse than an earlier one, or was not compared."""
    update, run = read_recipe(run_dir).update, RunDir(run_dir)
    if update is None:
        return
    if not run.results.is_file():
        raise InputError(f"{run_dir} was not compared with the previous revision yet: let `pmc-llama update` finish")
    gate = compare_revision(fitting_results(run), update.margin)
    if not gate.compared:
        raise InputError(
            f"{run_dir} was not compared with the previous revision by this version: write its report again "
            "(`pmc-llama report`)"
        )
    if gate.worse:
        raise InputError(
            f"{run_dir} is worse than what was before (previous revision: {update.previous}) in "
            f"{', '.join(gate.worse)}: it is not exported unless you allow it (--allow-worse)"
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
        "base": {"path": str(RunDir(run_dir).adapted_model)},
        "update": {"previous": str(run_dir), "replay": replay},
    }


def _absolute(patterns: Sequence[str]) -> list[str]:
    return [pattern if "://" in pattern else str(Path.cwd() / pattern) for pattern in patterns]
