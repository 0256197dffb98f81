"""Batches: which tokens each rank reads at each step, as a pure function of the step.

No position is kept, so there is nothing to save: a resumed run reads what it would have read.
Taught in notebook 04_training (one process) and 11_ddp (ranks)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.errors import ConfigError, DataError, require_count
from tinylm.text.tokens import Tokens, in_pieces

ORDER_SEEN = 1024  # positions of the first epoch, enough to notice that numpy has come to permute otherwise

Keep = Callable[[Tensor, Tensor], Tensor]  # (tokens, targets), (B, T) each, to bool (B, T): what is scored
Weigh = Callable[[Sequence[int], Batch], Tensor]  # row numbers (B,) and their batch to weights (B, T)


class Batches:
    """Seeded batches from one long sequence of ids.

    Rows are counted through the whole run: step by step, micro-batch by micro-batch, rank by rank. Row r
    belongs to epoch r // windows_per_epoch. One epoch is a seeded permutation of windows that do not
    overlap, cut at an offset drawn anew for each epoch: inside an epoch nothing repeats, ranks never
    meet, and any division of the same global batch into ranks and micro-batches reads the same rows.
    A batch may hold the end of one epoch and the beginning of the next, so no window is ever skipped.

    tokens: integers, shape (N,), an array, a memmap or `tokens.Tokens`.
    batch_size: rows per micro-batch and rank. The permutation costs 8 bytes per window (80 MB for ten
    billion tokens in windows of 1024) and is numpy's own: resume with the same numpy.
    align: windows begin at multiples of it: with the length of a line, each row is made of whole lines. The
    last line of all is read only where an id follows it, because the last target would be missing.
    begins: rows begin at these positions alone, (D,), each once an epoch in a seeded order, as at the
    beginnings of documents; the rest of a document that is longer than a row is not read.
    keep: which targets are scored, keep(tokens, targets) -> bool (B, T); the others become IGNORE_INDEX.
    weigh: how much each target counts, weigh(row numbers, batch) -> float (B, T): a pure function too.
    end_of_text: the id that ends each document; with it attention stays inside documents (Batch.documents).
    fingerprint: a hash of the ids that is known already, such as Dataset.fingerprint; without it they are
    hashed here. Raises ConfigError for sizes that cannot be and DataError for too few tokens."""

    def __init__(
        self,
        tokens: np.ndarray | Tokens,
        *,
        context_length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        align: int = 1,
        begins: np.ndarray | None = None,
        keep: Keep | None = None,
        weigh: Weigh | None = None,
        end_of_text: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        require_count("seed", seed, least=0)
        require_count("world_size", world_size)
        require_count("rank", rank, least=0, most=world_size - 1)
        require_count("align", align)
        if context_length % align:
            whole = max(1, context_length // align) * align
            odd = f"context_length {context_length} is not made of whole lines of {align} tokens"
            raise ConfigError(f"{odd}: use {whole}, and tokens_per_step {whole * batch_size}")
        self.tokens = _checked(tokens, context_length, batch_size, least=context_length + 1)
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.rank, self.world_size, self.align = rank, world_size, align
        # One window is given up for the freedom to shift the rest. The offset takes all the room that
        # leaves, so that the last id is reached as well as the first.
        self.windows_per_epoch = max(1, len(tokens) // context_length - 1)
        self._max_offset = len(tokens) - 1 - self.windows_per_epoch * context_length
        self.keep, self.weigh, self.end_of_text = keep, weigh, end_of_text
        self._begins = begins
        if begins is not None:
            self._begins = begins[begins + context_length < len(tokens)]
            if not (n := len(self._begins)):
                few = f"{len(begins)} documents in {len(tokens)} tokens"
                raise DataError(f"{few} give {n} rows of {context_length}: give more")
            self.windows_per_epoch = n
        self._tokens_sha256 = fingerprint
        self._order = lru_cache(maxsize=2)(self._permutation)  # a batch may lie between two epochs

    def batch(self, step: int, micro_step: int = 0, micro_steps: int = 1) -> Batch:
        """Return the batch of this rank in this step: the rows that `rows` gives for its numbers."""
        if step < 0 or not 0 <= micro_step < micro_steps:
            raise DataError(f"no step {step}, micro_step {micro_step} of {micro_steps}: count from 0")
        first = ((step * micro_steps + micro_step) * self.world_size + self.rank) * self.batch_size
        return self.rows(range(first, first + self.batch_size))

    def rows(self, numbers: Sequence[int]) -> Batch:
        """Return the rows with these numbers, counted from 0 through all epochs: (B, T) each."""
        places = (divmod(number, self.windows_per_epoch) for number in numbers)
        begins = np.array([self._order(epoch)[place] for epoch, place in places])  # (B,)
        batch = _cut(self.tokens, begins, self.context_length, self.keep)
        if self.end_of_text is not None:  # the end of one document is what the next one is predicted from
            batch = replace(batch, documents=(batch.tokens == self.end_of_text).cumsum(-1))
        return batch if self.weigh is None else replace(batch, weights=self.weigh(numbers, batch))

    def fingerprint(self) -> dict[str, Any]:
        """Return what these batches are: two with the same fingerprint read the same rows in a step of as
        many, on however many ranks and in whatever micro-batches."""
        self._tokens_sha256 = self._tokens_sha256 or _sha256(self.tokens)
        order = self._order(0)[:ORDER_SEEN].astype("<i8")
        return {
            "tokens": self._tokens_sha256,
            "count": len(self.tokens),
            "context_length": self.context_length,
            "seed": self.seed,
            "order": hashlib.sha256(order.tobytes()).hexdigest(),
        }

    def _permutation(self, epoch: int) -> np.ndarray:
        """The positions of one epoch in the order of reading, shape (windows_per_epoch,)."""
        generator = np.random.default_rng([self.seed, epoch])
        if self._begins is not None:
            return generator.permutation(self._begins)
        offset = self.align * generator.integers(self._max_offset // self.align + 1)
        order = generator.permutation(self.windows_per_epoch)
        order *= self.context_length
        order += offset
        return order


class EvaluationRows:
    """Rows that score every id but the first exactly once, in reading order, the same ones each time.

    They are windows of context_length; row i scores the ids after i * T. With `documents`, the positions (D,)
    at which documents begin, from 0 on, each document is read from its beginning, after the id that ended
    the one before: a row then never holds two documents, and a long document has several rows.

    begins (N,): where each row begins; it scores the ids after that. Where a row is shorter than
    context_length its tokens are filled up with 0 and its targets with IGNORE_INDEX.
    keep: as for Batches. Raises ConfigError for sizes that cannot be and DataError for fewer than 2 ids."""

    def __init__(
        self,
        tokens: np.ndarray | Tokens,
        *,
        context_length: int,
        documents: np.ndarray | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.tokens = _checked(tokens, context_length, batch_size=1, least=2)
        self.context_length, self.keep = context_length, keep
        starts = np.zeros(1, dtype=np.int64) if documents is None else np.maximum(documents - 1, 0)  # (D,)
        stops = np.append(starts[1:], len(tokens) - 1)  # (D,) the last position that each scores
        n_rows = -(-(stops - starts) // context_length)  # (D,)
        within = np.arange(n_rows.sum()) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)  # (N,) 0, 1, …
        self.begins = np.repeat(starts, n_rows) + within * context_length  # (N,)
        self._ends = np.minimum(self.begins + context_length, np.repeat(stops, n_rows))  # (N,)

    def __len__(self) -> int:
        return len(self.begins)

    def rows(self, numbers: Sequence[int]) -> Batch:
        """Return the rows with these numbers, counted from 0: (B, T) each."""
        chosen = np.asarray(numbers)
        return _cut(self.tokens, self.begins[chosen], self.context_length, self.keep, self._ends[chosen])


def _cut(
    tokens: np.ndarray | Tokens,
    begins: np.ndarray,
    context_length: int,
    keep: Keep | None,
    ends: np.ndarray | None = None,
) -> Batch:
    """The ids from each of `begins` on, (B, T), up to those at `ends`, which are the last targets."""
    inputs = np.zeros((len(begins), context_length), dtype=np.int64)
    targets = np.full_like(inputs, IGNORE_INDEX)
    ends = begins + context_length if ends is None else ends
    for row, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        ids = np.asarray(tokens[begin : end + 1])
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, : len(ids) - 1] = ids[1:]
    batch = Batch(torch.from_numpy(inputs), torch.from_numpy(targets))
    if keep is None:
        return batch
    return replace(batch, targets=batch.targets.masked_fill(~keep(batch.tokens, batch.targets), IGNORE_INDEX))


def _sha256(tokens: np.ndarray | Tokens) -> str:
    """The hash of the ids as 4 bytes each: the same whatever type they are kept in."""
    digest = hashlib.sha256()
    for _, piece in in_pieces(tokens):
        digest.update(np.ascontiguousarray(piece, dtype="<u4").data)
    return digest.hexdigest()


def _checked(tokens: Any, context_length: int, batch_size: int, *, least: int) -> np.ndarray | Tokens:
    require_count("context_length", context_length)
    require_count("batch_size", batch_size)
    if len(tokens.shape) != 1 or np.dtype(tokens.dtype).kind not in "iu":
        raise DataError(f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype} are no row of ids")
    if len(tokens) < least:
        few = f"{len(tokens)} tokens are too few for context_length {context_length}: give at least {least}"
        raise DataError(f"{few}, or a context_length of {max(len(tokens) - 1, 1)} or less")
    # A plain view of a memmap: the same bytes on disk without the subclass's cost per slice.
    return np.asarray(tokens) if isinstance(tokens, np.ndarray) else tokens
