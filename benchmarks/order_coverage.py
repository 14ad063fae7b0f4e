"""What share of the tokens each order has shown after so many steps, at true scale, and a plot of it.

    python benchmarks/order_coverage.py [--documents 4900000] [--tokens 75e9]

The store is that of order_scale.py; batches have 128 rows of 512 tokens. The curves are exact at every point; they end
where `packed` has shown everything once. Written: benchmarks/results/order_coverage.json and docs/coverage.svg.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from order_scale import GLOBAL_BATCH, make_store
from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.recipe.tokens import OrderSection
from pmc_llama.tokens.order import batches
from pmc_llama.tokens.store import TokenStore

ROOT = Path(__file__).parents[1]
WINDOW_EPOCHS = (0, 1, 2, 4, 7, 12, 20, 29)
SEQ_LEN = 512


def curves(store: TokenStore) -> dict[str, list[tuple[int, float]]]:
    """(step, share of tokens seen) of each order."""
    shape = {"seq_len": SEQ_LEN, "global_batch": GLOBAL_BATCH, "epochs": 100, "seed": 0, "bos_id": 1, "eos_id": 2}
    runs = {
        kind: batches(store, OrderSection.model_validate({"kind": kind}), split="train", **shape)
        for kind in ("packed", "sweep", "windows")
    }
    whole = -(-runs["packed"].rows_per_epoch // GLOBAL_BATCH)
    steps = [epochs * runs["windows"].rows_per_epoch // GLOBAL_BATCH for epochs in WINDOW_EPOCHS]
    return {kind: [(step, run.coverage(step)) for step in [*steps, whole]] for kind, run in runs.items()}


def plot(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """One line an order."""
    matplotlib.rcParams |= {"svg.hashsalt": "coverage", "font.size": 9}
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for kind, style in (("packed", "-"), ("sweep", "--"), ("windows", ":")):
        steps, shares = np.array(found[kind]).T
        axes.plot(steps, 100 * shares, style, label=kind)
    axes.set_xlabel(f"optimizer step, {GLOBAL_BATCH} rows of {SEQ_LEN} tokens")
    axes.set_ylabel("tokens seen at least once, %")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=4_900_000)
    parser.add_argument("--tokens", type=float, default=75e9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_store(Path(name), options.documents, options.tokens)
        found = curves(TokenStore.open(Path(name)))
    for kind, curve in found.items():
        print(kind, " ".join(f"{step}:{share:.4f}" for step, share in curve))
    environment = describe_environment()
    report = {"hardware": environment.hardware, "versions": environment.packages, "curves": found}
    report["size"] = {"documents": options.documents, "tokens": options.tokens}
    write_json(ROOT / "benchmarks" / "results" / "order_coverage.json", report)
    plot(found, ROOT / "docs" / "coverage.svg")


if __name__ == "__main__":
    main()
