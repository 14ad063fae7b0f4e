"""Which elements of JATS are lines of their own, which are left out, and which leave room."""

FLOATS = {"fig": "fig", "table-wrap": "tab"}
SILENT = {
    *("disp-formula", "disp-formula-group", "tex-math", "math", "graphic", "inline-graphic", "media", "label"),
    *("supplementary-material", "inline-supplementary-material", "sub-article", "response", "fn", "fn-group"),
    *("object-id", "alternatives", "ref-list", "permissions", "sec-meta", "table", "table-wrap-foot", "chem-struct"),
}
BLOCKS = {
    *(
        "p",
        "sec",
        "list",
        "list-item",
        "def-list",
        "def-item",
        "def",
        "disp-quote",
        "boxed-text",
        "statement",
        "speech",
    ),
    *("verse-group", "fig-group", "table-wrap-group", "floats-group", *FLOATS),
}
GAPS = {
    "disp-formula",
    "disp-formula-group",
    "graphic",
    "inline-graphic",
    "media",
    "alternatives",
    "table",
    "chem-struct",
}
"""What is left out and takes room on the page: the words before and after it stay apart."""
FOOTNOTES = {"fn", "table-fn", "corresp"}
PARAGRAPHS = {"p", "attrib", "code", "preformat", "verse-line"}
LABELS = {"label", "term", "speaker"}
"""What stands at the beginning of the line of the paragraph behind it."""
LINES = {"list", "def-list", "caption"}
"""Titles of these (captions are those of boxes and groups) are lines of the text, not headings of sections."""
