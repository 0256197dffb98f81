"""The world: how many processes train together, which of them this is, and what they tell one another.

One process is the null object SINGLE, so that step, loop, evaluation and records are written once.
Taught in notebook 11_ddp, which brings one of several; torch.distributed is named here alone."""

from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor, nn

Value = TypeVar("Value")


class World:
    """One process. Rank 0 is the one that writes files and decides when to save and to stop."""

    rank, size = 0, 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, the same on each of them."""
        return value

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, the same on each of them."""
        return value

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each .grad by its mean over all processes."""

    def broadcast(self, value: Value) -> Value:
        """What rank 0 has: a number, a text or None."""
        return value


SINGLE = World()
