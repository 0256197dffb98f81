"""Batches: which tokens each rank reads at each step, as a pure function of the step.

No position is kept, so there is nothing to save: a resumed run reads what it would have read.
Taught in notebook 04_training (one process) and 11_ddp (ranks)."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tinylm.errors import ConfigError, DataError, require_count
from tinylm.text.shards import Tokens, in_pieces

IGNORE_INDEX = nn.CrossEntropyLoss().ignore_index  # a target that is not scored: torch's own, -100
ORDER_SEEN = 1024  # positions of the first epoch, enough to notice that numpy has come to permute otherwise


class TrainingBatches(Protocol):
    """What a training step and a checkpoint ask of batches, whatever they are cut from."""

    batch_size: int
    context_length: int
    rank: int
    world_size: int

    def batch(self, step: int, micro_step: int = 0, micro_steps: int = 1) -> tuple[Tensor, Tensor]:
        """(tokens, targets) of this rank, int64, (B, T) each; targets are the next ids or IGNORE_INDEX."""

    def count_targets(self, step: int, micro_steps: int = 1) -> int:
        """How many targets of this rank are scored in that step, known before they are read."""

    def fingerprint(self) -> dict[str, Any]:
        """What must not change in a resumed run, as plain JSON: nothing of how a step is divided."""


class Batches:
    """Seeded batches of (tokens, targets) from one long row of ids.

    Rows are counted through the whole run: step by step, micro-batch by micro-batch, rank by rank. Row r
    belongs to epoch r // windows_per_epoch. One epoch is a seeded permutation of windows that do not
    overlap, cut at an offset drawn anew for each epoch: inside an epoch nothing repeats, ranks never
    meet, and any division of the same global batch into ranks and micro-batches reads the same rows.
    A batch may hold the end of one epoch and the beginning of the next, so no window is ever skipped.

    tokens: whole numbers, shape (N,), an array, a memmap or `shards.Tokens`.
    batch_size: rows per micro-batch and rank. The permutation costs 8 bytes per window (80 MB for ten
    billion tokens in windows of 1024) and is numpy's own: resume with the same numpy.
    align: windows begin at multiples of it: with the length of a line, each row is made of whole lines. The
    last line of all is read only where an id follows it, because the last target would be missing.
    begins: rows begin at these ids alone, (D,), each once an epoch in a seeded order, as at the beginnings of
    documents; the rest of a document that is longer than a row is not read.
    fingerprint: what the ids are known by, such as Dataset.fingerprint; without it they are hashed.
    Raises ConfigError for sizes that cannot be and DataError for too few tokens."""

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
        self._begins = begins
        if begins is not None:
            self._begins = begins[begins + context_length < len(tokens)]
            if not (n := len(self._begins)):
                few = f"{len(begins)} documents in {len(tokens)} tokens"
                raise DataError(f"{few} give {n} rows of {context_length}: give more")
            self.windows_per_epoch = n
        self._tokens_sha256 = fingerprint
        self._order = lru_cache(maxsize=2)(self._order)  # a batch may stand between two epochs

    def batch(self, step: int, micro_step: int = 0, micro_steps: int = 1) -> tuple[Tensor, Tensor]:
        """The (tokens, targets) of this rank, int64, shape (B, T) each; targets are the next ids."""
        if step < 0 or not 0 <= micro_step < micro_steps:
            raise DataError(f"no step {step}, micro_step {micro_step} of {micro_steps}: count from 0")
        first = ((step * micro_steps + micro_step) * self.world_size + self.rank) * self.batch_size
        places = (divmod(row, self.windows_per_epoch) for row in range(first, first + self.batch_size))
        begins = [int(self._order(epoch)[place]) for epoch, place in places]
        return _rows(self.tokens, begins, self.context_length)

    def count_targets(self, step: int, micro_steps: int = 1) -> int:
        """How many targets of this rank are scored in that step: all of them."""
        return micro_steps * self.batch_size * self.context_length

    def fingerprint(self) -> dict[str, Any]:
        """What these batches are: two with the same fingerprint read the same rows in a step of as many, on
        however many ranks and in whatever micro-batches."""
        self._tokens_sha256 = self._tokens_sha256 or _sha256(self.tokens)
        order = self._order(0)[:ORDER_SEEN].astype("<i8")
        return {
            "tokens": self._tokens_sha256,
            "count": len(self.tokens),
            "context_length": self.context_length,
            "seed": self.seed,
            "order": hashlib.sha256(order.tobytes()).hexdigest(),
        }

    def _order(self, epoch: int) -> np.ndarray:
        """The positions of one epoch in the order of reading, shape (windows_per_epoch,)."""
        generator = np.random.default_rng([self.seed, epoch])
        if self._begins is not None:
            return generator.permutation(self._begins)
        offset = self.align * generator.integers(self._max_offset // self.align + 1)
        order = generator.permutation(self.windows_per_epoch)
        order *= self.context_length
        order += offset
        return order


def evaluation_windows(
    tokens: np.ndarray | Tokens, context_length: int, batch_size: int, *, chosen: Sequence[int] | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Fixed windows in reading order, for evaluation: (tokens, targets), int64, (B, T) each.

    Every id but the first is a target exactly once. The last window is padded: its tokens with 0, its
    targets with IGNORE_INDEX. The last batch may have fewer rows. With `chosen`, only the windows with
    these numbers are read, in that order; they count from 0, and window i scores the ids after i * T.
    Raises ConfigError for sizes that cannot be and DataError for fewer than 2 ids."""
    tokens = _checked(tokens, context_length, batch_size, least=2)
    n_windows = -(-(len(tokens) - 1) // context_length)
    windows = range(n_windows) if chosen is None else chosen
    for at in range(0, len(windows), batch_size):
        begins = [window * context_length for window in windows[at : at + batch_size]]
        yield _rows(tokens, begins, context_length)


def _rows(tokens: np.ndarray | Tokens, begins: list[int], context_length: int) -> tuple[Tensor, Tensor]:
    """The ids from each of `begins` on as (tokens, targets), (B, T) each, padded where the ids end."""
    inputs = np.zeros((len(begins), context_length), dtype=np.int64)
    targets = np.full_like(inputs, IGNORE_INDEX)
    for row, begin in enumerate(begins):
        ids = np.asarray(tokens[begin : begin + context_length + 1])
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, : len(ids) - 1] = ids[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


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
