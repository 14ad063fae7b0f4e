"""Ten minutes on a GPU, in which nothing is lost: is the training code right there, and how fast is it?

    OUT=results python benchmarks/gpu_run.py            # all sections
    OUT=results python benchmarks/gpu_run.py ours trainer
    OUT=results python benchmarks/gpu_run.py --smoke    # all of them, tiny and on a CPU: shows that the script works

Each section has a time limit and a process of its own: one that hangs, fails or runs out of memory costs no other. What
is found is a JSON line appended at once to $OUT/results.jsonl; what is said lies in $OUT/SECTION.log. Sections come in
the order of what they are worth, so a machine that is taken away early has told most:

environment  what is there; a process group of one, and a sum in it
correct      against fp64 and against a CPU: attention, loss, curves of training, guard, resumption, export, questions
ceilings     matrix products of 7B's shapes, attention over packed documents, cuDNN's attention: what is to be reached
ours         7B layers, compiled, eight micro-batches a step: MFU, memory beside what `plan` says, a profile
variants     the same recomputing selectively, and eager
trainer      transformers' Trainer on the same
smaller      1.1B on both
float8       products in 8 bits, and 7B layers trained with them where torchao is installed
scoring      1,273 questions of four options by a model of 7B's shape, beside one row per option
compiled     Trainer with torch_compile, which takes long to begin

It starts from a copy of the repository, as benchmarks/train_gpu.py does, and needs no network: where torch and
transformers are, install pydantic and msgspec (and torchao, for all of `float8`) from a folder of wheels.
`--smoke` puts CPU kernels under the operators of flash attention, so that the code is that of a GPU, and compiles
nothing.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
for folder in ("src", "benchmarks", "tests/train", "tests/emulated"):
    sys.path.insert(0, str(ROOT / folder))

LIMITS_S = {
    "environment": 40,
    "correct": 150,
    "ceilings": 40,
    "ours": 90,
    "variants": 70,
    "trainer": 60,
    "smaller": 90,
    "float8": 70,
    "scoring": 90,
    "compiled": 150,
}
"""Together more than ten minutes: each is what it may take at most, and most take half of it."""


class Results:
    """The file of results, one JSON line each."""

    def __init__(self, file: Path, section: str, *, smoke: bool) -> None:
        self.file, self.section, self.smoke = file, section, smoke

    def __call__(self, name: str, **values: Any) -> None:
        """Append a line, and have it on the disk before anything else can go wrong."""
        line = {"section": self.section, "name": name, **values}
        with self.file.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def check(self, name: str, found: float, most: float, **values: Any) -> None:
        """A difference, and whether it is small enough."""
        self(name, ok=bool(found <= most), difference=found, most=most, **values)

    def attempt(self, name: str, work: Callable[[], Any], **values: Any) -> None:
        """The numbers that `work` gives, or the error it raises: what follows is tried all the same."""
        try:
            found = work()
        except Exception as error:
            traceback.print_exc()
            self(name, ok=False, error=f"{type(error).__name__}: {error}"[:500], **values)
        else:
            self(name, ok=True, **values, **found)


def sections() -> dict[str, Callable[[Results], None]]:
    import gpu_checks
    import gpu_speed

    return {
        "environment": gpu_checks.environment,
        "correct": gpu_checks.correct,
        "ceilings": gpu_speed.ceilings,
        "ours": gpu_speed.ours,
        "variants": gpu_speed.variants,
        "trainer": gpu_speed.trainer,
        "smaller": gpu_speed.smaller,
        "float8": gpu_speed.float8,
        "scoring": gpu_speed.scoring,
        "compiled": gpu_speed.compiled,
    }


def in_child(section: str, results: Results, log: Path) -> None:
    """The section itself, in a process (and process group) of its own."""
    os.setsid()
    with log.open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        status = 1
        try:
            if results.smoke:
                as_a_gpu_would()
            sections()[section](results)
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # nothing may wait at the end


def as_a_gpu_would() -> None:
    """CPU kernels under flash attention for all that follows, and no compiler, which takes longer than all else."""
    import torch
    from flash_on_cpu import as_on_gpus

    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")
    as_on_gpus().__enter__()


def touch_gpu() -> None:
    import torch

    torch.zeros(1, device="cuda")
    os._exit(0)


def way_to_start(*, smoke: bool) -> Any:
    """Forks, which import nothing anew, where the GPU lets itself be used in one: some drivers do not."""
    if not smoke:
        child = multiprocessing.get_context("fork").Process(target=touch_gpu)
        child.start()
        child.join(60)
        if child.exitcode != 0:
            child.kill()
            return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("fork")


def run(section: str, out: Path, way: Any, *, smoke: bool) -> None:
    """One section, to its end or its time limit; a last line says which."""
    results, log = Results(out / "results.jsonl", section, smoke=smoke), out / f"{section}.log"
    started_s = time.monotonic()
    child = way.Process(target=in_child, args=(section, results, log))
    child.start()
    child.join(LIMITS_S[section] * (4 if smoke else 1))  # a CPU may be busy, and costs nothing
    late = child.is_alive()
    if child.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # it, and what it has started
    child.join()
    ended = "time limit" if late else "ok" if child.exitcode == 0 else f"status {child.exitcode}"
    said = "" if ended == "ok" or not log.exists() else log.read_text(errors="replace")[-1500:]
    results("end", ok=ended == "ok", ended=ended, seconds=round(time.monotonic() - started_s, 1), said=said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(LIMITS_S)}; none: all")
    parser.add_argument("--smoke", action="store_true", help="tiny, on a CPU")
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in LIMITS_S]
    if unknown:
        parser.error(f"no section {unknown[0]}: expected some of {', '.join(LIMITS_S)}")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTORCH_NVML_BASED_CUDA_CHECK="1")
    if options.smoke:
        os.environ.update(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    import torch  # once for all sections, which are forks of this process and alone touch the GPU
    import transformers  # noqa: F401

    if not options.smoke and not torch.cuda.is_available():
        parser.error("no GPU here; --smoke shows on a CPU that the script works")
    sections()
    out = Path(os.environ.get("OUT", "."))
    out.mkdir(parents=True, exist_ok=True)
    way = way_to_start(smoke=options.smoke)
    for name in options.sections or LIMITS_S:
        run(name, out, way, smoke=options.smoke)
    lines = (out / "results.jsonl").read_text().splitlines()
    for line in lines:
        print(line[:300])
    return 0 if all(json.loads(line).get("ok", True) for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
