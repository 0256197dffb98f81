"""Contamination: how much of a text that a model is scored on stands in the text that it was trained on.

Texts are compared by rows of n words, lower-cased and without punctuation, after Brown et al. 2020,
arXiv:2005.14165, appendix C, who take 13 words at most and call a text dirty from one such row on. Two ways
to write a character are one (NFKC), and soft hyphens are nothing. A text that was rewritten in other words is
not found. Taught in notebook 13_evaluation."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
import regex

from tinylm.errors import InputError, require_count
from tinylm.text.tokenizers import Tokenizer
from tinylm.text.tokens import in_pieces

WORD = regex.compile(r"[^\W_]+")  # letters and digits; everything else only parts them
UNSEEN = regex.compile(r"\p{Cf}+")  # a soft hyphen, a joiner: it parts nothing
Row = tuple[str, ...]


def overlap(texts: Sequence[str], training: Iterable[str], n: int = 13) -> np.ndarray:
    """The share of each text's rows of n words that stand in a document of the training text: (texts,), from
    0 to 1. A text of fewer words is one row.

    `training` is read once, one document at a time: what is kept are the rows of the texts and the words of
    one document. Raises InputError for a text without a word, of which nothing could be found, for training
    text without one, such as an iterator that was read before, and for a text in place of several."""
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


def training_documents(tokens: Any, tokenizer: Tokenizer) -> Iterator[str]:
    """The documents of a dataset's ids, (N,), as text again; of ids without an end of text, all as one.

    For `overlap`: what is looked through is then what a model is trained on, not the file it came from."""
    rest = np.empty(0, dtype=np.int64)
    for _, piece in in_pieces(tokens):
        ids, end = np.concatenate((rest, piece)), tokenizer.end_of_text
        cuts = np.flatnonzero(ids == end) + 1 if end is not None else []
        *whole, rest = np.split(ids, cuts)
        yield from (tokenizer.decode(document[:-1]) for document in whole)
    yield tokenizer.decode(rest)


def _words(text: str) -> list[str]:
    return WORD.findall(UNSEEN.sub("", normalize("NFKC", text)).lower())


def _rows(words: list[str], n: int) -> Iterator[Row]:
    return zip(*(words[i:] for i in range(n)), strict=False)
