"""Architectures x tied or not x full, LoRA, all of LoRA x one or two processes x fp32 or bf16 files: all the same."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import matrix
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.score import score
from pmc_llama.train.world import join_world

TESTS = Path(__file__).parents[1]
EVERY = [(tied, precision) for tied in matrix.TIED for precision in matrix.PRECISIONS]


@pytest.mark.parametrize("name", list(matrix.ARCHITECTURES))
def test_what_is_loaded_trained_and_exported_is_transformers(tmp_path: Path, name: str) -> None:
    with join_world() as world:
        for tied, precision in EVERY:
            assert list(matrix.train_and_export(tmp_path, name, tied, precision, world)) == []


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_two_processes_do_the_same(tmp_path: Path, half: int) -> None:
    names = list(matrix.ARCHITECTURES)[half::2]
    matrix.tokenizer(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "model/matrix.py"), str(tmp_path), *names]
    environment = {**os.environ, **place, "PYTHONPATH": str(TESTS)}
    both = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said[0]


@pytest.mark.parametrize("name", list(matrix.ARCHITECTURES))
@pytest.mark.parametrize("precision", matrix.PRECISIONS)
def test_scores_are_those_of_the_plain_forward_pass(tmp_path: Path, name: str, precision: torch.dtype) -> None:
    words = matrix.tokenizer(tmp_path)
    folder, plain = matrix.make(tmp_path, name, precision is torch.bfloat16, precision)
    model = load_for_inference(folder)
    for prompt in ("lm-eval", "plain"):
        for shots in (0, 3):
            asked = [tuple(matrix.QUESTIONS[:shots])] * len(matrix.QUESTIONS) if shots else None
            found = score(model, words, matrix.QUESTIONS, prompt=prompt, shots=asked, max_length=2048)
            right = matrix.plain_scores(plain, words, prompt, shots)
            for one, values in zip(found, right, strict=True):
                assert one.option_logprobs == pytest.approx(values, abs=2e-4), (prompt, shots)
