"""Our scores against lm-evaluation-harness' own, kept from a run of it (`python benchmarks/qa.py golden`)."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pmc_llama import files
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.score import score
from pmc_llama.tokens.convert import hf_tokenizer

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["rows"]


@pytest.fixture(scope="module")
def made_with() -> Iterator[ModuleType]:
    """The benchmark's functions, which made the golden values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module("qa_parity")


@pytest.fixture(scope="module")
def scorer(shared_data: Path, made_with: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The golden values' model and tokenizer, and the questions."""
    folder = made_with.write_model(tmp_path_factory.mktemp("model"), **made_with.GOLDEN_MODEL)
    return load_for_inference(folder), hf_tokenizer(folder), made_with.read_questions()


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['task']}-{row['shots']}-shot")
def test_scores_and_contexts_are_the_harness_own(row: Any, scorer: Any, made_with: ModuleType) -> None:
    model, tokenizer, questions = scorer
    ours = made_with.our_side(questions, row["task"], row["shots"], len(row["items"]))
    hashes = [files.sha256_bytes(context.encode()) for context in made_with.contexts_of(ours)]
    assert hashes == [item["context_sha256"] for item in row["items"]]
    scored = score(model, tokenizer, **ours, max_length=made_with.MAX_LENGTH)
    for one, question, item in zip(scored, ours["questions"], row["items"], strict=True):
        assert one.question_id == item["question_id"]
        assert one.option_logprobs == pytest.approx(item["logprobs"], abs=5e-5)
        assert float(one.chosen == question.gold) == item["acc"]
