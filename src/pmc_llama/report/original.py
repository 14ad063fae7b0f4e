"""A later revision beside the model that all revisions started from: the same questions, answered in another run."""

from pathlib import Path

import numpy as np

from pmc_llama.results.predictions import Cell, cells, read_predictions

Key = tuple[str, str, int]


def with_original(predictions: Path, original: Path) -> list[tuple[Cell, Cell]]:
    """Pairs of the first run's base and this run's adapted model: one per regime, task and seed that both have.

    What the two were not asked alike, other questions or another gold, is left out.
    """
    first = {_key(cell): cell for cell in _answers(original, "base")}
    ours = [(_key(cell), cell) for cell in _answers(predictions, "adapted")]
    return [(first[key], cell) for key, cell in ours if key in first and _alike(first[key], cell)]


def _answers(predictions: Path, model: str) -> list[Cell]:
    return [cell for cell in cells(read_predictions(predictions)) if cell.model == model]


def _key(cell: Cell) -> Key:
    return cell.regime, cell.task, cell.seed


def _alike(first: Cell, second: Cell) -> bool:
    return first.question_ids == second.question_ids and np.array_equal(first.gold, second.gold)
