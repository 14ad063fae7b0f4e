import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from pmc_llama import doctor
from pmc_llama.doctor import GIB, diagnose
from pmc_llama.model.gpus import asked_gpus
from pmc_llama.plan import plan
from pmc_llama.recipe import load_recipe
from pmc_llama.recipe.shipped import shipped_names

ROOT = Path(__file__).parents[1]


class Device:
    def __init__(self, gib: int) -> None:
        self.name, self.total_memory = "Imagined", gib * GIB


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    def install(sizes: list[int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(sizes))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: Device(sizes[i]))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)

    return install


def states(diagnosis: doctor.Diagnosis) -> dict[str, str]:
    return {finding.name: finding.state for finding in diagnosis.findings}


def test_a_cpu_machine_gets_one_command_that_exists(gpus: Callable[[list[int]], None], tmp_path: Path) -> None:
    gpus([])
    diagnosis = diagnose(tmp_path)
    assert states(diagnosis)["GPU"] == "note" and states(diagnosis)["packages"] == "good"
    program, verb, recipe = shlex.split(diagnosis.command)
    assert shutil.which(program) and verb == "run"
    assert load_recipe(Path(recipe)).minimed is not None
    assert set(doctor.LARGEST_FIRST) <= set(shipped_names())
    assert str(diagnosis).endswith(diagnosis.command)


def test_the_command_works_from_any_folder_with_the_package_alone(tmp_path: Path) -> None:
    """The package is installed from a wheel, so that nothing of the repository but what it holds can be found."""
    build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    leave_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in ("src", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / "repository" / name, symlinks=True, ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tmp_path / "repository" / name)
    (wheels := tmp_path / "wheels").mkdir()
    python([build, str(wheels)], cwd=tmp_path / "repository")
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    shutil.rmtree(tmp_path / "repository")
    (empty := tmp_path / "empty").mkdir()
    call = "import sys; sys.argv = ['pmc-llama', *sys.argv[1:]]; from pmc_llama.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    printed = python([call, "doctor"], cwd=empty, env=environment)
    program, *command = shlex.split(printed.splitlines()[-1])
    assert program.endswith("pmc-llama") and command == ["run", "minimed"]
    python([call, *command, "--until", "minimed"], cwd=empty, env=environment)
    assert (empty / "runs/minimed/data/world.json").is_file()


def python(arguments: list[str], **options: Any) -> str:
    done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gpus_decide_which_recipe_fits_and_the_plan_says_the_same(
    gpus: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_accelerators", lambda: iter(()))
    said = {}
    for sizes in ([80] * 8, [40] * 8, [80, 80], [24], [24] * 8, [141]):
        gpus(sizes)
        advice = diagnose(tmp_path).advice
        said[len(sizes), sizes[0]] = advice
        for name in doctor.LARGEST_FIRST:
            settings = [one for one in re.findall(r"--set ([^\s,`]+)", advice) if name in advice]
            fits = plan(load_recipe(ROOT / f"recipes/{name}.yaml", settings), asked_gpus("auto"))[0].fits
            assert fits == (f"training of {name} fits" in advice), (sizes, name)
            if fits:
                break
    assert "pmc-llama-33b fits the GPUs with `--set pretrain.activation_checkpointing=full`, as" in said[8, 80]
    assert "too small for full training of 7B" in said[1, 24]


def test_what_is_missing_is_named(
    gpus: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpus([80, 80])
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=99", "no-such-package", "x; extra == 'dev'"])
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": GIB}))
    diagnosis = diagnose(tmp_path)
    found = {finding.name: finding.sentence for finding in diagnosis.findings}
    assert not diagnosis.healthy and "Mend what is marked BAD" in diagnosis.advice
    assert "no-such-package is missing; torch is" in found["packages"]
    assert "`pip install no-such-package 'torch>=99'` mends it" in found["packages"]
    assert "too little" in found["disk"] and "cannot train together" in found["NCCL"]
