"""Safetensors files, read without mapping them: the library's own values, and one sentence for what is damaged."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pmc_llama.errors import InputError
from pmc_llama.model.tensors import TensorFile, tensor_files
from pmc_llama.model.weights import weight_files

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def _values(shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape).to(kind)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 9),
    width=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
    other=st.sampled_from(KINDS),
    cut=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_rows_are_the_librarys(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    width: int,
    kind: torch.dtype,
    other: torch.dtype,
    cut: tuple[int, int],
) -> None:
    path = tmp_path_factory.mktemp("rows") / "model.safetensors"
    values = _values((rows, width), kind)
    save_file({"first": torch.ones(3), "matrix": values, "one": torch.tensor(2.5)}, path)
    file = TensorFile(path)
    first, end = sorted(min(one, rows) for one in cut)
    assert set(file.names()) == {"first", "matrix", "one"}
    assert (file.shape("matrix"), file.dtype("matrix")) == ((rows, width), kind)
    assert torch.equal(file.read("matrix"), values)
    assert torch.equal(file.read("matrix", first, end - first), values[first:end])
    target = torch.full((end - first, width), -1, dtype=other)
    file.read_into("matrix", target, first)
    assert torch.equal(target, values[first:end].to(other))
    scalar = torch.zeros((), dtype=other)
    file.read_into("one", scalar)
    assert scalar == 2.5


def test_what_is_no_whole_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"matrix": torch.ones(40, 50)}, path)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    damaged = json.loads(whole[8 : 8 + header])
    damaged["matrix"]["shape"] = [40, 51]
    text = json.dumps(damaged).encode()
    cases = {
        "half": (whole[: len(whole) // 2], "no whole safetensors file"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 13\n", "git-lfs"),
        "shape": (len(text).to_bytes(8, "little") + text + whole[8 + header :], "no whole safetensors file"),
        "empty": (b"", "no whole safetensors file"),
    }
    for content, words in cases.values():
        path.write_bytes(content)
        with pytest.raises(InputError, match=words) as error:
            TensorFile(path)
        assert "\n" not in str(error.value)


def test_backups_and_other_precisions_are_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "model.fp16.safetensors")
    assert torch.equal(tensor_files(tmp_path)["a"].read("a"), torch.ones(2))
    index = {"weight_map": {"a": "part.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": torch.full((2,), 3.0)}, tmp_path / "part.safetensors")
    assert torch.equal(tensor_files(tmp_path)["a"].read("a"), torch.full((2,), 3.0))


def test_files_that_nothing_names_are_no_weights(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file({"a": torch.ones(2)}, tmp_path / f"{name}.safetensors")
    assert weight_files(tmp_path) == []
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InputError, match="no `weight_map`"):
        weight_files(tmp_path)
