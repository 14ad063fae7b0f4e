"""Which evaluation questions stand in the corpus: runs of 13 words, whole short questions, source papers by PMID."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pmc_llama.corpus.shingles import Hashes, shingles, word_hashes
from pmc_llama.files import read_json, write_json

NGRAM_WORDS = 13
"""As in GPT-3 (appendix C) and lm-evaluation-harness; runs of 8 are stock phrases in this field."""
MIN_WORDS = 5
"""Shorter questions are found in unrelated papers; they are counted as not testable."""
EXAMPLES = 10


class Probe(NamedTuple):
    """One evaluation question, as plain values."""

    task: str
    question_id: str
    text: str
    pmid: int | None = None
    """The article it was made from, where the set names it (PubMedQA)."""


class Hit(msgspec.Struct, frozen=True):
    """A question found in a paper; `kind` is ngram, question or pmid."""

    task: str
    question_id: str
    paper_id: str
    kind: str


class Contamination:
    """An index of questions that texts are checked against."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = list(probes)
        self.untestable: Counter[str] = Counter()
        self._pmids: dict[int, list[int]] = defaultdict(list)
        by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, probe in enumerate(self.probes):
            if probe.pmid is not None:
                self._pmids[probe.pmid].append(number)
            words = word_hashes(probe.text)
            length = min(len(words), NGRAM_WORDS)
            if length < MIN_WORDS:
                self.untestable[probe.task] += probe.pmid is None
                continue
            by_length[length] += [(int(value), number) for value in shingles(words, length)]
        self._tables = {length: _table(entries) for length, entries in sorted(by_length.items())}

    def hits(self, paper_id: str, text: str, pmid: int | None) -> list[Hit]:
        """The questions that stand in a paper, each once, by the strongest evidence."""
        found = dict.fromkeys(self._pmids.get(pmid or 0, ()), "pmid")
        words = word_hashes(text)
        for length, (keys, numbers) in self._tables.items():
            values = shingles(words, length)
            places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            for key in np.unique(values[keys[places] == values]):
                left, right = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
                for number in numbers[left:right].tolist():
                    found.setdefault(number, "ngram" if length == NGRAM_WORDS else "question")
        probes = ((self.probes[number], kind) for number, kind in sorted(found.items()))
        return [Hit(probe.task, probe.question_id, paper_id, kind) for probe, kind in probes]

    def report(self, hits: Iterable[Hit]) -> dict[str, Any]:
        """Per task: questions, how many were hit, which, and by what, how many could not be tested, and examples."""
        questions = Counter(probe.task for probe in self.probes)
        texts = {(probe.task, probe.question_id): probe.text for probe in self.probes}
        by_task: dict[str, list[Hit]] = defaultdict(list)
        for hit in sorted(set(hits), key=lambda hit: (hit.task, hit.question_id, hit.paper_id, hit.kind)):
            by_task[hit.task].append(hit)
        return {
            task: {
                "questions": count,
                "questions_hit": len({hit.question_id for hit in by_task[task]}),
                "papers_hit": len({hit.paper_id for hit in by_task[task]}),
                "untestable": self.untestable[task],
                "question_ids": sorted({hit.question_id for hit in by_task[task]}),
                "kinds": dict(Counter(hit.kind for hit in by_task[task])),
                "examples": [
                    msgspec.to_builtins(hit) | {"text": texts[hit.task, hit.question_id][:300]}
                    for hit in by_task[task][:EXAMPLES]
                ],
            }
            for task, count in sorted(questions.items())
        }


def _table(entries: list[tuple[int, int]]) -> tuple[Hashes, np.ndarray[Any, np.dtype[np.int64]]]:
    """Sorted hashes and the question each belongs to."""
    keys = np.array([value for value, _ in entries], dtype=np.uint64)
    numbers = np.array([number for _, number in entries], dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    return keys[order], numbers[order]


def save_probes(probes: Sequence[Probe], path: Path) -> None:
    """Write questions for the workers to read."""
    write_json(path, [list(probe) for probe in probes])


def load_probes(path: Path) -> Contamination:
    """The index over saved questions."""
    return Contamination([Probe(*values) for values in read_json(path)])
