"""What a run ran on: versions, commit and hardware, written beside its results."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from pmc_llama.records.environment import Environment, GitState, Gpu, Hardware

PACKAGES = [
    "pmc-llama",
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "sentencepiece",
    "gigatoken",
    "pyarrow",
    "numpy",
    "scipy",
]


def describe_environment() -> Environment:
    """Versions of what matters to the numbers, the commit of this package's checkout if it is one, and the hardware."""
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        packages={name: _version(name) for name in PACKAGES},
        git=_git_state(Path(__file__).parent),
        hardware=Hardware(
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            memory_bytes=_memory_bytes(),
            gpus=_gpus(),
        ),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state(folder: Path) -> GitState | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _gpus() -> list[Gpu]:
    import torch

    if not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(device.name, device.total_memory) for device in devices]
