"""Other forms of checkpoints become safetensors that load as the same model, and nothing in them is run."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pmc_llama.errors import InputError
from pmc_llama.model.convert import convert
from train.tiny import CONFIG, VOCAB

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the package gguf is not installed")


def tiny(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**CONFIG, "vocab_size": VOCAB, **changes}))


def old_folder(folder: Path, value: Any, **how: Any) -> Path:
    """A folder with one pytorch_model.bin of `value`, and all else that lies beside old models."""
    tiny().config.save_pretrained(folder)
    torch.save(value, folder / "pytorch_model.bin", **how)
    return folder


@pytest.mark.parametrize("parts", [1, 2])
def test_the_converted_model_is_the_same(tmp_path: Path, parts: int) -> None:
    model = tiny()
    old = tmp_path / "old"
    old.mkdir()
    model.config.save_pretrained(old)
    state = model.state_dict() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    names = list(state)
    for part in range(parts):
        suffix = "" if parts == 1 else f"-{part + 1:05d}-of-{parts:05d}"
        torch.save({name: state[name] for name in names[part::parts]}, old / f"pytorch_model{suffix}.bin")
    convert(old, tmp_path / "new")
    with pytest.raises(InputError, match="new exists"):
        convert(old, tmp_path / "new")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "new/model.safetensors.index.json").exists() == (parts > 1)
    assert json.loads((tmp_path / "new/config.json").read_text())["hidden_size"] == CONFIG["hidden_size"]


def test_what_belongs_to_a_model_stays_with_it(tmp_path: Path) -> None:
    old = old_folder(tmp_path / "old", tiny().state_dict())
    kept = {"LICENSE", "USE_POLICY.md", "merges.txt", "vocab.json", "chat_template.jinja", "tokenizer.model"}
    left = {"modeling_own.py", "training_args.bin", "optimizer.pt", ".gitattributes", "pytorch_model.bin.index.json"}
    for name in kept | left:
        (old / name).write_text("{}")
    torch.save({"x": torch.zeros(1)}, old / "state")  # a pickle, whatever its name
    torch.save({"x": torch.zeros(1)}, old / "older", _use_new_zipfile_serialization=False)
    convert(old, tmp_path / "new")
    found = {path.name for path in (tmp_path / "new").iterdir()}
    assert found - {"model.safetensors", "config.json", "generation_config.json"} == kept


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "module"])
def test_weights_may_lie_one_level_down_or_be_tied(tmp_path: Path, wrapper: str) -> None:
    model = tiny(tie_word_embeddings=True)
    old = old_folder(tmp_path / "old", {wrapper: model.state_dict(), "epoch": 3}, _use_new_zipfile_serialization=False)
    model.config.save_pretrained(old)
    convert(old, tmp_path / "new")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([torch.zeros(2)], "it holds a list"),
        ({}, "it holds nothing"),
        ({"weight": torch.zeros(2), "lr": 0.1}, "'lr' is a float, expected tensors"),
        ({"weight": torch.zeros(2), "rest": None}, "'rest' is a NoneType"),
        ({"model": {"model": {"weight": torch.zeros(2)}}}, "'model' is a dict"),
        ({"weight": Path("harmless")}, "it would run pathlib"),
    ],
)
def test_what_is_no_flat_set_of_tensors_is_refused_by_name(tmp_path: Path, value: Any, said: str) -> None:
    old = old_folder(tmp_path / "old", value)
    with pytest.raises(InputError, match=said) as refused:
        convert(old, tmp_path / "new")
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"], "nothing half done is left"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, share: float, zipped: bool) -> None:
    old = old_folder(tmp_path / "old", tiny().state_dict(), _use_new_zipfile_serialization=zipped)
    file = old / "pytorch_model.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="not a file of tensors alone") as refused:
        convert(old, tmp_path / "new")
    assert "\n" not in str(refused.value)


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pytorch_model\*\.bin, and no \.gguf"):
        convert(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(InputError, match=r"is no \.gguf file"):
        convert(tmp_path / "model.bin", tmp_path / "new")
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"holds 2 \.gguf files: name one of them"):
        convert(tmp_path, tmp_path / "new")


def byte_level(folder: Path, add_bos: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and the merge of two blanks, saved to `folder`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "</s>", *alphabet, "ĠĠ"]
    bpe = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [("Ġ", "Ġ")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, add_bos_token=add_bos, **special)
    made.save_pretrained(folder)
    return made


def gguf_of(model: LlamaForCausalLM, folder: Path, add_bos: bool = False, pre: str = "smollm") -> Path:
    from benchmarks.gguf_writer import write

    byte_level(folder, add_bos)
    model.config.bos_token_id, model.config.eos_token_id = 0, 1
    model.save_pretrained(folder)
    write(folder, folder / "model.gguf", pre=pre, add_bos=add_bos, kind="F32")
    return folder / "model.gguf"


@needs_gguf
@pytest.mark.parametrize(("tied", "add_bos"), [(True, False), (False, True)])
def test_a_gguf_is_the_same_model_with_the_same_ids(tmp_path: Path, tied: bool, add_bos: bool) -> None:
    model = tiny(vocab_size=259, tie_word_embeddings=tied)
    gguf_of(model, tmp_path / "old", add_bos)
    convert(tmp_path / "old", tmp_path / "new")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert {value.dtype for value in again.parameters()} == {torch.bfloat16}
    assert "quantization_config" not in json.loads((tmp_path / "new/config.json").read_text())
    for name, value in model.state_dict().items():
        assert torch.equal(value.to(torch.bfloat16), again.state_dict()[name]), name
    ids = AutoTokenizer.from_pretrained(tmp_path / "new")("x  12")["input_ids"]
    pieces = ["x", "ĠĠ", "1", "2"]  # digits are cut off first, and leave the blanks before them together
    expected = byte_level(tmp_path / "plain", add_bos=False).convert_tokens_to_ids(pieces)
    assert ids == [0] * add_bos + expected


@needs_gguf
def test_a_gguf_that_would_be_read_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = gguf_of(tiny(vocab_size=259), tmp_path / "old", pre="unheard-of")
    with pytest.raises(InputError, match="cuts text as 'unheard-of'"):
        convert(file, tmp_path / "new")
    whole = gguf_of(tiny(vocab_size=259), tmp_path / "good").read_bytes()
    renamed = {b"blk.0.attn_norm.weight": b"blk.0.attn_Norm.weight", b"token_embd.weight": b"rope_freqs.weight"}
    for (name, other), said in zip(renamed.items(), ("missing keys", "scales its RoPE"), strict=True):
        file.write_bytes(whole.replace(name, other))
        with pytest.raises(InputError, match=said):
            convert(file, tmp_path / "new")
    for length in (0, 3, 2000, len(whole) // 2):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged, or no GGUF"):
            convert(file, tmp_path / "new")
    (tmp_path / "model-00001-of-00002.gguf").write_bytes(whole)
    with pytest.raises(InputError, match="is one of 2 parts"):
        convert(tmp_path / "model-00001-of-00002.gguf", tmp_path / "new")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'pmc-llama\[gguf\]'"):
        convert(file, tmp_path / "new")
    assert not list(tmp_path.glob("new*"))
