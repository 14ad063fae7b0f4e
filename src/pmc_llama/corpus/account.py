"""The books: a ledger for each input item and `corpus.json` over all; in every one of them in = kept + Σ dropped."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pmc_llama.corpus.compare import Verdict
from pmc_llama.corpus.items import Item
from pmc_llama.corpus.parts import Part
from pmc_llama.files import sha256_json, write_json
from pmc_llama.recipe.corpus import CorpusSection


class Outcome(msgspec.Struct):
    """All that became of one item: its record from staging, the verdicts on its rows, and the parts made of it."""

    item: Item
    record: dict[str, Any]
    verdicts: list[Verdict]
    parts: list[Part]


def write_accounts(section: CorpusSection, out: Path, outcomes: list[Outcome], reasons: list[str]) -> dict[str, Any]:
    """Write the ledgers; returns the totals for `corpus.json`."""
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    sources: dict[str, dict[str, Any]] = {
        source.name: {"in": 0, "kept": 0, "dropped": Counter()} for source in section.sources
    }
    for outcome in outcomes:
        ledger = _ledger(section, outcome, reasons)
        write_json(out / "ledger" / f"{outcome.item.index:05d}-{Path(outcome.item.name).name}.json", ledger)
        total.update({key: ledger[key] for key in ("in", "kept", "bytes", "invalid_spans")})
        dropped.update(ledger["dropped"])
        removed.update(ledger["chars_removed"])
        source = sources[ledger["source"]]
        source["in"] += ledger["in"]
        source["kept"] += ledger["kept"]
        source["dropped"].update(ledger["dropped"])
    parts = [part for outcome in outcomes for part in outcome.parts]
    return {
        "recipe_hash": sha256_json(section.model_dump(mode="json")),
        "in": total["in"],
        "kept": total["kept"],
        "dropped": dict(dropped),
        "invalid_spans": total["invalid_spans"],
        "chars": sum(part.chars for part in parts),
        "chars_removed": dict(removed),
        "bytes_in": total["bytes"],
        "sources": sources,
        "parts": [{"file": f"parts/{part.file}", "rows": part.rows, "sha256": part.sha256} for part in parts],
    }


def _ledger(section: CorpusSection, outcome: Outcome, reasons: list[str]) -> dict[str, Any]:
    item, record = outcome.item, outcome.record
    verdict = np.concatenate(outcome.verdicts) if outcome.verdicts else np.zeros(0, dtype=np.uint8)
    dropped = Counter(record["dropped"])
    for position, reason in enumerate(reasons, start=1):
        dropped[reason] += int((verdict == position).sum())
    removed = Counter(record["removed"])
    if section.clean.boilerplate is not None:
        removed["boilerplate"] = sum(part.boilerplate_chars for part in outcome.parts)
    kept = int((verdict == 0).sum())
    assert record["seen"] == kept + sum(dropped.values()), f"{item.name}: records were lost"
    return {
        "file": item.name,
        "files": len(item.files),
        "source": section.sources[item.source].name,
        "in": record["seen"],
        "kept": kept,
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "invalid_spans": record["invalid_spans"],
        "chars_in": record["chars_in"],
        "chars_removed": dict(removed),
        "bytes": record["bytes"],
        "sha256": record["sha256"],
        "seconds": record["seconds"],
    }
