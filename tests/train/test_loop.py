"""The loop: resumes to the bit, stops when asked, refuses what is another run, and minimises the loss it says."""

import json
import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pmc_llama.errors import CheckpointError, Stopped, TrainingError
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import LoraSection
from pmc_llama.records.training import read_metrics
from pmc_llama.train.batches import IGNORE, Rows
from pmc_llama.train.checkpoint import whole_checkpoints
from train.tiny import CONFIG, Source, options, run, tokenizer


class Failing(Source):
    """Breaks when the rows of step `at` are asked for, or, given `number`, has the process signalled."""

    at = 0
    number: signal.Signals | None = None

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        if step == self.at and self.number is None:
            raise RuntimeError("the machine breaks down")
        if step == self.at and self.number is not None:
            os.kill(os.getpid(), self.number)
        return super().rows(step, rank, world)


def failing(at: int, number: signal.Signals | None = None, **changes: int) -> Failing:
    source = Failing(**changes)
    source.at, source.number = at, number
    source.__class__.__repr__ = lambda self: repr(Source(**changes))
    return source


def steps_of(out: Path) -> list[dict]:
    return read_metrics(out / "metrics.jsonl").steps


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("lora", [None, LoraSection(r=4, dropout=0.2)])
def test_a_run_that_broke_down_continues_to_the_bit_over_an_epoch_boundary(
    tmp_path: Path, lora: LoraSection | None
) -> None:
    model = None
    if lora is not None:
        run(tmp_path / "base", Source(steps=1))
        model = ModelOrigin(path=tmp_path / "base" / "model")
    run(tmp_path / "whole", Source(steps=12), model, lora=lora, save_every=4)
    with pytest.raises(RuntimeError, match="breaks down"):
        run(tmp_path / "broken", failing(7, steps=12), model, lora=lora, save_every=2)
    summary = run(tmp_path / "broken", Source(steps=12), model, lora=lora, save_every=4)
    assert summary.steps == 12
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    assert (tmp_path / "broken/model" / file).read_bytes() == (tmp_path / "whole/model" / file).read_bytes()
    curves = [
        [(line.step, line.loss, line.grad_norm) for line in steps_of(tmp_path / name)] for name in ("whole", "broken")
    ]
    assert curves[0] == curves[1]
    assert [step for step, _, _ in curves[1]] == list(range(1, 13))


def test_a_signal_stops_between_steps_and_the_same_call_continues(tmp_path: Path) -> None:
    run(tmp_path / "whole", Source(steps=8))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match=r"after step [456]; resume with the same command"):
        run(tmp_path / "stopped", failing(5, signal.SIGTERM, steps=8))
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(whole_checkpoints(tmp_path / "stopped/checkpoints")) == 1
    run(tmp_path / "stopped", Source(steps=8))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert not (tmp_path / "stopped/checkpoints").exists(), "only the interruption needed it"


def test_it_runs_outside_the_main_thread_where_no_signal_can_be_caught(tmp_path: Path) -> None:
    thread = threading.Thread(target=run, args=(tmp_path, Source(steps=2)))
    thread.start()
    thread.join()
    assert (tmp_path / "model/model.safetensors").exists()


def test_a_checkpoint_without_marker_is_never_chosen(tmp_path: Path) -> None:
    run(tmp_path / "whole", Source(steps=8))
    with pytest.raises(RuntimeError):
        run(tmp_path / "torn", failing(6, steps=8), save_every=2, keep_last=5)
    whole = whole_checkpoints(tmp_path / "torn/checkpoints")
    (whole[-1] / "COMPLETE").unlink()  # as if killed while writing: files are there, some cut off
    for file in whole[-1].glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:100])
    run(tmp_path / "torn", Source(steps=8), save_every=2)
    assert weights(tmp_path / "torn") == weights(tmp_path / "whole")


def test_without_a_number_of_steps_checkpoints_are_written_by_time(tmp_path: Path) -> None:
    run(tmp_path / "whole", Source(steps=8))
    for limit, expected in ((None, 0), (1e-9, 1)):
        with pytest.raises(RuntimeError, match="breaks down"):
            run(tmp_path / "broken", failing(6, steps=8), save_every_s=limit, keep_last=1)
        assert len(whole_checkpoints(tmp_path / "broken/checkpoints")) == expected
    resumed = run(tmp_path / "broken", Source(steps=8))
    assert resumed.tokens < 8 * 192, "it went on from a checkpoint"
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert not (tmp_path / "broken/checkpoints").exists(), "as the run is finished"


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    run(tmp_path, Source(steps=7), save_every=2, keep_last=2)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000006", "step-00000007"]


@pytest.mark.parametrize("change", [{"lr": 5e-3}, {"seed": 1}, {"source": Source(steps=6, seed=3)}])
def test_a_checkpoint_of_another_run_is_refused_by_name_of_what_differs(tmp_path: Path, change: dict) -> None:
    with pytest.raises(RuntimeError):
        run(tmp_path, failing(4, steps=6), save_every=2)
    name = {"source": "data"}.get(*change) if "source" in change else next(iter(change))
    with pytest.raises(CheckpointError, match=f"of another run: {name} was"):
        run(tmp_path, change.pop("source", Source(steps=6)), save_every=2, **change)


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    first = run(tmp_path, Source(steps=3))
    written = weights(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert run(tmp_path, Source(steps=3)) == first
    assert not (tmp_path / "metrics.jsonl").exists() and weights(tmp_path) == written
    run(tmp_path, Source(steps=3), lr=1e-3)
    assert weights(tmp_path) != written, "another run is another result"


def test_a_step_that_is_not_finite_stops_the_run_before_its_update(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 2: .*the update was not applied"):
        run(tmp_path, Source(steps=6), lr=1e30, warmup=0, save_every=1, log_every=3)
    assert [path.name for path in whole_checkpoints(tmp_path / "checkpoints")] == ["step-00000001"]


def test_a_batch_without_anything_to_learn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="all its labels are masked"):
        run(tmp_path, Source(steps=2, masked=1e9))


def test_micro_batches_do_not_change_the_result(tmp_path: Path) -> None:
    for micro in (8, 3, 1):
        run(tmp_path / str(micro), Source(steps=6), micro_batch=micro)
    curves = [[line.loss for line in steps_of(tmp_path / str(micro))] for micro in (8, 3, 1)]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "selective"])
def test_a_compiled_run_has_the_same_losses(tmp_path: Path, recompute: str) -> None:
    for compiled in (False, True):
        run(tmp_path / str(compiled), Source(steps=6), compile=compiled, activation_checkpointing=recompute)
    curves = [[line.loss for line in steps_of(tmp_path / str(compiled))] for compiled in (False, True)]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


def test_heldout_loss_is_what_plain_transformers_says_and_training_lowers_the_training_loss(tmp_path: Path) -> None:
    heldout = Source(steps=2, seed=9, masked=0.0)
    summary = run(tmp_path, Source(steps=40, masked=0.0), heldout={"other": heldout}, eval_every=20)
    lines = read_metrics(tmp_path / "metrics.jsonl").heldout
    assert [line.step for line in lines] == [0, 20, 40]
    curve = [line.loss for line in steps_of(tmp_path)]
    assert curve[0] == pytest.approx(math.log(96), abs=0.1) and curve[-1] < 0.7 * curve[0]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval().requires_grad_(False)
    total, count = 0.0, 0
    for step in range(2):
        rows = heldout.rows(step)
        for ids, labels, positions in zip(rows.ids, rows.labels, rows.position_ids, strict=True):
            start = int(np.flatnonzero(positions == 0)[-1])
            for part in (slice(0, start), slice(start, None)):  # document by document, each alone
                logits = model(torch.from_numpy(ids[part])[None]).logits[0, :-1]
                wanted = torch.from_numpy(labels[part][1:])
                total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum", ignore_index=IGNORE))
                count += int((wanted != IGNORE).sum())
    assert summary.heldout["other"].tokens == count
    assert summary.heldout["other"].loss == pytest.approx(total / count, rel=1e-5)
    assert summary.heldout["other"].perplexity == pytest.approx(math.exp(total / count), rel=1e-4)


def test_the_loss_in_bf16_is_close_and_the_export_stays_fp32(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        run(tmp_path / precision, Source(steps=10), precision=precision)
    curves = [[line.loss for line in steps_of(tmp_path / name)] for name in ("fp32", "bf16")]
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.02)
    assert {value.dtype for value in load_file(tmp_path / "bf16/model/model.safetensors").values()} == {torch.float32}


def test_every_step_is_recorded_with_its_learning_rate_and_coverage(tmp_path: Path) -> None:
    run(tmp_path, Source(steps=5), lr=1e-3, warmup=0.4, schedule="linear")
    lines = steps_of(tmp_path)
    np.testing.assert_allclose([line.lr for line in lines], [5e-4, 1e-3, 1e-3, 2e-3 / 3, 1e-3 / 3])
    assert [line.coverage for line in lines] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(line.tokens == 192 and line.loss_tokens < 192 and line.tokens_per_second > 0 for line in lines)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_each_source_of_a_mixture_has_its_coverage_recorded_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, Source(steps=5, sources=("books", "papers")), log_every=5)
    assert [line.coverage_by_source["books"] for line in steps_of(tmp_path)] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert steps_of(tmp_path)[-1].coverage_by_source["papers"] == 0.5
    assert "coverage 100.0% · books 100.0% · papers 50.0%" in capsys.readouterr().err


def test_a_line_cut_off_by_a_crash_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "lr": 0.1, "tokens": 8, "loss_tokens": 7, "loss": 2.5}\n{"step": 2, "lo')
    assert [(one.step, one.loss) for one in read_metrics(file).steps] == [(1, 2.5)]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, Source(steps=1), seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_special_ids_of_the_tokenizer_reach_the_exported_folder(tmp_path: Path) -> None:
    run(tmp_path, Source(steps=1), ModelOrigin(config=CONFIG | {"bos_token_id": 0, "eos_token_id": 1}))
    for name in ("config.json", "generation_config.json"):
        found = json.loads((tmp_path / "model" / name).read_text())
        assert (found["bos_token_id"], found["eos_token_id"]) == (1, 2), name
    assert tokenizer().eos_token_id == 2 and options().lr == 1e-2
