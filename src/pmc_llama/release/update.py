"""Continuous training: later papers make the next revision of a run, which must not be worse than the one before.

A revision is a run directory of its own. Its recipe says what is done: the base is the previous revision's adapted
model, the corpus is the papers not seen before with a share of old ones replayed, and the tasks and regimes are the
same. So "base against adapted" of its results is "previous against new", with the paired tests of any run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_file, sha256_json, write_json, write_text
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import adapted_model_path
from pmc_llama.release.trained import read_if_there, read_recipe
from pmc_llama.release.unseen import keys_of, sample, unseen, write_papers

SIGNIFICANT = 0.05
Run = Callable[..., object]
"""`run(recipe, settings, until=STAGE)` runs a recipe: the pipeline's `run_recipe`."""


@dataclass(frozen=True)
class Revision:
    """What an update did."""

    run_dir: Path
    incoming: int
    """Papers that the new shards hold after selection."""
    new: int
    replayed: int
    better: tuple[str, ...]
    """Regimes and tasks in which the new revision is significantly better than the previous one (Holm, 5 %)."""
    worse: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.incoming:,} papers came in, {self.new:,} of them new; {self.replayed:,} old ones replayed",
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

    `sources` and `papers` are paths like a recipe's, read by the recipe's first source format; `replay` is the share of
    old text in training; `settings` override keys of the revision's recipe (`pretrain.lr=1e-5`). The learning rate is
    warmed up again from 0 to the recipe's peak. Raises InputError if the shards bring nothing new.
    """
    if not 0 <= replay < 1:
        raise InputError(f"replay {replay}: expected a share from 0 to below 1")
    run_dir, out = run_dir.resolve(), out.resolve()
    recipe = read_recipe(run_dir)
    if not adapted_model_path(recipe).is_dir():
        raise InputError(f"{run_dir} has no adapted model to go on from: run its recipe first")
    incoming = out / "incoming"
    _run_incoming(recipe, run_dir, sources, papers, incoming, run)
    counts = _choose_papers(_ancestors(run_dir), incoming / "corpus", out / "papers", replay, recipe.seed)
    write_text(out / "update.yaml", yaml.safe_dump(_revision_recipe(recipe, run_dir, out, counts), sort_keys=False))
    write_json(out / "revision.json", {"previous": str(run_dir), **counts})
    run(out / "update.yaml", list(settings))
    better, worse = judge(read_json(out / "results.json"))
    write_json(out / "revision.json", {"previous": str(run_dir), **counts, "better": better, "worse": worse})
    return Revision(out, counts["incoming"], counts["new"], counts["replayed"], tuple(better), tuple(worse))


def judge(results: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(better, worse): where the value of `results.json` says that adapted differs significantly from base."""
    pairs = [pair for pair in results["comparisons"] if pair["holm_p"] < SIGNIFICANT and pair["delta"]]
    named = [(pair["delta"] > 0, f"{pair['regime']}/{pair['task']}/seed-{pair['seed']}") for pair in pairs]
    return [name for up, name in named if up], [name for up, name in named if not up]


def check_not_worse(run_dir: Path) -> None:
    """Raises InputError for a revision that is significantly worse than the previous one, or was not compared."""
    revision = read_if_there(run_dir / "revision.json")
    if revision is None:
        return
    if "worse" not in revision:
        raise InputError(f"{run_dir} was not compared with the previous revision yet: let `pmc-llama update` finish")
    if revision["worse"]:
        raise InputError(
            f"{run_dir} is significantly worse than {revision['previous']} in {', '.join(revision['worse'])}: "
            "it is not exported unless you allow it (--allow-worse)"
        )


def _ancestors(run_dir: Path) -> list[Path]:
    """This run and all revisions before it, the newest first."""
    chain = [run_dir]
    while (revision := read_if_there(chain[-1] / "revision.json")) is not None:
        chain.append(Path(revision["previous"]))
    return chain


def _corpus_section(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """How papers were read, selected and cleaned at first: a revision's own recipe only says which were taken over."""
    incoming = run_dir / "incoming" / "recipe.yaml"
    section = read_recipe(incoming.parent).corpus if incoming.is_file() else recipe.corpus
    return section.model_dump(mode="json", exclude_none=True)


def _common(recipe: Recipe, run_dir: Path, out: Path) -> dict[str, Any]:
    """The previous recipe with its inputs by absolute paths, and the previous adapted model as its base."""
    value = recipe.model_dump(mode="json", exclude_none=True, exclude={"minimed", "base"})
    value["run_dir"] = str(out)
    value["data"] = {"root": str(recipe.data_root.resolve())}
    value["base"] = {"path": str(run_dir / "models" / "adapted")}
    return value


def _run_incoming(
    recipe: Recipe, run_dir: Path, sources: Sequence[str], papers: Sequence[str], out: Path, run: Run
) -> None:
    """Read, select and clean the new shards as the first corpus was."""
    value = _common(recipe, run_dir, out)
    value.pop("general", None)
    value["pretrain"].pop("mixture", None)
    section = _corpus_section(recipe, run_dir)
    section["sources"] = [{**section["sources"][0], "name": "update", "paths": _absolute(sources)}]
    if papers:
        section["sources"][0]["papers"] = _absolute(papers)
    value["corpus"] = section
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "update.yaml", yaml.safe_dump(value, sort_keys=False))
    run(out / "update.yaml", [], until="corpus")


def _choose_papers(ancestors: list[Path], incoming: Path, out: Path, replay: float, seed: int) -> dict[str, int]:
    """Write the unseen papers and the replayed ones as Parquet, unless they are there; how many there are of each."""
    corpora = [ancestor / "corpus" for ancestor in ancestors]
    made_of = sha256_json([[sha256_file(one / "corpus.json") for one in [incoming, *corpora]], replay, seed])
    done = read_if_there(out / "chosen.json")
    if done is not None and done["made_of"] == made_of:
        return dict(done["counts"])
    known, came = keys_of(corpora), keys_of([incoming])
    new = unseen(came, known)
    if not len(new):
        raise InputError(f"nothing new: all {len(came):,} papers that the new shards hold are known")
    wanted_chars = int(new.get_column("chars").sum()) * replay / (1 - replay)
    old = sample(known.unique("paper_id", maintain_order=True), wanted_chars, seed)
    write_papers([incoming], new, out / "new.parquet")
    if len(old):
        write_papers(corpora, old, out / "replay.parquet")
    counts = {"incoming": len(came), "new": len(new), "replayed": len(old)}
    write_json(out / "chosen.json", {"made_of": made_of, "counts": counts})
    return counts


def _revision_recipe(recipe: Recipe, run_dir: Path, out: Path, counts: dict[str, int]) -> dict[str, Any]:
    value = _common(recipe, run_dir, out)
    names = ["new"] + (["replay"] if counts["replayed"] else [])
    value["corpus"] = _taken_over({name: out / "papers" / f"{name}.parquet" for name in names})
    if recipe.pretrain.mixture is not None:  # of the papers with the general corpus, which stays the same
        general = _ancestors(run_dir)[-1] / "general"
        value["general"] = _taken_over({"general": general / "parts" / "*.parquet"})
    else:
        value.pop("general", None)
    return value


def _taken_over(files: dict[str, Path]) -> dict[str, Any]:
    """A corpus of papers as they are: they were selected and cleaned when they came in."""
    sources = [{"name": name, "format": "parquet", "paths": [str(file)]} for name, file in files.items()]
    return {
        "sources": sources,
        "select": {"pmcid": "any"},
        "clean": {"profile": "raw"},
        "dedup": {"exact": False},
    }


def _absolute(patterns: Sequence[str]) -> list[str]:
    return [str(Path.cwd() / pattern) for pattern in patterns]
