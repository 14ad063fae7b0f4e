"""Which tokens end what a model writes.

Instruct models end their turns with other tokens than the tokenizer's end-of-text token (Phi-3, Gemma, Llama 3, Qwen);
they stand in `eos_token_id` of generation_config.json.
"""

from pathlib import Path
from typing import Any

from pmc_llama.files import read_json


def end_ids(named: Any, tokenizer: Any) -> list[int]:
    """The tokenizer's end-of-text token, and what a generation config names as `eos_token_id` (an id, a list, None)."""
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(token for token in ids if token is not None)


def end_ids_of(folder: Path, tokenizer: Any) -> list[int]:
    """The same for the model in `folder`; where it has no generation config, its configuration names them."""
    file = folder / "generation_config.json"
    file = file if file.is_file() else folder / "config.json"
    return end_ids(read_json(file).get("eos_token_id") if file.is_file() else None, tokenizer)


def kept_end_ids(named: Any, eos: int | None) -> int | list[int] | None:
    """The `eos_token_id` that a model made from another one gets, whose generation config names `named`.

    A list counts if it holds `eos`, the tokenizer's own: other values are the wrong ones of some LLaMA conversions.
    """
    return named if isinstance(named, list) and eos in named else eos
