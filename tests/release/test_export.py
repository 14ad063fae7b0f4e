import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adopt import adopt
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.release.export import export_model
from release.tiny import ANSWER, QUESTION, tiny_tokenizer, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("export"))


def logits(model: torch.nn.Module, tokenizer: object) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(QUESTION, return_tensors="pt")).logits


def load(folder: Path) -> tuple[object, object]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("which", ["adapted", "full/adapted/seed-0"])
def test_the_exported_model_is_the_trained_one(run: Path, tmp_path: Path, which: str) -> None:
    out = export_model(run, tmp_path / "out", which=which)
    source = run / "models/adapted" if which == "adapted" else run / "tune" / which / "model"
    assert torch.equal(logits(*load(out)), logits(*load(source)))


def test_generation_stops_at_eos_although_the_configs_named_wrong_ids(run: Path, tmp_path: Path) -> None:
    model, tokenizer = load(export_model(run, tmp_path / "out"))
    prompt = tokenizer(QUESTION, return_tensors="pt")
    ids = model.generate(**prompt, max_new_tokens=40)[0, prompt["input_ids"].shape[1] :].tolist()
    assert ids[-1] == tokenizer.eos_token_id and len(ids) < 10
    assert tokenizer.decode(ids, skip_special_tokens=True) == ANSWER.strip()
    config = read_json(tmp_path / "out" / "config.json")
    generation = read_json(tmp_path / "out" / "generation_config.json")
    assert [config[f"{name}_token_id"] for name in ("bos", "eos")] == [1, 2]
    assert [generation[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, tokenizer.pad_token_id]


def test_folder_has_what_converters_and_lawyers_need(run: Path, tmp_path: Path) -> None:
    out = export_model(run, tmp_path / "out")
    names = {file.name for file in out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"} <= names
    assert {"README.md", "recipe.yaml", "results.json"} <= names
    assert (out / "LICENSE.txt").read_text() == "The licence of the base."
    assert (out / "tokenizer.model").read_bytes() == (run.parent / "tokenizer.model").read_bytes()


def test_merged_adapter_gives_the_logits_of_base_and_adapter(run: Path, tmp_path: Path) -> None:
    merged = logits(*load(export_model(run, tmp_path / "merged", which="lora/adapted/seed-0")))
    base, tokenizer = load(run / "models/adapted")
    plain = logits(base, tokenizer)
    apart = logits(PeftModel.from_pretrained(base, run / "tune/lora/adapted/seed-0/model").eval(), tokenizer)
    assert not torch.allclose(plain, apart, atol=1e-2)  # the adapter does something
    torch.testing.assert_close(merged, apart, atol=1e-4, rtol=1e-4)


def test_adapter_alone_names_its_published_base(run: Path, tmp_path: Path) -> None:
    which = "lora/adapted/seed-0"
    with pytest.raises(InputError, match="publish it first"):
        export_model(run, tmp_path / "refused", which=which, merged=False)
    assert not any(tmp_path.iterdir())  # nothing half-written
    out = export_model(run, tmp_path / "adapter", which=which, merged=False, base_repo="org/adapted")
    assert read_json(out / "adapter_config.json")["base_model_name_or_path"] == "org/adapted"
    assert not (out / "model.safetensors").exists()


def test_weights_have_the_type_of_the_base_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path, base_dtype=torch.bfloat16)

    def check(out: Path, dtype: torch.dtype, which: str) -> None:
        name = str(dtype).removeprefix("torch.")
        assert {value.dtype for value in load_file(out / "model.safetensors").values()} == {dtype}
        config = read_json(out / "config.json")
        assert (config["dtype"], config["torch_dtype"]) == (name, name)
        assert f"The weights are {name}." in (out / "README.md").read_text()
        assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
        trained = read_json(
            (run / "tune" / which / "model" if "/" in which else run / "models/adapted") / "config.json"
        )
        assert trained["dtype"] == "float32"  # masters

    for which in ("adapted", "full/adapted/seed-0"):
        check(export_model(run, tmp_path / f"auto-{which[0]}", which=which), torch.bfloat16, which)
    whole = load_file(run / "models/adapted/model.safetensors")
    rounded = load_file(tmp_path / "auto-a" / "model.safetensors")
    assert all(torch.equal(rounded[name], value.bfloat16()) for name, value in whole.items())
    check(export_model(run, tmp_path / "whole", dtype="fp32"), torch.float32, "adapted")
    check(export_model(run, tmp_path / "half", dtype="fp16"), torch.float16, "adapted")
    with pytest.raises(InputError, match="as it was trained: leave out the dtype"):
        export_model(run, tmp_path / "no", which="lora/adapted/seed-0", merged=False, base_repo="a/b", dtype="bf16")


def test_only_the_weights_that_the_index_names_are_published(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(run / "models/adapted")
    (run / "models/adapted/model.safetensors").unlink()
    model.save_pretrained(run / "models/adapted", max_shard_size="40KB")
    adopt(run)
    shutil.copy(tmp_path / "base/model.safetensors", run / "models/adapted/model.old.safetensors")
    adopt(run)
    out = export_model(run, tmp_path / "out")
    named = set(read_json(out / "model.safetensors.index.json")["weight_map"].values())
    assert len(named) > 1
    assert {file.name for file in out.glob("*.safetensors")} == named


def test_configurations_speak_to_both_versions_of_transformers(run: Path, tmp_path: Path) -> None:
    for which, folder in (("adapted", run / "models/adapted"), ("lora/adapted/seed-0", run / "models/adapted")):
        config = read_json(export_model(run, tmp_path / which.replace("/", "-"), which=which) / "config.json")
        assert config["rope_theta"] == read_json(folder / "config.json")["rope_parameters"]["rope_theta"] == 20000.0
        assert config["torch_dtype"] == config["dtype"] == "float32"


def test_refuses_a_folder_in_use_and_a_model_that_is_not_there(run: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        export_model(run, tmp_path / "used")
    assert [file.name for file in (tmp_path / "used").iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="it has base, adapted, full/adapted/seed-0, lora/adapted/seed-0"):
        export_model(run, tmp_path / "out", which="full/adapted/seed-7")
    with pytest.raises(InputError, match="not a run directory"):
        export_model(tmp_path, tmp_path / "out")


def test_chat_template_and_further_stop_ids_of_an_instruct_base_are_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "base")
    write_json(tmp_path / "base" / "generation_config.json", {"eos_token_id": [2, 5], "do_sample": True})
    out = export_model(run, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(out).chat_template == tokenizer.chat_template
    assert read_json(out / "generation_config.json")["eos_token_id"] == [2, 5]


def test_exported_tokenizer_gives_the_ids_of_the_trained_one(run: Path, tmp_path: Path) -> None:
    exported = AutoTokenizer.from_pretrained(export_model(run, tmp_path / "out"))
    trained = tiny_tokenizer(run.parent)
    for text in (QUESTION, "two  blanks", " ünseen\n\n9.5 mg", ""):
        assert exported(text)["input_ids"] == trained(text)["input_ids"]
    assert exported("A")["input_ids"][0] == 1
    assert read_json(tmp_path / "out" / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"
