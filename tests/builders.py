"""Small inputs that several test files start from."""

from pathlib import Path
from typing import Any

from pmc_llama.files import write_json
from pmc_llama.records.tokens import FORMAT, StoreInfo


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


def write_store_info(store: Path, tokens: int, documents: int = 1) -> None:
    """A `store.json` that says so much; there are no tokens beside it."""
    info = StoreInfo(
        format=FORMAT,
        tokenizer_sha256="",
        vocab_size=100,
        dtype="uint16",
        bos_eos="not stored",
        corpora=[],
        heldout_fraction=0.0,
        documents=documents,
        empty_documents=0,
        tokens=tokens,
        heldout_documents=0,
        heldout_tokens=0,
        offsets_sha256="",
        documents_sha256="",
        shards=[],
    )
    write_json(store / "store.json", info)
