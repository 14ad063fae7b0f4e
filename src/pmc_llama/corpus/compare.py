"""Between the passes: what only all papers together tell, duplicates and lines that many of them share."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pmc_llama.corpus import boilerplate
from pmc_llama.corpus.dedup import best_first, exact_duplicates
from pmc_llama.corpus.join import write_array
from pmc_llama.corpus.near import near_duplicates
from pmc_llama.corpus.parts import KEY_COLUMNS, read_columns
from pmc_llama.recipe.corpus import CorpusSection

NEAR = "near_duplicate"
Verdict = npt.NDArray[np.uint8]


def find_duplicates(section: CorpusSection, staged: list[Path]) -> tuple[list[Verdict], list[str]]:
    """For each staged file the verdict on its rows (0: stays), and the reasons that verdicts from 1 on stand for."""
    near = section.dedup.near
    columns = KEY_COLUMNS + (["signature"] if near is not None else [])
    tables = [read_columns(path, columns) for path in staged]
    if not tables:
        return [], []
    papers = pa.concat_tables(tables)
    verdict = np.zeros(papers.num_rows, dtype=np.uint8)
    reasons: list[str] = []
    if section.dedup.exact:
        verdict, reasons = exact_duplicates(papers, section.dedup.prefer)
    if near is not None:
        found: list[Any] = papers.column("signature").to_pylist()
        compared = [signature if stays else None for signature, stays in zip(found, verdict == 0, strict=True)]
        reasons = [*reasons, NEAR]
        verdict[near_duplicates(compared, best_first(papers, section.dedup.prefer), near)] = len(reasons)
    return np.split(verdict, np.cumsum([table.num_rows for table in tables])[:-1]), reasons


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
