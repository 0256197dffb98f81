"""The state of a run: how far it has come (its progress), and everything that its next step depends on.

No random state is part of it: dropout masks and the order of the data follow from the seed and the step.
Taught in notebook 04_training."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tinylm.batch import TrainingBatches
from tinylm.device import Precision
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import SINGLE, World
from tinylm.training.step import StepResult


@dataclass
class Progress:
    """How far a run has come. A checkpoint stores it, and a resumed run continues counting from it."""

    step: int = 0  # optimiser steps finished; the next step has this number
    skipped: int = 0  # how many of them float16 skipped
    tokens: int = 0
    seconds: float = 0.0  # evaluations included
    val_losses: list[tuple[int, float]] = field(default_factory=list)  # (steps finished, nats per token)

    @property
    def best(self) -> tuple[int, float] | None:
        """Return the step and value of the lowest validation loss, None before the first evaluation.

        Use it to choose a checkpoint, never to report a result: the best point of a noisy curve is lucky."""
        return min(self.val_losses, key=lambda pair: pair[1], default=None)

    @property
    def since_best(self) -> int:
        """Count the evaluations since the lowest validation loss, for early stopping: its patience."""
        return len(self.val_losses) - 1 - self.val_losses.index(self.best) if self.val_losses else 0


@dataclass
class TrainingState:
    """The state of a run in progress. The training loop changes it in place; callbacks read it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision
    config: TrainConfig
    batches: TrainingBatches
    progress: Progress = field(default_factory=Progress)
    provenance: dict[str, Any] = field(default_factory=dict)  # plain JSON, must not change within a run
    world: World = SINGLE
    result: StepResult | None = None  # the last step; None once it was followed by an evaluation
    evaluation: Any | None = None  # what evaluate returned for these weights; None after the next step
    saved: str | None = None  # the name of the last checkpoint, or of the one it was resumed from

    @property
    def logged(self) -> bool:
        """Return whether the last step was logged, with floats: every config.log_every, and the last."""
        return self.result is not None and isinstance(self.result.loss, float)
