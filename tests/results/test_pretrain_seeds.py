"""Several adapted models in the predictions: the outermost level of every comparison."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pmc_llama.errors import InputError
from pmc_llama.records.primary import Primary
from pmc_llama.results.gate import compare_revision
from pmc_llama.results.table import compute_results
from pmc_llama.stats.seeds import seeds_by_items

N, TUNED, PRETRAINED = 90, (0, 1), (3, 4, 5)


def answers(luck: float) -> dict[tuple[str, int | None, int], Any]:
    """Correctness by model, pre-training seed and tuning seed; pre-trainings differ by `luck`."""
    rng = np.random.default_rng(0)
    chance = {("base", None): 0.4} | {("adapted", one): 0.5 + luck * i for i, one in enumerate(PRETRAINED)}
    return {(*model, seed): rng.random(N) < p for (model, p), seed in product(chance.items(), TUNED)}


def write(path: Path, found: dict[tuple[str, int | None, int], Any]) -> Path:
    rows = [
        {
            "model": model, "pretrain_seed": pretrained, "regime": "full", "seed": seed, "task": "medqa",
            "protocol": "in_domain", "question_id": f"{i:03}", "option_logprobs": [-0.1, -2.3],
            "chosen": 0 if ok else 1, "gold": 0, "parsed": None, "truncated": False, "tie": False,
        }
        for (model, pretrained, seed), right in found.items()
        for i, ok in enumerate(right)
    ]  # fmt: skip
    pl.DataFrame(rows, schema_overrides={"pretrain_seed": pl.Int64, "parsed": pl.String}).write_parquet(path)
    return path


def test_pre_trainings_are_the_trainings_each_with_the_mean_over_its_tunings(tmp_path: Path) -> None:
    found = answers(0.1)
    results = compute_results(write(tmp_path / "p.parquet", found), tmp_path / "r.json")
    (row,) = results.summary
    base = [found["base", None, seed] for seed in TUNED]
    adapted = [[found["adapted", one, seed] for seed in TUNED] for one in PRETRAINED]
    expected = seeds_by_items(base, adapted)
    assert (row.unit, row.pretrainings, row.seeds) == ("method", 3, 2)
    assert (row.ci95, row.p, row.se, row.df) == (expected.ci95, expected.p, expected.se, expected.df)
    assert row.delta_mean == pytest.approx(np.mean(adapted) - np.mean(base))
    deltas = [np.mean(one) - np.mean(base) for one in adapted]
    assert (row.delta_min, row.delta_max) == pytest.approx((min(deltas), max(deltas)))
    assert row.delta_sd == pytest.approx(np.std(deltas, ddof=1))
    means = {one.model: one for one in results.means}
    assert (means["adapted"].mean, means["adapted"].pretrainings) == (pytest.approx(np.mean(adapted)), 3)
    assert len(results.rows) == 8
    seeds = [(one.pretrain_seed, one.seed) for one in results.comparisons]
    assert sorted(seeds) == sorted(product(PRETRAINED, TUNED))
    assert [one.holm_p for one in results.comparisons] == [one.mcnemar_p for one in results.comparisons]


def test_the_luck_of_a_pre_training_makes_interval_and_gate_less_sure(tmp_path: Path) -> None:
    primary = Primary(regime="full", tasks=["medqa"])
    widths, powers = [], []
    for luck in (0.0, 0.15):
        path = write(tmp_path / "p.parquet", answers(luck))
        results = compute_results(path, tmp_path / "r.json", primary=primary)
        (one,) = compare_revision(results, 0.02).compared
        widths.append(one.row.ci95[1] - one.row.ci95[0])
        powers.append(one.notices[1])
    assert widths[1] > 1.5 * widths[0]
    assert powers[1] < powers[0]


def test_adapted_models_with_other_tuning_seeds_are_refused(tmp_path: Path) -> None:
    found = answers(0.0)
    del found["adapted", 4, 1]
    with pytest.raises(InputError, match="not all tuned with the same"):
        compute_results(write(tmp_path / "p.parquet", found), tmp_path / "r.json")
