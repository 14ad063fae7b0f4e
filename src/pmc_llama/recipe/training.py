"""Recipe sections of the model and train rooms: base model, optimisation, LoRA."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, NOTHING, affects, reads
from pmc_llama.recipe.tokens import MixtureSection, OrderSection

SEEDS = 2**32
"""Seeds are below this, as numpy and torch take them."""


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError for a seed that cannot be used, or that is named twice."""
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise ValueError(f"seed {seed} is not between 0 and {SEEDS - 1:,}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{list(seeds)} names a seed twice: it would be the same model twice")


class OptimSection(Section):
    """AdamW and its schedule. The defaults are PMC-LLaMA's (lr 2e-5, no weight decay, cosine, 3 % warm-up)."""

    lr: Annotated[float, affects(HERE)] = Field(default=2e-5, gt=0)
    betas: Annotated[tuple[float, float], affects(HERE)] = (0.9, 0.999)
    eps: Annotated[float, affects(HERE)] = Field(default=1e-8, gt=0)
    weight_decay: Annotated[float, affects(HERE)] = Field(default=0.0, ge=0)
    clip: Annotated[float, affects(HERE)] = Field(default=1.0, gt=0)
    schedule: Annotated[Literal["cosine", "linear", "constant", "wsd"], affects(HERE)] = "cosine"
    warmup: Annotated[float, affects(HERE)] = Field(default=0.03, ge=0, lt=1)
    """Share of all steps over which the learning rate rises linearly from 0."""
    schedule_stretch: Annotated[float, affects(HERE)] = Field(default=1.0, ge=1, le=1e6)
    """The schedule's length, as a multiple of the run's: 6 is the first 5 epochs of a schedule made for 30."""
    min_lr_ratio: Annotated[float, affects(HERE)] = Field(default=0.0, ge=0, le=1)
    """The learning rate at the end, as a share of `lr`."""


class TrainSection(OptimSection):
    """One training run, whatever it trains."""

    seq_len: Annotated[int, affects(HERE)] = Field(default=2048, ge=8, le=2**20)
    global_batch: Annotated[int, affects(HERE)] = Field(default=128, ge=1, le=2**24)
    """Rows of `seq_len` tokens in one optimizer step, over all processes; in tuning: questions, packed into rows."""
    micro_batch: Annotated[int, NOTHING] = Field(default=4, ge=1, le=2**24)
    """Rows in one forward pass of one process."""
    epochs: Annotated[float, affects(HERE)] = Field(default=1.0, gt=0, le=1e6)
    max_steps: Annotated[int | None, affects(HERE)] = Field(default=None, ge=1)
    precision: Annotated[Literal["auto", "bf16", "fp32"], affects(HERE)] = "auto"
    """`auto`: bf16 where the hardware multiplies it fast, else fp32. Master weights and reductions are fp32 in both."""
    activation_checkpointing: Annotated[Literal["none", "selective", "full"], NOTHING] = "none"
    compile: Annotated[bool, NOTHING] = False
    save_every: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Steps between checkpoints, with one at the end (None: by time and when stopped, and none kept after the run)."""
    save_every_s: Annotated[float | None, NOTHING] = Field(default=1800, gt=0)
    """Seconds without a checkpoint after which one is written, so that a crash costs no more (None: never)."""
    keep_last: Annotated[int, NOTHING] = Field(default=2, ge=1)
    keep_every: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Checkpoints of steps that are multiples of this are never deleted."""
    eval_every: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Steps between measurements of held-out loss (None: at the first and the last step)."""
    log_every: Annotated[int, NOTHING] = Field(default=10, ge=1)
    trackers: Annotated[list[Literal["wandb", "trackio"]], NOTHING] = []
    """Services that get the metrics too (each needs its package), besides metrics.jsonl and TensorBoard files."""
    time_limit_s: Annotated[float | None, NOTHING] = Field(default=None, gt=0)
    """Stop after so long, as on a signal: save, and let the same command go on (for batch systems)."""
    skip_spikes: Annotated[float | None, affects(HERE)] = Field(default=None, gt=0)
    """Leave out the update of a step whose loss is so many standard deviations above the mean of the last 128."""
    shard_processes: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """Processes that a copy of the model is sharded over (None: all); as many as a node has GPUs spares slow links."""


class PretrainSection(TrainSection):
    """Continued pre-training on the corpus."""

    order: Annotated[OrderSection, affects(HERE)] = OrderSection()
    mixture: Annotated[MixtureSection | None, affects(HERE)] = None
    """Mix `corpus`, `general` and `extra` ones in every global batch (None: this run's own corpus alone)."""


class AdaptSection(PretrainSection):
    """Continued pre-training of the base, once or several times."""

    seeds: Annotated[list[int], affects(HERE, "tuning", "score")] = []
    """Make an adapted model a seed (none: one, with the recipe's `seed`). The first is the one that is exported; the
    others tell how much of a difference is the luck of one pre-training."""

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        check_seeds(seeds)
        return seeds


class BaseSection(Section):
    """The base model: a Hugging Face folder or hub id (`path`), or a LLaMA trained from scratch on `general`."""

    path: Annotated[str | None, reads("base", as_="model")] = None
    config: Annotated[dict[str, Any] | None, affects("base")] = None
    """Fields of transformers' `LlamaConfig` (hidden_size, num_hidden_layers …) for a model from scratch."""
    train: Annotated[PretrainSection | None, affects("base")] = None
    """How the model from scratch is trained on the `general` corpus."""

    @model_validator(mode="after")
    def _one_origin(self) -> "BaseSection":
        if (self.path is None) == (self.config is None):
            raise ValueError(
                "give either `path` (an existing model) or `config` (a LLaMA from scratch), not both or neither"
            )
        if (self.train is None) != (self.config is None):
            raise ValueError("a model from scratch needs `train`; a model given by `path` is taken as it is")
        return self


class LoraSection(Section):
    """LoRA through PEFT; the defaults are PMC-LLaMA's."""

    r: Annotated[int, affects(HERE)] = Field(default=8, ge=1)
    alpha: Annotated[float, affects(HERE)] = Field(default=32, gt=0)
    dropout: Annotated[float, affects(HERE)] = Field(default=0.1, ge=0, lt=1)
    targets: Annotated[list[str], affects(HERE)] = ["q_proj", "v_proj"]
    quantize: Annotated[Literal["nf4"] | None, affects(HERE)] = None
    """Keep the frozen base in 4 bits, whole on each process (QLoRA; needs a CUDA GPU and the extra `qlora`)."""
