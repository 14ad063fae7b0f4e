"""PubMedQA (Jin et al. 2019): yes/no/maybe questions over abstracts, and the official split of the 1,000 labelled.

The split is not stored but made: `official_split` repeats the published `preprocess/split_dataset.py pqal`, and its
result is checked against the hashes below. A file that is the labelled set is always split officially; all 1,000 are no
test set.
"""

import hashlib
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.qa.body import bare
from pmc_llama.qa.question import Question
from pmc_llama.qa.tasks.kind import Kind, Source
from pmc_llama.qa.tasks.reading import Record, read_object, read_rows
from pmc_llama.recipe.qa import TaskSection

LABELS = ("yes", "no", "maybe")
FOLDS = 10
_LABELLED_IDS = "df26de70a025"  # of the 1,000 PMIDs in sorted order
_TEST_IDS = "4217c8754078"  # of the official 500 in the official order
ARTIFICIAL, ARTIFICIAL_TRAIN = 211_269, 200_000
"""Questions of PQA-A (`ori_pqaa.json`), and how many of them are its training split; the rest is held out."""


def load(path: Path, section: TaskSection, data_root: Path, split: str) -> list[Question]:
    """Questions of one file, or of the official part of it where it is the labelled set; broken down by label.

    Train: the 450 of `fold`, or all 500 that are not test; test: the official 500. Of the artificial set (known by its
    number of questions) train is the official 200,000 and test the rest. PQA-U has no answers and is refused.
    """
    records = _records(path)
    gold = {pmid: _gold(record) for pmid, record in records.items()}
    chosen = _official_part(path, gold, section, split)
    if chosen is None:
        chosen = _named_part(path, gold, section, data_root, split)
    return [_question(pmid, records[pmid], gold[pmid]) for pmid in chosen]


def official_split(gold: dict[str, int]) -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """The official test ids, and (train, dev) ids of the ten folds, of the labelled set in its file's order.

    All parts come from one random stream that starts at 0, as the published script has it.
    """
    rng = random.Random(0)  # the seed of the published split
    cross_validation, test = _split(list(gold), gold, 2, rng)
    parts = _split(cross_validation, gold, FOLDS, rng)
    folds = [([pmid for j, part in enumerate(parts) if j != i for pmid in part], parts[i]) for i in range(FOLDS)]
    return test, folds


def _split(pmids: list[str], gold: dict[str, int], count: int, rng: random.Random) -> list[list[str]]:
    """Cut ids into `count` parts with labels in equal shares; a last part that is short takes one from each other."""
    parts: list[list[str]] = [[] for _ in range(count)]
    for label in range(len(LABELS)):
        mine = [pmid for pmid in pmids if gold[pmid] == label]
        rng.shuffle(mine)
        size = math.ceil(len(mine) / count)
        for i, part in enumerate(parts):
            part.extend(mine[i * size :] if i == count - 1 else mine[i * size : (i + 1) * size])
    if len(parts[-1]) != len(parts[0]):
        for part in parts[:-1]:
            moved = rng.choice(part)
            part.remove(moved)
            parts[-1].append(moved)
    return parts


def artificial_split(pmids: Iterable[str]) -> tuple[list[str], list[str]]:
    """PQA-A's official training and held-out ids, as the published `preprocess/split_dataset.py pqaa` makes them."""
    shuffled = list(pmids)
    random.Random(0).shuffle(shuffled)
    return shuffled[:ARTIFICIAL_TRAIN], shuffled[ARTIFICIAL_TRAIN:]


def checksum(pmids: Iterable[str]) -> str:
    """Short sha1 of ids in their order, as the reference values of the split are given."""
    return hashlib.sha1(" ".join(pmids).encode()).hexdigest()[:12]


def _official_part(path: Path, gold: dict[str, int], section: TaskSection, split: str) -> Sequence[str] | None:
    """The ids of the official part if the file is the labelled set, else None."""
    if len(gold) == ARTIFICIAL and section.fold is None and section.test_ids is None:
        return artificial_split(gold)[split == "test"]
    if checksum(sorted(gold)) != _LABELLED_IDS:
        if section.fold is not None and split == "train":
            raise InputError(
                f"{path}: `fold` belongs to the 1,000 labelled questions (ori_pqal.json), which this is not"
            )
        return None
    test, folds = official_split(gold)
    if checksum(test) != _TEST_IDS:
        raise InputError(
            f"{path}: holds the 1,000 labelled questions in another order or with other labels than published,"
            " so the official split cannot be made from it; use the authors' ori_pqal.json"
        )
    if split == "test":
        return test
    if section.fold is not None:
        return folds[section.fold][0]
    return [pmid for pmid in gold if pmid not in set(test)]


def _named_part(path: Path, gold: dict[str, int], section: TaskSection, data_root: Path, split: str) -> list[str]:
    """Test: the ids that `test_ids` names, in its order, else all. Train: all that `test_ids` does not name."""
    if section.test_ids is None:
        return list(gold)
    names = data_root / section.test_ids
    official = read_object(names)
    if split == "train":
        return [pmid for pmid in gold if pmid not in official]
    for pmid, label in official.items():
        if pmid not in gold:
            raise InputError(f"{names}: names question {pmid!r}, which is not in {path}")
        if label != LABELS[gold[pmid]]:
            raise InputError(f"{names}: says {label!r} of question {pmid!r}, but {path} says {LABELS[gold[pmid]]!r}")
    return list(official)


def _records(path: Path) -> dict[str, Record]:
    """Records by PMID: the authors' object of PMIDs, or the hub's rows with `pubid`."""
    if path.suffix not in (".parquet", ".jsonl"):
        return {pmid: Record(item, f"{path}, question {pmid!r}") for pmid, item in read_object(path).items()}
    found: dict[str, Record] = {}
    for record in read_rows(path):
        pmid = record.text("pubid", "PUBMED_ID")
        if pmid in found:
            record.fail("pubid", f"question {pmid!r} stands already in {found[pmid].where}")
        found[pmid] = record
    return found


def _gold(record: Record) -> int:
    return record.position("final_decision", record.value("final_decision"), LABELS)


def _question(pmid: str, record: Record, gold: int) -> Question:
    inside = record
    if "CONTEXTS" not in record.values:
        inside = Record(record.value("context"), f"{record.where}, field 'context'")
    return Question(
        task="",
        question_id=pmid,
        question=record.text("QUESTION", "question"),
        options=LABELS,
        gold=gold,
        context="\n".join(inside.texts("CONTEXTS", "contexts")),
        subject=LABELS[gold],
        group=pmid,  # its abstract
        words=True,
    )


PUBMEDQA = Kind(
    load,
    bare,
    Source(
        repo="qiaojin/PubMedQA",
        revision="9001f2853fb87cab8d220904e0de81ac6973b318",
        license="mit",
        files={"pqa_labeled/train-*.parquet": "labelled.parquet"},
        test="labelled.parquet",
        train="labelled.parquet",
        questions={"test": 500, "train": 450},
        keys={"fold": 0},
    ),
    ids_are_pmids=True,
)
