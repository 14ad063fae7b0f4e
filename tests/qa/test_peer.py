"""lm-evaluation-harness itself on a folder that we exported: same numbers, same form of samples."""

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pmc_llama.model.load import load_for_inference
from pmc_llama.model.save import export_hf
from pmc_llama.qa.harness import write_samples
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score

from .conftest import make_questions


def peer_python() -> Path | None:
    """A Python that has lm-evaluation-harness: this one, or the benchmarks' own environment."""
    if importlib.util.find_spec("lm_eval") is not None:
        return Path(sys.executable)
    own = Path(__file__).parents[2] / ".venvs" / "lm_eval" / "bin" / "python"
    return own if own.is_file() else None


def write_task(folder: Path, questions: list[Question]) -> None:
    """MedMCQA's prompt as a task of the harness over these questions."""
    letters = dict(zip(("opa", "opb", "opc", "opd"), "ABCD", strict=True))
    shown = "".join(f"{letter}. {{{{{name}}}}}\n" for name, letter in letters.items())
    task = {
        "task": "made",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "made.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": f"Question: {{{{question}}}}\nChoices:\n{shown}Answer:",
        "doc_to_choice": list("ABCD"),
        "doc_to_target": "{{cop}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    (folder / "made.yaml").write_text(yaml.safe_dump(task))
    rows = [
        {"question": one.question, "cop": one.gold, **dict(zip(letters, one.options, strict=True))} for one in questions
    ]
    (folder / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_harness(folder: Path, model: Path) -> list[dict[str, Any]]:
    """The samples that `lm_eval run --model hf` writes of task `made`, in the questions' order."""
    command = f"-m lm_eval run --model hf --model_args pretrained={model},dtype=float32 --include_path {folder}"
    command += f" --tasks made --batch_size 4 --device cpu --output_path {folder / 'out'} --log_samples"
    env = os.environ | {"HF_HOME": str(folder / "home"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    asked = [str(peer_python()), *command.split()]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = (folder / "out").rglob("samples_made_*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(samples, key=lambda sample: int(sample["doc_id"]))


@pytest.mark.slow
@pytest.mark.skipif(peer_python() is None, reason="lm-evaluation-harness is not installed")
def test_the_harness_on_an_exported_folder_gives_our_numbers(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    questions = make_questions(20)
    model = copy.deepcopy(model)
    lengths = sorted(len(tokenizer(render("lm-eval", one).context)["input_ids"]) for one in questions)
    model.config.max_position_embeddings = lengths[10]  # half of the questions are longer
    export_hf(model, tokenizer, tmp_path / "exported")
    write_task(tmp_path, questions)
    theirs = run_harness(tmp_path, tmp_path / "exported")
    ours = score(load_for_inference(tmp_path / "exported"), tokenizer, questions)
    assert 0 < sum(one.truncated for one in ours) < len(ours)
    for one, sample in zip(ours, theirs, strict=True):
        assert one.option_logprobs == pytest.approx([float(reply[0][0]) for reply in sample["resps"]], abs=5e-5)
    write_samples(tmp_path / "ours.jsonl", questions, ours)
    mine = [json.loads(line) for line in (tmp_path / "ours.jsonl").read_text().splitlines()]
    for one, sample in zip(mine, theirs, strict=True):
        assert set(one) == set(sample)
        same = ("doc_id", "target", "arguments", "acc", "acc_norm", "filter", "prompt_hash", "target_hash")
        assert {key: one[key] for key in same} == {key: sample[key] for key in same}
        assert [reply[0][1] for reply in one["resps"]] == [reply[0][1] for reply in sample["resps"]]
