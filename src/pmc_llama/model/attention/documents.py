"""Where packed documents lie, for every backend in the layout that it wants."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from pmc_llama.model.attention.backend import Backend
from pmc_llama.model.attention.flash import FLASH
from pmc_llama.model.attention.products import PRODUCTS

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (FLASH, PRODUCTS)}
"""By name, the first that a device and a number format allow is taken."""


@dataclass(frozen=True)
class Documents:
    """Where the documents packed into [B, T] positions lie."""

    longest: int
    row_length: int = 0
    layouts: dict[str, Any] = field(default_factory=dict)
    """By backend; those that the device prefers are there from the start."""
    bounds: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None
    """First flat position and length of each."""
    asked: list[str] | None = None
    """Where given, nothing is computed: the attention modules that ask are listed (on the meta device)."""

    @classmethod
    def of(cls, position_ids: NDArray[np.int64], device: torch.device) -> Self:
        """A document starts at each row's start and wherever `position_ids` [B, T] does not go on by one."""
        new = np.ones(position_ids.shape, dtype=bool)
        new[:, 1:] = np.diff(position_ids, axis=1) != 1
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, new.size))
        first = next(backend for backend in BACKENDS.values() if backend.runs_on(device))
        layouts = {first.name: first.prepare(starts, lengths, device)}
        return cls(int(lengths.max(initial=0)), position_ids.shape[1], layouts, (starts, lengths))

    def backend(self, dtype: torch.dtype) -> Backend:
        """The one that takes values of this format: flash kernels multiply no fp32."""
        for name in self.layouts:  # a loop, as the compiler follows it
            if dtype in BACKENDS[name].dtypes:
                return BACKENDS[name]
        return PRODUCTS

    def layout(self, backend: Backend, device: torch.device) -> Any:
        """What `backend` prepared, which it does now where it has not."""
        if backend.name not in self.layouts:
            self._prepare(backend, device)
        return self.layouts[backend.name]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _prepare(self, backend: Backend, device: torch.device) -> None:
        if self.bounds is not None:
            self.layouts[backend.name] = backend.prepare(*self.bounds, device)
