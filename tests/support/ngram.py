"""A counting n-gram model of characters, Witten-Bell smoothed: what one can know without context."""

import numpy as np


def ngram_loss(train: str, test: str, *, order: int) -> float:
    """Mean nats per character of test. Source: Witten and Bell 1991 (method C), interpolated."""
    characters = sorted(set(train + test))
    table = {c: i for i, c in enumerate(characters)}
    a, b = (np.array([table[c] for c in text], dtype=np.int64) for text in (train, test))
    probability = np.full(len(b) - order, 1 / len(characters))
    for n in range(1, order + 1):  # from the shortest context to the longest
        seen, asked = (packed(ids, n, len(characters)) for ids in (a, b[order - n :]))
        grams, counts = np.unique(seen, return_counts=True)
        contexts, first = np.unique(grams // len(characters), return_index=True)
        totals = np.add.reduceat(counts, first)
        kinds = np.diff([*first, len(grams)])
        of_gram = looked_up(grams, counts, asked)[: len(probability)]
        total = looked_up(contexts, totals, asked // len(characters))[: len(probability)]
        kind = looked_up(contexts, kinds, asked // len(characters))[: len(probability)]
        known = total > 0
        mixed = (of_gram + kind * probability) / np.maximum(total + kind, 1)
        probability = np.where(known, mixed, probability)
    return float(-np.log(probability).mean())


def packed(ids: np.ndarray, n: int, base: int) -> np.ndarray:
    """Each run of n ids as one number."""
    runs = np.lib.stride_tricks.sliding_window_view(ids, n)
    return runs @ (base ** np.arange(n - 1, -1, -1, dtype=np.int64))


def looked_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """values at asked, 0 where a key is not there."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
