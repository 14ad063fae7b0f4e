"""Packages and hardware that a recipe asks for."""

import importlib.util
from collections.abc import Iterator, Set

from pmc_llama.corpus.addresses import is_remote
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.training import TrainSection

PROTOCOLS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}


def writing_engine_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """What writes answers and is not installed."""
    written = any(task.method == "generation" and task.test for task in recipe.tasks.values())
    if written and recipe.evaluate.generation.engine == "vllm":
        yield from _needs("evaluate.generation.engine", "vllm", "vllm")


def corpus_engine_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """What corpora need and is not installed."""
    for name, section in recipe.corpora.items():
        key = name if name in ("corpus", "general") else f"extra.{name}"
        if section.engine == "ray":
            yield from _needs(f"{key}.engine", "ray", "ray")
        if section.dedup.near is not None:
            yield from _needs(f"{key}.dedup.near", "rensa", "near")
        if section.select.languages is not None:
            yield from _needs(f"{key}.select.languages", "pycld2", "language")
        for number, source in enumerate(section.sources):
            for path in filter(is_remote, [*source.paths, *source.papers, *source.deleted]):
                if (package := PROTOCOLS.get(path.partition("://")[0])) is not None:
                    yield from _needs(f"{key}.sources.{number}", package, "cloud")


def training_engine_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """What training needs, and is not installed or not to be had on this machine."""
    import torch

    sections: dict[str, TrainSection] = {}
    if "base" in stages and recipe.base.train is not None:
        sections["base.train"] = recipe.base.train
    if "pretrain" in stages:
        sections["pretrain"] = recipe.pretrain
    if "finetune" in stages:
        sections |= {f"regimes.{name}": regime for name, regime in recipe.regimes.items() if regime.tuned}
        for name, regime in recipe.regimes.items():
            if regime.lora is not None and regime.lora.quantize is not None:
                yield from _needs(f"regimes.{name}.lora.quantize", "bitsandbytes", "qlora")
                if not torch.cuda.is_available():
                    yield f"regimes.{name}.lora.quantize: 4-bit weights need a CUDA GPU, and there is none here"
    for key, section in sections.items():
        for tracker in section.trackers:
            if importlib.util.find_spec(tracker) is None:
                yield f"{key}.trackers: {tracker} is not installed (pip install {tracker})"


def _needs(key: str, module: str, extra: str) -> Iterator[str]:
    if importlib.util.find_spec(module) is None:
        yield f"{key}: {module} is not installed: pip install 'pmc-llama[{extra}]'"
