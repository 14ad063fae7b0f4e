"""Scoring beside lm-evaluation-harness: equal answers on every question, and the speed of three kinds of task.

    make bench-qa                                             # makes the peer's own environment, then measures
    python benchmarks/qa.py [--runs 3]                        # speed: same model, questions, precision, threads
    python benchmarks/qa.py parity [--tasks medqa medmcqa:5]  # all questions on both sides; see qa_parity.py
    python benchmarks/qa.py golden                            # the harness' answers that tests/qa/golden.json keeps

Needs the real question files and the Mistral-v1 tokenizer (PMC_LLAMA_SHARED_DATA, default ../shared/data).

Speed counts from questions and a loaded model to log-likelihoods: rendering and tokenising on our side; of the harness
its `loglikelihood` call alone, which tokenises but has its contexts ready. Both sides get the same random LLaMA (28
million parameters: 2 layers, 384 wide, 32,000 pieces), bf16 weights and an fp32 log-softmax; the harness scores in
batches of 16. Rows: `letters` is MedQA without shots, `option-texts` MedMCQA by the options' texts, `5-shot-fixed`
MedMCQA after the same five solved questions. Both sides alternate, medians count. What letters gain depends on how much
of the model is vocabulary, which the harness computes at every position: less in deeper models, see docs/qa.md.
Written: benchmarks/results/qa.json.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from pmc_llama import files
from pmc_llama.environment import describe_environment
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.qa.shots import choose_shots
from pmc_llama.tokens.convert import hf_tokenizer
from qa_parity import run_parity, write_golden
from qa_tasks import RESULTS, read_questions, run_peer, versions, write_model, write_tasks

SPEED_MODEL = {"hidden": 384, "layers": 2, "head_dim": 64, "spread": 0.05}
SPEED_ROWS = {  # our row: the harness' task, shots and questions
    "letters": ("medqa_local", 0, 200),
    "option-texts": ("medmcqa_texts_local", 0, 100),
    "5-shot-fixed": ("medmcqa_fixed_local", 5, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["speed", "parity", "golden"])
    parser.add_argument("--tasks", nargs="*", default=[], help="parity: NAME or NAME:SHOTS; speed: rows (none: all)")
    parser.add_argument("--limit", type=int, default=None, help="questions per task")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of the speed run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "parity":
            run_parity(Path(folder), options.tasks, options.limit, options.threads)
        elif options.what == "golden":
            write_golden(Path(folder), options.threads)
        else:
            run_speed(Path(folder), options)


def run_speed(folder: Path, options: argparse.Namespace) -> None:
    """Interleaved runs of both sides on the same questions; medians and their ratio."""
    questions = read_questions()
    write_tasks(folder)
    wanted = {name: (task, shots, options.limit or count) for name, (task, shots, count) in SPEED_ROWS.items()}
    wanted = {name: task for name, task in wanted.items() if name in (options.tasks or wanted)}
    model_path = write_model(folder / "model", **SPEED_MODEL)
    tokenizer = hf_tokenizer(model_path)
    model = load_for_inference(model_path, dtype=getattr(torch, options.dtype))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in wanted}
    jobs = [{"name": task, "shots": shots, "limit": limit} for task, shots, limit in wanted.values()]
    score(model, tokenizer, questions["medqa"][:1])  # what only the first call needs time for is not counted
    for _ in range(options.runs):
        peer = run_peer(folder, model_path, jobs, dtype=options.dtype, threads=options.threads)
        for name, (task, _, limit) in wanted.items():
            ours_s, ours_cpu_s = _time_ours(model, tokenizer, questions, name, limit)
            theirs = {"peer_s": peer[task]["seconds"], "peer_cpu_s": peer[task]["cpu_seconds"]}
            runs[name].append({"ours_s": ours_s, "ours_cpu_s": ours_cpu_s, **theirs})
            print(name, {key: round(value, 2) for key, value in runs[name][-1].items()}, flush=True)
    report = {
        "hardware": msgspec.structs.asdict(describe_environment().hardware) | {"threads": options.threads},
        "versions": versions(),
    }
    report["model"] = {"parameters": sum(p.numel() for p in model.parameters()), "dtype": options.dtype}
    report["rows"] = [_speed_row(name, wanted[name][2], found) for name, found in runs.items()]
    if len(wanted) == len(SPEED_ROWS):
        files.write_json(RESULTS / "qa.json", report)
    for row in report["rows"]:
        speeds = f"{row['ours']:8.1f} {row['peer']:8.1f} {row['unit']}"
        print(f"{row['name']:14} {speeds}  ratio {row['ratio']:.1f}  (processor time {row['cpu_ratio']:.1f})")


def _time_ours(
    model: Any, tokenizer: Any, questions: dict[str, list[Question]], name: str, limit: int
) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    mine = questions["medqa" if name == "letters" else "medmcqa"][:limit]
    shots = choose_shots(mine, questions["medmcqa"][-5:], 5) if name == "5-shot-fixed" else None
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    score(model, tokenizer, mine, shots=shots, answers="texts" if name == "option-texts" else None)
    return time.perf_counter() - started_s, time.process_time() - started_cpu_s


def _speed_row(name: str, limit: int, found: list[dict[str, float]]) -> dict[str, Any]:
    medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
    return {
        "name": name,
        "questions": limit,
        "unit": "questions/s",
        "ours": limit / medians["ours_s"],
        "peer": limit / medians["peer_s"],
        "peer_name": "lm_eval",
        "ratio": medians["peer_s"] / medians["ours_s"],
        "cpu_ratio": medians["peer_cpu_s"] / medians["ours_cpu_s"],
        "runs": found,
    }


if __name__ == "__main__":
    main()
