"""What is recorded of a run: metrics.jsonl (every step, once), TensorBoard, and the line people watch."""

import math
import time
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


class Metrics:
    """Collects steps and writes them in groups, so that the host waits for the device once a group.

    All processes collect, so that all take the same decisions; only the one with `writes` writes and shows.
    """

    def __init__(self, folder: Path, label: str, resumed_at: int, steps: int, *, writes: bool) -> None:
        """Continue what is in `folder`, without steps after `resumed_at`: they are going to be done again."""
        self.loss = math.nan
        self.heldout: dict[str, dict[str, float]] = {}
        self.tokens = 0
        self._path = folder / "metrics.jsonl"
        self._pending: list[dict[str, Any]] = []
        self._values: list[Tensor] = []
        self._seconds = 0.0
        self._board: Any = None
        self._progress: Progress | None = None
        if writes:
            kept = [line for line in read_metrics(self._path) if line["step"] <= resumed_at and resumed_at]
            write_bytes(self._path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))
            self._board = _tensorboard(folder / "tensorboard", resumed_at)
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

    def add(self, step: int, lr: float, totals: Totals, coverage: float | None, values: Tensor) -> None:
        """Remember one step; `values` holds its loss and gradient norm [2] on the device."""
        line = {"step": step, "lr": lr, "tokens": totals.positions, "loss_tokens": totals.loss_tokens}
        self._pending.append(line if coverage is None else line | {"coverage": coverage})
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
        lines = [
            line
            | {"loss": loss, "grad_norm": norm, "seconds": seconds / len(values), "tokens_per_second": tokens / seconds}
            for line, (loss, norm) in zip(self._pending, values, strict=True)
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
        if self._board is not None:
            self._board.close()

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._progress is None:
            return
        with self._path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        if self._board is not None:
            for line in lines:
                for name, value in _scalars(line):
                    self._board.add_scalar(name, value, line["step"])

    def _show(self, line: dict[str, Any]) -> None:
        if self._progress is None:
            return
        parts = [f"loss {line['loss']:.4f}", f"lr {line['lr']:.2e}", f"norm {line['grad_norm']:.2f}"]
        parts.append(f"{line['tokens_per_second']:,.0f} tokens/s")
        if "coverage" in line:
            parts.append(f"coverage {line['coverage']:.1%}")
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


def _tensorboard(folder: Path, resumed_at: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # TensorBoard is an optional extra
        return None
    return SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)
