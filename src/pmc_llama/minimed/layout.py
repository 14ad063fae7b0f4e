"""The layout of a paper as S2ORC has it: one string from title to tables, and spans over it in code points."""

import json
import random
import re

from pmc_llama.minimed.fields import load_prose

ANNOTATIONS = [
    "abstract",
    "author",
    "authoraffiliation",
    "authorfirstname",
    "authorlastname",
    "bibauthor",
    "bibauthorfirstname",
    "bibauthorlastname",
    "bibentry",
    "bibref",
    "bibtitle",
    "bibvenue",
    "figure",
    "figurecaption",
    "figureref",
    "formula",
    "paragraph",
    "publisher",
    "sectionheader",
    "table",
    "tableref",
    "title",
    "venue",
]
MARK = re.compile(r"\{(cite|figure|table)\}")
REFERENCES = 6


class Draft:
    """A growing text with the spans over it."""

    def __init__(self, rng: random.Random) -> None:
        self.text = ""
        self.rng = rng
        self.spans: dict[str, list[dict[str, object]]] = {name: [] for name in ANNOTATIONS}

    def add(self, text: str, *kinds: str, **attributes: str) -> None:
        """Append `text` and, for each of `kinds`, a span over it."""
        start = len(self.text)
        self.text += text
        for kind in kinds:
            self.mark(kind, start, **attributes)

    def mark(self, kind: str, start: int, **attributes: str) -> None:
        """A span from `start` to the end of the text so far."""
        span: dict[str, object] = {"attributes": attributes} if attributes else {}
        self.spans[kind].append(span | {"end": len(self.text), "start": start})

    def add_marked(self, text: str) -> None:
        """Append sentences, with each mark in them as the citation or reference it stands for."""
        position = 0
        for match in MARK.finditer(text):
            self.add(text[position : match.start()])
            position = match.end()
            number = self.rng.randint(1, REFERENCES)
            if match[1] == "cite":
                self.add(f"[{number}]", "bibref", ref_id=f"b{number - 1}")
            elif match[1] == "figure":
                self.add("Fig. 1", "figureref", ref_id="fig_0")
            else:
                self.add("Table 1", "tableref", ref_id="tab_0")
        self.add(text[position:])

    def annotations(self) -> dict[str, str | None]:
        """The 23 lists as JSON strings; as in real records a list stands there two or three times, some unsorted."""
        return {name: self._encoded(spans) for name, spans in self.spans.items()}

    def _encoded(self, spans: list[dict[str, object]]) -> str | None:
        if not spans:
            return None
        once = self.rng.sample(spans, len(spans)) if self.rng.random() < 0.5 else spans
        return json.dumps(once * self.rng.choice([2, 2, 3]), separators=(",", ":"), ensure_ascii=False)


def lay_out(draft: Draft, *, title: str, journal: str, year: int, sections: list[tuple[str, list[str]]]) -> None:
    """Write a whole paper: front matter, sections (the first is the abstract), bibliography, a figure and a table."""
    draft.add("\n")
    draft.add(title, "title")
    draft.add("\n")
    draft.add(f"{journal} {year}", "venue")
    draft.add("\n\n")
    _authors(draft)
    for i, (header, paragraphs) in enumerate(sections):
        if header:
            draft.add(header, "sectionheader", n=str(i))
            draft.add("\n")
        for paragraph in paragraphs:
            start = len(draft.text)
            draft.add_marked(paragraph)
            draft.mark("paragraph" if header else "abstract", start)
            draft.add("\n\n")
    for number in range(REFERENCES):
        _reference(draft, number)
    _figure_and_table(draft)


def _authors(draft: Draft) -> None:
    prose, rng = load_prose(), draft.rng
    for _ in range(rng.randint(1, 4)):
        start = len(draft.text)
        draft.add(rng.choice(prose.authors.first), "authorfirstname")
        draft.add(" ")
        draft.add(rng.choice(prose.authors.last), "authorlastname")
        draft.add(" ")
        draft.mark("author", start)
        draft.add("\n")
    draft.add(rng.choice(prose.institutes), "authoraffiliation")
    draft.add("\n")


def _reference(draft: Draft, number: int) -> None:
    prose, rng = load_prose(), draft.rng
    entry = len(draft.text)
    draft.add(f"Notes on method {rng.randint(1, 400)}", "bibtitle")
    draft.add(". ")
    author = len(draft.text)
    draft.add(rng.choice(prose.authors.first)[0], "bibauthorfirstname")
    draft.add(" ")
    draft.add(rng.choice(prose.authors.last), "bibauthorlastname")
    draft.add(", ")
    draft.mark("bibauthor", author)
    draft.add(rng.choice(rng.choice(prose.general).journals), "bibvenue")
    draft.add(f". {rng.randint(1, 60)}, {rng.randint(1990, 2022)}.")
    draft.mark("bibentry", entry, id=f"b{number}")
    draft.add("\n\n")


def _figure_and_table(draft: Draft) -> None:
    rng = draft.rng
    figure = len(draft.text)
    draft.add("Figure 1. ")
    draft.add("Overview of the work. Bars show the mean ± 1 sd. ", "figurecaption")
    draft.mark("figure", figure, id="fig_0")
    draft.add("\n")
    table = len(draft.text)
    draft.add("Table 1. ")
    draft.add("Numbers in each group. ", "figurecaption")
    draft.add(" ".join(f"Group {i} {rng.randint(1, 99)} {rng.random():.2f}" for i in range(1, 4)) + " ", "table")
    draft.mark("figure", table, id="tab_0")
    draft.add("\n")
