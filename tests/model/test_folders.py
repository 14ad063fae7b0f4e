"""Models in and out: what is exported is what was trained, and what cannot be used is refused with its name."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from pmc_llama.errors import InputError, RecipeError
from pmc_llama.model import quantized, save
from pmc_llama.model.load import ModelOrigin, build_model, load_for_inference
from pmc_llama.model.parallel import recomputed
from pmc_llama.model.save import export_hf
from pmc_llama.recipe.training import LoraSection
from pmc_llama.train.microbatch import micro_batches
from pmc_llama.train.step import attach_loss
from pmc_llama.train.world import World, join_world
from train.tiny import CONFIG, VOCAB, Source, run, tokenizer

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64}


def build(world: World, origin: ModelOrigin, lora: LoraSection | None = None, **changes: object) -> torch.nn.Module:
    settings = {"dtype": torch.float32, "seed": 0, **changes}
    net = build_model(origin, tokenizer=tokenizer(), mesh=world.mesh, device=world.device, lora=lora, **settings)
    attach_loss(net)
    return net.eval()


@torch.no_grad()
def loss_of(net: torch.nn.Module) -> float:
    """Of the model as it is trained, over a batch of packed documents without masked labels."""
    batch = micro_batches(Source(masked=0.0).rows(0), 8, torch.device("cpu"))[0]
    return float(net.loss_sum(batch) / len(batch.targets))


@torch.no_grad()
def logits_of(model: torch.nn.Module) -> torch.Tensor:
    """Of the model as it is trained, or of a plain transformers model, for a batch of packed documents."""
    batch = micro_batches(Source().rows(0), 8, torch.device("cpu"))[0]
    extra = {"documents": batch.documents} if hasattr(model, "loss_sum") else {}
    return model(input_ids=batch.ids, position_ids=batch.position_ids, use_cache=False, **extra).logits


@torch.no_grad()
def plain_loss_of(model: torch.nn.Module) -> float:
    """The same of a plain transformers model."""
    rows = Source(masked=0.0).rows(0)
    ids, positions, labels = (torch.from_numpy(array) for array in (rows.ids, rows.position_ids, rows.labels))
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, :-1]
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()))


@pytest.mark.parametrize(
    "extra", [{}, {"tie_word_embeddings": True}, {"rope_parameters": LLAMA3}], ids=["plain", "tied", "rope"]
)
def test_what_is_exported_is_what_was_trained_and_loads_back(tmp_path: Path, extra: dict) -> None:
    with join_world() as world:
        net = build(world, ModelOrigin(config=CONFIG | extra))
        export_hf(net, tokenizer(), tmp_path / "out")
        again = build(world, ModelOrigin(path=tmp_path / "out"))
        assert loss_of(again) == loss_of(net)
        trained = logits_of(net)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert model.config.architectures == ["LlamaForCausalLM"] and model.config.use_cache
    torch.testing.assert_close(logits_of(model), trained, rtol=0, atol=1e-6)
    assert plain_loss_of(model) == pytest.approx(loss_of(net), abs=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token_id == 2
    assert not (tmp_path / "out.partial").exists()


FAMILY = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
FAMILY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8}
FAMILY |= {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "qwen3", "olmo2"])
def test_other_models_of_the_family_train_and_come_out_as_themselves(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **FAMILY)).eval()
    plain.save_pretrained(tmp_path / "in")
    with join_world() as world:
        net = build(world, ModelOrigin(path=tmp_path / "in"))
        assert loss_of(net) == pytest.approx(plain_loss_of(plain), abs=1e-6)
        export_hf(net, tokenizer(), tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert type(again) is type(plain) and plain_loss_of(again) == pytest.approx(plain_loss_of(plain), abs=1e-6)


@pytest.mark.parametrize(("kind", "field"), [("gemma2", "final_logit_softcapping"), ("phi", "a bias")])
def test_models_whose_logits_are_more_than_a_product_are_refused(tmp_path: Path, kind: str, field: str) -> None:
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **FAMILY)).save_pretrained(tmp_path)
    with join_world() as world, pytest.raises(RecipeError, match=f"changes its logits \\({field}"):
        build(world, ModelOrigin(path=tmp_path))


def test_a_large_model_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with join_world() as world:
        net = build(world, ModelOrigin(config=CONFIG))
        export_hf(net, tokenizer(), tmp_path / "one")
        monkeypatch.setattr(save, "MAX_PART_BYTES", 20_000)
        export_hf(net, tokenizer(), tmp_path / "many")
    files = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    one, many = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("one", "many"))
    assert all(torch.equal(one[key], many[key]) for key in one)
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(
        value.nbytes for value in load_file(tmp_path / "one/model.safetensors").values()
    )


def test_an_export_replaces_the_old_one_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale.safetensors").write_bytes(b"old")
    with join_world() as world:
        export_hf(build(world, ModelOrigin(config=CONFIG)), tokenizer(), tmp_path / "out")
    assert not (tmp_path / "out" / "stale.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and an adapter trained on it."""
    folder = tmp_path_factory.mktemp("adapted")
    run(folder / "base", Source(2))
    run(folder / "lora", Source(6), ModelOrigin(path=folder / "base/model"), lora=LoraSection(r=4), warmup=0)
    return folder


def test_an_adapter_loads_in_peft_and_merged_it_is_the_same_model(adapted: Path) -> None:
    base, adapter = adapted / "base/model", adapted / "lora/model"
    plain = plain_loss_of(AutoModelForCausalLM.from_pretrained(base).eval())
    applied = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    merged = load_for_inference(base, adapter)
    assert plain_loss_of(merged) == pytest.approx(plain_loss_of(applied), abs=1e-6)
    assert abs(plain_loss_of(merged) - plain) > 1e-4, "the adapter changed nothing"
    assert type(merged).__name__ == "LlamaForCausalLM" and not merged.training
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and config["inference_mode"]
    names = load_file(adapter / "adapter_model.safetensors")
    assert len(names) == 8 and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)


def test_bf16_inference_keeps_the_rotary_frequencies(adapted: Path) -> None:
    for adapter in (None, adapted / "lora/model"):
        model = load_for_inference(adapted / "base/model", adapter, torch.bfloat16)
        exact = LlamaConfig(**CONFIG).head_dim
        wanted = 10000.0 ** -(torch.arange(0, exact, 2) / exact)
        torch.testing.assert_close(model.model.rotary_emb.inv_freq.float(), wanted, rtol=1e-6, atol=0)
        assert model.lm_head.weight.dtype == torch.bfloat16


def test_lora_trains_fp32_adapters_on_a_frozen_base_in_the_compute_format(adapted: Path) -> None:
    with join_world() as world:
        net = build(world, ModelOrigin(path=adapted / "base/model"), LoraSection(), dtype=torch.bfloat16)
        trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
        frozen = {name: value for name, value in net.named_parameters() if not value.requires_grad}
        assert all(".lora_" in name and value.dtype == torch.float32 for name, value in trained.items()) and trained
        assert all(value.dtype == torch.bfloat16 for value in frozen.values())
        assert all(isinstance(value, DTensor) for value in trained.values()), "sharded, also on one process"
        assert not any(isinstance(value, DTensor) for value in frozen.values()), "which would be a second copy there"


def test_a_base_in_four_bits_needs_a_gpu_and_bitsandbytes(adapted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LlamaConfig(**CONFIG)
    for device, message in (("cpu", "needs a CUDA GPU"), ("cuda", r"pip install 'pmc-llama\[qlora\]'")):
        monkeypatch.setattr(quantized, "find_spec", lambda _: None)
        with pytest.raises(RecipeError, match=message):
            quantized.read_quantized(adapted / "base/model", config, torch.bfloat16, torch.device(device))
    with join_world() as world, pytest.raises(RecipeError, match="only an existing model"):
        build(world, ModelOrigin(config=CONFIG), LoraSection(quantize="nf4"))


@pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("bitsandbytes") is None, reason="needs a CUDA GPU and bitsandbytes"
)
def test_lora_on_a_base_in_four_bits_trains_and_loads_as_any_adapter(tmp_path: Path, adapted: Path) -> None:
    base, section = ModelOrigin(path=adapted / "base/model"), LoraSection(r=4, quantize="nf4")
    run(tmp_path, Source(6), base, lora=section, precision="bf16", warmup=0)
    merged = load_for_inference(adapted / "base/model", tmp_path / "model")
    assert plain_loss_of(merged) < plain_loss_of(AutoModelForCausalLM.from_pretrained(adapted / "base/model").eval())


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputing_activations_changes_nothing(recompute: str) -> None:
    batch = micro_batches(Source().rows(0), 8, torch.device("cpu"))[0]
    gradients = []
    with join_world() as world:
        for kind in ("none", recompute):
            net = build(world, ModelOrigin(config=CONFIG), recompute=kind).train()
            net.loss_sum(batch).backward()
            gradients.append({name: value.grad.full_tensor() for name, value in net.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_a_block_that_is_recomputed_is_compiled_as_a_whole(recompute: str) -> None:
    block = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.SiLU(), torch.nn.Linear(8, 8))
    block.forward = recomputed(block.forward, recompute)
    block.compile(fullgraph=True, backend="aot_eager")  # an error where the compiler passes over it
    x = torch.randn(4, 8, requires_grad=True)
    block(x).sum().backward()
    assert x.grad is not None and x.grad.any()


def test_wrong_models_are_refused_by_what_is_wrong(tmp_path: Path, adapted: Path) -> None:
    base = adapted / "base/model"
    larger = PreTrainedTokenizerFast.from_pretrained(base)
    larger.add_tokens([f"extra{number}" for number in range(9)])
    (tmp_path / "empty").mkdir()
    (tmp_path / "no-weights").mkdir()
    (tmp_path / "no-weights/config.json").write_text((base / "config.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "other/config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    cases = [
        (ModelOrigin(path=tmp_path / "nowhere"), InputError, "nowhere is not a folder"),
        (ModelOrigin(path=tmp_path / "empty"), InputError, r"no usable config\.json"),
        (ModelOrigin(path=tmp_path / "no-weights"), InputError, r"has no model\.safetensors"),
        (ModelOrigin(path=tmp_path / "other"), InputError, r"lacks model\.layers\.2\."),
        (ModelOrigin(config={"hidden_sise": 32}), RecipeError, "hidden_sise: LlamaConfig has no such field"),
        (ModelOrigin(config=CONFIG | {"vocab_size": 50}), RecipeError, f"{VOCAB} tokens, but the model only 50"),
    ]
    with join_world() as world:
        for origin, error, message in cases:
            with pytest.raises(error, match=message):
                build(world, origin)
        with pytest.raises(RecipeError, match=r"lora\.targets"):
            build(world, ModelOrigin(path=base), LoraSection(targets=["query"]))
