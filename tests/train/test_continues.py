"""A run that goes on from an earlier one's last checkpoint: its weights and moments, other data, its own schedule."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pmc_llama.errors import CheckpointError
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.batches import Rows
from pmc_llama.train.checkpoint import whole_checkpoints
from pmc_llama.train.loop import train
from train.tiny import Source, options, run, tokenizer

STEADY = {"schedule": "constant", "warmup": 0, "save_every": 100}


@dataclass
class Later(Source):
    """The rows that come after the first `skipped` steps of the same source."""

    skipped: int = 6

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        return super().rows(step + self.skipped, rank, world)


class Breaking(Later):
    @property
    def fingerprint(self) -> str:
        return Later(steps=self.steps).fingerprint

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        if step == 4:
            raise OSError("the disk is gone")
        return super().rows(step, rank, world)


def go_on(first: Path, out: Path, source: Source, settings: TrainSection) -> bytes:
    train(
        model=ModelOrigin(path=first / "model"),
        batches=source,
        options=settings,
        out=out,
        export_to=out / "model",
        tokenizer=tokenizer(),
        seed=0,
        continues=first / "checkpoints",
    )
    return (out / "model/model.safetensors").read_bytes()


def test_two_halves_with_the_moments_kept_are_the_whole(tmp_path: Path) -> None:
    run(tmp_path / "whole", Source(steps=12), **STEADY)
    run(tmp_path / "first", Source(steps=6), **STEADY)
    whole = (tmp_path / "whole/model/model.safetensors").read_bytes()
    assert go_on(tmp_path / "first", tmp_path / "second", Later(steps=6), options(**STEADY)) == whole
    fresh = tmp_path / "fresh"
    run(fresh, Later(steps=6), model=ModelOrigin(path=tmp_path / "first/model"), **STEADY)
    assert (fresh / "model/model.safetensors").read_bytes() != whole, "without the moments it is another run"


def test_it_can_be_interrupted_and_has_its_own_settings(tmp_path: Path) -> None:
    run(tmp_path / "first", Source(steps=6), **STEADY)
    settings = options(weight_decay=0.0, betas=(0.8, 0.9), save_every=2)
    expected = go_on(tmp_path / "first", tmp_path / "whole", Later(steps=6), settings)
    assert expected != go_on(tmp_path / "first", tmp_path / "other", Later(steps=6), options(save_every=2))
    with pytest.raises(OSError, match="the disk is gone"):
        go_on(tmp_path / "first", tmp_path / "again", Breaking(steps=6), settings)
    assert [path.name for path in whole_checkpoints(tmp_path / "again/checkpoints")] == ["step-00000002"]
    assert go_on(tmp_path / "first", tmp_path / "again", Later(steps=6), settings) == expected
    with pytest.raises(CheckpointError, match="of another run: continues was"):
        (tmp_path / "again/summary.json").unlink()
        (tmp_path / "first/checkpoints").rename(tmp_path / "gone")
        go_on(tmp_path / "first", tmp_path / "again", Later(steps=6), settings)


def test_without_a_checkpoint_the_weights_are_where_it_begins(tmp_path: Path) -> None:
    run(tmp_path / "first", Source(steps=6), **STEADY | {"save_every": None})
    assert not (tmp_path / "first/checkpoints").exists()
    run(tmp_path / "fresh", Later(steps=6), model=ModelOrigin(path=tmp_path / "first/model"), **STEADY)
    got = go_on(tmp_path / "first", tmp_path / "second", Later(steps=6), options(**STEADY))
    assert got == (tmp_path / "fresh/model/model.safetensors").read_bytes()
