"""Writes golden.json with statsmodels, which the project does not need otherwise: `python tests/stats/make_golden.py`.

It computes what the tests of this folder compare with, by routes of its own: regressions and tables of variance, not
the closed forms of `pmc_llama.stats`.
"""

import json
from pathlib import Path

import numpy as np
import pandas
import statsmodels
import statsmodels.formula.api as formulas
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW


def answers(seed: int, seeds: int, n: int) -> np.ndarray:
    """Correctness [2, seeds, n] with hard and easy questions, lucky and unlucky seeds."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(0, 1, n) + rng.normal(0, 0.4, (2, seeds, 1)) + rng.normal(0, 1, (2, seeds, n))
    return (latent + np.array([0.0, 0.3])[:, None, None] > 0).astype(int)


def variance_components(right: np.ndarray) -> dict[str, float]:
    """Variances of the means from tables of variance: by seed with its residual, for each method."""
    found = {}
    for method, table in enumerate(right):
        seeds, n = table.shape
        frame = pandas.DataFrame(
            {"y": table.ravel(), "seed": np.repeat(np.arange(seeds), n), "item": np.tile(np.arange(n), seeds)}
        )
        squares = anova_lm(formulas.ols("y ~ C(seed) + C(item)", frame).fit())["mean_sq"]
        found[f"seeds_{method}"] = squares["C(seed)"] / n / seeds
        found[f"double_{method}"] = squares["Residual"] / n / seeds
    return found


def clustered(right: np.ndarray, groups: np.ndarray) -> float:
    """Variance of the mean difference with clusters of questions, from a regression on a constant."""
    frame = pandas.DataFrame({"d": right[1].mean(0) - right[0].mean(0)})
    fit = formulas.ols("d ~ 1", frame).fit(cov_type="cluster", cov_kwds={"groups": groups})
    return float(fit.bse.iloc[0] ** 2)


def main() -> None:
    right, groups = answers(3, 4, 60), np.arange(60) // 5
    difference = right[1].mean(0) - right[0].mean(0)
    ps = [0.001, 0.04, 0.03, 0.012, 0.5]
    golden = {
        "statsmodels": statsmodels.__version__,
        "mcnemar": [[b, c, float(mcnemar([[0, b], [c, 0]]).pvalue)] for b, c in ((1, 7), (5, 17), (40, 62), (3, 3))],
        "wilson": [[k, n, *proportion_confint(k, n, method="wilson")] for k, n in ((3, 17), (276, 500), (1348, 4183))],
        "holm": [ps, multipletests(ps, method="holm")[1].tolist()],
        "answers": right.tolist(),
        "groups": groups.tolist(),
        "components": variance_components(right) | {"clustered": clustered(right, groups)},
        "item_variance": float(DescrStatsW(difference).std_mean ** 2),
        "equivalence": [[m, float(DescrStatsW(difference).ttost_mean(-m, m)[0])] for m in (0.1, 0.2, 0.3)],
        "difference": difference.tolist(),
    }
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=None) + "\n")


if __name__ == "__main__":
    main()
