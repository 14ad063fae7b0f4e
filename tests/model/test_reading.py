"""Every weight is read, drawn or computed, once; what is missing, unread or not a weight is refused by its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from model import matrix
from pmc_llama.errors import InputError, RecipeError, TrainingError
from pmc_llama.model import load
from pmc_llama.model.accepted import refuse_length
from pmc_llama.model.attention import Documents
from pmc_llama.model.blocks import causal_lm
from pmc_llama.model.load import ModelOrigin, build_model, load_for_inference
from pmc_llama.model.reading import match_weights
from pmc_llama.recipe.training import LoraSection
from pmc_llama.train import loop
from pmc_llama.train.batches import Rows
from pmc_llama.train.isolation import prove_isolation
from pmc_llama.train.loop import train
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.step import attach_loss
from pmc_llama.train.world import World, join_world
from train.tiny import Source, options

Tensors = dict[str, torch.Tensor]


def build(folder: Path, world: World, lora: LoraSection | None = None, dtype: torch.dtype = torch.float32) -> Any:
    net = build_model(
        ModelOrigin(path=folder), tokenizer=matrix.tokenizer(folder.parent), mesh=world.mesh, device=world.device,
        dtype=dtype, seed=0, lora=lora,
    )  # fmt: skip
    attach_loss(net)
    return net


def base(folder: Path, tied: bool = False, name: str = "llama-1") -> Path:
    return matrix.make(folder, name, tied, torch.float32)[0]


def changed(path: Path, tensors: Callable[[Tensors], Tensors], **config: object) -> Path:
    """The folder with other tensors in its file, and other fields in its configuration."""
    file = path / "model.safetensors"
    save_file({name: one.contiguous() for name, one in tensors(load_file(file)).items()}, file)
    known = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(known | config))
    return path


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda found: {name: one for name, one in found.items() if part not in name}


def in_eight_bits(found: Tensors) -> Tensors:
    eight = {name: one.to(torch.float8_e4m3fn) for name, one in found.items() if "_proj" in name}
    return found | eight | {f"{name}_scale": torch.ones(1) for name in eight}


def spoiled(found: Tensors) -> Tensors:
    found["model.norm.weight"][3] = float("nan")
    return found


FAULTS: dict[str, tuple[bool, Callable[[Tensors], Tensors], dict[str, object], str]] = {
    "a tensor too few": (False, without("layers.1.self_attn.v_proj"), {}, r"layers\.1\.self_attn\.v_proj\.weight"),
    "no output matrix": (False, without("lm_head"), {}, r"lm_head\.weight"),
    "a second matrix of tied weights": (
        True, lambda found: found | {"lm_head.weight": torch.randn(403, 32)}, {}, "ties .*|two different matrices",
    ),
    "a bias that the configuration denies": (
        False, lambda found: found | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}, {}, r"q_proj\.bias",
    ),
    "scales of eight bits": (False, in_eight_bits, {}, "scale|quantised"),
    "another shape": (
        False, lambda found: found | {"lm_head.weight": found["lm_head.weight"][:400]}, {}, r"lm_head\.weight",
    ),
    "not a number": (False, spoiled, {}, r"model\.norm\.weight"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("use", ["training", "inference"])
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, fault: str, use: str) -> None:
    tied, tensors, config, words = FAULTS[fault]
    folder = changed(base(tmp_path, tied), tensors, **config)
    with join_world() as world, pytest.raises(InputError, match=words) as error:
        build(folder, world) if use == "training" else load_for_inference(folder)
    assert "\n" not in str(error.value)
    if "few" in fault or "no output" in fault:
        assert "lacks" in str(error.value) or "missing" in str(error.value)


def test_a_quantised_base_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    folder = changed(base(tmp_path), without("nothing"), quantization_config={"quant_method": "fp8"})
    with join_world() as world, pytest.raises(RecipeError, match="`quantization_config`"):
        build(folder, world)


@pytest.mark.parametrize("lora", [None, LoraSection(r=2, dropout=0.0)])
def test_tied_weights_stay_one_matrix_with_the_files_values(tmp_path: Path, lora: LoraSection | None) -> None:
    folder = base(tmp_path, tied=True)
    with join_world() as world:
        lm = causal_lm(build(folder, world, lora))
        inner, outer = lm.get_input_embeddings().weight, lm.get_output_embeddings().weight
        assert inner is outer
        right = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
        assert torch.equal(matrix._whole(outer), right)


def test_tied_weights_may_be_in_the_file_twice_or_under_the_other_name(tmp_path: Path) -> None:
    key, head = "model.embed_tokens.weight", "lm_head.weight"
    for number, tensors in enumerate(
        (
            lambda found: found | {head: found[key].clone()},
            lambda found: {**without(key)(found), head: found[key]},
        )
    ):
        (tmp_path / str(number)).mkdir()
        folder = base(tmp_path / str(number), tied=True)
        right = load_file(folder / "model.safetensors")[key]
        changed(folder, tensors)
        with join_world() as world:
            found = causal_lm(build(folder, world)).get_output_embeddings().weight
            assert torch.equal(matrix._whole(found), right)
        assert torch.equal(load_for_inference(folder).get_output_embeddings().weight, right)


def test_what_old_files_hold_of_rope_is_no_weight(tmp_path: Path) -> None:
    old = "model.layers.0.self_attn.rotary_emb.inv_freq"
    folder = changed(base(tmp_path), lambda found: found | {old: torch.ones(4)})
    with join_world() as world:
        frequencies = causal_lm(build(folder, world)).get_decoder().rotary_emb.inv_freq
    for found in (frequencies, load_for_inference(folder).get_decoder().rotary_emb.inv_freq):
        assert not torch.equal(found, torch.ones(4)), "they come from the configuration"


def test_memory_that_nobody_fills_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = base(tmp_path)
    read = load.read_weights

    def forgetful(model: torch.nn.Module, path: Path) -> None:
        found = {name: matrix._whole(value) for name, value in model.named_parameters()}
        assert all(bool(value.isnan().all()) for value in found.values()), "nothing that memory held before is left"
        read(model, path)
        with torch.no_grad():
            causal_lm(model).get_output_embeddings().weight.to_local()[7].fill_(torch.nan)

    monkeypatch.setattr(load, "read_weights", forgetful)
    with join_world() as world, pytest.raises(InputError, match=r"read from nowhere: lm_head\.weight$"):
        build(folder, world)


def test_a_folder_is_compared_with_its_configuration_by_headers_alone(tmp_path: Path) -> None:
    for tied in matrix.TIED:
        folder = base(tmp_path, tied)
        config = load.configuration(ModelOrigin(path=folder), matrix.tokenizer(tmp_path))
        match_weights(load.shape_on_meta(config, None), folder)
        changed(folder, without("down_proj"))
        with pytest.raises(InputError, match=r"lacks model\.layers\.0\.mlp\.down_proj\.weight"):
            match_weights(load.shape_on_meta(config, None), folder)


def test_all_that_is_trained_is_of_one_type(tmp_path: Path) -> None:
    """Apertus keeps its activation's parameters in bf16, which cannot be sharded with the others."""
    folder = base(tmp_path, name="apertus")
    config = load.configuration(ModelOrigin(path=folder), matrix.tokenizer(tmp_path))
    model = load.shape_on_meta(config, None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_buffers_are_what_the_configuration_gives(tmp_path: Path) -> None:
    for name in ("gemma3", "apertus", "llama-3", "phi3-longrope"):
        folder = base(tmp_path, name=name)
        right = dict(matrix.plain(folder).named_buffers())
        with join_world() as world:
            found = dict(build(folder, world).named_buffers())
        assert found.keys() == right.keys()
        for key, value in right.items():
            assert torch.equal(found[key].to(value.dtype), value), key


def test_the_row_of_the_padding_token_is_trained(tmp_path: Path) -> None:
    """It is often the row of the token that ends texts, too."""
    with join_world() as world:
        folder = changed(base(tmp_path), without("nothing"), pad_token_id=2)
        tokenizer = matrix.tokenizer(tmp_path)
        tokenizer.pad_token = tokenizer.eos_token
        net = build_model(
            ModelOrigin(path=folder), tokenizer=tokenizer, mesh=world.mesh, device=world.device, dtype=torch.float32,
            seed=0,
        )  # fmt: skip
        net(input_ids=torch.tensor([[2, 5]]), documents=_one_document()).logits.sum().backward()
        gradient = matrix._whole(causal_lm(net).get_input_embeddings().weight.grad)
    assert gradient[2].abs().sum() > 0 and gradient[7].abs().sum() == 0


def _one_document() -> Documents:
    return Documents.of(np.arange(2)[None], torch.device("cpu"))


LEAKS = {"lfm2": {"layer_types": ["conv", "full_attention"]}, "qwen3_next": {}, "mamba": {}, "gpt_oss": {}}
LEAKS |= {"falcon_h1": {}, "recurrent_gemma": {}, "bloom": {}, "nemotron": {}, "granite": {"logits_scaling": 8.0}}


@pytest.mark.parametrize("kind", list(LEAKS))
def test_architectures_that_would_be_computed_otherwise_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    config = AutoConfig.for_model(kind, **{**matrix.SIZES, "vocab_size": 403, **LEAKS[kind]})
    with pytest.raises(RecipeError, match=r"ForCausalLM|Attention|LMHead"):
        load.shape_on_meta(config, None)


def test_documents_that_see_each_other_are_found_on_the_loaded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = base(tmp_path)
    with join_world() as world:
        net = build(folder, world)
        prove_isolation(net, world)
        block = causal_lm(net).get_decoder().layers[0].mlp
        plain = block.forward
        block.forward = lambda hidden: plain(hidden) + hidden.roll(1, 1)  # of the position before, whoever's it is
        with pytest.raises(RecipeError, match="packed documents see each other"):
            prove_isolation(net, world)


def test_training_proves_it_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, words, made = base(tmp_path), matrix.tokenizer(tmp_path), loop.build_model

    def leaking(*arguments: Any, **more: Any) -> torch.nn.Module:
        net = made(*arguments, **more)
        block = causal_lm(net).get_decoder().layers[0].mlp
        plain = block.forward
        block.forward = lambda hidden: plain(hidden) + hidden.roll(1, 1)
        return net

    monkeypatch.setattr(loop, "build_model", leaking)
    with pytest.raises(RecipeError, match="packed documents see each other"):
        train(
            model=ModelOrigin(path=folder), batches=Source(4), options=options(), out=tmp_path / "out",
            export_to=tmp_path / "out/model", tokenizer=words, seed=0,
        )  # fmt: skip


def test_a_block_without_our_attention_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = base(tmp_path)
    config = load.configuration(ModelOrigin(path=folder), matrix.tokenizer(tmp_path))
    plain = LlamaDecoderLayer.forward

    def forward(self: Any, hidden_states: torch.Tensor, **more: Any) -> torch.Tensor:
        return hidden_states if self.self_attn.layer_idx else plain(self, hidden_states, **more)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", forward)
    with pytest.raises(RecipeError, match="1 of its 2 blocks"):
        load.shape_on_meta(config, None)


def test_positions_that_depend_on_a_rows_length_are_refused(tmp_path: Path) -> None:
    folder = base(tmp_path, name="phi3-longrope")
    config = load.configuration(ModelOrigin(path=folder), matrix.tokenizer(tmp_path))
    refuse_length(config, matrix.ORIGINAL, "pretrain")
    with pytest.raises(RecipeError, match=r"pretrain\.seq_len: beyond 48 tokens"):
        refuse_length(config, matrix.ORIGINAL + 1, "pretrain")
    positions = np.arange(64)[None]
    long = Rows(positions + 3, positions, positions + 3)
    with join_world() as world:
        net = build(folder, world)
        with pytest.raises(RecipeError, match="a document of 64 tokens: beyond 48"):
            net.loss_sum(micro_batches(long, 1, world.device)[0])


def test_a_folder_is_read_without_the_files_beside_it(tmp_path: Path) -> None:
    folder = base(tmp_path)
    right = load_file(folder / "model.safetensors")
    save_file({name: torch.zeros_like(one) for name, one in right.items()}, folder / "model.fp16.safetensors")
    save_file({name: torch.zeros_like(one) for name, one in right.items()}, folder / "zz-backup.safetensors")
    with join_world() as world:
        found = causal_lm(build(folder, world)).get_output_embeddings().weight
        assert torch.equal(matrix._whole(found), right["lm_head.weight"])
    assert torch.equal(load_for_inference(folder).lm_head.weight, right["lm_head.weight"])


def test_models_stay_what_transformers_writes(tmp_path: Path) -> None:
    """The premise of all this: what is refused above is nothing that a folder of transformers' own holds."""
    folder = base(tmp_path, tied=True)
    assert type(load_for_inference(folder)) is type(AutoModelForCausalLM.from_pretrained(folder))


def test_training_that_changes_nothing_ends_at_its_first_step(tmp_path: Path) -> None:
    """An output matrix of zeros gives the loss of a guess, and no gradient below it."""
    folder = changed(base(tmp_path), lambda found: found | {"lm_head.weight": torch.zeros(403, 32)})
    words = matrix.tokenizer(tmp_path)
    with pytest.raises(TrainingError, match=r"first step has no gradient \(its loss is 5\.999\)"):
        train(
            model=ModelOrigin(path=folder), batches=Source(4), options=options(), out=tmp_path / "out",
            export_to=tmp_path / "out/model", tokenizer=words, seed=0, lora=LoraSection(r=2, dropout=0.0),
        )  # fmt: skip
