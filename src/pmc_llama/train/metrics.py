"""What is recorded of a run: metrics.jsonl (every step, once), TensorBoard, and the line people watch."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import torch
from torch import Tensor

from pmc_llama.errors import TrainingError
from pmc_llama.files import write_bytes
from pmc_llama.progress import Progress
from pmc_llama.records.training import Heldout, Measured, Step, line_of, read_metrics
from pmc_llama.run_dir import TrainingDir
from pmc_llama.train.agreement import Totals
from pmc_llama.train.boards import Board, open_boards
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
        identity: object,
        *,
        writes: bool,
    ) -> None:
        """Continue what is in `folder`, without steps after `resumed_at`: they are going to be done again."""
        self.loss = math.nan
        self.heldout: dict[str, Measured] = {}
        self.tokens = 0
        self._path = TrainingDir(folder).metrics
        self._pending: list[Step] = []
        self._values: list[Tensor] = []
        self._seconds = 0.0
        self._speed = speed
        self._boards: list[Board] = []
        self._progress: Progress | None = None
        found = read_metrics(self._path)
        kept: list[Step | Heldout] = []
        if resumed_at:
            kept += [line for line in found.steps if line.step <= resumed_at]
            kept += [line for line in found.heldout if line.step <= resumed_at]
        self._remember(kept)
        if writes:
            write_bytes(self._path, b"".join(line_of(line) for line in sorted(kept, key=lambda line: line.step)))
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
        self._pending.append(Step(step, lr, totals.positions, totals.loss_tokens, coverage, coverage_by_source))
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
        tokens = sum(line.tokens for line in self._pending)
        speed, memory_bytes = tokens / seconds, peak_memory()
        for line, (loss, norm, bad) in zip(self._pending, values, strict=True):
            line.loss, line.grad_norm, line.skipped = loss, norm, bool(bad)
            line.seconds, line.tokens_per_second, line.memory_bytes = seconds / len(values), speed, memory_bytes
            line.mfu = self._speed.mfu(speed)
        lines, self._pending, self._values, self._since_s = self._pending, [], [], now_s
        self._remember(lines)
        self.tokens, self._seconds = self.tokens + tokens, self._seconds + seconds
        self._write(lines)
        self._show(lines[-1])
        for line, (loss, norm, _) in zip(lines, values, strict=True):
            if not math.isfinite(loss + norm):
                raise TrainingError(
                    f"step {line.step}: loss {loss}, gradient norm {norm}; the update was not "
                    "applied. Usual causes: a learning rate that is too high, or broken weights or data"
                )

    def add_heldout(self, step: int, results: dict[str, Measured]) -> None:
        """Write held-out results measured after `step`; the time they took is no step's."""
        self.flush()
        if results:
            self.heldout = results
            self._write([Heldout(step, results)])
        self._since_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)
        for board in self._boards:
            board.close()
        self._boards.clear()

    def _remember(self, lines: Sequence[Step | Heldout]) -> None:
        """What the summary says, also of steps that an earlier call did."""
        for line in lines:
            if isinstance(line, Heldout):
                self.heldout = line.heldout
            elif line.loss is not None:
                self.loss = line.loss

    def _write(self, lines: Sequence[Step | Heldout]) -> None:
        if self._progress is None:
            return
        with self._path.open("ab") as file:
            file.write(b"".join(line_of(line) for line in lines))
        for line in lines:
            for board in self._boards:
                board.write(dict(_scalars(line)), line.step)

    def _show(self, line: Step) -> None:
        if self._progress is None:
            return
        parts = [f"loss {line.loss:.4f}", f"lr {line.lr:.2e}", f"norm {line.grad_norm:.2f}"]
        parts.append(f"{line.tokens_per_second:,.0f} tokens/s")
        parts.append(f"{line.memory_bytes / 2**30:.1f} GiB")
        if line.mfu is not None:
            parts.append(f"MFU {line.mfu:.1%}")
        if line.coverage is not None:
            parts.append(f"coverage {line.coverage:.1%}")
        parts += [f"{name} {share:.1%}" for name, share in line.coverage_by_source.items()]
        self._progress.detail = " · ".join(parts)


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def _scalars(line: Step | Heldout) -> Iterator[tuple[str, float]]:
    if isinstance(line, Heldout):
        for name, measured in line.heldout.items():
            yield f"heldout/{name}/loss", measured.loss
            if measured.perplexity is not None:
                yield f"heldout/{name}/perplexity", measured.perplexity
        return
    values = msgspec.structs.asdict(line) | {f"coverage/{name}": one for name, one in line.coverage_by_source.items()}
    for key, value in values.items():
        if key not in ("step", "coverage_by_source", "skipped") and value is not None:
            yield f"train/{key}", float(value)
