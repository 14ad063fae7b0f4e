"""Models from GGUF, the one-file form of llama.cpp, as folders of safetensors in bf16."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import torch

from pmc_llama.errors import InputError
from pmc_llama.files import sha256_file, write_text
from pmc_llama.model.folders import first_line

_SPLIT_FILE = re.compile(r"-\d{5}-of-(\d{5})$")
_ROPE_FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Frequencies that llama.cpp scales RoPE by; transformers' reader leaves them out, and would compute another model."""


def write_gguf(file: Path, out: Path) -> None:
    """Write the model, tokenizer and settings of one GGUF file into the folder `out`, which exists.

    Weights are bf16, whatever they were. Raises InputError where the file is damaged, of a kind that transformers
    does not read, or of one that it would read wrong.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"{file} is GGUF, and reading it needs the package gguf: pip install 'pmc-llama[gguf]'")
    split = _SPLIT_FILE.search(file.stem)
    if split and int(split[1]) > 1:
        raise InputError(f"{file} is one of {int(split[1])} parts: join them first (llama-gguf-split --merge)")
    facts = _facts(file)
    tokenizer = _tokenizer(file, facts)
    model = _model(file)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(out)
    for weights in out.glob("*.safetensors"):
        weights.chmod((out / "config.json").stat().st_mode)  # the library's are its owner's alone
    tokenizer.save_pretrained(out)
    write_text(out / "README.md", _readme(file, facts))


def _facts(file: Path) -> dict[str, Any]:
    """The file's metadata, lists left out; raises InputError where it cannot be read, or holds scaled RoPE."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        facts = {name: field.contents() for name, field in reader.fields.items() if len(field.data) == 1}
        found = [tensor.name for tensor in reader.tensors]
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    except PermissionError:
        raise
    except Exception as error:  # of a damaged file the reader believes anything
        raise InputError(f"{file} is damaged, or no GGUF: {first_line(error)}") from None
    scaled = [name for name in _ROPE_FACTORS if name in found]
    if scaled:
        raise InputError(
            f"{file} scales its RoPE by {scaled[0]}, which is not read from GGUF: take the original folder"
        )
    return facts | {"kinds": kinds}


def _model(file: Path) -> Any:
    """The model in bf16, every parameter of it from the file."""
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(file.parent),
            gguf_file=file.name,
            trust_remote_code=False,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            output_loading_info=True,
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{file} cannot be read as a language model: {first_line(error)}") from None
    wrong = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
    if wrong:
        kind, names = next(iter(wrong.items()))
        raise InputError(f"{file} does not hold the model that it describes: {kind.replace('_', ' ')} {names[0]} …")
    model = model.to(torch.bfloat16)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.dtype, model.config._name_or_path = torch.bfloat16, ""
    return model


def _tokenizer(file: Path, facts: dict[str, Any]) -> Any:
    """The tokenizer; whether it adds BOS and EOS is the file's word."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} holds no usable tokenizer: {first_line(error)}") from None
    if facts.get("tokenizer.ggml.model") == "gpt2":
        _split_as(tokenizer, str(facts.get("tokenizer.ggml.pre", "default")), file)
    return tokenizer


def _split_as(tokenizer: Any, kind: str, file: Path) -> None:
    """Cut text before BPE as the vocabulary's merges were learned; raises InputError where that is not known."""
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if kind == "smollm":  # transformers' reader does not know it, and takes blanks before digits together
        digits = pre_tokenizers.Digits(individual_digits=True)
        gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
    elif kind not in (*GGUF_PRE_TOKENIZER_SPLITS, "default", "gpt-2"):
        raise InputError(f"{file} cuts text as {kind!r}, which is not read from GGUF: take the original folder")


def _readme(file: Path, facts: dict[str, Any]) -> str:
    """The card: licence and origin."""
    stated = facts.get("general.license")
    head = f"---\nlicense: {stated}\n---\n\n" if isinstance(stated, str) else ""
    kinds = ", ".join(facts["kinds"])
    return (
        f"{head}# {facts.get('general.name', file.stem)}\n\nConverted by pmc-llama from `{file.name}` (GGUF, {kinds}; "
        f"SHA-256 `{sha256_file(file)}`) to bf16. What quantisation took is not back.\n"
    )
