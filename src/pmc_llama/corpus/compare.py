"""Between the passes: what only all papers together tell, duplicates and lines that many of them share."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pmc_llama.corpus import boilerplate
from pmc_llama.corpus.dedup import best_first, exact_duplicates, same_papers
from pmc_llama.corpus.earlier import FORMAT
from pmc_llama.corpus.join import write_array
from pmc_llama.corpus.near import near_duplicates
from pmc_llama.corpus.parts import KEY_COLUMNS, read_columns
from pmc_llama.recipe.corpus import CorpusSection

NEAR = "near_duplicate"
KNOWN = "known"
Verdict = npt.NDArray[np.uint8]


def find_duplicates(
    section: CorpusSection, staged: list[Path], earlier: pa.Table | None = None
) -> tuple[list[Verdict], list[str]]:
    """For each staged file the verdict on its rows (0: stays), and the reasons that verdicts from 1 on stand for.

    `earlier` are the keys of papers that the corpus has already: versions of them are dropped as known.
    """
    near = section.dedup.near
    columns = KEY_COLUMNS + (["signature"] if near is not None else [])
    tables = [read_columns(path, columns) for path in staged]
    if not tables:
        return [], []
    before = tables[0].slice(0, 0) if earlier is None else earlier.select(columns)
    papers = pa.concat_tables([before, *tables])
    prefer = [FORMAT, *section.dedup.prefer]
    verdict = np.zeros(papers.num_rows, dtype=np.uint8)
    reasons: list[str] = []
    if section.dedup.exact:
        verdict, reasons = exact_duplicates(papers, prefer)
    if earlier is not None:
        label, reasons = same_papers(papers), [*reasons, KNOWN]
        known = np.isin(label, label[: before.num_rows])
        known[: before.num_rows] = False
        verdict[known] = len(reasons)
    if near is not None:
        found: list[Any] = papers.column("signature").to_pylist()
        compared = [signature if stays else None for signature, stays in zip(found, verdict == 0, strict=True)]
        reasons = [*reasons, NEAR]
        verdict[near_duplicates(compared, best_first(papers, prefer), near)] = len(reasons)
    ends = np.cumsum([before.num_rows, *(table.num_rows for table in tables)])[:-1]
    return np.split(verdict, ends)[1:], reasons


def find_boilerplate(section: CorpusSection, staged: list[Path], verdicts: list[Verdict], out: Path) -> str | None:
    """Write the hashes of the lines that enough papers share; the path, or None when the recipe does not ask."""
    if section.clean.boilerplate is None:
        return None
    lines: list[bytes] = []
    for path, verdict in zip(staged, verdicts, strict=True):
        found = read_columns(path, ["lines"]).column("lines").to_pylist()
        lines += [line for line, stays in zip(found, verdict == 0, strict=True) if stays and line]
    write_array(boilerplate.frequent(lines, section.clean.boilerplate), out)
    return str(out)
