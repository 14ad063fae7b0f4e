import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import yaml
from scipy.stats import norm

from adopt import adopt
from pmc_llama.errors import InputError
from pmc_llama.files import write_json
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.recipe import load_recipe
from pmc_llama.records.results import Results, read_results
from pmc_llama.release.card import write_model_card
from pmc_llama.release.export import export_model
from pmc_llama.release.trained import find_model
from pmc_llama.release.update import update
from pmc_llama.report.original import with_original
from pmc_llama.results.gate import Gate, compare_revision
from pmc_llama.results.table import compute_results
from release.tiny import result_row, save_model, tiny_model, tiny_tokenizer
from report.fake_run import REGIMES, write_run


def document(number: int, **more: Any) -> dict[str, Any]:
    text = f"Paper {number} says that substance {number} lowers blood pressure. " * 20
    return {"id": f"d{number}", "pmcid": f"PMC{number}", "doi": f"10.1/{number}", "text": text} | more


def write_documents(path: Path, documents: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with papers 1 to 20, its corpus built for real and its adapted model a tiny one."""
    root = tmp_path_factory.mktemp("update")
    tokenizer = tiny_tokenizer(root)
    model = tiny_model(tokenizer, steps=1)
    save_model(model, tokenizer, root / "base")
    (root / "base" / "README.md").write_text("---\nlicense: llama2\n---\n# base\n")
    write_documents(root / "old.jsonl", [document(i) for i in range(1, 21)])
    source = {"name": "papers", "format": "jsonl", "paths": ["old.jsonl"]}
    recipe = {
        "name": "first",
        "run_dir": str(root / "first"),
        "workers": 1,
        "data": {"root": str(root)},
        "corpus": {"sources": [source], "select": {"pmcid": "any"}, "clean": {"profile": "raw"}},
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"path": "base"},
    }
    (root / "first.yaml").write_text(yaml.safe_dump(recipe))
    run_recipe(root / "first.yaml", until="corpus")
    save_model(model, tokenizer, root / "first/models/adapted")
    return adopt(root / "first")


@pytest.fixture
def first(made: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(made, tmp_path / "first"))


def summary_row(delta: float, *, se: float = 0.01, task: str = "medqa", **more: Any) -> dict[str, Any]:
    """A difference that is as sure as its standard error says, over three seeds of 1,000 questions."""
    p = 2 * float(norm.sf(abs(delta) / se))
    row = {"regime": "full", "task": task, "protocol": "in_domain", "seeds": 3, "n": 1000, "unit": "tuning"}
    means = {"first_mean": 0.5, "first_ci95": [0.4, 0.6], "second_mean": 0.5 + delta, "second_ci95": [0.4, 0.6]}
    spread = {"delta_mean": delta, "delta_sd": 0.0, "delta_min": delta, "delta_max": delta, "se": se, "df": 1000.0}
    return row | means | spread | {"ci95": [delta - 2 * se, delta + 2 * se], "p": p, "holm_p": p} | more


class Pipeline:
    """Builds corpora for real; instead of training and scoring it writes results with a chosen difference."""

    def __init__(self, delta: float = 0.1, se: float = 0.01) -> None:
        self.delta, self.se, self.corpora = delta, se, []

    def __call__(self, recipe: Path, settings: list[str] | None = None, *, until: str | None = None) -> None:
        run_recipe(recipe, settings, until="corpus")
        run_dir = load_recipe(recipe, settings).run_path
        self.corpora.append(pl.read_parquet(run_dir / "corpus/parts/*.parquet"))
        if until is None:
            rows = [result_row(model, "full", 100) for model in ("base", "adapted")]
            shown = [summary_row(self.delta, se=self.se)]
            write_json(run_dir / "results.json", {"rows": rows, "comparisons": [], "summary": shown, "baselines": []})
            (run_dir / "report.html").write_text("")
            adopt(run_dir)


def test_only_new_papers_are_taken(first: Path, tmp_path: Path) -> None:
    known_by_each_key = [
        document(3),
        document(99, id="e1", pmcid="PMC4"),
        document(98, id="e2", pmcid=None, doi="10.1/5"),
        document(6, id="e3", pmcid=None, doi=None, text=document(6)["text"].upper().replace(" ", "\n")),
    ]
    shards = write_documents(tmp_path / "new.jsonl", [document(i) for i in range(30, 40)] + known_by_each_key)
    done = update(first, [shards], tmp_path / "second", run=Pipeline(), replay=0.2, settings=["pretrain.lr=1e-5"])
    assert (done.incoming, done.new, done.known) == (14, 10, 4)
    assert done.better == ("full/medqa",) and not done.worse
    corpus = pl.read_parquet(tmp_path / "second/corpus/parts/*.parquet")
    assert corpus["paper_id"].to_list() == [f"pmc:{i}" for i in [*range(1, 21), *range(30, 40)]]
    recipe = load_recipe(tmp_path / "second" / "recipe.yaml")
    assert recipe.base.path == str(first / "models/adapted") and recipe.pretrain.lr == 1e-5
    assert recipe.update is not None and (recipe.update.previous, recipe.update.replay) == (str(first), 0.2)


def test_nothing_new_is_said_and_a_third_revision_knows_the_second(first: Path, tmp_path: Path) -> None:
    shards = write_documents(tmp_path / "new.jsonl", [document(30)])
    update(first, [shards], tmp_path / "second", run=Pipeline(), replay=0)
    shutil.copytree(first / "models", tmp_path / "second/models")
    with pytest.raises(InputError, match="nothing new: of 1 records"):
        update(tmp_path / "second", [shards], tmp_path / "third", run=Pipeline())
    more = write_documents(tmp_path / "more.jsonl", [document(2), document(30), document(31)])
    done = update(tmp_path / "second", [more], tmp_path / "third", run=Pipeline(), replay=0.5)
    assert (done.new, done.known) == (1, 2)
    shutil.copytree(first / "models", tmp_path / "third/models")
    results = read_results(tmp_path / "third/results.json")
    write_model_card(find_model(tmp_path / "third", "adapted"), results, tmp_path / "third")
    card = " ".join((tmp_path / "third/README.md").read_text().split())
    assert "Revision 3: trained further on 1 papers" in card and "50 % of the training rows were earlier" in card
    assert "license: llama2" in card, "of the base that all revisions started from"


def test_the_same_call_again_leaves_what_is_there(first: Path, tmp_path: Path) -> None:
    shards = write_documents(tmp_path / "new.jsonl", [document(30), document(31)])
    update(first, [shards], tmp_path / "second", run=Pipeline())
    parts = sorted((tmp_path / "second").rglob("*.parquet"))
    before = [part.stat().st_mtime_ns for part in parts]
    update(first, [shards], tmp_path / "second", run=Pipeline())
    assert [part.stat().st_mtime_ns for part in parts] == before


def test_a_worse_revision_is_not_exported_unless_told(first: Path, tmp_path: Path) -> None:
    shards = write_documents(tmp_path / "new.jsonl", [document(30)])
    done = update(first, [shards], tmp_path / "second", run=Pipeline(delta=-0.1))
    assert done.worse == ("full/medqa against the previous revision",) and "not to be published" in str(done)
    shutil.copytree(first / "models", tmp_path / "second/models")
    adopt(tmp_path / "second")
    with pytest.raises(InputError, match=r"worse than what was before .*first\) in full/medqa against the previous"):
        export_model(tmp_path / "second", tmp_path / "out")
    export_model(tmp_path / "second", tmp_path / "out", allow_worse=True)
    (tmp_path / "second/results.json").unlink()
    with pytest.raises(InputError, match="was not compared"):
        export_model(tmp_path / "second", tmp_path / "other")


def test_a_mixture_keeps_its_general_corpus(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first / "corpus", first / "general")
    recipe = yaml.safe_load((first / "recipe.yaml").read_text())
    recipe["general"] = recipe["corpus"]
    recipe["pretrain"]["mixture"] = {"ratios": {"corpus": 9, "general": 1}, "epochs_of": "corpus"}
    (first / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    adopt(first)
    shards = write_documents(tmp_path / "new.jsonl", [document(30)])
    update(first, [shards], tmp_path / "second", run=Pipeline())
    assert pl.read_parquet(tmp_path / "second/general/parts/*.parquet").height == 20
    assert load_recipe(tmp_path / "second/recipe.yaml").pretrain.mixture is not None


def gate_of(*rows: dict[str, Any], original: Sequence[dict[str, Any]] = ()) -> Gate:
    return compare_revision(msgspec.convert({"summary": list(rows), "original": list(original)}, Results), 0.02)


def test_a_revision_is_judged_as_one_family_against_both_models_before_it() -> None:
    found = gate_of(summary_row(0.01, task="up"), summary_row(-0.05, task="down"), original=[summary_row(-0.018)])
    assert [one.judged.state for one in found.compared] == ["not worse", "worse", "undecided"]
    assert found.worse == ("full/down against the previous revision",)
    assert gate_of(original=[summary_row(-0.018)]).worse == ("full/medqa against the original base",)


def test_only_the_primary_question_is_judged_where_there_is_one() -> None:
    found = gate_of(summary_row(-0.05, task="other"), summary_row(0.0, primary=True))
    assert [one.row.task for one in found.compared] == ["medqa"] and found.worse == ()


def test_what_the_gate_could_not_notice_is_printed() -> None:
    (difference, power) = gate_of(summary_row(-0.01, se=0.02, unit="models")).lines()
    assert difference == (
        "full/medqa against the previous revision: −1.0 points (95 % interval −5.0 to +3.0), undecided"
    )
    assert power == (
        "margin 2 points; at most 5 % of equal models are refused, a true loss of 2 points is noticed with at least "
        "26 % probability, one of 4 points with 64 %; one tuning seed a model: whether it was luck in training, only "
        "more `seeds` can tell; 1 undecided: more questions or seeds would tell"
    )


def test_the_first_base_is_compared_on_the_questions_that_both_runs_asked(tmp_path: Path) -> None:
    first, last = (
        write_run(tmp_path / name, regimes={"full": REGIMES["full"]}, gain=gain, training=False, corpora=False)
        for name, gain in (("first", 0.0), ("last", -0.4))
    )
    asked = pl.read_parquet(first / "predictions.parquet")
    asked.filter(~((pl.col("task") == "usmle") & (pl.col("question_id") == "usmle-0001"))).write_parquet(
        first / "predictions.parquet"
    )
    pairs = with_original(last / "predictions.parquet", first / "predictions.parquet")
    results = compute_results(last / "predictions.parquet", last / "results.json", original=pairs)
    assert [(row.task, row.seeds) for row in results.original] == [("pubmed", 2), ("mcqa", 2)]
    right = pl.read_parquet(first / "predictions.parquet").filter(model="base", task="mcqa")
    assert results.original[1].first_mean == pytest.approx((right["chosen"] == right["gold"]).mean())
    assert "full/mcqa against the original base" in compare_revision(results, 0.02).worse


def test_refusals(first: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="replay"):
        update(first, ["x"], tmp_path / "second", run=Pipeline(), replay=1.0)
    (first / "models/adapted").rename(first / "models/gone")
    with pytest.raises(InputError, match="no adapted model"):
        update(first, ["x"], tmp_path / "second", run=Pipeline())
