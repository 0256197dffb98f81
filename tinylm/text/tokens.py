"""Tokens: rows of ids that need not fit into memory, read as if they were one array.

Nothing here knows files, tokenizers or downloads, so a training step imports none of those.
Taught in notebook 12_gpt2."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

READ_AT_ONCE = 1 << 22  # ids


class Tokens:
    """Several arrays read as one row of ids, without joining them in memory.

    A slice is a view: the array itself where it lies in one part, as nearly every row of a batch does,
    otherwise Tokens again. np.asarray joins them in memory."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        # Plain views of memmaps: the same bytes on disk without the subclass's cost per slice.
        self._parts = [np.asarray(part) for part in parts if len(part)] or [np.asarray(parts[0])]
        self._begins = list(accumulate((len(part) for part in self._parts), initial=0))
        self.dtype = np.result_type(*self._parts)
        self.shape = (self._begins.pop(),)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice) -> "np.ndarray | Tokens":
        begin, end, stride = index.indices(len(self))
        if stride != 1:
            raise IndexError(f"Tokens are read from left to right, one by one: not by steps of {stride}")
        end = max(begin, end)
        first = bisect_right(self._begins, begin) - 1
        last = max(first + 1, bisect_left(self._begins, end))
        reached = zip(self._begins[first:last], self._parts[first:last], strict=True)
        parts = [part[max(begin - at, 0) : end - at] for at, part in reached]
        return parts[0] if len(parts) == 1 else Tokens(parts)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self._parts, dtype=dtype or self.dtype)  # (N,), all of it in memory


def in_pieces(tokens: np.ndarray | Tokens) -> Iterator[tuple[int, np.ndarray]]:
    """(where it begins, some ids) from left to right: of ids on disk only so many are in memory at a time."""
    for begin in range(0, len(tokens), READ_AT_ONCE):
        yield begin, np.asarray(tokens[begin : begin + READ_AT_ONCE])
