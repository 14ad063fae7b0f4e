"""Scores across processes and interruptions."""

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import distributed, multiprocessing

from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.score import Scored, score

from .conftest import make_questions

COUNT = 13


def scored(model: Any, tokenizer: Any, journal: Journal | None = None) -> list[Scored]:
    return score(model, tokenizer, make_questions(COUNT), answers="texts", max_length=400, journal=journal)


def work(rank: int, world: int, port: int, folder: Path) -> None:
    """One process: score its share, write down everything it got."""
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    model, tokenizer = load_for_inference(folder / "model"), AutoTokenizer.from_pretrained(folder / "model")
    found = scored(model, tokenizer, Journal(folder / "journal", "key", rank))
    (folder / f"{rank}.json").write_bytes(msgspec.json.encode(found))
    distributed.destroy_process_group()


def run(world: int, folder: Path) -> list[list[Scored]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (world, port, folder), nprocs=world)
    return [msgspec.json.decode((folder / f"{rank}.json").read_bytes(), type=list[Scored]) for rank in range(world)]


def test_two_processes_give_the_scores_of_one(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    alone = scored(model, tokenizer)
    first, second = run(2, tmp_path)
    assert first == second
    assert [one.chosen for one in first] == [one.chosen for one in alone]
    for one, other in zip(alone, first, strict=True):
        assert one.option_logprobs == pytest.approx(other.option_logprobs, abs=5e-5)
    kept = [len(path.read_bytes().split()) for path in sorted((tmp_path / "journal").iterdir())]
    assert sum(kept) == COUNT
    assert max(kept) - min(kept) <= 1
    assert Journal(tmp_path / "journal", "key").read(Scored) == dict(enumerate(first))  # one process goes on from two


def test_goes_on_where_it_was_stopped(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(model, tokenizer, Journal(tmp_path, "key"))
    assert whole == scored(model, tokenizer)
    path = tmp_path / "0.jsonl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # killed while it wrote a line
    kept = Journal(tmp_path, "key").read(Scored)
    assert 0 < len(kept) < COUNT
    seen: list[int] = []
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda self, i, result: (seen.append(i), add(self, i, result)))
    assert [one.chosen for one in scored(model, tokenizer, Journal(tmp_path, "key"))] == [one.chosen for one in whole]
    assert sorted(seen) == sorted(set(range(COUNT)) - set(kept))
    assert set(Journal(tmp_path, "key").read(Scored)) == set(range(COUNT))


def test_results_of_other_settings_are_not_taken(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    scored(model, tokenizer, Journal(tmp_path, "one model"))
    assert Journal(tmp_path, "another model").read(Scored) == {}
