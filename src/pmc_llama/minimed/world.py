"""MiniMed: writes a whole synthetic medical world, papers, questions and tokenizer, for a recipe to run on."""

from pathlib import Path

import msgspec

from pmc_llama.files import write_json
from pmc_llama.minimed.facts import Entity, build_world
from pmc_llama.minimed.instructions import write_instructions
from pmc_llama.minimed.papers import WrittenPapers, write_papers
from pmc_llama.minimed.questions import write_questions
from pmc_llama.minimed.tokenizer import train_tokenizer
from pmc_llama.recipe.minimed import MiniMedSection


class WrittenWorld(msgspec.Struct):
    """`world.json`: sizes and every fact."""

    seed: int
    section: dict[str, int | bool]
    papers: WrittenPapers
    questions: dict[str, int]
    tuning_drugs: dict[str, dict[str, str]]
    """Facts by relation, by drug."""
    test_drugs: dict[str, dict[str, str]]
    later_drugs: list[str]


def write_world(section: MiniMedSection, seed: int, out: Path) -> WrittenWorld:
    """Write the world under `out`; the same section and seed give the same bytes.

    `s2orc/*.jsonl.gz` and `papers/*.jsonl.gz` (S2 Datasets API), `qa/` (native files of MedMCQA, MedQA, PubMedQA, and
    instructions), `tokenizer/tokenizer.model`, and last `world.json`, whose value is returned: sizes and every fact.
    With `section.later`, the shards with papers about half of the drugs lie under `later/`.
    """
    world = build_world(section, seed)
    papers, texts = write_papers(world, section, seed, out)
    questions = write_questions(world, seed, out / "qa")
    questions["instructions.jsonl"] = write_instructions(world, seed, out / "qa")
    train_tokenizer(texts, section.vocab_size, out / "tokenizer" / "tokenizer.model")
    summary = WrittenWorld(
        seed=seed,
        section=section.model_dump(),
        papers=papers,
        questions=questions,
        tuning_drugs=_facts(world.tuning_drugs),
        test_drugs=_facts(world.test_drugs),
        later_drugs=[drug.name for drug in world.halves[1]] if section.later else [],
    )
    write_json(out / "world.json", summary)
    return summary


def _facts(entities: tuple[Entity, ...]) -> dict[str, dict[str, str]]:
    return {entity.name: entity.facts for entity in entities}
