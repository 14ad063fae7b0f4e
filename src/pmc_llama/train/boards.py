"""Where metrics go besides metrics.jsonl: TensorBoard, and the services of people who use them."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pmc_llama.errors import RecipeError

Board = Callable[[dict[str, float], int], None]
"""Takes values by name, and their step."""


def open_boards(folder: Path, label: str, resumed_at: int, trackers: Sequence[str], config: object) -> list[Board]:
    """A board for TensorBoard, and one for each tracker. Raises RecipeError for a tracker that is not installed."""
    return [_tensorboard(folder / "tensorboard", resumed_at), *(_tracker(name, label, config) for name in trackers)]


def _tensorboard(folder: Path, resumed_at: int) -> Board:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write


def _tracker(name: str, label: str, config: object) -> Board:
    """W&B and trackio share one interface; project and address come from their own environment variables."""
    try:
        service = importlib.import_module(name)
    except ImportError:
        raise RecipeError(f"trackers: {name} is not installed (pip install {name})") from None
    service.init(project="pmc-llama", name=label, config=config)
    return lambda values, step: service.log(values, step=step)
