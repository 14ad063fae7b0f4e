"""Question sets by name: from a hub (a local one that speaks its API) to a folder, counted, hashed, and only once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from builders import small_recipe
from pmc_llama.cli import app
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_file
from pmc_llama.pipeline.questions import with_sets
from pmc_llama.qa.download import download_set
from pmc_llama.qa.tasks import load_questions, medqa, medxpertqa, pubmedqa
from pmc_llama.qa.tasks.kind import Kind
from pmc_llama.recipe import parse_recipe
from pmc_llama.recipe.question_sets import downloadable, kind_of
from release.fake_hub import FakeHub, Repo, fake_hub
from release.tiny import save_model, tiny_model, tiny_tokenizer

from .test_sets import write_rows

OPTIONS = {letter: f"text {letter}" for letter in "ABCD"}
MEDQA = [{"question": f"Q{i}?", "options": OPTIONS, "answer_idx": "ABCD"[i % 4]} for i in range(60)]
MEDXPERTQA = [{"id": f"T{i}", "question": f"Q{i}?", "options": OPTIONS, "label": "ABCD"[i % 4]} for i in range(60)]
PUBMEDQA = [
    {"pubid": i, "question": f"Is {i}?", "context": {"contexts": ["a", "b"]}, "final_decision": ["yes", "no"][i % 2]}
    for i in range(60)
]
SHARDS = {"pqa_labeled/train-*.parquet": "pqa_labeled/train-00000-of-00001.parquet"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with small cuts of three sets at the commits that the project names, and what they are expected to hold."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        rows = {"medqa": (medqa, MEDQA), "medxpertqa": (medxpertqa, MEDXPERTQA), "pubmedqa": (pubmedqa, PUBMEDQA)}
        for name, (module, values) in rows.items():
            kind: Kind = kind_of(name)
            assert kind.source is not None
            served(hub, kind, values, tmp_path / "served" / name)
            keys = {key: value for key, value in kind.source.keys.items() if key != "fold"}  # of the 1,000 alone
            source = kind.source._replace(questions={"test": 60}, keys=keys)
            monkeypatch.setattr(module, name.upper(), kind._replace(source=source))
        yield hub


def served(hub: FakeHub, kind: Kind, rows: list[dict[str, Any]], folder: Path) -> None:
    assert kind.source is not None and kind.source.revision is not None
    repo = hub.repos["dataset", kind.source.repo] = Repo(private=False)
    files = {
        SHARDS.get(pattern, pattern): write_rows(rows, folder / local) for pattern, local in kind.source.files.items()
    }
    repo.commits[kind.source.revision] = {path: file.read_bytes() for path, file in files.items()}


def test_from_an_empty_folder_a_model_is_asked_sets_by_name(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny_tokenizer(tmp_path)
    save_model(tiny_model(tokenizer, steps=0), tokenizer, tmp_path / "model")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    words = ["evaluate", "--model", str(tmp_path / "model"), "--tasks", "medqa,pubmedqa,medxpertqa", "--limit", "50"]
    told = CliRunner().invoke(app, words, catch_exceptions=False)
    assert told.exit_code == 0
    for name, rows in (("medqa", MEDQA), ("pubmedqa", PUBMEDQA), ("medxpertqa", MEDXPERTQA)):
        assert f"{name}: {len(rows)} test" in told.stdout and f"ask model: {name}, 50 questions" in told.stdout
    assert "licence mit" in told.stdout


def test_a_set_is_downloaded_once_and_damage_is_mended_from_the_same_commit(hub: FakeHub, tmp_path: Path) -> None:
    first = download_set("medqa", tmp_path)
    origin, file = read_json(tmp_path / "qa/medqa/origin.json"), tmp_path / "qa/medqa/test.jsonl"
    assert origin["files"]["test.jsonl"]["sha256"] == sha256_file(file) and origin["questions"]["test"] == 60
    assert origin["revision"] == kind_of("medqa").source.revision
    asked = len(hub.requests)
    assert download_set("medqa", tmp_path) == first and len(hub.requests) == asked
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b" ")
    assert download_set("medqa", tmp_path) == first and file.read_bytes() == content


def test_a_recipe_takes_a_set_by_its_name_and_downloads_it(hub: FakeHub, tmp_path: Path) -> None:
    tasks = {"medqa": {}, "shown": {"format": "medxpertqa", "shots": 1}, "mine": {"format": "medqa", "test": "x.jsonl"}}
    regimes = {"asked": {"kind": "zero_shot"}}
    recipe = parse_recipe(small_recipe() | {"data": {"root": str(tmp_path)}, "tasks": tasks, "regimes": regimes})
    assert (recipe.tasks["medqa"].test, recipe.tasks["medqa"].train) == ("qa/medqa/test.jsonl", "qa/medqa/train.jsonl")
    assert recipe.tasks["shown"].shots == 1 and recipe.tasks["mine"].train is None
    with pytest.raises(InputError, match=r"medqa/test\.jsonl is not there yet: pmc-llama qa download medqa"):
        load_questions("medqa", recipe.tasks["medqa"], tmp_path, "test")
    with_sets(recipe)
    assert len(load_questions("shown", recipe.tasks["shown"], tmp_path, "test")) == 60
    asked = len(hub.requests)
    with_sets(recipe)
    assert len(hub.requests) == asked


def test_what_cannot_be_downloaded_is_said(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = kind_of("medqa").source
    monkeypatch.setattr(medqa, "MEDQA", kind_of("medqa")._replace(source=source._replace(questions={"test": 61})))
    with pytest.raises(InputError, match="its test split has 60 questions, not the 61 that"):
        download_set("medqa", tmp_path)
    assert not (tmp_path / "qa/medqa/origin.json").exists()
    hub.repos["dataset", source.repo].commits[source.revision] = {"other.jsonl": b"{}"}
    with pytest.raises(InputError, match=r"expected one file phrases_no_exclude_test\.jsonl in GBaker/.*, found 0"):
        download_set("medqa", tmp_path)
    with pytest.raises(InputError, match=r"'hellaswag' is not in .*/qa/hellaswag, and http.* did not give Rowan/hella"):
        download_set("hellaswag", tmp_path)
    with pytest.raises(InputError, match="'headqa' is not known on the hub; known: pubmedqa, medmcqa"):
        download_set("headqa", tmp_path)


def test_the_verb_lists_the_sets() -> None:
    told = CliRunner().invoke(app, ["qa", "download"], catch_exceptions=False).stdout
    assert [line.split()[0] for line in told.splitlines()] == downloadable()
    assert "TsinghuaC3I/MedXpertQA" in told and "general" in told
