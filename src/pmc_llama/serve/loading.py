"""The model and tokenizer of a folder, on the GPU if there is one."""

from pathlib import Path
from typing import Any, Literal

import torch

from pmc_llama.errors import InputError
from pmc_llama.model.folders import first_line, local_folder
from pmc_llama.model.inference import load_for_inference
from pmc_llama.model.precision import compute_dtype
from pmc_llama.model.tokenizer import folder_tokenizer

Dtype = Literal["auto", "fp32", "bf16"]


def load_served(folder: Path | str, dtype: Dtype = "auto") -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) of a Hugging Face folder or hub id.

    `dtype` auto is fp32 on a CPU, and what the GPU multiplies fastest there. Raises InputError where there is no such
    folder, and for one that is damaged, incomplete or in need of code of its own.
    """
    path = local_folder(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is not a model folder: it has no config.json (`pmc-llama export` writes one)")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision: Dtype = "fp32" if dtype == "auto" and device.type == "cpu" else dtype
    try:
        model = load_for_inference(path, dtype=compute_dtype(precision, device), device=device.type)
    except (OSError, ValueError) as error:  # of files beside the weights
        raise InputError(f"model {path} cannot be loaded: {first_line(error)}") from None
    return model, folder_tokenizer(path)
