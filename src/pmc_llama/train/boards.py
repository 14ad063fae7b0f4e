"""Where metrics go besides metrics.jsonl: TensorBoard, and the services of people who use them."""

import importlib
import inspect
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmc_llama.errors import RecipeError
from pmc_llama.files import write_text
from pmc_llama.run_dir import TrainingDir


@dataclass(frozen=True)
class Board:
    """One place that metrics go to."""

    write: Callable[[dict[str, float], int], None]
    """Takes values by name, and their step."""
    close: Callable[[], None]


def open_boards(folder: Path, label: str, resumed_at: int, trackers: Sequence[str], config: object) -> list[Board]:
    """A board for TensorBoard, and one for each tracker. Raises RecipeError for a tracker that is not installed.

    Each training has a run of its own there, whose id is kept in `folder`: one that is resumed goes on in it.
    """
    run_id = _run_id(TrainingDir(folder).tracker_run, resumed_at) if trackers else ""
    return [
        _tensorboard(folder / "tensorboard", resumed_at),
        *(_tracker(name, label, run_id, config) for name in trackers),
    ]


def _tensorboard(folder: Path, resumed_at: int) -> Board:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return Board(write, writer.close)


def _run_id(file: Path, resumed_at: int) -> str:
    if resumed_at and file.is_file():
        return file.read_text().strip()
    run_id = secrets.token_hex(4)
    write_text(file, run_id)
    return run_id


def _tracker(name: str, label: str, run_id: str, config: object) -> Board:
    """Open a run; project and address come from the services' own environment variables.

    W&B and trackio share one interface but for ids: trackio knows runs by their names.
    """
    try:
        service: Any = importlib.import_module(name)
    except ImportError:
        raise RecipeError(f"trackers: {name} is not installed (pip install {name})") from None
    opened = {"project": "pmc-llama", "config": config, "resume": "allow"}
    if "id" not in inspect.signature(service.init).parameters:
        service.init(name=f"{label}-{run_id}", **opened)
        return Board(lambda values, step: service.log(values, step=step), service.finish)
    # Without `reinit`, a second run of one process is the first, whose steps only go up.
    run = service.init(name=label, id=run_id, reinit="create_new", **opened)
    return Board(lambda values, step: run.log(values, step=step), run.finish)
