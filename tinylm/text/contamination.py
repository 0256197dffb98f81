"""Contamination: how much of a text that a model is scored on was also in the text that it was trained on.

Texts are compared by n-grams of words, lower-cased and without punctuation, after Brown et al. 2020
(arXiv:2005.14165, appendix C), who take at most 13 words; one common n-gram is contamination for them.
Two ways to write a character count as one (NFKC), and soft hyphens are left out. A text that was rewritten in
other words is not found. Taught in notebook 13_evaluation."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import normalize

import numpy as np
import regex

from tinylm.errors import InputError, require_count

WORD = regex.compile(r"[^\W_]+")  # letters and digits; everything else separates words
UNSEEN = regex.compile(r"\p{Cf}+")  # a soft hyphen, a joiner: not even a separator
Row = tuple[str, ...]


def overlap(texts: Sequence[str], training: Iterable[str], n: int = 13) -> np.ndarray:
    """Return the share of each text's n-grams of words that occur in a training document: (texts,), 0 to 1.

    A text of fewer than n words is one n-gram. `training` is read once, one document at a time, so memory
    grows with the texts and not with the training text.

    Raises InputError for a text without words, for training text without words (such as an iterator that was
    read before), and for a single text instead of several."""
    require_count("n", n)
    if isinstance(texts, str) or isinstance(training, str):
        raise InputError("texts and training are several texts each, and 1 is a text: put it into [ ]")
    rows = [[*_rows(words, min(n, len(words)))] for words in map(_words, texts)]
    if bare := [at for at, found in enumerate(rows) if not found]:
        raise InputError(f"{len(bare)} of {len(rows)} texts have no word, as number {bare[0]}: leave it out")
    wanted: dict[int, set[Row]] = defaultdict(set)  # by their length
    for found in rows:
        wanted[len(found[0])].update(found)
    seen, n_words = set[Row](), 0
    for words in map(_words, training):
        n_words += len(words)
        for length, some in wanted.items():
            seen |= some.intersection(_rows(words, length))
    if not n_words:
        raise InputError("the training text has 0 words: hand it in again, an iterator is read only once")
    return np.array([sum(row in seen for row in found) / len(found) for found in rows])


def _words(text: str) -> list[str]:
    return WORD.findall(UNSEEN.sub("", normalize("NFKC", text)).lower())


def _rows(words: list[str], n: int) -> Iterator[Row]:
    return zip(*(words[i:] for i in range(n)), strict=False)
