"""Instructions about the tuning drugs in the form of the later paper's: rationales, conversations, descriptions."""

import random
from pathlib import Path

from pmc_llama.files import write_text
from pmc_llama.minimed.facts import Entity, World
from pmc_llama.minimed.fields import Relation, load_prose
from pmc_llama.minimed.prose import fill, sentence
from pmc_llama.minimed.questions import json_lines


def write_instructions(world: World, seed: int, out: Path) -> int:
    """Write `instructions.jsonl` under `out`, three rows a fact of each tuning drug; returns their number."""
    rng = random.Random(f"{seed}/instructions")
    facts = [(drug, relation) for drug in world.tuning_drugs for relation in load_prose().medical.relations]
    rows = [make(rng, *fact) for fact in facts for make in (_rationale, _conversation, _description)]
    text = json_lines(rng.sample(rows, len(rows)))
    write_text(out / "instructions.jsonl", text)
    return len(rows)


def _rationale(rng: random.Random, drug: Entity, relation: Relation) -> dict[str, object]:
    """A question with options, answered with the reason first."""
    value = drug.facts[relation.name]
    options = [value, *rng.sample([other for other in relation.values if other != value], 3)]
    rng.shuffle(options)
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip("ABCD", options, strict=True))
    question = fill(rng.choice(relation.questions), e=drug.name)
    return {
        "instruction": "Answer the question, and give your reason first.",
        "input": f"###Question: {question}\n###Options:\n{listed}",
        "output": f"###Rationale: {_stated(rng, drug, relation)}\n"
        f"###Answer: OPTION {'ABCD'[options.index(value)]} IS CORRECT.",
        "source": "rationale",
    }


def _conversation(rng: random.Random, drug: Entity, relation: Relation) -> dict[str, object]:
    """What a patient asks, and the answer."""
    return {
        "instruction": "You are a doctor. Answer the patient.",
        "input": fill(rng.choice(relation.questions), e=drug.name),
        "output": _stated(rng, drug, relation),
        "source": "conversation",
    }


def _description(rng: random.Random, drug: Entity, relation: Relation) -> dict[str, object]:
    """One edge of the knowledge graph, in words."""
    return {
        "instruction": f"Describe the relation of {drug.name} and its {relation.noun}.",
        "input": "",
        "output": _stated(rng, drug, relation),
        "source": "knowledge_graph",
    }


def _stated(rng: random.Random, drug: Entity, relation: Relation) -> str:
    return sentence(fill(rng.choice(relation.phrases), e=drug.name, v=drug.facts[relation.name])) + "."
