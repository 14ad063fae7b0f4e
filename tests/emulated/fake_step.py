"""Peak memory of one process in real training steps of real shapes, on tensors that have shapes but no memory.

`python fake_step.py '[{"shape": "huggyllama/llama-7b", "layers": 8, "processes": 8, …}, …]'` prints a line a case: what
the steps took at most and what `memory_of` plans, in bytes. All is as on a GPU: the layout of documents, the kept
results, the size of the loss's chunks; of the processes only the first is played, the others' messages are not sent.
"""

import json
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import LlamaConfig

from pmc_llama.model.attention import Documents
from pmc_llama.model.load import shape_on_meta
from pmc_llama.model.memory import CHUNK_LOGITS, memory_of
from pmc_llama.model.parallel import parallelize
from pmc_llama.model.shapes import SHAPES
from pmc_llama.recipe.training import LoraSection, TrainSection
from pmc_llama.train.agreement import Totals
from pmc_llama.train.microbatch import MicroBatch
from pmc_llama.train.optim import Guard, build_optimizer
from pmc_llama.train.step import attach_loss, train_step
from pmc_llama.train.world import World

CPU = torch.device("cpu")


class Peak(TorchDispatchMode):
    """Most bytes of storages alive at once. Sizes are looked up anew, as gathered weights are freed by resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def know(self, tensor: Tensor) -> None:
        local = getattr(tensor, "_local_tensor", tensor)
        if isinstance(local, FakeTensor) and local.device.type != "meta":
            self._alive.add(local.untyped_storage())

    def look(self) -> int:
        now = sum(storage.nbytes() for storage in self._alive)
        self.bytes = max(self.bytes, now)
        return now

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, Tensor):
                self.know(item)
        self.look()
        return result


class InFourBits(nn.Module):
    """A frozen matrix as bitsandbytes keeps it: whole on each process, and made anew in bf16 in each product."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        packed = torch.empty(round(linear.weight.numel() * 0.516), dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None

    def forward(self, values: Tensor) -> Tensor:
        product: Tensor = _FourBitProduct.apply(values, self.out_features)
        return product


class _FourBitProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, out_features: int) -> Tensor:
        ctx.width = values.shape[-1]
        return values @ values.new_empty(ctx.width, out_features)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0] @ grad[0].new_empty(grad[0].shape[-1], ctx.width), None


def quantized_on_meta(config: LlamaConfig, lora: LoraSection) -> nn.Module:
    from pmc_llama.model import load

    adapters = load.add_adapters

    def add(model: Any, section: LoraSection) -> Any:
        wrapped: Any = adapters(model, section)
        for path, module in list(wrapped.get_base_model().model.layers.named_modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear and "lora_" not in path:
                    setattr(module, name, InFourBits(child))
        return wrapped

    load.add_adapters = add
    try:
        return shape_on_meta(config, lora, torch.bfloat16)
    finally:
        load.add_adapters = adapters


def micro_batch(rows: int, length: int) -> MicroBatch:
    bounds = torch.zeros(64, dtype=torch.int32)
    return MicroBatch(
        ids=torch.zeros(rows, length, dtype=torch.long),
        position_ids=torch.arange(length).repeat(rows, 1),
        index=torch.arange(rows * length - rows),
        targets=torch.zeros(rows * length - rows, dtype=torch.long),
        documents=Documents(length, length, {"flash": bounds}),
    )


def fused_log_softmax(values: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """As on CUDA, without a copy of the logits in fp32."""
    return values.new_empty(values.shape, dtype=dtype)


def fused_dropout(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As on CUDA, with a mask of one byte an element."""
    assert not inplace
    return torch.native_dropout(values, p, training)[0]


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """A step of one micro-batch, which makes the optimizer's state, and one of two, which is the one that counts."""
    size, lora = case["processes"], None if case.get("lora") is None else LoraSection(**case["lora"])
    shape = SHAPES[case["shape"]] | ({"num_hidden_layers": case["layers"]} if "layers" in case else {})
    config = LlamaConfig(**shape, use_cache=False)
    options = TrainSection(**case["options"])
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    shards = options.shard_processes or size
    if shards == size:
        mesh = init_device_mesh("cpu", (size,))
    else:
        mesh = init_device_mesh("cpu", (size // shards, shards), mesh_dim_names=("replicate", "shard"))
    world = World(0, size, CPU, mesh, None, None)  # type: ignore[arg-type]
    quantized = lora is not None and lora.quantize is not None
    if quantized and lora is not None:
        net: Any = quantized_on_meta(config, lora)
    else:
        net = shape_on_meta(config, lora, torch.float32 if lora is None else torch.bfloat16)
    frozen = [parameter for parameter in net.parameters() if not parameter.requires_grad]
    whole = frozen if quantized or size == 1 else []
    parallelize(net, mesh, dtype=torch.bfloat16, recompute=options.activation_checkpointing, whole=whole)
    rows, length = options.micro_batch, options.seq_len
    totals = Totals(rows * length * size, rows * length * size, 0, stop=False, save=False, written=True)
    with FakeTensorMode(allow_non_fake_inputs=True), Peak() as peak:
        net.to_empty(device=CPU)
        for parameter in net.parameters():
            peak.know(parameter)
        net.train()
        attach_loss(net)
        optimizer, guard = build_optimizer(net, options), Guard(CPU)
        for step in (1, 2):
            peak.bytes = 0
            batch, of_step = [micro_batch(rows, length)] * step, replace(totals, micro_batches=step)
            train_step(net, optimizer, guard, batch, of_step, step=step, lr=1e-5, clip=1.0, world=world)
        kept = peak.look()
    dist.destroy_process_group()
    planned = memory_of(config, options, lora, size)
    return {"measured": peak.bytes, "kept": kept, "planned": planned.total, "parts": vars(planned)}


if __name__ == "__main__":
    CHUNK_LOGITS["cpu"] = CHUNK_LOGITS["cuda"]
    F.log_softmax, F.dropout = fused_log_softmax, fused_dropout
    for one in json.loads(sys.argv[1]):
        print(json.dumps(measure(one)), flush=True)
