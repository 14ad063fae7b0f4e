"""Times datatrove's DocumentTokenizer; tokens.py runs it in datatrove's own environment, on a folder it names."""

import json
import os
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer


def run(folder: Path, name: str, texts: list[str]) -> int:
    """Tokenize into `folder/name`; returns the number of tokens."""
    step = DocumentTokenizer(
        output_folder=str(folder / name),
        tokenizer_name_or_path=str(folder / "tokenizer.json"),
        eos_token=None,
        shuffle_documents=False,
    )
    step.run(iter([Document(text=text, id=str(number)) for number, text in enumerate(texts)]), 0, 1)
    return sum(path.stat().st_size for path in (folder / name).glob("*.ds")) // 2


def main() -> None:
    folder = Path(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    texts = json.loads((folder / "texts.json").read_text())
    run(folder, "before", texts["before"])
    started = time.process_time()
    tokens = run(folder, "texts", texts["texts"])
    (folder / "result.json").write_text(json.dumps({"tokens": tokens, "cpu_s": time.process_time() - started}))


if __name__ == "__main__":
    main()
