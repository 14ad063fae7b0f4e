"""Which elements of JATS are lines of their own, which are left out, and which leave room."""

FLOATS = {"fig": "fig", "table-wrap": "tab", "media": "media"}
"""Pictures, tables and films, and what their numbers begin with."""
SILENT = {
    *("disp-formula", "disp-formula-group", "tex-math", "math", "graphic", "inline-graphic", "media", "label"),
    *("supplementary-material", "inline-supplementary-material", "sub-article", "response", "fn", "fn-group"),
    *("object-id", "alternatives", "ref-list", "permissions", "sec-meta", "table", "table-wrap-foot", "chem-struct"),
}
PARAGRAPHS = {"p", "attrib", "code", "preformat", "verse-line", "subtitle", "sig", "tr"}
"""Each is a line. Rows come here only from an `array`: what a `table` holds is left out."""
BLOCKS = {
    *("p", "sec", "list", "list-item", "def-list", "def-item", "def", "disp-quote", "boxed-text", "statement"),
    *("speech", "verse-group", "fig-group", "table-wrap-group", "floats-group", "array", "thead", "tbody"),
    *("question-wrap", "question", "answer", "sig-block", *FLOATS, *(PARAGRAPHS - {"code"})),
}
GAPS = {
    *("disp-formula", "disp-formula-group", "graphic", "inline-graphic", "media", "alternatives", "table"),
    "chem-struct",
}
"""What is left out and takes room on the page: the words before and after it stay apart."""
MARKED = {"fn", "corresp", "aff", "author-notes"}
"""What the raised mark of a footnote or of an author points at."""
FOOTNOTES = {*MARKED, "table-fn"}
"""Types of such marks."""
LABELS = {"label", "term", "speaker"}
"""What stands at the beginning of the line of the paragraph behind it."""
LABELLED = {
    *("list-item", "list", "def-list", "statement", "boxed-text", "fig-group", "table-wrap-group", "verse-group"),
    *("disp-quote", "speech", "question", "answer", "chem-struct-wrap", "array"),
}
"""Labels of these are words of the text, those of others numbers beside it."""
LINES = {"list", "def-list", "caption", "verse-group", "statement", "abstract"}
"""Titles of these (captions are those of boxes and groups) are lines of the text, not headings of sections."""
SEPARATE = BLOCKS | PARAGRAPHS | LABELS | {"break", "title", "td", "th"}
"""In a text of one line, what stands apart from the words around it."""
LEGENDS = (BLOCKS | PARAGRAPHS) - {*FLOATS, "sec"}
"""What may stand in a figure or table beside its caption."""
