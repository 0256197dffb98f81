"""Recall: while a model is young, tokens that it could have copied from the story so far count more.

Such a token is a name or an object that its document has held before. In a story they are few, so the
gradient of all the others hides theirs, and a small model learns every list of words before it copies its
first name. This weighting is a trick of our own. Taught in notebook 08_tinystories."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinylm.batch import Batch

FALLS_OVER = 0.6  # of the run's rows: after these all tokens count alike


class Recall:
    """What `Batches` takes as `weigh`: a rare token that its document has held before counts `weight` times.

    The weight falls in a straight line to 1 over the first 60% of the run's rows, because a weight that looks
    at the target leans towards repeats. It is a function of the row's number alone, so a step has the same
    weights however it is divided.

    rare: (V,) bool, True for the ids that may be recalled. end: the id that ends each document.
    n_rows: rows that the whole run reads."""

    def __init__(self, rare: Tensor, *, end: int, weight: float, n_rows: int) -> None:
        self.rare, self.end, self.weight, self.n_rows = rare, end, weight, n_rows

    def __call__(self, numbers: Sequence[int], batch: Batch) -> Tensor:
        """Return the weight of each target, (B, T) float32, for the rows with these numbers."""
        done = torch.tensor(numbers) / (FALLS_OVER * self.n_rows)  # (B,) 0 at the first row
        extra = (self.weight - 1) * (1 - done).clamp_min(0)  # (B,)
        return 1 + extra[:, None] * recalled(batch.tokens, batch.targets, self.rare, self.end)  # (B, T)


def recalled(tokens: Tensor, targets: Tensor, rare: Tensor, end: int) -> Tensor:
    """Return which targets are rare and have appeared in their document before: bool (B, T)."""
    documents = (tokens == end).cumsum(-1)  # (B, T) which document each token belongs to
    same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    before = same & (targets[:, :, None] == tokens[:, None, :])  # (B, T, T) a target, a token before it
    return before.tril().any(-1) & rare[targets.clamp_min(0)]  # (B, T)
