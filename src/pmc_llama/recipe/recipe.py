"""The whole experiment as types: what a recipe holds, and what must fit together in it."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.comparisons import (
    OWN_MODELS,
    Pair,
    check_comparisons,
    check_models,
    default_comparisons,
    nearest,
)
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.recipe.effects import NOTHING, affects
from pmc_llama.recipe.minimed import MiniMedSection
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.primary import PrimarySection
from pmc_llama.recipe.qa import EvaluateSection, RegimeSection, TaskSection, with_shares
from pmc_llama.recipe.question_sets import with_files
from pmc_llama.recipe.tokens import TokenizerSection, TokensSection
from pmc_llama.recipe.training import SEEDS, AdaptSection, BaseSection, check_seeds
from pmc_llama.recipe.update import UpdateSection

RESERVED = ("corpus", "general", "earlier", "all")
"""Names of texts that are not for further corpora; `earlier` and `all` are an update's and a mixture's own."""
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
LONGEST_NAME = 80


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
    seed: Annotated[int, affects("world", "base", "pretrain")] = Field(default=0, ge=0, lt=SEEDS)
    """Of the synthetic world, the initial weights and the order of the training data."""
    seeds: Annotated[list[int], affects("tuning", "score")] = Field(default=[0], min_length=1)
    """Seeds of the tuning runs; each regime that tunes is run once per seed for every model in it."""
    workers: Annotated[int | None, NOTHING] = Field(default=None, ge=1, le=4096)
    """Processes for corpus and tokens (None: one per core)."""
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
    pretrain: Annotated[AdaptSection, affects("pretrain")] = AdaptSection()
    """Continued pre-training on the corpus: what makes the adapted model."""
    tasks: Annotated[dict[str, TaskSection], NOTHING] = {}
    """Question sets by name."""
    regimes: Annotated[dict[str, RegimeSection], affects("tuning")] = {}
    """Ways of tuning or asking, each applied to the base and to the adapted model, and to further ones."""
    models: Annotated[dict[str, ModelSection], NOTHING] = {}
    """Further models by name, asked the same questions: in the regimes that do not tune, and in all if `tuned`."""
    comparisons: Annotated[list[tuple[str, str]], affects("report")] = []
    """Pairs of models to compare, as `[[base, adapted], [meditron, adapted]]`; a difference is the second's accuracy
    less the first's, and the first pair is the verdict's (none: base and every further model against adapted)."""
    evaluate: Annotated[EvaluateSection, affects("score")] = EvaluateSection()
    primary: Annotated[PrimarySection, affects("report")] = PrimarySection()
    """What the run is to find out."""
    update: Annotated[UpdateSection | None, NOTHING] = None
    """Make this run the next revision of another one; the corpus names the new papers only."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _sets_by_name(cls, tasks: Any) -> Any:
        return {name: with_files(name, task) for name, task in tasks.items()} if isinstance(tasks, dict) else tasks

    @field_validator("general")
    @classmethod
    def _general_needs_no_pmcid(cls, general: CorpusSection | None) -> CorpusSection | None:
        return None if general is None else general.with_default_pmcid("any")

    @field_validator("extra")
    @classmethod
    def _extra_needs_no_pmcid(cls, extra: dict[str, CorpusSection]) -> dict[str, CorpusSection]:
        return {name: section.with_default_pmcid("any") for name, section in extra.items()}

    @field_validator("regimes")
    @classmethod
    def _one_regime_a_share(cls, regimes: dict[str, RegimeSection]) -> dict[str, RegimeSection]:
        return with_shares(regimes)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        check_seeds(seeds)
        return seeds

    @model_validator(mode="after")
    def _names_are_folders(self) -> "Recipe":
        for kind in (self.tasks, self.regimes, self.corpora, self.all_models):
            lower: dict[str, str] = {}
            for name in kind:
                if lower.setdefault(name.lower(), name) != name:
                    raise ValueError(
                        f"{lower[name.lower()]!r} and {name!r} differ only in capitals, and become folders"
                    )
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> "Recipe":
        for name in [self.name, *self.tasks, *self.regimes, *self.extra, *self.models]:
            if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
                raise ValueError(
                    f"name {name!r} becomes a folder: use letters, digits, '.', '_' and '-' only, no dot at the end, "
                    f"at most {LONGEST_NAME} characters"
                )
        for regime, section in self.regimes.items():
            for task in section.tasks:
                if task not in self.tasks:
                    raise ValueError(
                        f"regimes.{regime}.tasks names {task!r}, which is not in tasks{nearest(task, self.tasks)}"
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

    @model_validator(mode="after")
    def _the_primary_question_can_be_asked(self) -> "Recipe":
        regime, tested = self.primary.regime, [name for name, task in self.tasks.items() if task.test is not None]
        if regime is not None and regime not in self.regimes:
            raise ValueError(f"primary.regime names {regime!r}, which is not in regimes{nearest(regime, self.regimes)}")
        for task in self.primary.tasks:
            if task not in tested:
                raise ValueError(
                    f"primary.tasks names {task!r}, which is no task with test questions{nearest(task, tested)}"
                )
        return self

    @model_validator(mode="after")
    def _models_can_be_asked_and_compared(self) -> "Recipe":
        check_models(self.models, self.regimes)
        check_comparisons(self.comparisons, self.all_models)
        return self

    @property
    def all_models(self) -> list[str]:
        """Names of all models: base, adapted, then the further ones."""
        return [*OWN_MODELS, *self.models]

    @property
    def compared(self) -> list[Pair]:
        """The pairs of models that are compared; the first is the primary question's."""
        return self.comparisons or default_comparisons(self.all_models)

    @property
    def pretrain_seeds(self) -> list[int]:
        """A seed for each adapted model."""
        return self.pretrain.seeds or [self.seed]

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
