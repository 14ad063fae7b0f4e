"""Questions about MiniMed in the native file formats of MedMCQA, MedQA and PubMedQA."""

import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmc_llama.files import write_text
from pmc_llama.minimed.facts import Entity, World
from pmc_llama.minimed.fields import Relation, load_prose
from pmc_llama.minimed.prose import fill, sentence

OPTIONS = 4
CASES_PER_TUNING_FACT = 2
ABSTRACTS = {"yes": 132, "no": 80, "maybe": 28}
"""PubMedQA's shares of the three labels; half are for tuning, half are the test set."""


@dataclass(frozen=True)
class Item:
    """One question with four options of one kind."""

    subject: str
    question: str
    options: tuple[str, ...]
    gold: int
    two_hops: bool = False


def write_questions(world: World, seed: int, out: Path) -> dict[str, int]:
    """Write `medmcqa/`, `medqa/` and `pubmedqa/` under `out`; returns the number of questions of each file."""
    rng = random.Random(f"{seed}/questions")
    counts = {}
    for split, drugs in {"train": world.tuning_drugs, "dev": world.test_drugs}.items():
        direct = _direct(rng, drugs, every_wording=split == "train")
        counts[f"medmcqa/{split}.json"] = _write_lines(out / "medmcqa" / f"{split}.json", map(_medmcqa_row, direct))
    for split, drugs in {"train": world.tuning_drugs, "test": world.test_drugs}.items():
        name = f"medqa/US/4_options/phrases_no_exclude_{split}.jsonl"
        cases = _cases(rng, drugs, CASES_PER_TUNING_FACT if split == "train" else 1)
        counts[name] = _write_lines(out / name, map(_medqa_row, cases))
    return counts | _write_abstracts(rng, world, out / "pubmedqa")


def _direct(rng: random.Random, drugs: Sequence[Entity], *, every_wording: bool) -> list[Item]:
    """Plain questions for facts: each in every wording, or, for tests, in one, so that the items are independent."""
    items: list[Item] = []
    for relation in load_prose().medical.relations:
        for templates in [[question] for question in relation.questions] if every_wording else [relation.questions]:
            items += _items(rng, drugs, relation, templates)
    return rng.sample(items, len(items))


def _cases(rng: random.Random, drugs: Sequence[Entity], per_fact: int) -> list[Item]:
    """Vignettes that need the same facts, or, in two hops, the sign of the condition that the drug treats."""
    prose = load_prose()
    items: list[Item] = []
    for _ in range(per_fact):
        for relation in prose.medical.relations:
            items += _items(rng, drugs, relation, relation.cases)
        items += _items(rng, drugs, prose.medical.relation("indication"), prose.sign_cases, prose.signs)
    return rng.sample(items, len(items))


def _items(
    rng: random.Random,
    drugs: Sequence[Entity],
    relation: Relation,
    templates: Sequence[str],
    via: dict[str, str] | None = None,
) -> Iterator[Item]:
    """One question a drug, and only the facts tell the answer.

    The questions come in groups of drugs with different values. The distractors of one are the gold values of three
    others, at the same three distances round the group for all: so each value is a distractor exactly three times as
    often as it is gold, and whoever likes some values better than others is right once in four. Gold stands in each
    position equally often.
    """
    positions: list[int] = []
    for group in _distinct(rng, drugs, relation):
        distances = rng.sample(range(1, len(group)), OPTIONS - 1)
        for i, drug in enumerate(group):
            positions = positions or rng.sample(range(OPTIONS), OPTIONS)
            gold = positions.pop()
            values = [group[(i + d) % len(group)].facts[relation.name] for d in distances]
            values.insert(gold, drug.facts[relation.name])
            question = fill(
                rng.choice(templates), e=drug.name, age=rng.randint(18, 89), person=rng.choice(["man", "woman"])
            )
            options = tuple(via[value] if via else value for value in values)
            yield Item(relation.subject, question, options, gold, two_hops=via is not None)


def _distinct(rng: random.Random, drugs: Sequence[Entity], relation: Relation) -> list[list[Entity]]:
    """The drugs in groups of nearly equal size, the drugs of each with different values."""
    by_value = sorted(rng.sample(drugs, len(drugs)), key=lambda drug: drug.facts[relation.name])
    n = -(-len(drugs) // len(relation.values))
    return [rng.sample(by_value[i::n], len(by_value[i::n])) for i in range(n)]


def _medmcqa_row(item: Item) -> dict[str, object]:
    """A line of MedMCQA's `train.json` or `dev.json`; `cop` counts from 1."""
    a, b, c, d = item.options
    return {
        "question": item.question,
        "exp": None,
        "cop": item.gold + 1,
        "opa": a,
        "opb": b,
        "opc": c,
        "opd": d,
        "subject_name": item.subject,
        "topic_name": None,
        "id": _uuid(item),
        "choice_type": "single",
    }


def _medqa_row(item: Item) -> dict[str, object]:
    """A line of MedQA's 4-option files."""
    options = dict(zip("ABCD", item.options, strict=True))
    return {
        "question": item.question,
        "answer": item.options[item.gold],
        "options": options,
        "meta_info": "step2&3" if item.two_hops else "step1",
        "answer_idx": "ABCD"[item.gold],
        "metamap_phrases": [],
    }


def _write_abstracts(rng: random.Random, world: World, out: Path) -> dict[str, int]:
    """`ori_pqal.json`, and `test_ground_truth.json` with the half that is about test drugs."""
    entries: dict[str, dict[str, object]] = {}
    truth: dict[str, str] = {}
    labels = [label for label, count in ABSTRACTS.items() for _ in range(count // 2)]
    pmids = iter(rng.sample(range(21_000_000, 27_000_000), 2 * len(labels)))
    for drugs, is_test in [(world.tuning_drugs, False), (world.test_drugs, True)]:
        for label in rng.sample(labels, len(labels)):
            pmid = str(next(pmids))
            entries[pmid] = _abstract(rng, rng.choice(drugs), label)
            if is_test:
                truth[pmid] = label
    shuffled = {pmid: entries[pmid] for pmid in rng.sample(sorted(entries), len(entries))}
    write_text(out / "ori_pqal.json", json.dumps(shuffled, indent=4))
    write_text(out / "test_ground_truth.json", json.dumps(truth, indent=4))
    return {"pubmedqa/ori_pqal.json": len(entries), "pubmedqa/test_ground_truth.json": len(truth)}


def _abstract(rng: random.Random, drug: Entity, label: str) -> dict[str, object]:
    """A PubMedQA entry whose results answer the question; nothing outside the abstract does."""
    trial = load_prose().trial
    complaint = rng.choice(load_prose().medical.relation("side_effect").values)

    def write(template: str) -> str:
        numbers = {"n": rng.randint(40, 900), "m": rng.randint(2, 12)}
        return sentence(fill(template, e=drug.name, o=complaint, O=sentence(complaint), **numbers))

    parts = [trial.background, trial.methods, trial.results[label]]
    return {
        "QUESTION": write(rng.choice(trial.questions)),
        "CONTEXTS": [write(rng.choice(part)) for part in parts],
        "LABELS": ["BACKGROUND", "METHODS", "RESULTS"],
        "MESHES": ["Humans", sentence(complaint)],
        "YEAR": str(rng.randint(2005, 2022)),
        "reasoning_required_pred": label,
        "reasoning_free_pred": label,
        "final_decision": label,
        "LONG_ANSWER": write(trial.conclusions[label]),
    }


def _uuid(item: Item) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\n".join([item.question, *item.options])))


def json_lines(rows: Iterable[dict[str, object]]) -> str:
    """One line of JSON per row."""
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def _write_lines(path: Path, rows: Iterator[dict[str, object]]) -> int:
    text = json_lines(rows)
    write_text(path, text)
    return text.count("\n")
