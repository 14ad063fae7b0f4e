"""A finished run for the report's tests: seven regimes, three tasks, two seeds, a clear gain."""

from pathlib import Path

import pytest

from pmc_llama.report.page import build_report
from pmc_llama.report.run import Run
from pmc_llama.results.table import compute_results
from report.fake_run import write_run

OTHERS = {"chat.doctor": {"path": "c/d", "tuned": True}, "meditron-7b": {"path": "a/b"}, "gpt": {"path": "e/f"}}
"""Further models, of which one is tuned in the regimes."""


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory with its results and report."""
    run = write_run(tmp_path_factory.mktemp("runs") / "fake", n=60)
    read = Run(run)
    compute_results(run / "predictions.parquet", run / "results.json", read.contaminated, primary=read.primary)
    build_report(run)
    return run


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five models with its results and report."""
    run = write_run(tmp_path_factory.mktemp("runs") / "field", n=30, training=False, corpora=False, others=OTHERS)
    contaminated = {"usmle": {"usmle-0001", "usmle-0003"}}
    compute_results(run / "predictions.parquet", run / "results.json", contaminated, primary=Run(run).primary)
    build_report(run)
    return run
