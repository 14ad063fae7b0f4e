"""What a run directory holds, read as far as it is there: a missing part is empty, never an error."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import yaml

from pmc_llama.files import read_json
from pmc_llama.report.predictions import read_predictions

LOOKED_INTO = 2000
"""Papers whose section headings are counted; `pmc-llama corpus stats` reads all."""
SECTIONS = 12
HEADING = r"(?m)^#{2,6} .+$"


@dataclass(frozen=True)
class Metrics:
    """One training run's `metrics.jsonl`: its optimizer steps, and its held-out measurements."""

    steps: list[dict[str, Any]]
    heldout: list[dict[str, Any]]

    @property
    def heldout_names(self) -> list[str]:
        """The held-out sets measured, in the order in which they first appear."""
        return list(dict.fromkeys(name for record in self.heldout for name in record["heldout"]))

    @property
    def coverage_keys(self) -> dict[str, str]:
        """The keys of a step's coverage by what it is of: `all` text, and each source where several were mixed."""
        last = self.steps[-1] if self.steps else {}
        return {
            key.removeprefix("coverage").lstrip("/") or "all": key for key in last if key.split("/")[0] == "coverage"
        }

    def heldout_curve(self, name: str, key: str) -> list[tuple[float, float]]:
        """(step, `loss` or `perplexity`) on one held-out set."""
        measured = [(float(one["step"]), one["heldout"].get(name, {}).get(key)) for one in self.heldout]
        return [(step, value) for step, value in measured if value is not None]


@dataclass(frozen=True)
class Corpus:
    """One corpus: its totals, its papers' licences and years, and its token store."""

    name: str
    totals: dict[str, Any]
    licenses: list[tuple[str, int]] = field(default_factory=list)
    """Papers by licence, most first."""
    years: list[tuple[int | None, int]] = field(default_factory=list)
    """Papers by year, in order; those without a year last."""
    sections: list[tuple[str, int]] = field(default_factory=list)
    """The SECTIONS most frequent headings, and in how many of the papers looked into each stands."""
    looked_into: int = 0
    store: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as plain values."""
        file = self.path / "recipe.yaml"
        return yaml.safe_load(file.read_text()) or {} if file.is_file() else {}

    @cached_property
    def recipe_text(self) -> str:
        """The resolved recipe as it was written."""
        file = self.path / "recipe.yaml"
        return file.read_text() if file.is_file() else ""

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware and commit of the run."""
        return dict(self._json("environment.json"))

    @cached_property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        """The value of `results.json`."""
        parts = ("rows", "comparisons", "summary", "uncontaminated", "baselines")
        return {**{part: [] for part in parts}, **self._json("results.json")}

    @cached_property
    def contamination(self) -> dict[str, Any]:
        """The value of `corpus/contamination.json`: facts by task."""
        from pmc_llama.records.contamination import read_contamination
        from pmc_llama.run_dir import RunDir
        t = read_contamination(RunDir(self.path).contamination_report).texts
        return {} if "corpus" not in t else {k: msgspec.to_builtins(v) | {"papers_hit": v.documents_hit} for k, v in t["corpus"].tasks.items()}

    @cached_property
    def contaminated(self) -> dict[str, set[str]]:
        """The test questions that stand in papers of the corpus, by task; none where those papers were left out."""
        if self.recipe.get("corpus", {}).get("decontaminate"):
            return {}
        found = {task: set(facts.get("question_ids", ())) for task, facts in self.contamination.items()}
        return {task: ids for task, ids in found.items() if ids}

    @cached_property
    def predictions(self) -> pl.DataFrame | None:
        """`predictions.parquet`, checked, with probabilities. Raises InputError as `read_predictions` does."""
        file = self.path / "predictions.parquet"
        return read_predictions(file) if file.is_file() else None

    @cached_property
    def questions(self) -> pl.DataFrame | None:
        """`questions.parquet`."""
        file = self.path / "questions.parquet"
        return pl.read_parquet(file) if file.is_file() else None

    @cached_property
    def fixed_options(self) -> dict[str, list[str]]:
        """The options of each task whose questions all have the same ones (yes, no, maybe)."""
        if self.questions is None:
            return {}
        options = self.questions.group_by("task").agg(pl.col("options").unique()).rows()
        return {task: different[0] for task, different in options if len(different) == 1}

    @cached_property
    def training(self) -> dict[str, Metrics]:
        """Metrics by training run: `train/base`, `train/pretrain`, `tune/<regime>/<model>/seed-<s>`."""
        found = {file.parent: file for file in sorted(self.path.glob("train/*/metrics.jsonl"))}
        found |= {file.parents[1]: file for file in sorted(self.path.glob("tune/*/*/*/train/metrics.jsonl"))}
        return {folder.relative_to(self.path).as_posix(): read_metrics(file) for folder, file in found.items()}

    @cached_property
    def instructions(self) -> dict[str, dict[str, Any]]:
        """What became of the instruction rows, by regime; all cells of one read the same rows."""
        found = sorted(self.path.glob("tune/*/*/*/instructions.json"))
        return {file.parents[2].name: read_json(file) for file in found}

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The corpora built: `corpus`, `general` where there is one, then further ones."""
        folders = [self.path / "corpus", self.path / "general", *sorted((self.path / "extra").glob("*"))]
        return [self._corpus(folder) for folder in folders if (folder / "corpus.json").is_file()]

    def _corpus(self, folder: Path) -> Corpus:
        name, totals = folder.name, read_json(folder / "corpus.json")
        store = self._json(f"tokens/{name}/store.json")
        if not list((folder / "parts").glob("*.parquet")):
            return Corpus(name, totals, store=store)
        papers = pl.scan_parquet(folder / "parts" / "*.parquet")
        licenses = _counts(papers, pl.col("license").fill_null("not stated")).sort(
            ["len", "license"], descending=[True, False]
        )
        years = _counts(papers, pl.col("year")).sort("year", nulls_last=True)
        headings = (
            pl.col("text").str.extract_all(HEADING).list.eval(pl.element().str.strip_chars("# ").str.to_lowercase())
        )
        first = papers.head(LOOKED_INTO).select(headings.list.unique().alias("section")).collect()
        sections = _counts(first.lazy().explode("section").drop_nulls(), pl.col("section"))
        most = sections.sort(["len", "section"], descending=[True, False]).head(SECTIONS)
        return Corpus(
            name,
            totals,
            licenses.collect().rows(),
            years.collect().rows(),
            most.collect().rows(),
            len(first),
            store,
        )

    def _json(self, name: str) -> Any:
        file = self.path / name
        return read_json(file) if file.is_file() else {}


def _counts(papers: pl.LazyFrame, value: pl.Expr) -> pl.LazyFrame:
    """How many rows have each value."""
    return papers.group_by(value).len()


def read_metrics(path: Path) -> Metrics:
    """A `metrics.jsonl`; of a step logged twice (by a resumed run) the later record counts; a cut line is left out."""
    steps: dict[int, dict[str, Any]] = {}
    heldout: dict[int, dict[str, Any]] = {}
    for line in path.read_bytes().splitlines():
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        (heldout if "heldout" in record else steps)[record["step"]] = record
    return Metrics([steps[step] for step in sorted(steps)], [heldout[step] for step in sorted(heldout)])
