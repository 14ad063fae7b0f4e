"""Whether the clean text is the paper's: every word in order, none glued, no number changed, no wreckage."""

import bisect
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table

from pmc_llama.corpus.audit_source import CITATION, END, FORMULA, Block, Source, read_source
from pmc_llama.corpus.clean import Cleaner
from pmc_llama.corpus.paper import Skip
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.readers.tar import members
from pmc_llama.corpus.storage import InputFile
from pmc_llama.errors import InputError
from pmc_llama.escape import markup
from pmc_llama.recipe.corpus import CleanSection

KINDS = ("words", "glue", "lines", "wreckage", "numbers", "unread")
TOKEN = re.compile(r"[^\W_]+")
SOURCE_TOKEN = re.compile(r"[\x01\x02]|[^\W_]+")
WRECKAGE = re.compile(
    r",\s*[.,;)\]]|;\s*[.,;)\]]|[\u2010-\u2015-]\.(?!\d)|(?<!\.)\.\.(?!\.)|[(\[]\s*[,;.)\]](?!\d)|(?<=\w) [.,;](?=\s|$)"
    r"|\b(?:in|by|from|of|with|at|on|for|than|see|via|and|or|the)\.(?=\s|$)|\bet al\.?,?[;)]"
)
NEAR, FAR = 60, 4000


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a clean text, with words of the article around it."""

    kind: str
    example: str


class Audited(msgspec.Struct):
    """One article."""

    name: str
    publisher: str
    findings: list[Finding]


class Audit(msgspec.Struct):
    """All articles of a folder."""

    papers: list[Audited]

    @property
    def found(self) -> int:
        """How many papers have a finding."""
        return sum(bool(paper.findings) for paper in self.papers)


class _Word(msgspec.Struct, gc=False):
    text: str
    optional: bool
    block: int


def audit_folder(folder: Path, limit: int | None = None) -> Audit:
    """Audit the articles of a folder (`.xml`, `.nxml`, tarballs of them) in order of their names, at most `limit`.

    Raises InputError when there is no article.
    """
    cleaner, papers = Cleaner(CleanSection()), []
    for name, xml in _articles(folder):
        try:
            source = read_source(xml)
        except RecursionError:
            papers.append(Audited(name, "unknown", [Finding("unread", "elements nest too deep")]))
            continue
        if source is None:
            continue
        papers.append(Audited(name, source.publisher, _audit(xml, source, cleaner)))
        if limit is not None and len(papers) >= limit:
            break
    if not papers:
        raise InputError(f"{folder}: there is no JATS article (.xml, .nxml or a tarball of them)")
    return Audit(papers)


def _articles(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if path.suffix in (".xml", ".nxml"):
            yield path.name, path.read_bytes()
        elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
            for member in members(InputFile(str(path), hashed=False), (".xml", ".nxml")):
                if member.refused is None:
                    yield member.name, member.content


def _audit(xml: bytes, source: Source, cleaner: Cleaner) -> list[Finding]:
    try:
        text = cleaner.text(read_article(xml, cleaner.kinds))[0]
    except Skip as skip:
        return [Finding("unread", skip.reason)]
    return audit_text(source, text)


def audit_text(source: Source, text: str) -> list[Finding]:
    """What is wrong with the clean text of an article."""
    lines = [line for line in text.split("\n") if line]
    title = lines.pop(0).removeprefix("# ") if lines and lines[0].startswith("# ") else ""
    clean = [(word, number) for number, line in enumerate(lines) for word in TOKEN.findall(line)]
    findings = _Alignment(source.blocks, clean).findings()
    findings += _captions(source.captions, [word for word, _ in clean]) + _title(source.title, title)
    return findings + _wreckage(source, lines)


def _words(blocks: list[Block]) -> list[_Word]:
    found = []
    for number, block in enumerate(blocks):
        depth, text = 0, block.text
        for match in SOURCE_TOKEN.finditer(text):
            token = match.group()
            if token in (CITATION, END):
                depth += 1 if token == CITATION else -1
            else:
                before = text[match.start() - 1 : match.start()] if match.start() else ""
                edge = FORMULA in (before, text[match.end() : match.end() + 1])
                edge = edge or (before == END and len(token) == 1)  # the letter of a year
                found.append(_Word(token, block.optional or depth > 0 or edge, number))
    return found


class _Alignment:
    """The words of the article against those of the clean text, from left to right."""

    def __init__(self, blocks: list[Block], clean: list[tuple[str, int]]) -> None:
        self.blocks, self.words = blocks, _words(blocks)
        self.clean, self.line = [word for word, _ in clean], [line for _, line in clean]
        self.needed = [place for place, word in enumerate(self.words) if not word.optional]
        self.places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place in range(len(self.clean) - 2):
            self.places[tuple(self.clean[place : place + 3])].append(place)
        self.found: list[Finding] = []
        self.lines_of: dict[int, list[int]] = {}

    def findings(self) -> list[Finding]:
        word, place, loose = 0, 0, 0  # loose: how many words before `place` went to words that might be missing
        taken: list[str] = []  # words that might be missing and were found, which may have been others
        while word < len(self.words):
            now = self.words[word]
            if place < len(self.clean) and now.text == self.clean[place]:
                if now.optional:
                    taken, loose = [*taken[-7:], now.text], loose + 1
                else:
                    self._stands(now, place)
                    loose = 0
                word, place = word + 1, place + 1
            elif now.optional:
                word += 1
            else:
                word, place = self._skip(word, place, loose, taken)
                loose = 0
        self._lines()
        return self.found

    def _stands(self, word: _Word, place: int) -> None:
        line = self.line[place]
        first_last = self.lines_of.setdefault(word.block, [line, line])
        first_last[1] = line

    def _skip(self, word: int, place: int, loose: int, taken: list[str]) -> tuple[int, int]:
        """Find where both go on together, and say what lies between."""
        start = bisect.bisect_left(self.needed, word)
        for skipped in range(min(FAR, len(self.needed) - start)):
            three = self.needed[start + skipped : start + skipped + 3]
            places = self.places.get(tuple(self.words[one].text for one in three), [])
            index = bisect.bisect_left(places, place - loose)
            if index < len(places) and places[index] - place <= NEAR + skipped:
                there = places[index]
                self._between(start, start + skipped, self.clean[place:there], taken)
                return self.needed[start + skipped], there
        self._between(start, len(self.needed), self.clean[place : place + NEAR], taken)
        return len(self.words), place

    def _between(self, start: int, end: int, extra: list[str], taken: list[str]) -> None:
        missing = [self.words[one].text for one in self.needed[start:end]]
        left = list(missing)
        for match in reversed(SequenceMatcher(None, missing, [*taken, *extra], autojunk=False).get_matching_blocks()):
            del left[match.a : match.a + match.size]
        if not left:
            return
        around = " ".join(self.words[one].text for one in self.needed[max(0, start - 4) : min(end, start + 20) + 4])
        example = f"{around} -> {' '.join(extra[:20]) or 'nothing'}"
        pairs = list(itertools.pairwise(missing))
        if any(a[-1].isdigit() and b[0].isdigit() and a + b in one for a, b in pairs for one in extra):
            self.found.append(Finding("numbers", example))
        elif any(a + b in one for a, b in pairs for one in extra):
            self.found.append(Finding("glue", example))
        elif all(any(one.isdigit() for one in word) for word in left):
            self.found.append(Finding("numbers", example))
        else:
            self.found.append(Finding("words", example))

    def _lines(self) -> None:
        """Blocks that stood apart and now share a line."""
        ordered = sorted(self.lines_of)
        for one, other in itertools.pairwise(ordered):
            if self.blocks[other].line and self.lines_of[one][1] == self.lines_of[other][0]:
                example = f"{_plain(self.blocks[one].text)[-60:]} | {_plain(self.blocks[other].text)[:60]}"
                self.found.append(Finding("lines", example))


def _captions(captions: list[Block], clean: list[str]) -> list[Finding]:
    """Captions that stand nowhere as a whole: words that must stay, in their order and close together."""
    found, joined = [], f" {' '.join(clean)} "
    for block in captions:
        runs: list[list[str]] = [[]]  # words between which nothing may be missing
        for word in _words([block]):
            if word.optional:
                runs.append([])
            else:
                runs[-1].append(word.text)
        for run in runs:
            if run and f" {' '.join(run)} " not in joined:
                glued = "".join(run) in joined.replace(" ", "")
                kind = "words" if not glued else "numbers" if any(word.isdigit() for word in run) else "glue"
                found.append(Finding(kind, f"caption: {_plain(block.text)[:100]}"))
                break
    return found


def _title(source: Block, title: str) -> list[Finding]:
    """Whether the title has every word that it must, in order, and no other."""
    words, clean = _words([source]), TOKEN.findall(title)
    left = iter(clean)
    whole = all(any(word.text == other for other in left) for word in words if not word.optional)
    told = iter(words)
    sound = FORMULA in source.text or all(any(word.text == other for word in told) for other in clean)
    return [] if whole and sound else [Finding("words", f"title: {_plain(source.text)[:100]} -> {title[:100]}")]


def _wreckage(source: Source, lines: list[str]) -> list[Finding]:
    told = "\n".join(_plain(block.text) for block in [*source.blocks, *source.captions])
    before = Counter("".join(match.group().split()) for match in WRECKAGE.finditer(told))
    after = Counter("".join(match.group().split()) for line in lines for match in WRECKAGE.finditer(line))
    found = []
    for line in lines:
        for match in WRECKAGE.finditer(line):
            what = "".join(match.group().split())
            if after[what] > before[what] and line[max(0, match.start() - 8) : match.end()] not in told:
                found.append(Finding("wreckage", f"{what}  in  {line[max(0, match.start() - 50) : match.end() + 10]}"))
    return found


def _plain(text: str) -> str:
    return " ".join(text.replace(CITATION, "").replace(END, "").replace(FORMULA, "").replace("\x03", "^").split())


def render_audit(audit: Audit, examples: int = 3) -> RenderableType:
    """A table by publisher of how many papers have each kind of finding, and some examples of each kind."""
    table = Table("publisher", "papers", "with findings", *KINDS, title="Papers by what their clean text has wrong")
    groups: dict[str, list[Audited]] = defaultdict(list)
    for paper in audit.papers:
        groups[paper.publisher].append(paper)
    for name in sorted(groups, key=lambda name: (-sum(bool(one.findings) for one in groups[name]), name)):
        table.add_row(markup(name), *_counts(groups[name]))
    table.add_section()
    table.add_row("all", *_counts(audit.papers))
    shown = Table("kind", "paper", "example", title="Examples")
    for kind in KINDS:
        found = [(paper, one) for paper in audit.papers for one in paper.findings if one.kind == kind]
        for paper, one in found[:: max(1, len(found) // examples)][:examples] if found else ():
            shown.add_row(kind, markup(paper.name), markup(one.example))
    return Group(table, shown) if audit.found else table


def _counts(papers: list[Audited]) -> list[str]:
    kinds = Counter(kind for paper in papers for kind in {one.kind for one in paper.findings})
    return [str(len(papers)), str(sum(bool(one.findings) for one in papers)), *(str(kinds[kind]) for kind in KINDS)]
