"""Run lm-evaluation-harness on local task files: the other side of benchmarks/qa.py, run by the peer's own Python.

    python benchmarks/qa_peer.py JOB.json

The job names the model folder, its dtype, the folder of task files and the tasks with their shots and limits. Written
are, for each task, the harness' own requests and answers, its accuracy, and the seconds its `loglikelihood` call took;
with `all_contexts` also the contexts of all its questions, which are asked of a model that does nothing.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def main(job_path: Path) -> None:
    job = json.loads(job_path.read_text())
    import torch
    from lm_eval.models.dummy import DummyLM
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(job["threads"])
    settings = {name: job[name] for name in ("dtype", "softmax_dtype", "batch_size", "max_length")}
    model = HFLM(pretrained=job["model"], device="cpu", **settings)
    seconds = _time_calls(model)
    manager = TaskManager(include_path=job["tasks_dir"], include_defaults=False)
    out: dict[str, Any] = {}
    _evaluate(model, manager, job["tasks"][0], 1)  # what only the first call needs time for is not counted
    for task in job["tasks"]:
        seconds.clear()
        found, samples = _evaluate(model, manager, task, task["limit"])
        out[task["name"]] = {
            "seconds": sum(wall_s for wall_s, _ in seconds),
            "cpu_seconds": sum(cpu_s for _, cpu_s in seconds),
            "metrics": {key: value for key, value in found.items() if isinstance(value, float)},
            "samples": [
                {
                    "context": sample["arguments"][0][0],
                    "continuations": [argument[1] for argument in sample["arguments"]],
                    "logprobs": [float(response[0][0]) for response in sample["resps"]],
                    "acc": sample["acc"],
                }
                for sample in samples
            ],
        }
        if task.get("all_contexts"):
            _, samples = _evaluate(DummyLM(), manager, task, None)
            out[task["name"]]["contexts"] = [sample["arguments"][0][0] for sample in samples]
    Path(job["out"]).write_text(json.dumps(out))


def _evaluate(model: Any, manager: Any, task: Any, limit: int | None) -> tuple[dict[str, Any], list[Any]]:
    """The harness' metrics of a task, and its samples in the questions' order."""
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model=model,
        tasks=[task["name"]],
        num_fewshot=task["shots"],
        limit=limit,
        task_manager=manager,
        log_samples=True,
        bootstrap_iters=0,
    )
    return found["results"][task["name"]], sorted(found["samples"][task["name"]], key=lambda one: one["doc_id"])


def _time_calls(model: Any) -> list[tuple[float, float]]:
    """Make `model.loglikelihood` note how long each call takes, by the clock and in processor time."""
    seconds: list[tuple[float, float]] = []
    original = model.loglikelihood

    def timed(requests: Any, **keys: Any) -> Any:
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        answers = original(requests, **keys)
        seconds.append((time.perf_counter() - started_s, time.process_time() - started_cpu_s))
        return answers

    model.loglikelihood = timed
    return seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]))
