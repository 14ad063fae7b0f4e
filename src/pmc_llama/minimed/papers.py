"""Papers in the form of the S2 Datasets API: `s2orc` v1 records with stand-off annotations, and rows of `papers`."""

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.files import write_bytes
from pmc_llama.minimed.facts import Entity, World
from pmc_llama.minimed.fields import Field, Prose, load_prose
from pmc_llama.minimed.layout import Draft, lay_out
from pmc_llama.minimed.prose import Fact, fill, filler, sentence, statements
from pmc_llama.recipe.minimed import MiniMedSection

SHARDS = 4
SHARE_JOINED = 0.25
"""PMC papers whose own record has no PMC id, so that only the `papers` row with the same corpusid tells it."""
NULL_TEXTS, DUPLICATES = 6, 6
ENTITIES_PER_PAPER = 4
READER_QUESTIONS = 4


class PaperPlan(msgspec.Struct, frozen=True):
    """What one paper is about, before a word of it is written."""

    number: int
    field: Field
    entities: tuple[Entity, ...]
    medical: bool
    told: bool
    """Whether the paper tells its facts; in the null world those in PMC only wonder."""
    later: bool
    """Whether the paper is written apart, as one that came out after the others."""

    @property
    def names(self) -> list[str]:
        """Of the entities."""
        return [entity.name for entity in self.entities]

    @property
    def corpusid(self) -> int:
        """The paper's id in S2ORC."""
        return 250_000_000 + 37 * self.number

    @property
    def doi(self) -> str:
        """Under the prefix that is reserved for examples."""
        return f"10.5555/minimed.{self.number:06d}"

    @property
    def pmcid(self) -> str | None:
        """PMC id, of medical papers."""
        return str(7_000_000 + self.number) if self.medical else None

    @property
    def pubmed(self) -> str | None:
        """PMID, of medical papers."""
        return str(33_000_000 + self.number) if self.medical else None


class WrittenPapers(msgspec.Struct):
    """How many records of which kind were written."""

    records: int
    pmc_papers: int
    pmc_papers_joined: int
    duplicates: int
    null_texts: int


def write_papers(world: World, section: MiniMedSection, seed: int, out: Path) -> tuple[WrittenPapers, list[str]]:
    """Write `s2orc/s2orc_000N.jsonl.gz` and `papers/papers_0000.jsonl.gz` under `out`; returns counts, and all texts.

    With `section.later`, papers are about drugs of one half, and those of the second half lie under `out/later`.
    """
    rng = random.Random(f"{seed}/papers")
    records: list[Any] = []
    rows: list[Any] = []
    plans = _plans(world, section, rng)
    for plan in plans:
        record, row = _record(plan, random.Random(f"{seed}/paper/{plan.number}"))
        records.append(record)
        rows.append(row)
    order = rng.sample(range(len(records)), len(records))
    in_pmc = [i for i in order if rows[i]["externalids"]["PubMedCentral"]]
    n_joined = round(SHARE_JOINED * len(in_pmc))
    joined, duplicates = in_pmc[:n_joined], in_pmc[n_joined:][:DUPLICATES]
    empty = [i for i in reversed(order) if i not in duplicates][:NULL_TEXTS]
    for i in joined:
        records[i]["externalids"]["pubmedcentral"] = None
    for i in empty:
        records[i]["content"] |= {"text": None, "annotations": dict.fromkeys(records[i]["content"]["annotations"])}
    places, row_order = order + duplicates, rng.sample(range(len(rows)), len(rows))
    for folder, later in [(out, False), (out / "later", True)] if section.later else [(out, False)]:
        placed = [records[i] for i in places if plans[i].later is later]
        for i in range(SHARDS):
            _write_shard(folder / "s2orc" / f"s2orc_{i:04d}.jsonl.gz", placed[i::SHARDS])
        mine = [rows[i] for i in row_order if plans[i].later is later]
        _write_shard(folder / "papers" / "papers_0000.jsonl.gz", mine)
    counts = WrittenPapers(len(places), len(in_pmc), len(joined), len(duplicates), len(empty))
    return counts, [record["content"]["text"] for record in records if record["content"]["text"] is not None]


def _plans(world: World, section: MiniMedSection, rng: random.Random) -> list[PaperPlan]:
    """The PMC papers, each on some drugs, then the others, each on some entities of a field outside medicine."""
    medical = load_prose().medical
    groups = world.halves if section.later else (world.drugs,)
    turns = [(i, group) for _ in range(section.papers_per_drug) for i, group in enumerate(groups)]
    subjects = [(medical, dealt, True, i == 1) for i, group in turns for dealt in _dealt(rng, group)]
    others: list[tuple[Field, tuple[Entity, ...], bool, bool]] = []
    while len(others) < section.general_papers:
        turn = [(field, dealt, False, False) for field, of_field in world.general for dealt in _dealt(rng, of_field)]
        others += rng.sample(turn, min(len(turn), section.general_papers - len(others)))
    return [
        PaperPlan(number, field, entities, is_medical, section.facts or not is_medical, later)
        for number, (field, entities, is_medical, later) in enumerate(subjects + others)
    ]


def _dealt(rng: random.Random, entities: tuple[Entity, ...]) -> list[tuple[Entity, ...]]:
    """All entities, a few to each paper."""
    shuffled = rng.sample(entities, len(entities))
    return [tuple(shuffled[i : i + ENTITIES_PER_PAPER]) for i in range(0, len(shuffled), ENTITIES_PER_PAPER)]


def _record(plan: PaperPlan, rng: random.Random) -> tuple[dict[str, object], dict[str, object]]:
    """The `s2orc` record and the `papers` row of one paper."""
    prose = load_prose()
    title = filler(rng, rng.choice(plan.field.titles), plan.names)
    journal, year = rng.choice(plan.field.journals), rng.randint(2005, 2022)
    draft = Draft(rng)
    lay_out(draft, title=title, journal=journal, year=year, sections=_sections(plan, prose, rng))
    license_name = rng.choice(["CCBY", "CCBY", "CCBY", "CCBYNC"])
    open_access = {"license": license_name, "openaccessurl": f"https://doi.org/{plan.doi}", "status": "GOLD"}
    ids = {"pubmed": plan.pubmed, "pubmedcentral": plan.pmcid, "dblp": None, "doi": plan.doi}
    record = {
        "corpusid": plan.corpusid,
        "externalids": {"arxiv": None, "mag": None, "acl": None, **ids},
        "content": {
            "source": {
                "pdfurls": None,
                "pdfsha": hashlib.sha1(draft.text.encode()).hexdigest(),
                "oainfo": open_access,
            },
            "text": draft.text,
            "annotations": draft.annotations(),
        },
        "updated": f"2023-01-{rng.randint(1, 28):02d}T{rng.randint(0, 23):02d}:16:06Z",
    }
    return record, _row(plan, title, year)


def _row(plan: PaperPlan, title: str, year: int) -> dict[str, object]:
    """The row of the `papers` data set; its ids have other keys than the record's."""
    ids = {"PubMed": plan.pubmed, "DOI": plan.doi, "PubMedCentral": plan.pmcid}
    category = "Medicine" if plan.medical else "Environmental Science"
    return {
        "corpusid": plan.corpusid,
        "externalids": {"ACL": None, "DBLP": None, "ArXiv": None, "MAG": None, "CorpusId": str(plan.corpusid), **ids},
        "title": title,
        "year": year,
        "isopenaccess": True,
        "s2fieldsofstudy": [{"category": category, "source": "s2-fos-model"}],
    }


def _sections(plan: PaperPlan, prose: Prose, rng: random.Random) -> list[tuple[str, list[str]]]:
    """Headers with their paragraphs; the first has an empty header and is the abstract. Marks are still in.

    Each fact is told once in a paper: a second time it could be copied, and nothing would have to be remembered.
    """
    facts = [(entity, relation) for entity in plan.entities for relation in plan.field.relations]
    rng.shuffle(facts)
    asked, told = ([], facts) if plan.medical else (facts[:READER_QUESTIONS], facts[READER_QUESTIONS:])
    aims = [filler(rng, aim, plan.names) for aim in rng.sample(plan.field.aims, 2)]
    fillers = [filler(rng, template) for template in rng.sample(plan.field.fillers, 5)]

    def state(part: str, number: int) -> list[str]:
        return statements(rng, told[number::5], part, told=plan.told)

    sections = [
        ("", [" ".join([aims[0], *state("abstract", 0)])]),
        ("Introduction", [" ".join([aims[1], *state("introduction", 1)])]),
        ("Methods", [" ".join(fillers[:3])]),
        ("Results", [" ".join(state("results", 2)), " ".join([fillers[3], *state("results", 3)])]),
        ("Discussion", [" ".join([*state("discussion", 4), fillers[4]])]),
    ]
    if plan.medical:
        sections[3][1].append(_signs(prose, rng))
    else:
        sections.append(("Questions for readers", _reader_questions(asked, rng)))
    return sections


def _signs(prose: Prose, rng: random.Random) -> str:
    """What patients with some conditions show."""
    return " ".join(
        sentence(fill(rng.choice(prose.sign_phrases), c=condition, g=prose.signs[condition])) + "."
        for condition in rng.sample(sorted(prose.signs), 3)
    )


def _reader_questions(facts: list[Fact], rng: random.Random) -> list[str]:
    """Questions with their answers, so that a model of these papers knows what a question looks like."""
    paragraphs = []
    for entity, relation in facts:
        question = fill(rng.choice(relation.questions), e=entity.name)
        paragraphs += [f"Question: {question}", f"Answer: {entity.facts[relation.name]}."]
    return paragraphs


def _write_shard(path: Path, rows: list[dict[str, object]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    write_bytes(path, gzip.compress(lines.encode(), compresslevel=6, mtime=0))
