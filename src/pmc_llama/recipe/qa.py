"""Recipe sections of the qa and experiment rooms: tasks, regimes, evaluation."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, NOTHING, affects, reads
from pmc_llama.recipe.question_sets import QUESTION_SETS
from pmc_llama.recipe.training import LoraSection, TrainSection

if TYPE_CHECKING:
    TaskFormat = str
else:
    TaskFormat = Literal[*QUESTION_SETS]
PromptName = Literal["lm-eval", "plain", "pmc-llama-v1", "pmc-llama-v2", "chat"]


class ColumnsSection(Section):
    """The columns of one's own question file."""

    question: Annotated[str, affects(HERE)]
    options: Annotated[str | list[str], affects(HERE)]
    """One column that holds a list of texts or an object of them, or a column for each option."""
    answer: Annotated[str, affects(HERE)]
    """Holds the right option's letter or text, or its number if `first` is given."""
    answer_is: Annotated[Literal["letter", "text"] | None, affects(HERE)] = None
    """What `answer` holds (None: whichever fits all rows of the file; one that could be either is refused)."""
    first: Annotated[int | None, affects(HERE)] = None
    """The number of the first option, where `answer` holds numbers."""
    id: Annotated[str | None, affects(HERE)] = None
    context: Annotated[str | None, affects(HERE)] = None
    subject: Annotated[str | None, affects(HERE)] = None
    group: Annotated[str | None, affects("score")] = None
    """Names what questions share (drug, passage, exam): such questions are one case in intervals and tests."""


class TaskSection(Section):
    """One question set. Paths are relative to `data.root`; a split that is not given cannot be used.

    A task that names no file is a set by name (its `format`, else the task's own name), as `medqa: {}`; it gets the
    files that `pmc-llama qa download` puts below `data.root`, and a run downloads those that are not there yet.
    """

    format: Annotated[TaskFormat, affects("contamination", "tuning", "score")]
    train: Annotated[str | None, reads("contamination", "tuning", "score")] = None
    test: Annotated[str | None, reads("contamination", "score")] = None
    test_ids: Annotated[str | None, reads("contamination", "tuning", "score")] = None
    """PubMedQA: the file that names the official test questions (`test_ground_truth.json`)."""
    fold: Annotated[int | None, affects("contamination", "tuning", "score")] = Field(default=None, ge=0, le=9)
    """PubMedQA, when `train` is `ori_pqal.json`: tune on the 450 training questions of this cross-validation fold."""
    subjects: Annotated[list[str], affects("contamination", "tuning", "score")] = []
    """MMLU, MMLU-Pro, MMLU-Redux: the subjects (empty: the medical ones; of a file of MMLU, and `mmlu_all`, all)."""
    columns: Annotated[ColumnsSection | None, affects("contamination", "tuning", "score")] = None
    """Format `own`: which column is what."""
    prompt: Annotated[PromptName, affects("tuning", "score")] = "lm-eval"
    """The prompt's name; `pmc-llama qa show` prints what the model sees."""
    answers: Annotated[Literal["letters", "texts"] | None, affects("tuning", "score")] = None
    """What is scored: the options' letters or their texts (None: as the prompt has it)."""
    method: Annotated[Literal["likelihood", "generation"], affects("score")] = "likelihood"
    """Take the likeliest of the options, or let the model write and read its answer (`evaluate.generation`)."""
    shots: Annotated[int, affects("score")] = Field(default=0, ge=0)
    """Solved questions to show before each: of the training split where one is given, else of the test split."""
    shots_draw: Annotated[Literal["fixed", "sampled"], affects("score")] = "fixed"
    """The first ones for all, which is fast as they are computed once, or drawn as lm-evaluation-harness does."""
    limit: Annotated[int | None, affects("contamination", "score")] = Field(default=None, ge=1)
    """Score only so many of the test questions, drawn with a fixed seed: files may be sorted by their answers."""


class RegimeSection(TrainSection):
    """One way of tuning both models, or of asking them untuned.

    `full` and `peft` (LoRA) tune on the training questions of `tasks`, `instruct` on instructions that lie in `files`;
    `zero_shot` and `few_shot` ask without tuning.
    """

    kind: Annotated[
        Literal["full", "peft", "instruct", "zero_shot", "few_shot"],
        affects("contamination", "tuning", "score", "report"),
    ]
    tasks: Annotated[list[str], affects("contamination", "tuning", "score")] = []
    """The sets whose training questions are used. `instruct`: those that the instructions were made from, if any. They
    count as in domain."""
    files: Annotated[list[str], reads("contamination", "tuning")] = []
    """`instruct`: JSON or JSON-lines files of rows with `instruction`, `input`, `output`; relative to `data.root`."""
    fraction: Annotated[float, affects("tuning", "report")] = Field(default=1.0, gt=0, le=1)
    """Share of the training questions or instructions used (data-efficient regimes)."""
    fractions: Annotated[list[Annotated[float, Field(gt=0, le=1)]], affects("tuning", "score", "report")] = []
    """A learning curve: one regime a share, each named with its percentage (`data_efficient_10`)."""
    min_steps: Annotated[int | None, affects(HERE)] = Field(default=None, ge=1)
    """Add epochs until there are so many optimizer steps, so that small shares are tuned long enough."""
    shots: Annotated[int, affects("score")] = Field(default=5, ge=1)
    """`few_shot`: solved questions before each, of the training split where one is given, else of the test split."""
    shots_draw: Annotated[Literal["fixed", "sampled"], affects("score")] = "fixed"
    """`few_shot`: the first ones for all, or drawn as lm-evaluation-harness does."""
    loss_on: Annotated[Literal["answer", "all"], affects("tuning")] = "answer"
    """Train on the answer (`instruct`: the response) and the end of text alone, or on the prompt too."""
    lora: Annotated[LoraSection | None, affects("tuning", "score")] = None
    """Of `peft`; with it, `instruct` trains LoRA too."""

    @property
    def tuned(self) -> bool:
        """Whether the models are tuned before they are asked."""
        return self.kind not in ("zero_shot", "few_shot")

    @model_validator(mode="after")
    def _kind_fits(self) -> "RegimeSection":
        if self.tuned != bool(self.tasks or self.files):
            raise ValueError(f"`tasks` must name the training sets of a tuned regime, and be empty for `{self.kind}`")
        if (self.kind == "instruct") != bool(self.files):
            raise ValueError(
                f"`files` holds the instructions of kind `instruct`, and of no other (this is `{self.kind}`)"
            )
        if self.kind == "peft" and self.lora is None:
            object.__setattr__(self, "lora", LoraSection())
        if self.kind not in ("peft", "instruct") and self.lora is not None:
            raise ValueError(f"`lora` belongs to the kinds `peft` and `instruct`, not `{self.kind}`")
        if self.fractions and (not self.tuned or self.fraction != 1):
            raise ValueError("`fractions` belongs to tuned regimes, and replaces `fraction`")
        return self


def with_shares(regimes: dict[str, RegimeSection]) -> dict[str, RegimeSection]:
    """The regimes, with one in the place of each share of those that have `fractions`, in the order given.

    Raises ValueError where two get the same name.
    """
    found: dict[str, RegimeSection] = {}
    for name, section in regimes.items():
        shares = [
            (f"{name}_{100 * share:g}", section.model_copy(update={"fraction": share, "fractions": []}))
            for share in section.fractions
        ] or [(name, section)]
        for one, of_share in shares:
            if one in found or (one != name and one in regimes):
                raise ValueError(f"regimes.{name}.fractions gives the name {one!r}, which another regime has")
            found[one] = of_share
    return found


class GenerationSection(Section):
    """How a model writes its answers, in tasks with `method: generation`. Nothing comes from the checkpoint."""

    engine: Annotated[Literal["transformers", "vllm"], affects(HERE)] = "transformers"
    """What writes; vLLM needs a GPU and the extra `vllm`."""
    max_new_tokens: Annotated[int, affects(HERE)] = Field(default=64, ge=1)
    """Longest answer in tokens."""
    samples: Annotated[int, affects(HERE)] = Field(default=1, ge=1)
    """One is greedy; more are drawn, and the answer named most often counts (self-consistency)."""
    temperature: Annotated[float, affects(HERE)] = Field(default=0.7, gt=0)
    """Of drawn samples."""
    top_p: Annotated[float, affects(HERE)] = Field(default=0.95, gt=0, le=1)
    """Of drawn samples."""
    seed: Annotated[int, affects(HERE)] = Field(default=0, ge=0)
    """Of drawn samples, which depend on it and on the question alone."""


class EvaluateSection(Section):
    """Scoring of the test questions."""

    normalise: Annotated[Literal["none", "chars", "bytes", "tokens"], affects(HERE)] = "none"
    """What an option's log-likelihood is divided by before the largest is chosen."""
    precision: Annotated[Literal["auto", "bf16", "fp32"], affects(HERE)] = "auto"
    """Of the weights (`auto`: bf16 where the hardware multiplies it fast); log-likelihoods are summed in fp32."""
    batch_tokens: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Tokens in one forward pass (None: 16,384, or 4,096 on a CPU); results do not depend on it."""
    max_length: Annotated[int | None, affects(HERE)] = Field(default=None, ge=8)
    """Longest input in tokens (None: the model's own); longer ones lose their beginning, counted."""
    generation: Annotated[GenerationSection, affects(HERE)] = GenerationSection()
    """How answers are written."""
