"""The layout of a run directory: the only file that knows where anything of a run lies."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CorpusDir:
    """One built corpus."""

    root: Path

    @property
    def summary(self) -> Path:
        """Totals over all inputs; there only when the corpus is whole."""
        return self.root / "corpus.json"

    @property
    def parts(self) -> Path:
        """Folder of the Parquet parts."""
        return self.root / "parts"

    @property
    def ledger(self) -> Path:
        """Folder of the ledgers, one JSON per input item."""
        return self.root / "ledger"

    @property
    def card(self) -> Path:
        """The data set's card."""
        return self.root / "README.md"

    @property
    def decontamination(self) -> Path:
        """Which test questions stood in the papers that were dropped for it."""
        return self.root / "decontamination.json"

    @property
    def work(self) -> Path:
        """What an unfinished build has finished so far."""
        return self.root / "work"


@dataclass(frozen=True)
class StoreDir:
    """One token store."""

    root: Path

    @property
    def info(self) -> Path:
        """What the store says of itself; written last."""
        return self.root / "store.json"


@dataclass(frozen=True)
class ExportDir:
    """An exported model: a Hugging Face folder, and beside its weights what it was made by and what it scored."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The recipe that the model was made by."""
        return self.root / "recipe.yaml"

    @property
    def results(self) -> Path:
        """The results that the card speaks of."""
        return self.root / "results.json"

    @property
    def card(self) -> Path:
        """The model's card."""
        return self.root / "README.md"


@dataclass(frozen=True)
class TrainingDir:
    """One training run, whatever it trains."""

    root: Path

    @property
    def metrics(self) -> Path:
        """One line per step and per held-out measurement."""
        return self.root / "metrics.jsonl"

    @property
    def tracker_run(self) -> Path:
        """Id under which services for metrics know this training."""
        return self.root / "tracker_run.txt"

    @property
    def summary(self) -> Path:
        """What a finished run says of itself, and its identity."""
        return self.root / "summary.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def coverage(self) -> Path:
        """Coverage by step of each source of a mixture."""
        return self.root / "coverage.json"


def adapted_name(pretrain_seed: int | None) -> str:
    """What the adapted model of a further pre-training seed is called in paths; None: the first one."""
    return "adapted" if pretrain_seed is None else f"adapted-pretrain-{pretrain_seed}"


def pretraining_label(pretrain_seed: int | None) -> str:
    """What its training is called."""
    return "pretrain" if pretrain_seed is None else f"pretrain-seed-{pretrain_seed}"


@dataclass(frozen=True)
class RunDir:
    """A run directory, or a folder of the same layout in which a piece of work is being made."""

    root: Path

    # what was asked, on what, when

    @property
    def recipe(self) -> Path:
        """The resolved recipe of the last call."""
        return self.root / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, commit and hardware of the last call that made something."""
        return self.root / "environment.json"

    @property
    def lock(self) -> Path:
        """Held by the call that works here."""
        return self.root / ".lock"

    @property
    def history(self) -> Path:
        """One line per call and per finished piece of work."""
        return self.root / "logs" / "history.jsonl"

    @property
    def update_recipe(self) -> Path:
        """The recipe of a later revision."""
        return self.root / "update.yaml"

    @property
    def stamps(self) -> Path:
        """Folder of the stamps."""
        return self.root / "stamps"

    @property
    def authorship(self) -> Path:
        """Which files at the top of the run directory are this package's own."""
        return self.stamps / "own_files.json"

    def stamp(self, work: str) -> Path:
        """The stamp of one piece of work, a stage or `tune/<cell>` or `score/<cell>`."""
        return self.stamps / f"{work}.json"

    def recipe_of(self, digest: str) -> Path:
        """The resolved recipe that something was made by, kept under its hash."""
        return self.stamps / "recipes" / f"{digest}.yaml"

    @property
    def making_root(self) -> Path:
        """Folder of all work that is not finished."""
        return self.root / "making"

    def making(self, work: str, key: str) -> "RunDir":
        """Where a piece of work is made before it is swapped in, per hash of what decides it."""
        return RunDir(self.making_root / f"{work.replace('/', '~')}~{key}")

    def all_making(self, work: str) -> list["RunDir"]:
        """Where a piece of work is or was being made, with whatever settings."""
        prefix = f"{work.replace('/', '~')}~"
        found = sorted(self.making_root.glob("*"))
        return [RunDir(path) for path in found if path.name.rpartition("~")[0] + "~" == prefix]

    @property
    def making_stamp(self) -> Path:
        """The stamp of what is made in this folder."""
        return self.root / "stamp.json"

    @property
    def replaced(self) -> Path:
        """What a finished piece of work took the place of, until that is deleted."""
        return self.root / "replaced"

    # texts and tokens

    @property
    def data(self) -> Path:
        """The synthetic world's files, and the data root of a recipe that names none."""
        return self.root / "data"

    def corpus(self, name: str) -> CorpusDir:
        """A corpus by its name: `corpus`, `general`, or a further one's."""
        return CorpusDir(self.root / name if name in ("corpus", "general") else self.extra / name)

    @property
    def extra(self) -> Path:
        """Folder of the further corpora."""
        return self.root / "extra"

    @property
    def contamination(self) -> Path:
        """Folder of what was found of the test questions."""
        return self.root / "contamination"

    @property
    def contamination_report(self) -> Path:
        """Test questions found in what models are trained on, per text and task."""
        return self.contamination / "contamination.json"

    @property
    def tokens(self) -> Path:
        """Folder of the token stores."""
        return self.root / "tokens"

    def store(self, corpus: str) -> Path:
        """The token store of a corpus."""
        return self.tokens / corpus

    @property
    def contamination_cache(self) -> Path:
        """What was found in each Parquet part, under the hashes of the part and the questions."""
        return self.contamination / "parts"

    # models

    @property
    def base_model(self) -> Path:
        """A base model from scratch."""
        return self.root / "models" / "base"

    @property
    def adapted_model(self) -> Path:
        """The model after continued pre-training."""
        return self.root / "models" / "adapted"

    def merged_model(self, name: str) -> Path:
        """A merge of other models."""
        return self.root / "models" / "merged" / name

    def adapted_model_of(self, pretrain_seed: int | None) -> Path:
        """The model after continued pre-training with a further seed; None: the first one."""
        return self.adapted_model.with_name(adapted_name(pretrain_seed))

    def further_adapted(self) -> list[str]:
        """The adapted models of further seeds that are there, as `adapted-pretrain-<n>`."""
        return [folder.name for folder in sorted(self.adapted_model.parent.glob("adapted-pretrain-*"))]

    def training(self, label: str) -> TrainingDir:
        """A training run on text: `base` or `pretrain`."""
        return TrainingDir(self.root / "train" / label)

    @property
    def tuned(self) -> Path:
        """Folder of all tuned models."""
        return self.root / "tune"

    def cell(self, regime: str, model: str, seed: int) -> Path:
        """All of one tuned cell."""
        return self.tuned / regime / model / f"seed-{seed}"

    def tuned_model(self, regime: str, model: str, seed: int) -> Path:
        """The model of a tuned cell, or its adapter."""
        return self.cell(regime, model, seed) / "model"

    def tuning(self, regime: str, model: str, seed: int) -> TrainingDir:
        """The training run of a tuned cell."""
        return TrainingDir(self.cell(regime, model, seed) / "train")

    def instructions(self, regime: str, model: str, seed: int) -> Path:
        """What became of the questions or instruction rows that a cell was tuned on."""
        return self.cell(regime, model, seed) / "instructions.json"

    # answers and what follows from them

    def prompt_choice(self, model: str) -> Path:
        """Which prompt was chosen for a model."""
        return self.root / "prompts" / f"{model}.json"

    def prompt_journals(self, model: str) -> Path:
        """Folder of the answers that a prompt was chosen by, as they come."""
        return self.root / "prompts" / "answers" / model

    def prompt_journal(self, model: str, prompt: str, task: str) -> Path:
        """Folder of the answers to one task with one prompt."""
        return self.prompt_journals(model) / prompt / task

    @property
    def primary(self) -> Path:
        """The question that the run is to answer, written before the first score."""
        return self.root / "primary.json"

    def answers(self, cell: str, task: str) -> Path:
        """Folder of one cell's answers to one task."""
        return self.root / "predictions" / cell / task

    def task_predictions(self, cell: str, task: str) -> Path:
        """The answers of one cell to one task."""
        return self.answers(cell, task) / "predictions.parquet"

    def journal(self, cell: str, task: str) -> Path:
        """Folder of the answers to one task as they come."""
        return self.answers(cell, task) / "journal"

    def samples(self, cell: str, task: str) -> Path:
        """The answers to one task in lm-evaluation-harness' form."""
        return self.answers(cell, task) / f"samples_{task}.jsonl"

    def asked_model(self, cell: str, task: str) -> Path:
        """What was known of a cell's model when it was asked."""
        return self.answers(cell, task) / "model.json"

    @property
    def predictions(self) -> Path:
        """All predictions: one row per model, regime, seed, task and question."""
        return self.root / "predictions.parquet"

    @property
    def questions(self) -> Path:
        """The test questions."""
        return self.root / "questions.parquet"

    @property
    def models(self) -> Path:
        """What is known of the models that were asked, by name."""
        return self.root / "models.json"

    @property
    def results(self) -> Path:
        """Accuracies and comparisons, computed from the predictions alone."""
        return self.root / "results.json"

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def tables(self) -> Path:
        """Folder of the report's tables as Markdown and CSV."""
        return self.root / "report" / "tables"

    # what there is

    def corpora(self) -> dict[str, CorpusDir]:
        """The corpora that were built: `corpus`, `general`, then further ones by name."""
        named = {name: self.corpus(name) for name in ("corpus", "general")}
        named |= {folder.name: CorpusDir(folder) for folder in sorted(self.extra.glob("*"))}
        return {name: corpus for name, corpus in named.items() if corpus.summary.is_file()}

    def trainings(self) -> dict[str, TrainingDir]:
        """The training runs that wrote metrics, by their place: `train/pretrain`, `tune/full/base/seed-0/train`."""
        files = sorted(self.root.glob("train/*/metrics.jsonl")) + sorted(self.tuned.glob("*/*/*/train/metrics.jsonl"))
        return {file.parent.relative_to(self.root).as_posix(): TrainingDir(file.parent) for file in files}

    def tuned_models(self) -> list[str]:
        """Tuned models that are there, as `<regime>/<model>/seed-<n>`."""
        found = sorted(self.tuned.glob("*/*/seed-*/model"))
        return [folder.parent.relative_to(self.tuned).as_posix() for folder in found]

    def tuned_by_name(self, name: str) -> Path:
        """The folder of a tuned model named as in `tuned_models`."""
        return self.tuned / name / "model"

    def prompt_choices(self) -> dict[str, Path]:
        """Which prompts were chosen, by model."""
        return {file.stem: file for file in sorted((self.root / "prompts").glob("*.json"))}

    def instruction_files(self) -> dict[str, list[Path]]:
        """What became of questions and instruction rows, by regime: a file per tuned model."""
        found: dict[str, list[Path]] = {}
        for file in sorted(self.tuned.glob("*/*/*/instructions.json")):
            found.setdefault(file.parents[2].name, []).append(file)
        return found
