"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any, Self

PLAIN_LINE_EVERY_S = 10.0


class Progress:
    """Counts units of one piece of long work and shows rate and time left.

    On a terminal it draws a bar; where there is none (a log file, CI) it prints one plain line every ten seconds and
    one at the end. `detail` is free text behind the numbers (a loss, a reason count).
    """

    def __init__(self, label: str, total: float | None = None, unit: str = "items", done: float = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.detail, self._start_done = done, "", done
        self._started_s = self._printed_s = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[rate]} {task.fields[detail]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, rate="", detail="")
            self._bar.start()
        return self

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return (self.done - self._start_done) / max(time.monotonic() - self._started_s, 1e-9)

    def advance(self, amount: float = 1, detail: str | None = None) -> None:
        """Count `amount` more units as done and, if given, show `detail`."""
        self.done += amount
        if detail is not None:
            self.detail = detail
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self._rate_text(), detail=self.detail)
        elif time.monotonic() - self._printed_s >= PLAIN_LINE_EVERY_S:
            self._printed_s = time.monotonic()
            self._print_line(self._left_text())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._started_s
        state = f"done in {seconds:.1f} s" if kind is None else f"stopped after {seconds:.1f} s"
        self._print_line(state)

    def _rate_text(self) -> str:
        return f"{self.rate:,.0f} {self.unit}/s" if self.rate >= 10 else f"{self.rate:.2f} {self.unit}/s"

    def _left_text(self) -> str:
        if not self.total or self.rate <= 0:
            return ""
        return f"{(self.total - self.done) / self.rate:.0f} s left"

    def _print_line(self, ending: str) -> None:
        of = f"/{self.total:,.0f}" if self.total else ""
        parts = [f"{self.label}: {self.done:,.0f}{of} {self.unit}", self._rate_text(), self.detail, ending]
        print(" · ".join(part for part in parts if part), file=sys.stderr, flush=True)
