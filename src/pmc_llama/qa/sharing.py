"""Work on many questions: what a journal holds is taken from it, the rest is divided among the processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from torch import distributed

from pmc_llama.progress import Progress
from pmc_llama.qa.journal import Journal

Result = TypeVar("Result", bound=msgspec.Struct)


def share(
    count: int,
    kind: type[Result],
    work: Callable[[Sequence[int]], Iterable[tuple[int, Result]]],
    *,
    journal: Journal | None,
    label: str,
) -> list[Result]:
    """The results of questions 0 to `count` − 1, the same list on every process of torch.distributed.

    `work` is given the positions that are this process' share and yields each with its result, in any order.
    """
    found = journal.read(kind) if journal else {}
    todo = [i for i in range(count) if i not in found]
    if distributed.is_initialized():
        distributed.barrier()  # all have read the journal before any writes to it
        todo = todo[distributed.get_rank() :: distributed.get_world_size()]
    mine: dict[int, Result] = {}
    with Progress(label, len(todo), "questions") as progress:
        for i, result in work(todo):
            mine[i] = result
            if journal:
                journal.add(i, result)
            progress.advance()
    found |= _gathered(mine)
    return [found[i] for i in range(count)]


def _gathered(mine: dict[int, Result]) -> dict[int, Result]:
    """The results of all processes."""
    if not distributed.is_initialized():
        return mine
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, mine)
    return {i: one for part in parts for i, one in part.items()}
