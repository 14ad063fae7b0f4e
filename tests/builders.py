"""Small inputs that several test files start from."""

from typing import Any


def small_recipe() -> dict[str, Any]:
    return {
        "name": "small",
        "run_dir": "runs/small",
        "data": {"root": "data"},
        "corpus": {"sources": [{"name": "s2orc", "paths": ["*.jsonl.gz"]}]},
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"path": "base"},
        "tasks": {"medqa": {"format": "medqa", "train": "train.jsonl", "test": "test.jsonl"}},
        "regimes": {"full": {"kind": "full", "tasks": ["medqa"]}},
    }
