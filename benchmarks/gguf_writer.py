"""A LLaMA folder of ours as a GGUF file, written with llama.cpp's own package `gguf`.

For byte-level BPE vocabularies. What is not said here of the form is in the package: names of tensors and of keys.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

NORMAL, CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL


def write(folder: Path, out: Path, *, pre: str, add_bos: bool, kind: str = "F16") -> None:
    """Write the model in `folder` to `out`: matrices as `kind` (F16 or F32), norms as F32.

    `pre`: how text is cut before BPE, by llama.cpp's name for it.
    """
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "F16" else gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, folder, config, pre, add_bos)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    for name, tensor in _tensors(folder).items():
        value = tensor.to(torch.float32).numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            value = _interleaved(value, heads if "q_proj" in name else config["num_key_value_heads"])
        kept = np.float16 if kind == "F16" and value.ndim > 1 else np.float32
        writer.add_tensor(names.get_name(name, (".weight",)), value.astype(kept))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def _interleaved(value: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in the order in which llama.cpp rotates them: pairs beside each other, not halves."""
    rows, width = value.shape
    return value.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def _add_tokenizer(writer: Any, folder: Path, config: dict[str, Any], pre: str, add_bos: bool) -> None:
    described = json.loads((folder / "tokenizer.json").read_text())
    special = {token["id"]: token["content"] for token in described["added_tokens"] if token["special"]}
    by_id = {number: piece for piece, number in described["model"]["vocab"].items()} | special
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(config["vocab_size"])]
    merges = described["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if number in special else NORMAL for number in range(len(tokens))])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(add_bos)
