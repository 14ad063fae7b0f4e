"""What benchmarks/gpu_run.py asks first: is what the GPU computes right?"""

import importlib.util
import itertools
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import CONFIG, VOCAB, Source, options, run
from torch import Tensor

from pmc_llama.errors import Stopped
from pmc_llama.model.attention import Documents, attend
from pmc_llama.model.load import ModelOrigin
from pmc_llama.recipe.training import LoraSection
from pmc_llama.records.training import read_metrics
from pmc_llama.train.loss import chunked_cross_entropy
from pmc_llama.train.optim import Guard, build_optimizer, guarded_update

CPU = torch.device("cpu")
ROUNDED = 2e-2
"""How far results in bf16 may lie from fp64, as a share of the largest."""
SAME_CURVE = 2e-2
"""How far losses in bf16 may lie from those of fp32 on a CPU, as a share."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def environment(record: Any) -> None:
    """Versions and hardware; and a process group of one, as training makes it."""
    import torch.distributed as dist

    from pmc_llama.environment import describe_environment
    from pmc_llama.model.gpus import gpu_peak
    from pmc_llama.train.world import join_world

    found = describe_environment()
    gpu = torch.cuda.is_available()
    record(
        "versions",
        python=found.python,
        packages=found.packages,
        gpus=[str(one) for one in found.hardware.gpus],
        cores=found.hardware.cores,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        capability=torch.cuda.get_device_capability() if gpu else None,
        nccl=torch.cuda.nccl.version() if gpu else None,
        peak_tflops=None if not gpu or gpu_peak(device()) is None else (gpu_peak(device()) or 0) / 1e12,
    )
    with join_world() as world:
        value = torch.full((4,), 2.0, device=world.device)
        dist.all_reduce(value)
        record.check(
            "sum in a process group of one", apart(value, torch.full((4,), 2.0)), 0.0, device=str(world.device)
        )


def correct(record: Any) -> None:
    """Each on its own: what fails is told, and the next is tried."""
    for documents, window in itertools.product((1, 7, 64, 200), (None, 37)):
        name = f"attention, {documents} documents, window {window}"
        record.attempt(name, lambda d=documents, w=window: attention(d, w, small=record.smoke))
    record.attempt("attention in fp32", lambda: attention(7, None, small=record.smoke, dtype=torch.float32, most=1e-4))
    record.attempt("loss", lambda: loss(small=record.smoke))
    record.attempt("guard", guard)
    with tempfile.TemporaryDirectory() as folder:
        trained(record, Path(folder))


def attention(
    documents: int, window: int | None, *, small: bool, dtype: torch.dtype = torch.bfloat16, most: float = ROUNDED
) -> dict[str, Any]:
    """Forward and backward on the device beside fp64 on a CPU; raises AssertionError where they differ."""
    longest, width = (8, 16) if small else (120, 128)
    rng = np.random.default_rng(documents)
    lengths = rng.integers(1, longest, documents) if documents > 1 else [longest * 8]
    positions = np.concatenate([np.arange(length) for length in lengths])[None]
    drawn = torch.Generator().manual_seed(0)
    values = [torch.randn(1, heads, positions.size, width, generator=drawn).to(dtype) for heads in (8, 2, 2)]
    found = []
    for where, kind in ((CPU, torch.float64), (device(), dtype)):
        inputs = [value.to(where, kind).requires_grad_() for value in values]
        out, _ = attend(
            torch.nn.Identity(), *inputs, None, documents=Documents.of(positions, where), sliding_window=window
        )
        found.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    differences = [apart(mine, theirs) for theirs, mine in zip(*found, strict=True)]
    assert max(differences) <= most, f"{differences} of output, and of gradients of queries, keys and values"
    return {"difference": max(differences), "most": most, "tokens": int(positions.size)}


def loss(*, small: bool) -> dict[str, Any]:
    """Value and gradients of the loss in chunks, in bf16, beside fp64."""
    tokens, width, vocabulary = (60, 32, 500) if small else (9000, 512, 32000)
    drawn = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=drawn).to(torch.bfloat16)
    weight = (torch.randn(vocabulary, width, generator=drawn) / width**0.5).to(torch.bfloat16)
    targets = torch.randint(vocabulary, (tokens,), generator=drawn)
    exact = [hidden.double().requires_grad_(), weight.double().requires_grad_()]
    expected = torch.nn.functional.cross_entropy(exact[0] @ exact[1].T, targets, reduction="sum")
    mine = [value.to(device()).requires_grad_() for value in (hidden, weight)]
    found = chunked_cross_entropy(mine[0], mine[1], targets.to(device()))
    pairs = [
        (found, expected),
        *zip(torch.autograd.grad(found, mine), torch.autograd.grad(expected, exact), strict=True),
    ]
    differences = [apart(*pair) for pair in pairs]
    assert differences[0] <= 1e-3 and max(differences) <= ROUNDED, f"{differences} of value and gradients"
    return {"difference": max(differences), "most": ROUNDED}


def guard() -> dict[str, Any]:
    """An update whose loss is not finite leaves weights and moments as they are, to the bit."""
    where = device()
    net = torch.nn.Linear(64, 64, bias=False, device=where)
    optimizer, watch = build_optimizer(net, options()), Guard(where)
    kept = []
    for step, value in enumerate((1.0, float("nan"), 1.0)):
        net.weight.grad = torch.ones_like(net.weight)
        judged = watch.judge(step, torch.tensor(value, device=where), torch.ones((), device=where))
        guarded_update(optimizer, 1e-2, judged)
        kept.append([net.weight.detach().clone(), optimizer.state[net.weight]["exp_avg"].clone()])
    assert all(torch.equal(*pair) for pair in zip(kept[0], kept[1], strict=True)), "it was made"
    assert not torch.equal(kept[1][0], kept[2][0]), "the next was not"
    return {}


def losses(out: Path) -> list[float]:
    return [line.loss for line in read_metrics(out / "metrics.jsonl").steps if line.loss is not None]


def trained(record: Any, folder: Path) -> None:
    """Whole trainings of a tiny model: curves in every form, resumption, export, and what is asked of the export."""
    bases = {}
    for tied in (False, True):
        name = "tied" if tied else "full"
        run(folder / name, Source(1), ModelOrigin(config={**CONFIG, "tie_word_embeddings": tied}), precision="fp32")
        bases[name] = ModelOrigin(path=folder / name / "model")
    forms: dict[str, tuple[str, LoraSection | None]] = {
        "full": ("full", None),
        "tied": ("tied", None),
        "lora": ("full", LoraSection(r=4, dropout=0.0)),
        "qlora": ("full", LoraSection(r=4, dropout=0.0, quantize="nf4")),
    }
    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        del forms["qlora"]
        record("curve qlora", ok=True, left_out="needs a GPU and bitsandbytes")
    steps = 3 if record.smoke else 8
    expected: dict[str, list[float]] = {}

    def curve(form: str, recompute: str, *, compiled: bool) -> dict[str, Any]:
        base, lora = forms[form]
        out = folder / f"{form}-{recompute}-{compiled}"
        how = {"activation_checkpointing": recompute, "compile": compiled, "precision": "bf16"}
        run(out, Source(steps), bases[base], lora=lora, **how)
        found = losses(out)
        plain = expected.setdefault(base, _plain(folder / f"plain-{base}", bases[base], steps))
        beside = plain if lora is None else expected.setdefault(form, found)  # the first of its form
        difference = max(abs(a - b) / b for a, b in zip(found, beside, strict=True))
        assert len(found) == steps and difference <= SAME_CURVE, f"{found} beside {beside}"
        return {"difference": difference, "most": SAME_CURVE, "last": found[-1]}

    eager = list(itertools.product(forms, ("none", "selective", "full")))
    compiled = [("full", "none"), ("full", "selective"), ("full", "full"), ("lora", "selective"), ("tied", "selective")]
    for form, recompute in eager:
        record.attempt(f"curve {form}, {recompute}", lambda f=form, r=recompute: curve(f, r, compiled=False))
    record.attempt("resumption", lambda: resumed(folder, bases["full"]))
    record.attempt("export and questions", lambda: asked(folder / "full" / "model"))
    for form, recompute in compiled[: 1 if record.smoke else None]:
        record.attempt(f"curve {form}, {recompute}, compiled", lambda f=form, r=recompute: curve(f, r, compiled=True))


def _plain(out: Path, base: ModelOrigin, steps: int) -> list[float]:
    """Losses in fp32, through matrix products."""
    run(out, Source(steps), base, precision="fp32")
    return losses(out)


def resumed(folder: Path, base: ModelOrigin) -> dict[str, Any]:
    """A run that is stopped by its time limit, with a checkpoint written in the background, and goes on."""
    whole = folder / "whole"
    run(whole, Source(6), base, precision="bf16")
    with suppress(Stopped):
        run(folder / "parts", Source(6), base, precision="bf16", save_every=2, time_limit_s=1e-9)
    run(folder / "parts", Source(6), base, precision="bf16", save_every=2)
    run(folder / "parts", Source(6), base, precision="bf16", save_every=2)  # finished: says so at once
    pairs = zip(losses(folder / "parts"), losses(whole), strict=True)
    difference = max(abs(a - b) / b for a, b in pairs)
    assert difference <= 1e-3, f"{losses(folder / 'parts')} beside {losses(whole)}"
    kept = sorted(path.name for path in (folder / "parts" / "checkpoints").iterdir())
    assert kept, "no checkpoint was kept"
    return {"difference": difference, "most": 1e-3, "checkpoints": kept}


def asked(model: Path) -> dict[str, Any]:
    """The export in transformers, on the device and a CPU; our scores of it on both; and what it writes."""
    from transformers import AutoModelForCausalLM

    from gpu_questions import questions, words
    from pmc_llama.qa.generate import generate
    from pmc_llama.qa.score import score
    from pmc_llama.qa.writers import TransformersWriter
    from pmc_llama.recipe.qa import GenerationSection

    ids = torch.randint(3, 90, (2, 20), generator=torch.Generator().manual_seed(0))
    logits, logprobs, written, tokens = [], [], 0, words(VOCAB)
    for where in (CPU, device()):
        net: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).to(where).eval()
        with torch.no_grad():
            logits.append(net(ids.to(where)).logits)
        scored = score(net, tokens, questions(8, length=9, vocabulary=VOCAB))
        logprobs.append(torch.tensor([one.option_logprobs for one in scored]))
        if where == device():
            how = GenerationSection(max_new_tokens=4)
            answers = generate(
                TransformersWriter(net, tokens), tokens, questions(2, length=9, vocabulary=VOCAB), how=how
            )
            written = len(answers)
    differences = [apart(*logits), apart(*logprobs)]
    assert max(differences) <= 1e-3 and written == 2, f"{differences} of logits and log-likelihoods, {written} answers"
    return {"difference": max(differences), "most": 1e-3}
