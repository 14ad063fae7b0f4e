"""Two updates of a real run, small enough for a test: what they append, how they train, and that they resume."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pmc_llama.errors import PmcLlamaError
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.release.update import update
from pmc_llama.tokens.store import TokenStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's recipe, shrunk to seconds, on the papers that came first."""
    root = tmp_path_factory.mktemp("revisions")
    recipe: dict[str, Any] = yaml.safe_load((ROOT / "recipes" / "minimed.yaml").read_text())
    recipe |= {"run_dir": str(root / "first"), "seeds": [0], "workers": 1}
    recipe["minimed"] = {"drugs": 8, "papers_per_drug": 12, "general_papers": 40, "vocab_size": 700, "later": True}
    recipe["tokens"] = {"heldout_fraction": 0.4}
    recipe["base"]["config"] |= {"hidden_size": 32, "intermediate_size": 64}
    recipe["base"]["train"] |= {"max_steps": 3}
    recipe["pretrain"] |= {"epochs": 1, "save_every": 1000, "mixture": None}
    recipe["tasks"] = {"direct_fact": recipe["tasks"]["direct_fact"]}
    recipe["regimes"] = {"zero_shot": {"kind": "zero_shot"}}
    (root / "first.yaml").write_text(yaml.safe_dump(recipe))
    run_recipe(root / "first.yaml", until="pretrain")
    return root / "first"


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """An update with half of the later papers, stopped twice before it went through."""
    stages = iter(["tokens", "pretrain"])

    def run(recipe: Path, settings: list[str], *, until: str | None = None) -> None:
        if until is None and (stage := next(stages, None)) is not None:
            run_recipe(recipe, settings, until=stage)
            raise KeyboardInterrupt
        run_recipe(recipe, settings, until=until)

    out, later = first.parent / "second", first / "data" / "later"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            update(first, shards(later, "[01]"), out, run=run, papers=[str(later / "papers/*.gz")])
    update(first, shards(later, "[01]"), out, run=run, papers=[str(later / "papers/*.gz")])
    return out


def shards(later: Path, numbers: str) -> list[str]:
    return [str(later / f"s2orc/s2orc_000{numbers}.jsonl.gz")]


def papers(run: Path) -> list[str]:
    return list(pl.concat([pl.read_parquet(part) for part in sorted((run / "corpus/parts").glob("*"))])["paper_id"])


def first_heldout(run: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (run / "train/pretrain/metrics.jsonl").read_text().splitlines()]
    return next(line["heldout"] for line in lines if "heldout" in line)


def test_corpus_and_store_grow_and_share_what_was_there(first: Path, second: Path) -> None:
    old, new = papers(first), papers(second)
    assert new[: len(old)] == old and len(set(new)) == len(new) > len(old)
    stores = [TokenStore.open(run / "tokens" / "corpus") for run in (first, second)]
    assert [store.paper_ids for store in stores] == [old, new]
    stores[1].verify()
    for name in ("tokens/corpus/shard-00000.bin", "corpus/parts/part-00000.parquet"):
        assert (second / name).samefile(first / name)
    assert (second / "general/corpus.json").samefile(first / "general/corpus.json")


def test_old_papers_are_replayed_in_every_batch_and_their_loss_is_watched(first: Path, second: Path) -> None:
    heldout = first_heldout(second)
    assert set(heldout) == {"corpus", "earlier", "general"}
    assert (
        heldout["earlier"]
        == json.loads((first / "train/pretrain/summary.json").read_text())["summary"]["heldout"]["corpus"]
    ), "it begins where the last revision ended"
    identity = json.loads((second / "train/pretrain/summary.json").read_text())["identity"]
    assert identity["continues"].startswith("step-000")


def test_a_third_revision_goes_on_from_the_second(first: Path, second: Path) -> None:
    out, later = first.parent / "third", first / "data" / "later"
    options: dict[str, Any] = {"run": run_recipe, "replay": 0.0, "settings": ["pretrain.max_steps=2"]}
    done = update(second, shards(later, "[0-3]"), out, papers=[str(later / "papers/*.gz")], **options)
    assert done.new > 0 and done.known >= len(papers(second)) - len(papers(first)) > 0
    assert papers(out)[: len(papers(second))] == papers(second) and len(set(papers(out))) == len(papers(out))
    assert len(papers(out)) == len(papers(second)) + done.new
    assert set(first_heldout(out)) >= {"earlier", "general"}
    again = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    run_recipe(out / "update.yaml", ["pretrain.max_steps=2"])
    assert again == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_what_it_goes_on_from_must_be_finished(first: Path, second: Path) -> None:
    unfinished = [f"run_dir={first.parent / 'other'}", f"update.previous={first.parent}"]
    with pytest.raises(PmcLlamaError, match="has no finished corpus: run its recipe first"):
        run_recipe(second / "update.yaml", unfinished)
