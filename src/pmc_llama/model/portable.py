"""`config.json` in the words of every version of transformers: what version 5 renamed is said twice.

Version 4, which many environments of vLLM and lm-evaluation-harness still have, skips `rope_parameters` without a word
and computes positions with its defaults.
"""

import math
from typing import Any

_SAID_APART = ("rope_theta", "partial_rotary_factor")
"""Fields of `rope_parameters` that version 4 has in the configuration itself."""
_PHI3_FIELDS = {"type", "short_factor", "long_factor"}
"""All that version 4 allows in `rope_scaling` of a Phi-3."""


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """The value of a `config.json` with the names of transformers 4 beside those of transformers 5.

    Version 5 reads the same model from it as before.
    """
    config = dict(config)
    dtype = config.get("dtype") or config.get("torch_dtype")
    if dtype is not None:
        config |= {"dtype": dtype, "torch_dtype": dtype}
    rope = config.get("rope_parameters")
    if not rope:
        return config
    if all(value is None or isinstance(value, dict) for value in rope.values()):  # by type of layer
        whole, local = rope.get("full_attention"), rope.get("sliding_attention")
        if local and "rope_theta" in local:
            config["rope_local_base_freq"] = local["rope_theta"]
        return config | _old_rope(config, whole or {})
    return config | _old_rope(config, rope)


def _old_rope(config: dict[str, Any], rope: dict[str, Any]) -> dict[str, Any]:
    """`rope_theta`, `rope_scaling` and what else stands for `rope` in version 4."""
    found = {name: rope[name] for name in _SAID_APART if rope.get(name) is not None}
    if config.get("model_type") == "gpt_neox":
        names = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
        found = {names[name]: value for name, value in found.items()}
    scaling = {name: value for name, value in rope.items() if name not in _SAID_APART and value is not None}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return found | {"rope_scaling": None}
    if kind == "longrope":
        found |= _longrope_length(config, scaling)
    if config.get("model_type") == "phi3":
        scaling = _phi3(scaling, found)
    return found | {"rope_scaling": scaling}


def _longrope_length(config: dict[str, Any], scaling: dict[str, Any]) -> dict[str, Any]:
    """Version 4 takes the first training's length from the configuration alone, and then no `factor` from `scaling`.

    Where that would change the attention's factor, it is written into `scaling` (its formula: Ding et al. 2024).
    """
    length = scaling.get("original_max_position_embeddings")
    if length is None:
        return {}
    factor = scaling.get("factor")
    if (
        factor is not None
        and "attention_factor" not in scaling
        and factor != config["max_position_embeddings"] / length
    ):
        scaling["attention_factor"] = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(length))
    return {"original_max_position_embeddings": length}


def _phi3(scaling: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """`scaling` as a Phi-3 of version 4 takes it; one that says more stays whole, which version 4 refuses aloud."""
    value = {"type": "longrope"} | {name: item for name, item in scaling.items() if name not in ("type", "rope_type")}
    small = {name: item for name, item in value.items() if name not in found}
    return small if small.keys() == _PHI3_FIELDS else scaling
