"""One paper before and after cleaning, side by side."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table

from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.items import find_files, plan_items, with_word_counts
from pmc_llama.corpus.paper import Counts, Paper, Skip, parse_pmcid
from pmc_llama.corpus.readers.base import Options, line_blocks
from pmc_llama.corpus.readers.sniff import reader_for
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.escape import markup
from pmc_llama.recipe.corpus import CorpusSection, SourceSection

CORPUSID = re.compile(rb'"corpusid"\s*:\s*(\d+)')


class Shown(msgspec.Struct):
    """A paper of one source, its cleaned text, what each rule removed, and why the profile drops it (or None)."""

    source: str
    paper: Paper
    text: str
    removed: Counts
    refusal: str | None


def show_paper(section: CorpusSection, data_root: Path, name: str) -> list[Shown]:
    """Every version of a paper in the recipe's sources; `name` is a PMC id in any spelling, `s2:<corpus id>`, or the
    `paper_id` of any other document (`doi:…`, `guidelines:fever.txt`), also without its source.

    Reads through the inputs until the end, by PMC id or corpus id without decoding other papers. Raises InputError when
    none has it.
    """
    pmcid = parse_pmcid(name.removeprefix("pmc:"))
    corpusid = int(name.removeprefix("s2:")) if name.startswith("s2:") and name[3:].isdigit() else None
    cleaner, found = Cleaner(with_word_counts(section, data_root).clean), []
    for paper, source in _versions(section, data_root, Wanted(name, pmcid, corpusid)):
        text, removed, refusal = cleaner.text(paper)
        found.append(Shown(source, paper, text, removed, refusal))
    if not found:
        raise InputError(
            f"{name} is in none of the recipe's sources; a paper is asked for by PMC id (PMC1950857), corpus id "
            "(s2:255784639) or the name that it has in the column `paper_id`"
        )
    return found


class Wanted(NamedTuple):
    """What a paper is asked for by."""

    name: str
    pmcid: int | None
    corpusid: int | None

    @property
    def by_id(self) -> bool:
        """Whether it is an id that selects papers before they are decoded."""
        return self.pmcid is not None or self.corpusid is not None

    def is_named(self, paper: Paper) -> bool:
        """Whether a paper has this name, with or without its source."""
        return self.name in (paper.paper_id, paper.local_id, paper.local_id.partition(":")[2])


def _versions(section: CorpusSection, data_root: Path, asked: Wanted) -> Iterator[tuple[Paper, str]]:
    corpusids = [_corpusids(source, data_root, asked.pmcid) | ({asked.corpusid} - {None}) for source in section.sources]
    for item in plan_items(section, data_root):
        source, wanted = section.sources[item.source], corpusids[item.source]

        def other(corpus: int | None, own: int | None, wanted: set[int | None] = wanted) -> str | None:
            return None if (own is not None and own == asked.pmcid) or corpus in wanted else "other"

        options = Options(source.name, None, other if asked.by_id else None, source.split_on)
        for path, name, _ in item.files:
            reader = reader_for(path, source.format)
            for block in reader.blocks(InputFile(path, name, hashed=False), options):
                for record in block.records:
                    try:
                        paper = reader.paper(record, options)
                    except Skip:
                        continue
                    if other(paper.corpusid, paper.pmcid) is None or asked.is_named(paper):
                        yield paper, source.name


def _corpusids(source: SourceSection, data_root: Path, pmcid: int | None) -> set[int | None]:
    """The corpus ids that `papers` shards give for a PMC id."""
    found: set[int | None] = set()
    if pmcid is None:
        return found
    wanted = re.compile(rb'"PubMedCentral"\s*:\s*"?(?:PMC)?0*%d"?\s*[,}]' % pmcid)
    for path in find_files(source.papers, data_root, "papers"):
        with InputFile(path, hashed=False).open() as stream:
            lines = (line for block in line_blocks(stream, path) for line in block.records)
            found |= {int(match.group(1)) for line in lines if wanted.search(line) and (match := CORPUSID.search(line))}
    return found


def render_shown(shown: Shown) -> RenderableType:
    """Before and after side by side, and under them what each rule removed."""
    texts = Table(title=markup(f"{shown.paper.paper_id} from {shown.source}: {shown.paper.title}"), expand=True)
    texts.add_column(f"before ({len(shown.paper.text):,} characters)", ratio=1)
    texts.add_column(f"after ({len(shown.text):,} characters)", ratio=1)
    texts.add_row(markup(shown.paper.text), markup(shown.text))
    rules = Table("rule", "characters removed")
    for rule, count in shown.removed.items():
        rules.add_row(rule, f"{count:,}")
    ending = [f"the profile drops this paper: {shown.refusal}"] if shown.refusal else []
    return Group(texts, rules, *ending)
