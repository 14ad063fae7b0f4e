"""Near-duplicates among 5,000 real texts: recall and precision on planted copies, and signatures per second.

    python benchmarks/corpus_near.py

The texts are runs of neighbouring paragraphs of real papers; 500 of them get a copy of which 1 to 10 % of the words
are replaced by words of other papers.
"""

import os
import random
import statistics
import time
from pathlib import Path

import numpy as np

from pmc_llama.corpus.near import near_duplicates, signatures
from pmc_llama.corpus.readers.base import Options
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.storage import InputFile
from pmc_llama.environment import describe_environment
from pmc_llama.files import write_json
from pmc_llama.recipe.corpus import NearSection

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
TEXTS, COPIES = 5000, 500


def real_texts() -> list[str]:
    """TEXTS runs of neighbouring paragraphs, none of them in two runs."""
    runs: list[str] = []
    options = Options("s2orc", frozenset(["paragraph"]))
    for path in sorted((DATA / "s2orc_v1").glob("s2orc_*.gz")):
        reader = reader_for(str(path), "auto")
        for block in reader.blocks(InputFile(str(path)), options):
            for record in block.records:
                paper = reader.paper(record, options)
                paragraphs = [paper.text[span.start : span.end] for span in paper.spans]
                runs += [" ".join(paragraphs[place : place + 4]) for place in range(0, len(paragraphs), 4)]
    return sorted(runs, key=len, reverse=True)[:TEXTS]


def main() -> None:
    chance, near, texts = random.Random(3), NearSection(), real_texts()
    words = [word for text in texts[::50] for word in text.split()]
    chosen = chance.sample(range(TEXTS), COPIES)
    shares = [chance.uniform(0.01, 0.10) for _ in chosen]
    copies = [
        " ".join(chance.choice(words) if chance.random() < share else word for word in texts[original].split())
        for original, share in zip(chosen, shares, strict=True)
    ]
    everything, start_s = texts + copies, time.process_time()
    sketches = signatures(everything, near)
    signatures_per_second = len(everything) / (time.process_time() - start_s)
    found = set(np.flatnonzero(near_duplicates(sketches, np.arange(len(everything)), near)).tolist())
    planted = set(range(TEXTS, TEXTS + COPIES))
    result = {
        "texts": TEXTS,
        "copies": COPIES,
        "median_words": statistics.median(len(text.split()) for text in texts),
        "recall": len(found & planted) / COPIES,
        "precision": len(found & planted) / len(found),
        "signatures_per_second": signatures_per_second,
        "others_found": [everything[number][:150] for number in sorted(found - planted)],
        "hardware": describe_environment().hardware,
    }
    write_json(ROOT / "benchmarks" / "results" / "corpus_near.json", result)
    print({key: value for key, value in result.items() if key != "hardware"})


if __name__ == "__main__":
    main()
