"""A model and data small enough to train in a second, for tests of training; also run under torchrun by its tests."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.loop import TrainSummary, train

VOCAB = 96
CONFIG: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCAB)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", bos_token="w1", eos_token="w2")


@dataclass
class Source:
    """Rows of packed documents of ragged lengths, shuffled anew each epoch of `rows_per_epoch` rows."""

    steps: int = 12
    global_batch: int = 8
    seq_len: int = 24
    rows_per_epoch: int = 40
    seed: int = 0
    masked: float = 0.5
    """Share of labels that do not count, in a different number of each row."""
    sources: tuple[str, ...] = ()
    """Names of the sources it is mixed of."""

    @property
    def fingerprint(self) -> str:
        return repr(self)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        per_epoch = self.rows_per_epoch // self.global_batch
        epoch, position = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows_per_epoch)
        chosen = order[position * self.global_batch : (position + 1) * self.global_batch][rank::world]
        made = [self._row(int(row)) for row in chosen]
        return (
            Rows(*(np.stack(part) if made else np.zeros((0, 0), np.int64) for part in zip(*made, strict=True)))
            if made
            else Rows(*[np.zeros((0, 0), np.int64)] * 3)
        )

    def _row(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, 7, row))
        ids = rng.integers(3, VOCAB, self.seq_len)
        ids[1::2] = (ids[::2] * 5 + 1)[: len(ids[1::2])] % (VOCAB - 3) + 3  # something to learn
        cut = int(rng.integers(4, self.seq_len - 4))
        position_ids = np.concatenate([np.arange(cut), np.arange(self.seq_len - cut)])
        labels = np.where((rng.random(self.seq_len) < self.masked * rng.random()) | (position_ids == 0), IGNORE, ids)
        return ids, position_ids, labels

    def coverage(self, step: int) -> float:
        return min(1.0, step * self.global_batch / self.rows_per_epoch)

    def coverage_by_source(self, step: int) -> dict[str, float]:
        return {name: self.coverage(step) / (i + 1) for i, name in enumerate(self.sources)}


def options(**changes: Any) -> TrainSection:
    defaults: dict[str, Any] = {
        "lr": 1e-2,
        "global_batch": 8,
        "micro_batch": 4,
        "precision": "fp32",
        "weight_decay": 0.1,
    }
    return TrainSection(**{**defaults, **changes})


def run(out: Path, source: Any = None, model: ModelOrigin | None = None, **changes: Any) -> TrainSummary:
    """`train` with defaults for all that a test does not care about."""
    arguments = {name: changes.pop(name) for name in ("lora", "heldout", "seed", "export_to") if name in changes}
    return train(
        model=model or ModelOrigin(config=CONFIG),
        batches=source or Source(),
        options=options(**changes),
        out=out,
        tokenizer=tokenizer(),
        **{"export_to": out / "model", "seed": 0, **arguments},
    )


def is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"
