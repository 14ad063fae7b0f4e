"""Which evaluation questions stand in a text: runs of 13 words, whole short questions, source papers by PMID."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow.parquet as pq

from pmc_llama.corpus.engine import open_engine
from pmc_llama.corpus.shingles import Hashes, shingles, word_hashes
from pmc_llama.files import read_json, read_record, sha256_json, write_json
from pmc_llama.progress import Progress
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.records.contamination import Example, TaskFound, Text
from pmc_llama.records.corpus import read_corpus_summary
from pmc_llama.run_dir import CorpusDir

NGRAM_WORDS = 13
"""As in GPT-3 (appendix C) and lm-evaluation-harness; runs of 8 are stock phrases in this field."""
MIN_WORDS = 5
"""Shorter questions are found in unrelated papers; they are counted as not testable."""
EXAMPLES = 10
LEAST_SHARE = 0.5
"""Of a question's runs of 13 words, in texts that are questions themselves."""
BATCH_PAPERS = 256


class Probe(NamedTuple):
    """One evaluation question, as plain values."""

    task: str
    question_id: str
    text: str
    pmid: int | None = None
    """The article it was made from, where the set names it (PubMedQA)."""


class Hit(msgspec.Struct, frozen=True):
    """A question found in a text; `kind` is ngram, question or pmid."""

    task: str
    question_id: str
    document_id: str
    """Paper id, or id of another text."""
    kind: str


class Contamination:
    """An index of questions that texts are checked against."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = list(probes)
        self.untestable: Counter[str] = Counter()
        self._pmids: dict[int, list[int]] = defaultdict(list)
        self._runs: dict[int, int] = {}
        by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, probe in enumerate(self.probes):
            if probe.pmid is not None:
                self._pmids[probe.pmid].append(number)
            words = word_hashes(probe.text)
            length = min(len(words), NGRAM_WORDS)
            if length < MIN_WORDS:
                self.untestable[probe.task] += probe.pmid is None
                continue
            runs = np.unique(shingles(words, length))
            self._runs[number] = len(runs)
            by_length[length] += [(int(value), number) for value in runs]
        self._tables = {length: _table(entries) for length, entries in sorted(by_length.items())}

    def hits(self, document_id: str, text: str, pmid: int | None, least_share: float = 0.0) -> list[Hit]:
        """The questions that stand in a document, each once, by the strongest evidence.

        `least_share`: of a question's runs of words, how many must stand there; 0 asks for one.
        """
        found = dict.fromkeys(self._pmids.get(pmid or 0, ()), "pmid")
        words = word_hashes(text)
        counts: Counter[int] = Counter()
        for length, (keys, numbers) in self._tables.items():
            values = shingles(words, length)
            places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            for key in np.unique(values[keys[places] == values]):
                left, right = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
                for number in numbers[left:right].tolist():
                    counts[number] += 1
                    if counts[number] >= least_share * self._runs[number]:
                        found.setdefault(number, "ngram" if length == NGRAM_WORDS else "question")
        probes = ((self.probes[number], kind) for number, kind in sorted(found.items()))
        return [Hit(probe.task, probe.question_id, document_id, kind) for probe, kind in probes]

    def report(self, hits: Iterable[Hit]) -> dict[str, TaskFound]:
        """Per task: questions, how many were hit, which, and by what, how many could not be tested, and examples."""
        questions = Counter(probe.task for probe in self.probes)
        texts = {(probe.task, probe.question_id): probe.text for probe in self.probes}
        by_task: dict[str, list[Hit]] = defaultdict(list)
        for hit in sorted(set(hits), key=lambda hit: (hit.task, hit.question_id, hit.document_id, hit.kind)):
            by_task[hit.task].append(hit)
        return {
            task: TaskFound(
                questions=count,
                questions_hit=len({hit.question_id for hit in by_task[task]}),
                documents_hit=len({hit.document_id for hit in by_task[task]}),
                untestable=self.untestable[task],
                question_ids=sorted({hit.question_id for hit in by_task[task]}),
                kinds=dict(Counter(hit.kind for hit in by_task[task])),
                examples=[
                    Example(hit.question_id, hit.document_id, hit.kind, texts[hit.task, hit.question_id][:300])
                    for hit in by_task[task][:EXAMPLES]
                ],
            )
            for task, count in sorted(questions.items())
        }


class PartFound(msgspec.Struct, frozen=True):
    """What was found in one Parquet part."""

    documents: int
    hits: list[Hit]


def measure_corpus(section: CorpusSection, corpus: Path, probes: Sequence[Probe], cache: Path, *, workers: int) -> Text:
    """Look for questions in all papers of a built corpus, part by part, on the section's engine.

    What was found in a part is kept in `cache` under the hashes of the part and of the questions, so that an
    interrupted call goes on, and a part that a later corpus has too is not read again.
    """
    summary = read_corpus_summary(CorpusDir(corpus).summary)
    asked = sha256_json([list(probe) for probe in probes])
    places = [cache / f"{part.sha256[:16]}-{asked[:16]}.json" for part in summary.parts]
    parts = [(str(corpus / part.file), place) for part, place in zip(summary.parts, places, strict=True)]
    todo = [part for part, place in parts if not place.is_file()]
    if todo:
        questions = cache / f"questions-{asked[:16]}.json"
        save_probes(probes, questions)
        check = functools.partial(check_part, questions=str(questions))
        with (
            Progress(f"contamination of {corpus.name}", total=len(todo), unit="parts") as progress,
            open_engine(section, workers) as engine,
        ):
            waiting = [place for _, place in parts if not place.is_file()]
            for place, found in zip(waiting, engine.map(check, todo), strict=True):
                write_json(place, found)
                progress.advance()
        questions.unlink()
    found_in = [read_record(place, PartFound) for place in places]
    hits = [hit for found in found_in for hit in found.hits]
    return Text("corpus", sum(found.documents for found in found_in), Contamination(probes).report(hits))


def measure_texts(kind: str, texts: Iterable[tuple[str, str]], probes: Sequence[Probe]) -> Text:
    """Look for questions in texts with ids that are no papers: tuning questions, or rows of instructions.

    Questions of one kind share stock phrases of more than 13 words ("the most likely diagnosis", vital signs, a
    template), so half of a question's runs must stand in one text.
    """
    index, hits, documents = Contamination(probes), list[Hit](), 0
    for document_id, text in texts:
        hits += index.hits(document_id, text, None, least_share=LEAST_SHARE)
        documents += 1
    return Text(kind, documents, index.report(hits))


def check_part(part: str, questions: str) -> PartFound:
    """The questions that stand in the papers of one Parquet part."""
    index, hits, documents = _index_of(questions), list[Hit](), 0
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(BATCH_PAPERS, columns=["paper_id", "pmid", "text"]):
            for row in batch.to_pylist():
                hits += index.hits(row["paper_id"], row["text"] or "", row["pmid"])
                documents += 1
    return PartFound(documents, hits)


@functools.lru_cache(maxsize=1)
def _index_of(questions: str) -> Contamination:
    return load_probes(Path(questions))


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
