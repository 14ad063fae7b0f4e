"""A base that a recipe names by its hub id: its export has what an export of the same folder has."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from transformers import AutoTokenizer

from adopt import adopt
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json
from pmc_llama.hub import MODEL_FILES, cached_folder, hub_folder, is_hub_id
from pmc_llama.pipeline.identity import model_inputs
from pmc_llama.release.export import export_model
from pmc_llama.release.hub import publish
from release.fake_hub import FakeHub, Repo, fake_hub
from release.tiny import write_run

PAPERS = {"LICENSE.txt", "NOTICE", "USE_POLICY.md"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return tmp_path / "cache"


def point_at(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def instruct_base(root: Path) -> Path:
    """A run whose base has several stop ids, settings of its own, a template, licences and bf16 weights."""
    run, base = write_run(root, base_dtype=torch.bfloat16), root / "base"
    write_json(base / "generation_config.json", {"eos_token_id": [2, 5], "do_sample": True, "top_p": 0.9})
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(base)
    for name in ("NOTICE", "USE_POLICY.md"):
        (base / name).write_text(name)
    return run


def served(hub: FakeHub, name: str, folder: Path) -> None:
    hub.repos["model", name] = repo = Repo(private=False)
    repo.refs["main"] = repo.commit({file.name: file.read_bytes() for file in folder.iterdir()})


def test_an_export_keeps_the_same_of_a_base_by_hub_id_as_by_path(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instruct_base(tmp_path)
    by_path = export_model(run, tmp_path / "by-path")
    with fake_hub() as hub:
        point_at(hub, monkeypatch)
        served(hub, "lab/base", tmp_path / "base")
        folder = hub_folder("lab/base", MODEL_FILES)
    shutil.rmtree(tmp_path / "base")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"base": {"path": "lab/base"}}))
    by_id = export_model(adopt(run), tmp_path / "by-id")
    names = {file.name for file in by_path.iterdir()}
    assert names == {file.name for file in by_id.iterdir()} and names > PAPERS | {"chat_template.jinja"}
    for name in names - {"recipe.yaml", "results.json", "pmc_llama.json", "README.md"}:
        assert (by_id / name).read_bytes() == (by_path / name).read_bytes()
    assert read_json(by_id / "config.json")["dtype"] == "bfloat16"
    assert read_json(by_id / "generation_config.json")["eos_token_id"] == [2, 5]
    assert "license: llama2" in (by_id / "README.md").read_text()
    assert not {one.name.removeprefix("model/") for one in model_inputs(folder)} & (PAPERS | {"README.md"})


def test_a_cache_from_before_licences_were_downloaded_is_still_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instruct_base(tmp_path)
    with fake_hub() as hub:
        point_at(hub, monkeypatch)
        served(hub, "lab/base", tmp_path / "base")
        folder = hub_folder("lab/base", ["*.safetensors", "*.json", "*.model"])
        assert not (folder / "NOTICE").exists()
    assert cached_folder("lab/base", MODEL_FILES) == folder == hub_folder("lab/base", MODEL_FILES)  # the hub is gone
    with fake_hub() as hub:
        point_at(hub, monkeypatch)
        served(hub, "lab/base", tmp_path / "base")
        assert hub_folder("lab/base", MODEL_FILES) == folder
    assert (folder / "NOTICE").read_text() == "NOTICE"


@pytest.mark.parametrize("name", ["my models/llama 7b", "lab/model@main", "a/b--c", "a/b/c", "/a/b", "a/..", "a/b-"])
def test_names_that_the_hub_does_not_allow_are_no_hub_ids(name: str) -> None:
    assert not is_hub_id(name)
    assert is_hub_id("HuggingFaceTB/SmolLM2-135M_v1.5")


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "model/config.json", {})
    (tmp_path / "model/README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 cannot be reached, so lab/new was not published: .*refused"):
        publish(tmp_path / "model", "lab/new", dry_run=False, token="hf_none")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="was not published: HF_HUB_OFFLINE forbids"):
        publish(tmp_path / "model", "lab/new", dry_run=False, token="hf_none")
    with pytest.raises(InputError, match="'lab/absent' is neither here nor on the hub"):
        hub_folder("lab/absent", MODEL_FILES)
