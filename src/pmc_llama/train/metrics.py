"""What is recorded of a run: metrics.jsonl (every step, once), TensorBoard, and the line people watch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from pmc_llama.errors import TrainingError
from pmc_llama.files import write_bytes
from pmc_llama.progress import Progress
from pmc_llama.train.agreement import Totals
from pmc_llama.train.boards import open_boards
from pmc_llama.train.memory import peak_memory


@dataclass(frozen=True)
class Speed:
    """What a token costs, and what the hardware could do."""

    flops_per_token: float
    peak_flops: float | None
    """Of one process's device; None if it is not known."""
    processes: int

    def mfu(self, tokens_per_second: float) -> float | None:
        """Model FLOPs utilisation; the formula is `hardware.FLOPS_FORMULA`. None on devices whose peak is not known."""
        if self.peak_flops is None:
            return None
        return tokens_per_second * self.flops_per_token / (self.peak_flops * self.processes)


class Metrics:
    """Collects steps and writes them in groups, so that the host waits for the device once a group.

    All processes collect, so that all take the same decisions; only the one with `writes` writes and shows.
    """

    def __init__(
        self,
        folder: Path,
        label: str,
        resumed_at: int,
        steps: int,
        speed: Speed,
        trackers: Sequence[str],
        identity: dict[str, Any],
        *,
        writes: bool,
    ) -> None:
        """Continue what is in `folder`, without steps after `resumed_at`: they are going to be done again."""
        self.loss = math.nan
        self.heldout: dict[str, dict[str, float]] = {}
        self.tokens = 0
        self._path = folder / "metrics.jsonl"
        self._pending: list[dict[str, Any]] = []
        self._values: list[Tensor] = []
        self._seconds = 0.0
        self._speed = speed
        self._boards: list[Callable[[dict[str, float], int], None]] = []
        self._progress: Progress | None = None
        if writes:
            kept = [line for line in read_metrics(self._path) if line["step"] <= resumed_at and resumed_at]
            write_bytes(self._path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))
            self._boards = open_boards(folder, label, resumed_at, trackers, identity)
            self._progress = Progress(label, steps, "steps", resumed_at)
        self._since_s = time.perf_counter()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.__enter__()
        return self

    @property
    def tokens_per_second(self) -> float:
        """Over all steps so far."""
        return self.tokens / self._seconds if self._seconds else 0.0

    def add(
        self,
        step: int,
        lr: float,
        totals: Totals,
        coverage: float | None,
        coverage_by_source: dict[str, float],
        values: Tensor,
    ) -> None:
        """Remember one step; `values` [3] on the device: loss, gradient norm, whether skipped."""
        line: dict[str, Any] = {"step": step, "lr": lr, "tokens": totals.positions, "loss_tokens": totals.loss_tokens}
        line |= {} if coverage is None else {"coverage": coverage}
        line |= {f"coverage/{name}": share for name, share in coverage_by_source.items()}
        self._pending.append(line)
        self._values.append(values)
        if self._progress is not None:
            self._progress.advance()

    def flush(self) -> None:
        """Write the steps collected since the last time. Raises TrainingError if one of them was not finite."""
        if not self._pending:
            return
        values = torch.stack(self._values).tolist()  # waits for the device
        now_s = time.perf_counter()
        seconds = now_s - self._since_s
        tokens = sum(line["tokens"] for line in self._pending)
        common = {
            "seconds": seconds / len(values),
            "tokens_per_second": tokens / seconds,
            "memory_bytes": peak_memory(),
        }
        mfu = self._speed.mfu(tokens / seconds)
        common |= {} if mfu is None else {"mfu": mfu}
        lines = [
            line | {"loss": loss, "grad_norm": norm} | common | ({"skipped": True} if bad else {})
            for line, (loss, norm, bad) in zip(self._pending, values, strict=True)
        ]
        self.loss, self.tokens, self._seconds = lines[-1]["loss"], self.tokens + tokens, self._seconds + seconds
        self._pending, self._values, self._since_s = [], [], now_s
        self._write(lines)
        self._show(lines[-1])
        for line in lines:
            if not math.isfinite(line["loss"] + line["grad_norm"]):
                raise TrainingError(
                    f"step {line['step']}: loss {line['loss']}, gradient norm {line['grad_norm']}; the update was not "
                    "applied. Usual causes: a learning rate that is too high, or broken weights or data"
                )

    def add_heldout(self, step: int, results: dict[str, dict[str, float]]) -> None:
        """Write held-out results measured after `step`; the time they took is no step's."""
        self.flush()
        if results:
            self.heldout = results
            self._write([{"step": step, "heldout": results}])
        self._since_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)
        self._boards.clear()

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._progress is None:
            return
        with self._path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        for line in lines:
            for board in self._boards:
                board(dict(_scalars(line)), line["step"])

    def _show(self, line: dict[str, Any]) -> None:
        if self._progress is None:
            return
        parts = [f"loss {line['loss']:.4f}", f"lr {line['lr']:.2e}", f"norm {line['grad_norm']:.2f}"]
        parts.append(f"{line['tokens_per_second']:,.0f} tokens/s")
        parts.append(f"{line['memory_bytes'] / 2**30:.1f} GiB")
        if "mfu" in line:
            parts.append(f"MFU {line['mfu']:.1%}")
        if "coverage" in line:
            parts.append(f"coverage {line['coverage']:.1%}")
        parts += [f"{key.removeprefix('coverage/')} {line[key]:.1%}" for key in line if key.startswith("coverage/")]
        self._progress.detail = " · ".join(parts)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [msgspec.json.decode(line) for line in whole.split(b"\n") if line]


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def _scalars(line: dict[str, Any]) -> list[tuple[str, float]]:
    if "heldout" in line:
        return [
            (f"heldout/{name}/{key}", value[key])
            for name, value in line["heldout"].items()
            for key in ("loss", "perplexity")
        ]
    return [(f"train/{key}", value) for key, value in line.items() if key != "step"]
