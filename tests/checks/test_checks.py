"""What can be known to fail is told before anything is run, all of it at once, each with its key."""

import copy
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pmc_llama.checks import ALL, CHECKS, check_recipe, problems
from pmc_llama.checks.space import estimated_bytes
from pmc_llama.errors import RecipeError
from pmc_llama.pipeline.stages import STAGES
from pmc_llama.recipe import Recipe, parse_recipe


def changed(good: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    raw = copy.deepcopy(dict(good))
    for path, value in changes.items():
        node = raw
        *parents, last = path.split(".")
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
        node[last] = value
    return parse_recipe(raw)


def test_nothing_is_wrong_with_a_good_recipe(good: dict[str, Any]) -> None:
    assert problems(parse_recipe(good)) == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "LoRA targets": ({"regimes.peft.lora": {"targets": ["c_attn"]}}, r"regimes.peft: lora.targets: \['c_attn'\]"),
    "LoRA on the head": ({"regimes.peft.lora": {"targets": ["lm_head"]}}, "'lm_head' cannot have an adapter here"),
    "letters of texts": ({"tasks.facts.answers": "letters"}, "tasks.facts: prompt 'plain' does not show lettered"),
    "shots": ({"regimes.few.shots": 5000}, "regimes.few.shots: task 'facts': 5000 shots are asked for, but the pool"),
    "chat": ({"tasks.facts.prompt": "chat"}, "prompt 'chat' needs a tokenizer with a chat template"),
    "test file": ({"tasks.facts.test": "nope.json"}, "tasks.facts.test: .*nope.json: no such file"),
    "train file": ({"tasks.facts.train": "nope.json"}, "tasks.facts.train: .*nope.json: no such file"),
    "instructions": ({"regimes.mine.files": ["nope.jsonl"]}, "regimes.mine.files: no file matches 'nope.jsonl'"),
    "room": (
        {"tasks.facts.method": "generation", "evaluate.generation": {"max_new_tokens": 600}},
        "max_new_tokens: 600 leave no room for a question in a context of 128 tokens",
    ),
    "base": ({"base.path": "/nowhere"}, "base.path: '/nowhere' is neither a folder nor a hub id"),
    "tokenizer": ({"tokenizer.path": "nope.model"}, "tokenizer.path: .*nope.model does not exist"),
    "seq_len": ({"regimes.full.seq_len": 8}, "regimes.full: seq_len: 8 leaves nothing of the questions of 'facts'"),
    "papers": ({"corpus.sources.0.paths": ["no*.gz"]}, r"corpus source 's2orc': 'no\*.gz' matches no file"),
    "ids": ({"corpus.sources.0.pmc_ids": "no.csv.gz"}, "corpus.sources.0: 'no.csv.gz' matches no file"),
    "update": ({"update": {"previous": "nowhere"}}, "update.previous: nowhere has no finished corpus"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_told_with_its_key(good: dict[str, Any], name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(RecipeError, match=message) as error:
        check_recipe(changed(good, changes))
    assert str(error.value).startswith("before anything is run:\n  - ")


def test_all_mistakes_are_told_at_once(good: dict[str, Any]) -> None:
    found = problems(changed(good, WRONG["base"][0] | WRONG["test file"][0] | WRONG["papers"][0]))
    assert len(found) >= 3


def test_only_what_the_stages_need_is_asked_for(good: dict[str, Any]) -> None:
    recipe = changed(good, WRONG["base"][0] | WRONG["test file"][0])
    assert problems(recipe, {"corpus"}) == []
    assert [problem.partition(":")[0] for problem in problems(recipe, {"pretrain"})] == ["base.path"]
    assert {stage for check in CHECKS for stage in check.stages} <= {stage.name for stage in STAGES}
    assert {stage.name for stage in STAGES} - {"minimed", "report"} == ALL


def test_a_base_of_old_weights_is_sent_to_convert(good: dict[str, Any], root: Path) -> None:
    old = root / "old"
    shutil.copytree(root / "base", old, dirs_exist_ok=True)
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    assert "convert it first (pmc-llama convert)" in problems(changed(good, {"base.path": "old"}))[0]


def test_a_base_that_lacks_a_part_is_told_by_name(good: dict[str, Any], root: Path) -> None:
    cut = root / "cut"
    shutil.copytree(root / "base", cut, dirs_exist_ok=True)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (cut / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in problems(changed(good, {"base.path": "cut"}))[0]


def test_a_base_too_small_for_the_tokenizer_is_refused(good: dict[str, Any], root: Path) -> None:
    small = {"tokenizer.path": "tokenizer/tokenizer.model"}  # of 600 pieces; the base has 340
    assert any("tokens, but the model only" in problem for problem in problems(changed(good, small)))


@pytest.mark.parametrize(
    ("changes", "module", "message"),
    [
        ({"pretrain.trackers": ["wandb"]}, "wandb", "pretrain.trackers: wandb is not installed"),
        ({"corpus.engine": "ray"}, "ray", r"corpus.engine: ray is not installed: pip install 'pmc-llama\[ray\]'"),
        (
            {"tasks.facts.method": "generation", "evaluate.generation": {"engine": "vllm", "max_new_tokens": 8}},
            "vllm",
            "evaluate.generation.engine: vllm is not installed",
        ),
        ({"regimes.peft.lora": {"quantize": "nf4"}}, "bitsandbytes", "regimes.peft.lora.quantize"),
        ({"corpus.sources.0.paths": ["s3://bucket/*.gz"]}, "s3fs", "corpus.sources.0: s3fs is not installed"),
    ],
)
def test_what_is_not_installed_is_told(
    good: dict[str, Any], changes: dict[str, Any], module: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(RecipeError, match=message):
        check_recipe(changed(good, changes))


def test_a_hub_id_that_cannot_be_had_is_told(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = problems(changed(good, {"base.path": "owner/none"}), {"pretrain"})
    assert found == ["base.path: 'owner/none' is not on this machine, and HF_HUB_OFFLINE forbids to download it"]


def test_a_disk_that_is_too_small_is_told_with_both_numbers(
    good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe(good)
    assert estimated_bytes(recipe, {"pretrain"}) > 0
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "would hold at least" in problems(recipe, {"pretrain"})[0]


def test_what_the_synthetic_world_writes_later_is_no_mistake(good: dict[str, Any], tmp_path: Path) -> None:
    raw = {**good, "run_dir": str(tmp_path / "run"), "minimed": {}, "data": {}, "general": good["corpus"]}
    raw["base"] = {"config": {"hidden_size": 32, "num_attention_heads": 2}, "train": {}}
    assert problems(parse_recipe(raw)) == []
