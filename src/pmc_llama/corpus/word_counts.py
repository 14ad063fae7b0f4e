"""How usual the words of a paragraph are, by counts of words on the web, as peS2o tells tables and broken text."""

import functools
import math
import re

from pmc_llama.corpus.pieces import Piece, rule
from pmc_llama.errors import InputError
from pmc_llama.recipe.corpus import CleanSection

MIN_MEAN_LOG2 = -20.0
"""Of peS2o: a paragraph whose words are less probable in the mean is removed."""
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class WordCounts:
    """Unigram probabilities from a CSV of `word,count` lines, as of the Google 1T corpus; other lines are passed over.

    A word that is not there counts as one seen sqrt(number of words) + 1 times (peS2o, recipe of AllenAI). Raises
    InputError when the file holds no counts.
    """

    def __init__(self, path: str) -> None:
        from pmc_llama.corpus.storage import InputFile  # cleaning without a table needs no decompressor

        lines = InputFile(path, hashed=False).read_all().decode("utf-8", "replace").splitlines()
        pairs = (line.strip().rpartition(",") for line in lines)
        counts = {word.lower(): int(count) for word, _, count in pairs if count.isdecimal() and int(count)}
        if not counts:
            raise InputError(f"{path}: no line is of the form word,count")
        total = math.log2(sum(counts.values()))
        self._log2 = {word: math.log2(count) - total for word, count in counts.items()}
        self._unknown = math.log2(math.sqrt(len(counts)) + 1) - total

    def mean_log2(self, text: str) -> float:
        """Mean log2 probability of the words and marks of a text; 0 if it has none."""
        words = WORD.findall(text.lower())
        return sum(self._log2.get(word, self._unknown) for word in words) / max(len(words), 1)


@functools.lru_cache(maxsize=1)
def word_counts(path: str) -> WordCounts:
    """The counts of a file, read once per process."""
    return WordCounts(path)


@rule("rare_words", version=1)
def without_rare_words(pieces: list[Piece], section: CleanSection) -> list[Piece]:
    """Drop paragraphs of words that are rare on the web; none where there are no counts."""
    if section.word_counts is None:
        return pieces
    counts = word_counts(section.word_counts)
    return [p for p in pieces if p.kind != "paragraph" or counts.mean_log2(p.text) >= MIN_MEAN_LOG2]
