"""Divergence: nan and infinity are caught where they begin, and the first bad tensor is named.

Taught in notebook 04_training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tinylm.errors import Divergence


def divergence(what: str, *, step: int, learning_rate: float) -> Divergence:
    """The error that says what went wrong, when, and at which rate."""
    return Divergence(f"{what} at step {step} with learning rate {learning_rate:g}")


def first_nonfinite(tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> str | None:
    """ "head.weight holds nan" for the first tensor that is not finite; None when all are."""
    for name, tensor in tensors.items() if isinstance(tensors, Mapping) else tensors:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} holds {'nan' if bool(tensor.isnan().any()) else 'infinity'}"
    return None


class FiniteCheck:
    """The numbers of steps that have to be finite. Where Python would have to wait for a step to look at it,
    several are looked at together, a little late, and always before an evaluation and a checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._steps: list[tuple[int, float, Tensor]] = []

    def push(self, step: int, learning_rate: float, loss: Tensor, *grad_norm: Tensor) -> None:
        """Remember a step and its 0-dimensional tensors. The norm is left out where nobody computed it, or
        where a gradient may overflow (float16, whose scaler leaves such a step out)."""
        self._steps.append((step, learning_rate, torch.stack([loss, *grad_norm]).detach()))

    def flush(self) -> None:
        """Raises Divergence for the first bad step, and names a tensor that is bad by now: a weight, else the
        gradient that the backward pass came to first. Forgets the good steps."""
        steps, self._steps = self._steps, []
        if not steps or torch.cat([numbers for *_, numbers in steps]).isfinite().all():
            return
        step, rate, numbers = next(step for step in steps if not step[-1].isfinite().all())
        loss = float(numbers[0])
        what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        weights = list(self._model.named_parameters())
        gradients = [(f"the gradient of {name}", p.grad) for name, p in weights if p.grad is not None]
        bad = first_nonfinite([*weights, *reversed(gradients)])
        raise divergence(f"{what} (by now {bad})" if bad else what, step=step, learning_rate=rate)
