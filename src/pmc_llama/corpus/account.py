"""The ledgers: one for each input item and `corpus.json` over all; in every one of them in = kept + Σ dropped."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.compare import Verdict
from pmc_llama.corpus.items import Item, printable
from pmc_llama.corpus.parts import Part
from pmc_llama.corpus.tally import MOST_UNREAD, StagedItem
from pmc_llama.files import sha256_json, write_json
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.records.corpus import CorpusSummary, Ledger, PartFile, SourceCounts
from pmc_llama.run_dir import CorpusDir

MOST_SHOWN = 10
KEYS = {
    "no_pmcid": "select.pmcid: any",
    "has_pmcid": "select.pmcid: any",
    "license": "select.licenses",
    "retracted": "select.retracted",
    "manuscript": "select.manuscripts",
    "ocr": "select.ocr",
    "year": "select.min_year, select.max_year",
    "field": "select.fields",
    "language": "select.languages",
    "too_short": "select.min_chars",
    "too_long": "select.max_chars",
    "contaminated": "decontaminate",
    "too_few_words": "clean.profile",
    "too_many_words": "clean.profile",
    "too_few_paragraphs": "clean.profile",
    "top_word": "clean.profile",
    "no_paragraphs": "clean.profile: raw",
    "deleted": "sources.deleted",
}
"""The key of the recipe behind a reason to drop a paper."""
LONGEST_NAME = 200
"""Bytes of a ledger's file name; longer ones are cut, and told apart by a hash."""


class Outcome(msgspec.Struct):
    """All that became of one item: its record from staging, the verdicts on its rows, and the parts made of it."""

    item: Item
    record: StagedItem
    verdicts: list[Verdict]
    parts: list[Part]


def write_accounts(section: CorpusSection, out: Path, outcomes: list[Outcome], reasons: list[str]) -> CorpusSummary:
    """Write the ledgers; returns the totals for `corpus.json`."""
    dropped: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    sources = {source.name: SourceCounts() for source in section.sources}
    ledgers = [_ledger(section, outcome, reasons) for outcome in outcomes]
    for outcome, ledger in zip(outcomes, ledgers, strict=True):
        write_json(CorpusDir(out).ledger / f"{outcome.item.index:05d}-{_file_name(outcome.item.name)}.json", ledger)
        dropped.update(ledger.dropped)
        removed.update(ledger.chars_removed)
        source = sources[ledger.source]
        source.documents_in += ledger.documents_in
        source.kept += ledger.kept
        source.dropped = dict(Counter(source.dropped) + Counter(ledger.dropped))
    parts = [part for outcome in outcomes for part in outcome.parts]
    return CorpusSummary(
        documents_in=sum(ledger.documents_in for ledger in ledgers),
        kept=sum(ledger.kept for ledger in ledgers),
        dropped=dict(dropped),
        chars=sum(part.chars for part in parts),
        chars_removed=dict(removed),
        sources=sources,
        parts=[PartFile(f"parts/{part.file}", part.rows, part.sha256) for part in parts],
        rules=Cleaner(section.clean).rules,
        recipe_hash=sha256_json(section.settings("corpus")),
        invalid_spans=sum(ledger.invalid_spans for ledger in ledgers),
        bytes_in=sum(ledger.bytes for ledger in ledgers),
        unread=[place for ledger in ledgers for place in ledger.unread][:MOST_UNREAD],
    )


def nothing_kept(summary: CorpusSummary, out: Path) -> str | None:
    """Why a corpus holds no paper at all, with the keys of the recipe that decide it; None when it holds some."""
    if summary.kept:
        return None
    if not summary.documents_in:
        return "the corpus keeps nothing: its inputs hold no records"
    reasons = sorted(summary.dropped.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [f"{count:,} {reason}" + (f" (`{KEYS[reason]}`)" if reason in KEYS else "") for reason, count in reasons]
    ledgers = f"the ledgers lie in {CorpusDir(out).ledger}"
    unread = "".join(f"\n  - {place}" for place in summary.unread[:MOST_SHOWN])
    return f"the corpus keeps none of its {summary.documents_in:,} records: {', '.join(named)}; {ledgers}{unread}"


def _file_name(item: str) -> str:
    """The last part of an item's name, as a file system takes it with a number before and a suffix behind."""
    name = Path(item).name
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST_NAME and name.isprintable():
        return name
    readable = "".join(char if char.isprintable() and char.isascii() else "_" for char in name)
    return f"{readable[: LONGEST_NAME // 2]}-{sha256(encoded).hexdigest()[:12]}"


def _ledger(section: CorpusSection, outcome: Outcome, reasons: list[str]) -> Ledger:
    item, record = outcome.item, outcome.record
    verdict = np.concatenate(outcome.verdicts) if outcome.verdicts else np.zeros(0, dtype=np.uint8)
    dropped = Counter(record.dropped)
    for position, reason in enumerate(reasons, start=1):
        dropped[reason] += int((verdict == position).sum())
    removed = Counter(record.removed)
    if section.clean.boilerplate is not None:
        removed["boilerplate"] = sum(part.boilerplate_chars for part in outcome.parts)
    kept = int((verdict == 0).sum())
    assert record.seen == kept + sum(dropped.values()), f"{item.name}: records were lost"
    return Ledger(
        file=printable(item.name),
        files=len(item.files),
        source=section.sources[item.source].name,
        documents_in=record.seen,
        kept=kept,
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        invalid_spans=record.invalid_spans,
        chars_in=record.chars_in,
        chars_removed=dict(removed),
        bytes=record.bytes,
        sha256=record.sha256,
        seconds=record.seconds,
        unread=record.unread,
    )
