"""What a run directory holds, read as far as it is there: a missing part is empty, never an error."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl
import yaml

from pmc_llama.files import read_record
from pmc_llama.recipe import Recipe, parse_recipe
from pmc_llama.recipe.qa import RegimeSection, TaskSection
from pmc_llama.records.contamination import Contamination, TaskFound, read_contamination
from pmc_llama.records.corpus import CorpusSummary, read_corpus_summary
from pmc_llama.records.environment import Environment
from pmc_llama.records.instructions import InstructionRows
from pmc_llama.records.models import ModelFacts, read_models
from pmc_llama.records.primary import Primary, read_primary
from pmc_llama.records.prompts import PromptChoice, read_choice
from pmc_llama.records.results import Results, read_results
from pmc_llama.records.tokens import StoreInfo, read_store_info
from pmc_llama.records.training import Metrics, read_metrics
from pmc_llama.results.predictions import read_predictions
from pmc_llama.results.primary import changes, in_force, primary_question
from pmc_llama.run_dir import CorpusDir, RunDir

LOOKED_INTO = 2000
"""Papers whose section headings are counted; `pmc-llama corpus stats` reads all."""
SECTIONS = 12
HEADING = r"(?m)^#{2,6} .+$"


@dataclass(frozen=True)
class Corpus:
    """One corpus: its totals, its papers' licences and years, and its token store."""

    name: str
    totals: CorpusSummary
    licenses: list[tuple[str, int]] = field(default_factory=list)
    """Papers by licence, most first."""
    years: list[tuple[int | None, int]] = field(default_factory=list)
    """Papers by year, in order; those without a year last."""
    sections: list[tuple[str, int]] = field(default_factory=list)
    """The SECTIONS most frequent headings, and in how many of the papers looked into each stands."""
    looked_into: int = 0
    store: StoreInfo | None = None
    dropped_for: dict[str, TaskFound] = field(default_factory=dict)
    """Test questions by task for which papers were left out."""


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def places(self) -> RunDir:
        """Where everything lies."""
        return RunDir(self.path)

    @cached_property
    def recipe(self) -> Recipe | None:
        """The resolved recipe, or None where there is none."""
        return parse_recipe(yaml.safe_load(self.recipe_text), str(self.places.recipe)) if self.recipe_text else None

    @cached_property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return self.path.name if self.recipe is None else self.recipe.name

    @cached_property
    def regimes(self) -> dict[str, RegimeSection]:
        """The recipe's regimes."""
        return {} if self.recipe is None else self.recipe.regimes

    @cached_property
    def tasks(self) -> dict[str, TaskSection]:
        """The recipe's tasks."""
        return {} if self.recipe is None else self.recipe.tasks

    @cached_property
    def recipe_text(self) -> str:
        """The resolved recipe as it was written."""
        file = self.places.recipe
        return file.read_text() if file.is_file() else ""

    @cached_property
    def primary(self) -> Primary | None:
        """The question that the verdict answers."""
        asked = None if self.recipe is None else primary_question(self.recipe)
        return in_force(read_primary(self.places.primary), asked, set(self.regimes))

    @cached_property
    def primary_changes(self) -> str:
        """What is to be said of that question; mostly nothing."""
        asked = None if self.recipe is None else primary_question(self.recipe)
        return changes(read_primary(self.places.primary), asked)

    @cached_property
    def environment(self) -> Environment | None:
        """Versions, hardware and commit of the run."""
        file = self.places.environment
        return read_record(file, Environment) if file.is_file() else None

    @cached_property
    def results(self) -> Results:
        """The value of `results.json`."""
        return read_results(self.places.results)

    @cached_property
    def models(self) -> dict[str, ModelFacts]:
        """What is known of the models that were asked."""
        return read_models(self.places.models)

    @cached_property
    def choices(self) -> dict[str, PromptChoice]:
        """Which prompts were chosen, by model; of models that the run still has."""
        found = {name: read_choice(file) for name, file in self.places.prompt_choices().items()}
        return {name: choice for name, choice in found.items() if choice is not None and name in self.models}

    @cached_property
    def contamination(self) -> Contamination:
        """Test questions found in what models are trained on."""
        return read_contamination(self.places.contamination_report)

    @cached_property
    def contaminated(self) -> dict[str, set[str]]:
        """The test questions that stand in what models are trained on, by task."""
        return self.contamination.found()

    @cached_property
    def predictions(self) -> pl.DataFrame | None:
        """`predictions.parquet`, checked, with probabilities. Raises InputError as `read_predictions` does."""
        file = self.places.predictions
        return read_predictions(file) if file.is_file() else None

    @cached_property
    def questions(self) -> pl.DataFrame | None:
        """`questions.parquet`."""
        file = self.places.questions
        return pl.read_parquet(file, glob=False) if file.is_file() else None

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
        found = self.places.trainings()
        return {name.removesuffix("/train"): read_metrics(one.metrics) for name, one in found.items()}

    @cached_property
    def instructions(self) -> dict[str, InstructionRows]:
        """What became of questions and instruction rows, by regime, in the model that had to cut the most of them.

        All models of a regime read the same rows; how many lose their beginning depends on the tokenizer.
        """
        return {
            regime: max((read_record(file, InstructionRows) for file in files), key=lambda one: one.truncated)
            for regime, files in self.places.instruction_files().items()
        }

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The corpora built: `corpus`, `general` where there is one, then further ones."""
        return [self._corpus(name, folder) for name, folder in self.places.corpora().items()]

    def _corpus(self, name: str, folder: CorpusDir) -> Corpus:
        totals, store = read_corpus_summary(folder.summary), self.places.store(name)
        info = read_store_info(store) if store.is_dir() else None
        file = folder.decontamination
        dropped_for = read_record(file, dict[str, TaskFound]) if file.is_file() else {}
        files = sorted(folder.parts.glob("*.parquet"))
        if not files:
            return Corpus(name, totals, store=info, dropped_for=dropped_for)
        papers = pl.scan_parquet(files, glob=False)
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
            info,
            dropped_for,
        )


def _counts(papers: pl.LazyFrame, value: pl.Expr) -> pl.LazyFrame:
    """How many rows have each value."""
    return papers.group_by(value).len()
