"""`pmc-llama doctor`: in plain words, what this machine can do, which recipe fits it, and one command to start with."""

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from pmc_llama.errors import RecipeError
from pmc_llama.recipe.shipped import FOLDER

GIB = 2**30
LARGEST_FIRST = ("pmc-llama-65b", "pmc-llama-33b", "pmc-llama-13b", "pmc-llama-7b")
"""Recipes whose full training is looked at."""
SMALL_DISK_BYTES = 5 * GIB


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `good` is as wanted, `note` is worth knowing, `bad` stops the work."""

    name: str
    state: Literal["good", "note", "bad"]
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """What was found, which recipe fits, and the command to start with."""

    findings: tuple[Finding, ...]
    advice: str
    command: str

    @property
    def healthy(self) -> bool:
        """Whether nothing stops the work."""
        return all(finding.state != "bad" for finding in self.findings)

    def __str__(self) -> str:
        marks = {"good": "ok  ", "note": "note", "bad": "BAD "}
        lines = [f"{marks[one.state]}  {one.name:<10} {one.sentence}" for one in self.findings]
        return "\n".join([*lines, "", self.advice, "", f"  {self.command}"])


def diagnose(folder: Path = Path()) -> Diagnosis:
    """Look at this machine; `folder` is where runs would be written. Nothing is changed and nothing downloaded."""
    findings = (
        _python(),
        _packages(),
        _processor(),
        _memory(),
        _disk(folder),
        *_accelerators(),
        *_hub(),
        _optional("ray", "Ray", "the corpus can be built on a Ray cluster", "corpora are built by local processes"),
        _optional("vllm", "vLLM", "`serve` can use it", "`serve` uses the server on transformers"),
    )
    advice, command = _advise(all(one.state != "bad" for one in findings))
    return Diagnosis(findings, advice, command)


def _python() -> Finding:
    return Finding("Python", "good", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Finding:
    wrong = sorted(_wrong_packages())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft"))
    if wrong:
        sentences, needed = zip(*wrong, strict=True)
        mend = shlex.join(["pip", "install", *needed])
        return Finding("packages", "bad", f"not as needed: {'; '.join(sentences)}. `{mend}` mends it")
    return Finding("packages", "good", f"{versions}; all others are there in versions that fit")


def _wrong_packages() -> Iterator[tuple[str, str]]:
    """(what is wrong, what is needed) of each package that is missing or of another version."""
    from packaging.requirements import Requirement

    for line in metadata.requires("pmc-llama") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing", line
        else:
            if not requirement.specifier.contains(version, prereleases=True):
                yield f"{requirement.name} is {version}, needed is {requirement.specifier}", line


def _processor() -> Finding:
    import torch

    from pmc_llama.model.precision import compute_dtype

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if compute_dtype("auto", torch.device("cpu")) == torch.bfloat16:
        return Finding("CPU", "good", f"{cores} cores, which multiply bf16 fast: training on them uses it")
    return Finding("CPU", "good", f"{cores} cores without bf16 units: `precision: auto` computes in fp32 on them")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    sentence = f"{memory.total / GIB:.0f} GiB, {memory.available / GIB:.0f} GiB free"
    if memory.available < 3 * GIB:
        return Finding("memory", "note", f"{sentence}: the miniature recipe wants about 3 GiB")
    return Finding("memory", "good", sentence)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    sentence = f"{free / GIB:,.0f} GiB free in {folder.resolve()}"
    if free < SMALL_DISK_BYTES:
        return Finding("disk", "bad", f"{sentence}: too little even for the miniature's checkpoints")
    if free < 1000 * GIB:
        return Finding("disk", "note", f"{sentence}: enough for the small recipes; all of S2ORC and a 7B run want 1 TB")
    return Finding("disk", "good", sentence)


def _accelerators() -> Iterator[Finding]:
    import torch
    import torch.distributed as dist

    if not torch.cuda.is_available():
        build = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is a CPU build"
        yield Finding("GPU", "note", f"none that torch can use ({build}): small models train on the CPU")
        return
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = ", ".join(f"{one.name} ({one.total_memory / GIB:.0f} GiB)" for one in devices)
    yield Finding("GPU", "good", f"{len(devices)}: {names}")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        yield Finding("bf16", "note", "the GPU has no bf16 units: `precision: auto` computes in fp32")
    if len(devices) > 1 and not dist.is_nccl_available():
        yield Finding("NCCL", "bad", "missing from this torch: several GPUs cannot train together")
    elif len(devices) > 1:
        yield Finding("NCCL", "good", "several GPUs can train together")


def _hub() -> Iterator[Finding]:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: models are not downloaded")
    elif get_token() is None:
        yield Finding("hub", "note", "no token: public models can be read, nothing can be published (set HF_TOKEN)")
    else:
        yield Finding("hub", "good", f"a token is set, for {constants.ENDPOINT}")


def _optional(module: str, name: str, there: str, missing: str) -> Finding:
    if importlib.util.find_spec(module) is not None:
        return Finding(name, "good", f"installed: {there}")
    return Finding(name, "note", f"not installed: {missing}")


def _advise(healthy: bool) -> tuple[str, str]:
    """What fits, in a sentence, and the command that shows that everything works here."""
    command = shlex.join([_program(), "run", "minimed"])
    if not healthy:
        return "Mend what is marked BAD first. Then try the miniature:", command
    start = "Start with the miniature: the whole recipe on a synthetic world, in minutes, on this machine:"
    fits = _largest_that_fits()
    return start if fits is None else f"{fits} {start}", command


def _largest_that_fits() -> str | None:
    """What `plan` says of the GPUs that are here, in a sentence; None where there are none."""
    from pmc_llama.model.gpus import found_gpus
    from pmc_llama.plan import changes_that_fit, shape_of
    from pmc_llama.recipe import load_recipe

    try:
        count, gpu = found_gpus()
    except RecipeError:
        return None
    for name in LARGEST_FIRST:
        recipe = load_recipe(FOLDER / f"{name}.yaml")
        change = changes_that_fit(shape_of(recipe), recipe.pretrain, None, count, gpu)
        if change is not None:
            settings = " ".join(f"--set pretrain.{key}={value}" for key, value in change.items())
            return (
                f"Full training of {name} fits the GPUs{f' with `{settings}`' if settings else ''}, as `plan` reckons."
            )
    return "The GPUs are too small for full training of 7B; `plan` says what would do, and what LoRA needs."


def _program() -> str:
    """How `pmc-llama` is called here: by its name where the shell finds it, else by its path."""
    if shutil.which("pmc-llama") is not None:
        return "pmc-llama"
    return str(Path(sys.executable).with_name("pmc-llama"))
