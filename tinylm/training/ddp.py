"""The world: how many processes train together, which of them this is, and what they tell one another.

One process is the null object SINGLE, so that step, loop, evaluation and records are written once.
Taught in notebook 11_ddp, which brings one of several; torch.distributed is named here alone."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class World:
    """One process. Rank 0 is the one that writes files and decides when to save and to stop."""

    rank, size = 0, 1

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, the same on each of them."""
        return value

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, the same on each of them."""
        return value

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each .grad by its mean over all processes."""

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has: a number, a text or None."""
        return value


SINGLE = World()
