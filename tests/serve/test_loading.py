"""Folders that cannot be served are one sentence and exit status 2, whichever verb is asked."""

import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from pmc_llama.cli import main
from pmc_llama.files import write_json
from release.tiny import recipe_of


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says as it ends with exit status 2; it must not ask anything."""
    monkeypatch.setattr(sys, "argv", ["pmc-llama", *words])
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    """A model with code of its own, which leaves a mark where it runs."""
    folder = tmp_path / "with-code"
    LlamaForCausalLM(
        LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(folder)
    mark = f"open({str(tmp_path / 'it-ran')!r}, 'w').close()\n"
    (folder / "conf.py").write_text(
        f"{mark}from transformers import PretrainedConfig\nclass C(PretrainedConfig):\n    model_type = 'other'\n"
    )
    (folder / "net.py").write_text(f"{mark}from transformers import LlamaForCausalLM as M\n")
    own = {"AutoConfig": "conf.C", "AutoModelForCausalLM": "net.M"}
    write_json(folder / "config.json", {"model_type": "other", "architectures": ["M"], "auto_map": own})
    return folder


@pytest.mark.parametrize("verb", ["serve", "chat", "plan"])
def test_a_models_own_code_is_neither_run_nor_asked_about(
    with_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(tmp_path, base={"path": str(with_code)})))
    words = ("plan", str(recipe), "--gpus", "1xA100-80GB") if verb == "plan" else (verb, str(with_code))
    error = said(monkeypatch, capsys, *words)
    assert error.startswith("error: ") and "code that comes with a model is never run" in error
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("damage", ["cut off", "no tensors", "one missing", "no tokenizer"])
def test_damaged_folders_are_one_sentence(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model_folder.iterdir():
        if damage != "no tokenizer" or not file.name.startswith("tokenizer"):
            (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "model.safetensors"
    if damage == "one missing":
        tensors = load_file(weights)
        del tensors["model.norm.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif damage != "no tokenizer":
        weights.write_bytes(weights.read_bytes()[: 3000 if damage == "cut off" else 4])
    assert str(folder) in said(monkeypatch, capsys, "chat", str(folder))
