"""A finished run for the report's tests: seven regimes, three tasks, two seeds, a clear gain."""

from pathlib import Path

import pytest

from pmc_llama.report.page import build_report
from pmc_llama.report.run import Run
from pmc_llama.report.tables import compute_results
from report.fake_run import write_run


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory with its results and report."""
    run = write_run(tmp_path_factory.mktemp("runs") / "fake", n=60)
    read = Run(run)
    compute_results(run / "predictions.parquet", run / "results.json", read.contaminated, primary=read.primary)
    build_report(run)
    return run
