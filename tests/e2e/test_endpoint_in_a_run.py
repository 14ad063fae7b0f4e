"""A run with a model behind an API: killed while it is asked, it goes on and asks nothing twice."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from e2e.test_further_models import QUESTIONS, write_data, write_recipe
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.records.results import read_results
from qa.faulty import Faulty, serving


@pytest.mark.slow
def test_an_endpoint_is_asked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openai", reason="the extra `endpoint` is not installed")
    faulty, run = Faulty(), tmp_path / "run"
    untuned = "regimes={zero_shot: {kind: zero_shot}}"
    write_data(tmp_path)
    faulty.delay_s = 0.05
    with serving(faulty) as url:
        path = write_recipe(tmp_path, "run", served={"endpoint": url, "concurrency": 1, "prompt": "plain"})
        command = [sys.executable, "-m", "pmc_llama.cli", "run", str(path), "--set", untuned]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 120
        while len(faulty.asked) < 17 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        whole = 5 * QUESTIONS  # a question's context and its four options
        assert 17 <= len(faulty.asked) < whole
        run_recipe(path, [untuned])
        assert whole <= len(faulty.asked) <= whole + 5, "the question under way at most is asked again"
        asked = len(faulty.asked)
        run_recipe(path, [untuned])
        assert len(faulty.asked) == asked
        known = json.loads((run / "models.json").read_text())["served"]
    assert (known["kind"], known["where"], known["revision"]) == ("endpoint", f"{url}/v1", "one")
    assert known["asked"] == "log-probabilities of continuations"
    answers = pl.read_parquet(run / "predictions.parquet").filter(model="served")
    assert len(answers) == QUESTIONS
    assert answers["option_logprobs"].null_count() == 0
    assert ("served", "adapted") in read_results(run / "results.json").compared
