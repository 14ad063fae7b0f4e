"""Models as they are asked: plain transformers models in eval mode, of which every weight is accounted for."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, GenerationConfig, PreTrainedModel
from transformers.utils import logging

from pmc_llama.errors import InputError
from pmc_llama.model.folders import first_line, local_folder, read_config, refuse_weights
from pmc_llama.model.merge import Adapter
from pmc_llama.model.reading import prove_filled, refuse_unread, some
from pmc_llama.model.tensors import tensor_files


def load_for_inference(
    path: str | Path, adapter: Path | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> PreTrainedModel:
    """The model of a folder or hub id, with the adapter merged into it if one is given.

    The weights are those that the folder's index names, without a memory map of its files; code of the folder is never
    run. Raises InputError where a tensor is missing, has another shape, or has no place in the model, and for an
    adapter that is no plain LoRA or not one of this model.
    """
    logging.disable_progress_bar()
    folder = local_folder(path)
    refuse_weights(folder)
    model = _read(folder, dtype)
    if adapter is not None:
        _merge(model, folder, adapter)
    return model.to(device).eval()


def _read(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    config = read_config(folder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"model {folder}: {config.model_type} is no architecture that writes text")
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    slices = {name: file.lazily(name) for name, file in tensor_files(folder).items()}
    told = logging.get_verbosity()
    logging.set_verbosity_error()  # what it reports of missing tensors is raised below
    try:
        model, info = kind.from_pretrained(
            None, config=config, state_dict=slices, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (RuntimeError, ValueError, ImportError, OSError, KeyError, SafetensorError) as error:
        raise InputError(f"model {folder} cannot be loaded: {first_line(error)}") from None
    finally:
        logging.set_verbosity(told)
    lacking = sorted({*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    if lacking:
        raise InputError(f"model {folder}: {some(lacking)} are missing in its files, or of another shape there")
    refuse_unread(model, folder, info["unexpected_keys"])
    if config.tie_word_embeddings and model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        raise InputError(f"model {folder}: its config.json ties two matrices that differ in its files")
    prove_filled(model, f"model {folder}")
    model.name_or_path = str(folder)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model


def _merge(model: PreTrainedModel, folder: Path, adapter: Path) -> None:
    """Add an adapter to a loaded model: each matrix in fp32 from its file, so rounded once, as in a merged export."""
    files = tensor_files(folder)
    change = Adapter.read(adapter, files, bool(model.config.tie_word_embeddings))
    with torch.no_grad():
        for name in change.changed:
            model.get_parameter(name).copy_(change.applied(name, files[name]))
