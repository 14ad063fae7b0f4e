"""`pmc-llama evaluate --model`: any models, no recipe; it goes on where it stopped, and asks a changed model anew."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from pmc_llama.cli import app
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.experiment.evaluation import Asking, evaluate_models, names_of, section_of
from pmc_llama.files import read_json
from pmc_llama.qa.tasks.usual import USUAL, usual_task
from pmc_llama.records.results import Results, read_results
from qa.faulty import Faulty, serving
from release.tiny import save_model, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sets, one of them below `qa`."""
    root = tmp_path_factory.mktemp("data")
    medqa, medmcqa = root / "qa" / USUAL["medqa"]["test"], root / USUAL["medmcqa"]["test"]
    for file in (medqa, medmcqa):
        file.parent.mkdir(parents=True)
    options = {"A": "yes", "B": "no", "C": "zolimab", "D": "weeks"}
    rows = [{"question": f"Does {i} help?", "answer": "no", "options": options, "answer_idx": "B"} for i in range(12)]
    medqa.write_text("".join(json.dumps({**row, "meta_info": "step1"}) + "\n" for row in rows))
    texts = {"opa": "yes", "opb": "no", "opc": "zolimab", "opd": "weeks"}
    made = [{"id": f"i{i}", "question": f"Is {i}?", "cop": 1 + i % 4, **texts} for i in range(8)]
    medmcqa.write_text("".join(json.dumps(row) + "\n" for row in made))
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer(root)
    for seed in (0, 1):
        save_model(tiny_model(tokenizer, seed=seed, steps=3), tokenizer, root / f"model-{seed}")
    return [root / "model-0", root / "model-1"]


def asking(data: Path, *tasks: str, **keys: Any) -> Asking:
    return Asking.of(tasks, data, {"answers": "texts", **keys}, {"precision": "fp32"})


def test_models_are_asked_and_compared(data: Path, folders: list[Path], tmp_path: Path) -> None:
    left, right = map(str, folders)
    results = evaluate_models(left, [right], asking(data, "medqa", "medmcqa", limit=6), tmp_path)
    assert results.models == ["model-0", "model-1"]
    assert results.compared == [("model-1", "model-0")]
    assert {(row.task, row.n) for row in results.rows} == {("medqa", 6), ("medmcqa", 6)}
    frame = pl.read_parquet(tmp_path / "predictions.parquet")
    for row in results.rows:
        mine = frame.filter(model=row.model, task=row.task)
        assert row.correct == (mine["chosen"] == mine["gold"]).sum()
    for pair in results.summary:
        of = {one.model: one.accuracy for one in results.rows if one.task == pair.task}
        assert pair.delta_mean == pytest.approx(of["model-0"] - of["model-1"])
    assert read_results(tmp_path / "results.json") == results
    assert set(read_json(tmp_path / "models.json")) == {"model-0", "model-1"}
    assert read_json(tmp_path / "models.json")["model-0"]["parameters"] > 0


def test_goes_on_and_asks_a_changed_model_anew(data: Path, folders: list[Path], tmp_path: Path) -> None:
    model, asked = str(folders[0]), asking(data, "medqa")
    first = evaluate_models(model, [], asked, tmp_path)
    [journal] = (tmp_path / "predictions").rglob("0.jsonl")
    content = journal.read_bytes()
    journal.write_bytes(content[: len(content) // 2])
    assert evaluate_models(model, [], asked, tmp_path) == first
    grown = len(journal.read_bytes().split(b"\n"))
    assert evaluate_models(model, [], asked, tmp_path) == first
    assert len(journal.read_bytes().split(b"\n")) == grown
    weights = folders[0] / "model.safetensors"
    weights.touch()
    evaluate_models(model, [], asked, tmp_path)
    assert len(list((tmp_path / "predictions").rglob("0.jsonl"))) == 2


def test_the_command_takes_urls_and_files_of_answers(data: Path, folders: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="the extra `endpoint` is not installed")
    out, faulty = tmp_path / "out", Faulty()
    earlier = evaluate_models(str(folders[0]), [], asking(data, "medqa"), tmp_path / "earlier")
    with serving(faulty) as url:
        words = ["evaluate", "--model", url, "--against", str(tmp_path / "earlier" / "predictions.parquet")]
        words += ["--tasks", "medqa", "--data", str(data), "--method", "generation", "-o", str(out)]
        told = CliRunner().invoke(app, words, catch_exceptions=False)
        assert told.exit_code == 0
        assert len(faulty.asked) == 12
        CliRunner().invoke(app, words, catch_exceptions=False)
        assert len(faulty.asked) == 12
    assert "100.0 (75.8 to 100.0)" in told.stdout  # the server says B, which is right
    results = read_results(out / "results.json")
    [pair] = results.summary
    assert (pair.first, pair.second_mean, pair.n) == ("earlier", 1.0, 12)
    assert pair.first_mean == accuracy(earlier)


def accuracy(results: Results) -> float:
    return results.rows[0].accuracy


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("http://127.0.0.1:8000", "endpoint"),
        ("https://host/v1", "endpoint"),
        ("other/predictions.parquet", "predictions"),
        ("owner/name", "folder"),
        ("{endpoint: 'http://a', model: m, prompt: chat}", "endpoint"),
        ("{run: runs/x, model: full/adapted/seed-0}", "run"),
    ],
)
def test_a_model_is_told_by_what_it_looks_like(text: str, kind: str) -> None:
    assert section_of(text).kind == kind


def test_a_run_directory_is_a_run_and_an_export_a_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x")
    assert section_of(str(tmp_path)).kind == "run"
    (tmp_path / "config.json").write_text("{}")
    assert section_of(str(tmp_path)).kind == "folder"


def test_names_differ_and_are_names_of_files() -> None:
    texts = ["a/one", "b/One", "http://h:1/v1", "{endpoint: 'http://h', model: 'x/y z'}", "r/predictions.parquet"]
    assert names_of([section_of(text) for text in texts]) == ["one", "One-2", "h-1", "x-y-z", "r"]


def test_what_cannot_be_used_is_a_sentence(data: Path, folders: list[Path], tmp_path: Path) -> None:
    model = str(folders[0])
    with pytest.raises(InputError, match="task 'nix' is not known by name; known: pubmedqa, medmcqa"):
        evaluate_models(model, [], asking(data, "nix"), tmp_path)
    with pytest.raises(InputError, match=r"its test questions are not there; expected .*/headqa/dev_HEAD_EN\.json or"):
        evaluate_models(model, [], asking(data, "headqa"), tmp_path)
    with pytest.raises(InputError, match="model nowhere: nowhere is not a folder, nor 'nowhere' a hub id"):
        evaluate_models("nowhere", [], asking(data, "medqa"), tmp_path)
    with pytest.raises(RecipeError, match="what was asked for cannot be used: prompt: Input should be 'lm-eval'"):
        asking(data, "medqa", prompt="nix")
    with pytest.raises(RecipeError, match="may hold a key") as error:
        section_of("http://me:secret@host")
    assert "secret" not in str(error.value)
    for words, said in (
        ([], "give either a recipe or --model"),
        (["minimed", "--model", model], "give either a recipe or --model"),
        (["minimed", "--against", model], "--against belongs to --model; a recipe says it itself"),
        (["--model", model, "--set", "seed=1"], "--set belongs to a recipe"),
        (["--model", model, "--dry-run"], "--dry-run belongs to a recipe"),
    ):
        told = CliRunner().invoke(app, ["evaluate", *words]).exception
        assert isinstance(told, RecipeError)
        assert said in str(told)


def test_usual_files_are_those_of_real_sets(shared_data: Path) -> None:
    for name in ("pubmedqa", "medmcqa", "medqa", "headqa"):
        section = usual_task(name, shared_data, {"limit": 5})
        assert (shared_data / str(section.test)).is_file()
        assert section.limit == 5
