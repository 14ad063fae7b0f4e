"""Nothing leaves a run that does not fit together: model, results, recipe."""

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from adopt import adopt
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, read_record, write_json
from pmc_llama.records.stamps import MADE_BY, Exported, read_stamp
from pmc_llama.release.export import export_model
from pmc_llama.release.hub import publish
from pmc_llama.run_dir import RunDir
from release.tiny import write_run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(write_run(tmp_path))


def other_weights(file: Path) -> None:
    tensors = {name: value + 1 for name, value in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def test_an_export_says_what_made_it_and_is_known_again(run: RunDir, tmp_path: Path) -> None:
    out = export_model(run.root, tmp_path / "out")
    stamp, origin = read_stamp(run.stamp("pretrain")), read_record(out / MADE_BY, Exported)
    assert stamp is not None and (origin.work, origin.token) == ("pretrain", stamp.token)
    assert {"model.safetensors", "config.json", "tokenizer.json", "results.json", "recipe.yaml"} <= set(origin.files)
    (out / "README.md").write_text((out / "README.md").read_text() + "\nA word of mine.\n")
    assert publish(out, "me/model").commit is None, "the card may be edited"


def test_other_weights_in_an_export_are_not_published(run: RunDir, tmp_path: Path) -> None:
    out = export_model(run.root, tmp_path / "out")
    other_weights(out / "model.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors is not the file that was exported"):
        publish(out, "me/model")


def test_a_model_that_was_replaced_by_hand_is_not_exported(run: RunDir, tmp_path: Path) -> None:
    other_weights(run.adapted_model / "model.safetensors")
    with pytest.raises(InputError, match="is not the model that pretrain made: it was changed or replaced since"):
        export_model(run.root, tmp_path / "out")


def test_results_of_another_model_are_not_exported_with_this_one(run: RunDir, tmp_path: Path) -> None:
    results = read_json(run.results)
    assert results["made_from"]["pretrain"]
    write_json(run.results, results | {"made_from": results["made_from"] | {"pretrain": "of last week"}})
    with pytest.raises(InputError, match=r"results.json was computed from another pretrain than the run holds now"):
        export_model(run.root, tmp_path / "out")


def test_a_tuned_model_of_an_earlier_base_is_not_exported(run: RunDir, tmp_path: Path) -> None:
    other_weights(run.adapted_model / "model.safetensors")
    tuned = run.stamp("tune/full-adapted-seed-0").read_bytes()
    adopt(run.root)  # as after training the adapted model again
    run.stamp("tune/full-adapted-seed-0").write_bytes(tuned)
    with pytest.raises(InputError, match="'full/adapted/seed-0' was made from another pretrain than the run holds now"):
        export_model(run.root, tmp_path / "out", which="full/adapted/seed-0")


def test_a_model_that_nothing_speaks_for_is_not_exported(run: RunDir, tmp_path: Path) -> None:
    run.stamp("pretrain").unlink()
    with pytest.raises(InputError, match="nothing says what made the model 'adapted'"):
        export_model(run.root, tmp_path / "out")


def test_the_recipe_is_the_one_that_made_the_model_and_not_the_last_one_asked_for(run: RunDir, tmp_path: Path) -> None:
    asked = yaml.safe_load(run.recipe.read_text())
    run.recipe.write_text(yaml.safe_dump(asked | {"name": "other", "pretrain": {"lr": 0.123}}))
    out = export_model(run.root, tmp_path / "out")
    exported = yaml.safe_load((out / "recipe.yaml").read_text())
    assert exported["name"] == "tiny" and exported["pretrain"]["lr"] == 2e-5
    assert "0.123" not in (out / "README.md").read_text()
