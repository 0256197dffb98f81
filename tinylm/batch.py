"""Batch: what the data hands to a model and its loss: tokens, targets, and all that is known about them.

It lives on the ground floor because the data makes it and the losses read it, and neither knows the other.
Taught in notebooks 04_training and 06_custom_losses."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn

from tinylm.device import Device, copy_to

IGNORE_INDEX = nn.CrossEntropyLoss().ignore_index  # -100, torch's own: a target that is not scored


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens with what should follow each of them."""

    tokens: Tensor  # (B, T) int64: what the model reads
    targets: Tensor  # (B, T) int64: the next token at each position, or IGNORE_INDEX where nothing is scored
    weights: Tensor | None = None  # (B, T) float: how much each target counts; None counts all alike
    documents: Tensor | None = None  # (B, T) int: attention stays inside a document; None has no borders
    source: Tensor | None = None  # (B,) int: which source of a mixture each row is from

    def scored(self) -> Tensor:
        """Return how much each target counts: (B, T) float32, exactly 0 where it is not scored."""
        scored = (self.targets != IGNORE_INDEX).float()
        return scored if self.weights is None else scored * self.weights

    def to(self, device: Device) -> Self:
        """Return the same batch on this device. A GPU is not waited for."""
        copied = {name: t if t is None else copy_to(device, t) for name, t in vars(self).items()}
        return type(self)(**copied)


class TrainingBatches(Protocol):
    """What a training step and a checkpoint ask of batches, whatever they are cut from."""

    batch_size: int
    context_length: int
    rank: int
    world_size: int

    def batch(self, step: int, micro_step: int = 0, micro_steps: int = 1) -> Batch:
        """Return the batch of this rank: (B, T), targets are the next ids or IGNORE_INDEX."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change in a resumed run, as plain JSON: nothing of how a step is divided."""
