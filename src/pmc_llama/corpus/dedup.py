"""Exact duplicates over all sources: the same PMC id, corpus id, DOI or folded text; one version of each survives."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

KEYS = {"pmcid": "pmcid", "corpusid": "corpusid", "doi": "doi_hash", "text": "text_hash"}
"""Reason -> column, in the order in which a reason is looked for."""


def exact_duplicates(papers: pa.Table, prefer: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """For each row 0 when it stays, else 1 + the position of its reason in the list that comes with it; uint8 [N].

    Rows that share a key, directly or through others, are versions of one paper. The version whose `format` stands
    first in `prefer` survives, among those the newest, then the first row. The answer depends on nothing else.
    """
    count = papers.num_rows
    codes = {name: _codes(papers.column(column)) for name, column in KEYS.items()}
    label = same_papers(papers)
    best = best_first(papers, prefer)
    survivor = np.full(count, -1, dtype=np.int64)  # component -> row
    survivor[label[best[::-1]]] = best[::-1]  # the last assignment stands, so the most preferred row
    stays = survivor[label] == np.arange(count)
    verdict = np.zeros(count, dtype=np.uint8)
    for position, code in enumerate(codes.values(), start=1):
        shared = (code >= 0) & (np.bincount(code[code >= 0], minlength=count + 1)[code] > 1)
        verdict[~stays & (verdict == 0) & shared] = position
    return verdict, [f"duplicate_{name}" for name in codes]


def same_papers(papers: pa.Table) -> np.ndarray:
    """The number of the group of rows that each row shares a key with, directly or through others; int64 [N]."""
    return _components([_codes(papers.column(column)) for column in KEYS.values()], papers.num_rows)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each distinct value, -1 for null; int64 [N]."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)


def _components(codes: list[np.ndarray], count: int) -> np.ndarray:
    """The number of the group of rows that each row is linked to by equal codes; int64 [N]."""
    rows, others = [], []
    for code in codes:
        known = np.flatnonzero(code >= 0)
        _, first, back = np.unique(code[known], return_index=True, return_inverse=True)
        rows.append(known)
        others.append(known[first][back])
    return components(np.concatenate(rows), np.concatenate(others), count)


def components(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """The group that each of `count` rows is in, when row `first[i]` is linked to `second[i]`; int64 [count]."""
    from scipy.sparse import coo_array  # heavy, and only the process that compares all papers needs it
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    _, label = connected_components(links, directed=False)
    return np.asarray(label, dtype=np.int64)


def best_first(papers: pa.Table, prefer: Sequence[str]) -> np.ndarray:
    """Row numbers in the order of preference: format, then newest version, then position; int64 [N]."""
    rank = {name: position for position, name in enumerate(prefer)}
    ranks = np.array([rank.get(name, len(rank)) for name in papers.column("format").to_pylist()], dtype=np.int64)
    return np.lexsort((-papers.column("version").to_numpy(), ranks))
