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
from pmc_llama.minimed.prose import fill, filler, sentence, statements
from pmc_llama.recipe.minimed import MiniMedSection

SHARDS = 4
SHARE_JOINED = 0.25
"""PMC papers whose own record has no PMC id, so that only the `papers` row with the same corpusid tells it."""
NULL_TEXTS, DUPLICATES = 6, 6


class PaperPlan(msgspec.Struct, frozen=True):
    """What one paper is about, before a word of it is written."""

    number: int
    field: Field
    entity: Entity
    medical: bool
    facts: bool


def write_papers(world: World, section: MiniMedSection, seed: int, out: Path) -> dict[str, Any]:
    """Write `s2orc/s2orc_000N.jsonl.gz` and `papers/papers_0000.jsonl.gz` under `out`; returns what is in them."""
    rng = random.Random(f"{seed}/papers")
    records, rows = [], []
    for plan in _plans(world, section, rng):
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
    placed = [records[i] for i in order + duplicates]
    for i in range(SHARDS):
        _write_shard(out / "s2orc" / f"s2orc_{i:04d}.jsonl.gz", placed[i::SHARDS])
    _write_shard(out / "papers" / "papers_0000.jsonl.gz", rng.sample(rows, len(rows)))
    return {
        "records": len(placed),
        "pmc_papers": len(in_pmc),
        "pmc_papers_joined": len(joined),
        "duplicates": len(duplicates),
        "null_texts": len(empty),
        "texts": [record["content"]["text"] for record in records if record["content"]["text"] is not None],
    }


def _plans(world: World, section: MiniMedSection, rng: random.Random) -> list[PaperPlan]:
    """The PMC papers, each on one drug, then the others, each on one entity of a field outside medicine."""
    medical = load_prose().medical
    subjects = [(medical, drug, True) for drug in world.drugs for _ in range(section.papers_per_drug)]
    entities = [(field, entity, False) for field, of_field in world.general for entity in of_field]
    others: list[tuple[Field, Entity, bool]] = []
    while len(others) < section.general_papers:
        others += rng.sample(entities, min(len(entities), section.general_papers - len(others)))
    return [
        PaperPlan(number, field, entity, is_medical, section.facts or not is_medical)
        for number, (field, entity, is_medical) in enumerate(subjects + others)
    ]


def _record(plan: PaperPlan, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `s2orc` record and the `papers` row of one paper."""
    prose = load_prose()
    title = filler(rng, rng.choice(plan.field.titles), plan.entity)
    journal, year = rng.choice(plan.field.journals), rng.randint(2005, 2022)
    draft = Draft(rng)
    lay_out(draft, title=title, journal=journal, year=year, sections=_sections(plan, prose, rng))
    corpusid, doi = 250_000_000 + 37 * plan.number, f"10.5555/minimed.{plan.number:06d}"
    pmcid = str(7_000_000 + plan.number) if plan.medical else None
    pubmed = str(33_000_000 + plan.number) if plan.medical else None
    license_name = rng.choice(["CCBY", "CCBY", "CCBY", "CCBYNC"])
    record = {
        "corpusid": corpusid,
        "externalids": {
            "arxiv": None,
            "mag": None,
            "acl": None,
            "pubmed": pubmed,
            "pubmedcentral": pmcid,
            "dblp": None,
            "doi": doi,
        },
        "content": {
            "source": {
                "pdfurls": None,
                "pdfsha": hashlib.sha1(draft.text.encode()).hexdigest(),
                "oainfo": {"license": license_name, "openaccessurl": f"https://doi.org/{doi}", "status": "GOLD"},
            },
            "text": draft.text,
            "annotations": draft.annotations(),
        },
        "updated": f"2023-01-{rng.randint(1, 28):02d}T{rng.randint(0, 23):02d}:16:06Z",
    }
    row = {
        "corpusid": corpusid,
        "externalids": {
            "ACL": None,
            "DBLP": None,
            "ArXiv": None,
            "MAG": None,
            "CorpusId": str(corpusid),
            "PubMed": pubmed,
            "DOI": doi,
            "PubMedCentral": pmcid,
        },
        "title": title,
        "year": year,
        "isopenaccess": True,
        "s2fieldsofstudy": [
            {"category": "Medicine" if plan.medical else "Environmental Science", "source": "s2-fos-model"}
        ],
    }
    return record, row


def _sections(plan: PaperPlan, prose: Prose, rng: random.Random) -> list[tuple[str, list[str]]]:
    """Headers with their paragraphs; the first has an empty header and is the abstract. Marks are still in."""

    def state(part: str, count: int) -> list[str]:
        chosen = rng.sample(plan.field.relations, min(count, len(plan.field.relations)))
        return statements(rng, plan.entity, chosen, part, facts=plan.facts)

    def fill_in(count: int) -> list[str]:
        return [filler(rng, template, plan.entity) for template in rng.sample(plan.field.fillers, count)]

    aims = rng.sample(plan.field.aims, 2)
    sections = [
        ("", [" ".join([filler(rng, aims[0], plan.entity), *state("abstract", 4)])]),
        ("Introduction", [" ".join([filler(rng, aims[1], plan.entity), *state("introduction", 4)])]),
        ("Methods", [" ".join(fill_in(4))]),
        ("Results", [" ".join(state("results", 6)), " ".join(fill_in(1) + state("results", 3))]),
        ("Discussion", [" ".join(state("discussion", 4) + fill_in(1))]),
    ]
    if plan.medical:
        sections[3][1].append(_signs(plan.entity, prose, rng, facts=plan.facts))
    else:
        sections.append(("Questions for readers", _reader_questions(plan, rng)))
    return sections


def _signs(drug: Entity, prose: Prose, rng: random.Random, *, facts: bool) -> str:
    """What patients with some conditions show, the drug's own among them."""
    own = drug.facts["indication"]
    others = rng.sample(sorted(set(prose.signs) - {own}), 2)
    conditions = [own, *others] if facts else others
    chosen = rng.sample(conditions, len(conditions))
    return " ".join(sentence(fill(rng.choice(prose.sign_phrases), c=c, g=prose.signs[c])) + "." for c in chosen)


def _reader_questions(plan: PaperPlan, rng: random.Random) -> list[str]:
    """Questions with their answers, so that a model of these papers knows what a question looks like."""
    paragraphs = []
    for relation in plan.field.relations:
        question = fill(rng.choice(relation.questions), e=plan.entity.name)
        paragraphs += [f"Question: {question}", f"Answer: {plan.entity.facts[relation.name]}."]
    return paragraphs


def _write_shard(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    write_bytes(path, gzip.compress(lines.encode(), compresslevel=6, mtime=0))
