"""Every recipe of the package passes its dry run on a made-up data root, and says what was lost."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from corpus.samples import jats, papers_row, s2orc_row, write_lines, write_tar
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.shipped import shipped_names, shipped_path
from release.tiny import tiny_tokenizer

REAL = [name for name in shipped_names() if name != "minimed"]
WORDS = "Patients with hypertension received zolimab for 12 weeks. "


def pubmedqa(ids: range) -> dict[str, Any]:
    return {str(i): {"QUESTION": "Does it?", "CONTEXTS": [WORDS], "final_decision": ("yes", "no")[i % 2]} for i in ids}


def write_questions(root: Path) -> None:
    options = {letter: f"text {letter}" for letter in "ABCD"}
    medqa = [{"question": f"Q{i}?", "options": options, "answer_idx": "A"} for i in range(4)]
    medmcqa = [
        {"id": str(i), "question": f"Q{i}?", "cop": 1 + i % 4, "opa": "a", "opb": "b", "opc": "c", "opd": "d"}
        for i in range(4)
    ]
    practice = [{**row, "question": f"Another {i}?"} for i, row in enumerate(medqa)]
    more = [{**row, "question": f"Another {i}?"} for i, row in enumerate(medmcqa)]
    usmle = "medqa/US/4_options/phrases_no_exclude"
    for name, rows in {f"{usmle}_train.jsonl": practice, f"{usmle}_test.jsonl": medqa, "medmcqa/train.json": more,
                       "medmcqa/dev.json": medmcqa}.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_lines(root / name, rows)
    answers = [{"aid": i, "atext": f"text {i}"} for i in (1, 2)]
    item = {"qid": "1", "qtext": "Which?", "ra": "2", "answers": answers}
    exams = {"exams": {"exam": {"category": "nursery", "data": [item]}}}
    for name, value in {"headqa/train_HEAD_EN.json": exams, "pubmedqa/ori_pqaa.json": pubmedqa(range(10, 16)),
                        "pubmedqa/ori_pqal.json": pubmedqa(range(6)),
                        "pubmedqa/test_ground_truth.json": {"1": "no", "2": "yes"}}.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(value))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a little of everything that the recipes name, and a tiny model with long positions."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("s2orc", "s2orc_v1", "papers", "pmc_oa", "general/wikitext-2", "books", "instructions"):
        (root / folder).mkdir(parents=True)
    for shard in ("s2orc/s2orc_0.jsonl.gz", "s2orc_v1/s2orc_0.jsonl.gz"):
        write_lines(root / shard, [s2orc_row(1, pmcid="1", text=WORDS)])
    for table in ("papers/papers_0.jsonl.gz", "s2orc_v1/papers_0.jsonl.gz"):
        write_lines(root / table, [papers_row(1, "1")])
    write_tar(root / "pmc_oa/a.tar.gz", {"PMC7.xml": jats(7)})
    pl.DataFrame({"text": [WORDS]}).write_parquet(root / "general/part.parquet")
    (root / "general/wikitext-2/test.txt").write_text(f" = Title = \n{WORDS}\n")
    write_lines(root / "books/a.jsonl", [{"id": "b", "text": WORDS}])
    write_lines(root / "instructions/a.jsonl", [{"instruction": "Say.", "output": "Yes."}])
    write_questions(root / "qa")
    tokenizer = tiny_tokenizer(root)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    return root


def settings(name: str, root: Path, out: Path) -> list[str]:
    raw = load_recipe(shipped_path(name))
    found = [f"data.root={root}", f"run_dir={out}", f"tokenizer.path={root / 'base'}"]
    if raw.base.path is not None:
        found.append("base.path=base")
    if raw.tasks["pubmedqa"].fold is not None:
        # its folds belong to the 1,000 questions themselves; without them its two splits need a file each
        found += ["tasks.pubmedqa.fold=null", "tasks.pubmedqa.train=qa/pubmedqa/ori_pqaa.json"]
    return found


@pytest.mark.parametrize("name", REAL)
def test_a_shipped_recipe_passes_its_dry_run(
    name: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_recipe(shipped_path(name), settings(name, root, tmp_path / "run"), dry_run=True)
    assert "evaluate: would run" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", REAL)
def test_a_real_recipe_measures_what_is_forgotten_and_asks_without_tuning(name: str) -> None:
    recipe = load_recipe(shipped_path(name))
    assert recipe.general is not None and recipe.tokens.heldout_fraction > 0
    kinds = {regime.kind for regime in recipe.regimes.values()}
    assert "zero_shot" in kinds or recipe.base.path is None  # a base from scratch knows nothing


def test_general_text_is_read_again_but_where_the_authors_did_not() -> None:
    without = [name for name in REAL if not _replays(name)]
    assert without == ["pmc-llama-7b-v1", "real-sample"]


def _replays(name: str) -> bool:
    mixture = load_recipe(shipped_path(name)).pretrain.mixture
    return mixture is not None and mixture.ratios.get("general", 0) > 0


def test_the_published_schedule_is_cut_out_of_a_longer_one() -> None:
    from pmc_llama.train.optim import learning_rate

    options = load_recipe(shipped_path("pmc-llama-7b-v1")).pretrain
    steps, whole = 187_500, 187_500 * 6
    plain = options.model_copy(update={"schedule_stretch": 1.0})
    for step in (1, 20_000, 100_000, steps):
        assert learning_rate(step, steps, options) == learning_rate(step, whole, plain)
    assert learning_rate(steps, steps, options) == pytest.approx(0.952 * options.lr, rel=1e-3)
    assert learning_rate(steps, steps, plain) < 0.001 * options.lr
