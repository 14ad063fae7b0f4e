"""Peak memory of a few training steps on this CPU, beside what the plan says; run in a process of its own."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import LlamaConfig

from pmc_llama.model.load import ModelOrigin
from pmc_llama.plan import memory_of
from pmc_llama.recipe.training import TrainSection
from pmc_llama.train.loop import train
from pmc_llama.train.memory import own_peak_bytes
from train.tiny import Source, run, tokenizer

if __name__ == "__main__":
    torch.set_num_threads(1)
    case: dict[str, Any] = json.loads(sys.argv[1])
    options = TrainSection(precision="bf16", **case["options"])
    source = Source(steps=2, global_batch=options.micro_batch, seq_len=options.seq_len, rows_per_epoch=32, masked=0.0)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder) / "first", Source(steps=1))  # what is imported on the way is not the model's
        before = psutil.Process().memory_info().rss
        train(
            model=ModelOrigin(config=case["config"]),
            batches=source,
            options=options,
            out=Path(folder),
            export_to=Path(folder) / "model",
            tokenizer=tokenizer(),
            seed=0,
        )
    peak = own_peak_bytes() - before
    planned = memory_of(LlamaConfig(**case["config"]), options, None, 1, cuda=False)
    print(json.dumps({"measured": peak, "planned": planned.total, "parts": vars(planned)}))
