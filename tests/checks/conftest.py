"""A recipe on small files of which everything is right, for a test to make one thing wrong."""

from pathlib import Path
from typing import Any

import pytest

from corpus.samples import s2orc_row, write_lines
from pmc_llama.minimed.world import write_world
from pmc_llama.recipe.minimed import MiniMedSection
from release.tiny import save_model, tiny_model, tiny_tokenizer


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe that nothing is wrong with."""
    root = tmp_path_factory.mktemp("good")
    tokenizer = tiny_tokenizer(root)
    save_model(tiny_model(tokenizer, steps=1), tokenizer, root / "base")
    write_world(MiniMedSection(drugs=8, papers_per_drug=1, general_papers=8, vocab_size=600), 0, root)
    write_lines(root / "shard.jsonl.gz", [s2orc_row(1, pmcid="1")])
    tasks = {
        "facts": {
            "format": "medmcqa",
            "train": "qa/medmcqa/train.json",
            "test": "qa/medmcqa/dev.json",
            "prompt": "plain",
            "answers": "texts",
        }
    }
    return {
        "name": "good",
        "run_dir": str(root / "run"),
        "data": {"root": str(root)},
        "corpus": {"sources": [{"name": "s2orc", "paths": ["shard.jsonl.gz"]}]},
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"path": "base"},
        "pretrain": {"precision": "auto"},
        "tasks": tasks,
        "regimes": {
            "full": {"kind": "full", "tasks": ["facts"], "seq_len": 256},
            "peft": {"kind": "peft", "tasks": ["facts"], "seq_len": 256},
            "few": {"kind": "few_shot", "shots": 2},
            "mine": {"kind": "instruct", "files": ["qa/instructions.jsonl"], "seq_len": 256},
        },
    }


@pytest.fixture
def root(good: dict[str, Any]) -> Path:
    return Path(good["data"]["root"])
