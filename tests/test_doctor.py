import shlex
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from pmc_llama import doctor
from pmc_llama.doctor import GIB, diagnose
from pmc_llama.recipe import load_recipe


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
    assert str(diagnosis).endswith(diagnosis.command)


def test_the_command_works_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(shlex.split(diagnose().command)[2]).is_file()


def test_gpus_decide_which_recipe_fits(
    gpus: Callable[[list[int]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in doctor.PARAMETERS:
        (tmp_path / f"{name}.yaml").write_text("")
    monkeypatch.setattr(doctor, "_recipes", lambda: tmp_path)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    for sizes, said in (([80] * 8, "pmc-llama-13b"), ([80, 80], "pmc-llama-7b"), ([24], "too small for full training")):
        gpus(sizes)
        monkeypatch.setattr(doctor, "_accelerators", lambda: iter(()))
        assert said in diagnose(tmp_path).advice


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
    assert "too little" in found["disk"] and "cannot train together" in found["NCCL"]
