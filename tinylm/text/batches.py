"""Batches: which tokens each rank reads at each step, as a pure function.

Knows only a long row of ids, a step and a rank; keeps no position, so there is nothing to save and a
resumed run reads what it would have read. Refuses to know text, files and models.
Taught in notebook 04_training (one process) and 11_ddp (ranks)."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tinylm.errors import DataError

IGNORE_INDEX = torch.nn.CrossEntropyLoss().ignore_index  # -100: a target that is not scored
HASHED_AT_ONCE = 1 << 24  # ids


class Batches:
    """Seeded batches of (tokens, targets) from one long row of ids.

    Rows are counted through the whole run: step by step, micro-batch by micro-batch, rank by rank. Row r
    belongs to epoch r // windows_per_epoch. One epoch is a seeded permutation of windows that do not
    overlap, cut at an offset drawn anew for each epoch: inside an epoch nothing repeats, ranks never
    meet, and any division of the same global batch into ranks and micro-batches reads the same rows.
    A batch may hold the end of one epoch and the beginning of the next, so no window is ever skipped.

    With `starts`, the windows are the T + 1 ids from each of these positions (beginnings of documents);
    then no start repeats inside an epoch, and a start with fewer than T + 1 ids after it is left out.

    tokens: whole numbers, shape (N,), an array, a memmap or what `shards.open_tokens` returns.
    batch_size: rows per micro-batch and rank. The permutation costs 8 bytes per window (80 MB for ten
    billion tokens in windows of 1024) and is numpy's own: resume with the same numpy.
    Raises DataError for too few tokens and for sizes or positions out of range.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        *,
        context_length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        starts: np.ndarray | None = None,
    ) -> None:
        self.tokens = _checked(tokens, context_length, batch_size)
        if seed < 0:
            raise DataError(f"seed {seed} is negative: use 0 or more")
        if not 0 <= rank < world_size:
            raise DataError(
                f"rank {rank} is outside a world of {world_size}: ranks run from 0 to {world_size - 1}"
            )
        self.context_length, self.batch_size, self.seed = context_length, batch_size, seed
        self.rank, self.world_size = rank, world_size
        spare = len(tokens) - 1 - context_length  # the last position at which a window can begin
        if spare < 0:
            raise DataError(
                f"{len(tokens)} tokens are too few for one window of {context_length} + 1: "
                f"use context_length {max(len(tokens) - 1, 1)} or less, or more text"
            )
        self.starts = None if starts is None else _checked_starts(starts, len(tokens), spare)
        if self.starts is None:
            # One window is given up for the freedom to shift the rest. The offset takes all the room that
            # leaves, so that the last id is reached as well as the first.
            self.windows_per_epoch = max(1, len(tokens) // context_length - 1)
            self._max_offset = len(tokens) - 1 - self.windows_per_epoch * context_length
        else:
            self.windows_per_epoch = len(self.starts)
        self._row = np.arange(context_length + 1)  # (T + 1,)
        self._epochs: dict[int, np.ndarray] = {}

    def batch(
        self, step: int, micro_step: int = 0, micro_steps: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The (tokens, targets) of this rank, int64, shape (B, T) each; targets are the next ids.

        A pure function of (tokens, seed, step, micro_step, micro_steps, rank, world_size).
        """
        if step < 0 or not 0 <= micro_step < micro_steps:
            raise DataError(
                f"step {step}, micro_step {micro_step} of {micro_steps} does not exist: both count from 0"
            )
        unit = (step * micro_steps + micro_step) * self.world_size + self.rank
        begin = self._positions(unit * self.batch_size)  # (B,)
        rows = self.tokens[begin[:, None] + self._row].astype(np.int64)  # (B, T + 1)
        inputs, targets = np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])  # (B, T) each
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def epoch(self, step: int, micro_steps: int = 1) -> float:
        """How many times the windows have been gone through when `step` begins."""
        return step * micro_steps * self.world_size * self.batch_size / self.windows_per_epoch

    def identity(self, step: int) -> dict[str, Any]:
        """What these batches are, for a checkpoint: two with the same identity read the same from `step` on.

        Every id is hashed, once for these batches (a second or two for each billion). `order` is the hash
        of one batch at `step`: it also tells when numpy itself has come to permute otherwise."""
        drawn = self.batch(step)
        return {
            "count": len(self.tokens),
            "tokens": self._tokens_sha256,
            "starts": None if self.starts is None else _sha256(self.starts),
            "context_length": self.context_length,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "world_size": self.world_size,
            "order": _sha256(torch.stack(drawn).numpy()),
        }

    @cached_property
    def _tokens_sha256(self) -> str:
        return _sha256(self.tokens)

    def _positions(self, row: int) -> np.ndarray:
        """Where the windows of the rows `row` to `row + B` begin, shape (B,)."""
        parts, left = [], self.batch_size
        while left > 0:
            epoch, place = divmod(row, self.windows_per_epoch)
            part = self._order(epoch)[place : place + left]
            parts.append(part)
            row, left = row + len(part), left - len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)  # (B,)

    def _order(self, epoch: int) -> np.ndarray:
        """The positions of one epoch in the order of reading, shape (windows_per_epoch,)."""
        if epoch not in self._epochs:
            for old in [e for e in self._epochs if e != epoch - 1]:  # two epochs at most are kept
                del self._epochs[old]
            generator = np.random.default_rng([self.seed, epoch])
            if self.starts is None:
                offset = generator.integers(self._max_offset + 1)
                order = generator.permutation(self.windows_per_epoch)
                order *= self.context_length
                order += offset
            else:
                order = generator.permutation(self.starts)
            self._epochs[epoch] = order
        return self._epochs[epoch]


def windows(
    tokens: np.ndarray, context_length: int, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Fixed windows in reading order, for evaluation: (tokens, targets), int64, (B, T) each.

    Every id but the first is a target exactly once. The last window is padded: its tokens with 0, its
    targets with IGNORE_INDEX. The last batch may have fewer rows. Raises DataError for fewer than 2 ids.
    """
    tokens = _checked(tokens, context_length, batch_size)
    if len(tokens) < 2:
        raise DataError(f"{len(tokens)} tokens hold no target to score: give at least 2")
    return _windows(tokens, context_length, batch_size)


def _windows(tokens: np.ndarray, length: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    n_targets = len(tokens) - 1
    for first in range(0, n_targets, batch_size * length):
        last = min(first + batch_size * length, n_targets)
        n_rows = -(-(last - first) // length)
        inputs = np.zeros(n_rows * length, dtype=np.int64)
        targets = np.full(n_rows * length, IGNORE_INDEX, dtype=np.int64)
        inputs[: last - first] = tokens[first:last]
        targets[: last - first] = tokens[first + 1 : last + 1]
        yield (
            torch.from_numpy(inputs).view(n_rows, length),
            torch.from_numpy(targets).view(n_rows, length),
        )  # (B, T)


def _sha256(numbers: np.ndarray) -> str:
    """The hash of whole numbers, whatever type they are kept in."""
    digest = hashlib.sha256()
    for begin in range(0, len(numbers), HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(numbers[begin : begin + HASHED_AT_ONCE], dtype="<i8").data)
    return digest.hexdigest()


def _checked(tokens: np.ndarray, context_length: int, batch_size: int) -> np.ndarray:
    if context_length < 1 or batch_size < 1:
        raise DataError(
            f"context_length {context_length} and batch_size {batch_size} must both be at least 1"
        )
    if len(tokens.shape) != 1 or np.dtype(tokens.dtype).kind not in "iu":
        raise DataError(
            f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype} are not one row of ids: "
            f"give one long array of whole numbers"
        )
    # A plain view of a memmap: the same bytes on disk without the subclass's cost per slice.
    return tokens.view(np.ndarray) if isinstance(tokens, np.ndarray) else tokens


def _checked_starts(starts: np.ndarray, n_tokens: int, spare: int) -> np.ndarray:
    starts = np.asarray(starts)
    if starts.ndim != 1 or starts.size == 0 or starts.dtype.kind not in "iu":
        raise DataError(f"starts of shape {starts.shape} and type {starts.dtype} are not a row of positions")
    starts = np.sort(starts.astype(np.int64))
    if starts[0] < 0 or starts[-1] >= n_tokens:
        raise DataError(
            f"starts run from {starts[0]} to {starts[-1]}, which are not all positions in {n_tokens} tokens: "
            f"those run from 0 to {n_tokens - 1}"
        )
    if (starts[1:] == starts[:-1]).any():
        raise DataError(
            f"starts hold {len(starts)} positions, {len(np.unique(starts))} of them distinct: give each once"
        )
    usable = starts[starts <= spare]
    if not usable.size:
        raise DataError(
            f"none of the {len(starts)} starts leaves room for one window: the first is {starts[0]}, "
            f"the last that would is {spare}"
        )
    return usable
