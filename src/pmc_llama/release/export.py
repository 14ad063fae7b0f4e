"""From a run directory to a folder that can be published: weights, tokenizer, right ids, template, licence, card."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_file, write_json, write_text
from pmc_llama.hub import MODEL_FILES, cached_folder, is_hub_id
from pmc_llama.model.folders import local_folder
from pmc_llama.model.merge import stored_dtype, write_weights
from pmc_llama.model.portable import portable
from pmc_llama.model.stops import kept_end_ids
from pmc_llama.model.tokenizer import folder_tokenizer
from pmc_llama.model.weights import INDEX, weight_files
from pmc_llama.recipe.inputs import base_model_path, tokenizer_path
from pmc_llama.records.results import Results
from pmc_llama.records.stamps import MADE_BY, Exported, Stamp
from pmc_llama.release.card import write_model_card
from pmc_llama.release.provenance import checked
from pmc_llama.release.trained import Trained, find_model, first_recipe
from pmc_llama.release.update import check_not_worse
from pmc_llama.run_dir import ExportDir

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Dtype = Literal["auto", "fp32", "bf16", "fp16"]
NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Types of weights, as transformers calls them in `config.json`."""
_OF_THIS_MACHINE = ("is_local", "local_files_only", "backend")
LICENSE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


def export_model(
    run_dir: Path,
    out: Path,
    *,
    which: str = "adapted",
    merged: bool = True,
    dtype: Dtype = "auto",
    base_repo: str | None = None,
    license: str | None = None,
    allow_worse: bool = False,
) -> Path:
    """Write the model `which` of a run (see `find_model`) as a Hugging Face folder with its model card; returns `out`.

    `merged=False` keeps an adapter apart from its base, which `base_repo` (`owner/name`) must name unless it came from
    the hub. `dtype` is that of the weights: `auto` is the base model's own, or for one that was made from scratch that
    of training. The folder holds all that llama.cpp's converter reads, also `tokenizer.model` where the tokenizer has
    one. It appears whole or not at all. Raises InputError for an `out` that is in use, for a model that is not there,
    for a model and results that do not belong together, for weights that `dtype` cannot hold, for an adapter that
    cannot be merged, and for a revision that is worse than the one before it unless `allow_worse`.
    """
    if out.is_symlink():
        raise InputError(f"{out} is a link: give a folder that does not exist yet")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: give a folder that does not exist yet, or remove it first")
    model, stamp, results = checked(find_model(run_dir, which))
    if not allow_worse:
        check_not_worse(run_dir)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tokenizer = _write_tokenizer(model, partial)
        if model.adapter is not None and not merged:
            if dtype != "auto":
                raise InputError("an adapter that is kept apart is exported as it was trained: leave out the dtype")
            _write_adapter(model, partial, base_repo)
            written = None
        else:
            written = _write_weights(model, partial, dtype)
            _write_configs(model, partial, tokenizer, written)
        _write_papers(model, results, partial, merged, license, written)
        _write_origin(stamp, partial)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _write_tokenizer(model: Trained, out: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer saved with the trained model, its SentencePiece file, and the base's chat template if any."""
    trained = model.adapter or local_folder(model.folder)
    tokenizer: PreTrainedTokenizerBase = folder_tokenizer(trained)
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer in {trained} has no end-of-text token: nothing would stop generation")
    base = _base_folder(model)
    if tokenizer.chat_template is None and base is not None and (base / "tokenizer_config.json").is_file():
        tokenizer.chat_template = folder_tokenizer(base).chat_template
    tokenizer.save_pretrained(out)
    _make_portable(out)
    sentencepiece = _sentencepiece_file(model)
    if sentencepiece is not None:
        shutil.copyfile(sentencepiece, out / "tokenizer.model")
    return tokenizer


def _make_portable(folder: Path) -> None:
    """Say in `tokenizer_config.json` what transformers 4 and 5 read alike, and nothing about this machine."""
    file = folder / "tokenizer_config.json"
    value = {name: item for name, item in read_json(file).items() if name not in _OF_THIS_MACHINE}
    if value.get("tokenizer_class") == "TokenizersBackend":  # the name since transformers 5
        value["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(value.get("extra_special_tokens"), list):  # in transformers 4, a table of names
        value["additional_special_tokens"] = value.pop("extra_special_tokens")
    named = value.pop("model_specific_special_tokens", None)
    if named:
        value["extra_special_tokens"] = named
    # transformers 4 makes the pre-tokenizer follow this setting, and else gives inputs that LLaMA does not take
    pre_tokenizer = read_json(folder / "tokenizer.json").get("pre_tokenizer") or {}
    if "add_prefix_space" in pre_tokenizer:
        value["add_prefix_space"] = pre_tokenizer["add_prefix_space"]
    value.setdefault("model_input_names", ["input_ids", "attention_mask"])
    write_json(file, value)


def _sentencepiece_file(model: Trained) -> Path | None:
    given = tokenizer_path(model.recipe)
    places = [given, given / "tokenizer.model", local_folder(model.folder) / "tokenizer.model"]
    return next((place for place in places if place.is_file() and place.name.endswith(".model")), None)


def _base_folder(model: Trained) -> Path | None:
    """Folder of the model that this run and the revisions before it started from, if it is on this machine."""
    path = base_model_path(first_recipe(model.run.root))
    if Path(path).is_dir():
        return Path(path)
    return cached_folder(str(path), MODEL_FILES) if is_hub_id(str(path)) else None


def _write_weights(model: Trained, out: Path, dtype: Dtype) -> str | None:
    """Copy the weights, or write them anew where an adapter is merged or their type changes.

    Returns the type as transformers calls it; None for weights of several types, which are copied as they are.
    """
    import torch

    source = local_folder(model.folder)
    stored = stored_dtype(source)
    wanted = _wanted(model, source) if dtype == "auto" else getattr(torch, NAMES[dtype])
    if model.adapter is None and wanted in (None, stored):
        for file in [*weight_files(source), source / INDEX]:
            if file.is_file():
                shutil.copyfile(file, out / file.name)
        return None if stored is None else str(stored).removeprefix("torch.")
    wanted = wanted or stored or torch.float32
    write_weights(source, out, dtype=wanted, adapter=model.adapter)
    return str(wanted).removeprefix("torch.")


def _wanted(model: Trained, source: Path) -> "torch.dtype | None":
    """The type of the base's weights; None to leave those in `source` as they are.

    What its configuration says counts, and where that says nothing what its files hold.
    """
    import torch

    base = _base_folder(model)
    if model.which == "base" or base is None or first_recipe(model.run.root).base.path is None:
        return None
    config = read_json(base / "config.json")
    named = config.get("dtype") or config.get("torch_dtype")
    if named in NAMES.values():
        return getattr(torch, named)  # type: ignore[no-any-return]
    return stored_dtype(base)


def _write_configs(model: Trained, out: Path, tokenizer: "PreTrainedTokenizerBase", dtype: str | None) -> None:
    """Special ids in `config.json` and `generation_config.json` are the tokenizer's, whatever the base's files said.

    Further end-of-text ids of the base are kept: instruct models stop at several.
    """
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = read_json(local_folder(model.folder) / "config.json") | ids | {"use_cache": True}
    write_json(out / "config.json", portable(config if dtype is None else config | {"dtype": dtype}))
    base = _base_folder(model)
    file = None if base is None else base / "generation_config.json"
    known = read_json(file) if file is not None and file.is_file() else {}
    eos = kept_end_ids(known.get("eos_token_id"), tokenizer.eos_token_id)
    sampling = {name: known[name] for name in ("do_sample", "temperature", "top_p", "top_k") if name in known}
    write_json(out / "generation_config.json", sampling | ids | {"eos_token_id": eos})


def _write_adapter(model: Trained, out: Path, base_repo: str | None) -> None:
    assert model.adapter is not None
    base = base_repo or str(model.folder)
    if Path(base).exists():
        raise InputError(
            f"the adapter's base {base} is a folder of this machine: publish it first and name it with `base_repo` "
            "(owner/name), or export the model merged"
        )
    shutil.copyfile(model.adapter / "adapter_model.safetensors", out / "adapter_model.safetensors")
    config = read_json(model.adapter / "adapter_config.json") | {"base_model_name_or_path": base}
    write_json(out / "adapter_config.json", config)


def _write_papers(
    model: Trained, results: Results, out: Path, merged: bool, license: str | None, dtype: str | None
) -> None:
    """The base's licence texts, the recipe and the results that the card speaks of, and the card."""
    base = _base_folder(model)
    for pattern in LICENSE_FILES if base is not None else ():
        for file in sorted(base.glob(pattern)):  # type: ignore[union-attr]
            shutil.copyfile(file, out / file.name)
    resolved = model.recipe.model_dump(mode="json", exclude_none=True, exclude={"run_dir"})
    write_text(ExportDir(out).recipe, yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    if model.run.results.is_file():
        shutil.copyfile(model.run.results, ExportDir(out).results)
    write_model_card(model, results, out, merged=merged, license=license, dtype=dtype)


def _write_origin(stamp: Stamp, out: Path) -> None:
    """What made the model, and the hashes by which it is known again when it is published."""
    assert stamp.token is not None
    files = {
        name: sha256_file(out / name) for name in sorted(file.name for file in out.iterdir()) if name != "README.md"
    }
    origin = Exported(stamp.work, stamp.token, stamp.settings, stamp.upstream, stamp.version, files)
    write_json(out / MADE_BY, origin)
