"""What tokens.py compares: texts and vocabularies, and the reference libraries' ids of everything in the data."""

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pmc_llama.files import read_json, write_json
from pmc_llama.tokens.encoders import load_encoder
from pmc_llama.tokens.fast import FastEncoder, hard_texts

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PMC_LLAMA_SHARED_DATA", ROOT.parent / "shared" / "data"))
MISTRAL = DATA / "tokenizer" / "mistral-v1" / "tokenizer.model"
SMOLLM2 = Path(os.environ.get("SMOLLM2", ROOT / "build" / "smollm2"))
HARD_STRINGS = 60_000
PART = 10**6
KINDS = ("abstract", "paragraph", "sectionheader")
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def vocabularies(folder: Path) -> dict[str, Path]:
    """By name: Mistral's model, SmolLM2's vocabulary where it is, and its pieces cut by Llama 3's rule, in `folder`."""
    if not (SMOLLM2 / "tokenizer.json").is_file():
        print(f"no byte-level vocabulary: {SMOLLM2} has no tokenizer.json (set SMOLLM2)", flush=True)
        return {"Mistral": MISTRAL}
    folder.mkdir(parents=True, exist_ok=True)
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    as_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    value = read_json(SMOLLM2 / "tokenizer.json")
    value |= {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, as_bytes]}}
    write_json(folder / "tokenizer.json", value)
    write_json(folder / "tokenizer_config.json", read_json(SMOLLM2 / "tokenizer_config.json"))
    return {"Mistral": MISTRAL, "SmolLM2": SMOLLM2, "Llama 3's rule": folder}


def papers(whole: bool) -> Iterator[str]:
    """The text of each record: all of it, or its abstract, headings and paragraphs, one per line."""
    for path in sorted((DATA / "s2orc_v1").glob("s2orc_*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                content = json.loads(line)["content"]
                if whole:
                    yield content["text"]
                    continue
                spans = {
                    (int(span["start"]), int(span["end"]))
                    for kind in KINDS
                    for span in json.loads(content["annotations"].get(kind) or "[]")
                }
                yield "\n".join(content["text"][start:end] for start, end in sorted(spans))


def check_identity(path: Path) -> dict[str, Any]:
    """Every text of the data folder, and strings made to break an encoder, against the reference library.

    `with_symbols`: texts that hold a control symbol, as half of the last strings do where there are three such symbols.
    `by_reference`: texts that the fast encoder leaves to the reference.
    """
    encoder = load_encoder(path)
    found: dict[str, Any] = {"texts": 0, "characters": 0, "tokens": 0, "with_symbols": 0, "mismatches": 0}
    if not isinstance(encoder, FastEncoder):
        return found | {"fast": False}
    start = encoder.texts_by_reference
    plain, special = hard_texts(HARD_STRINGS, 7), hard_texts(2 * HARD_STRINGS, 8, encoder.reference.special)
    for texts in (_all_texts(), plain, special):
        for text in texts:
            ids = encoder.reference.encode(text)
            found["texts"] += 1
            found["characters"] += len(text)
            found["tokens"] += len(ids)
            found["with_symbols"] += any(symbol in text for symbol in encoder.reference.special)
            found["mismatches"] += encoder.encode(text).tolist() != ids.tolist()
    return found | {"by_reference": encoder.texts_by_reference - start}


def _all_texts() -> Iterator[str]:
    """Every file of the data folder that is text, packed or not, in pieces of at most a million characters."""
    for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                members = [archive.extractfile(member).read() for member in archive if member.isfile()]  # type: ignore[union-attr]
        elif path.suffix == ".gz":
            members = gzip.decompress(path.read_bytes()).split(b"\n")
        elif path.suffix != ".model":
            members = [path.read_bytes()]
        else:
            continue
        for member in members:
            text = member.decode(errors="replace")
            yield from (text[first : first + PART] for first in range(0, max(len(text), 1), PART))
