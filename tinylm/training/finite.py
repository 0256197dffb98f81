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


def check_finite(
    model: nn.Module, loss: Tensor, grad_norm: Tensor | None = None, *, step: int, learning_rate: float
) -> None:
    """Raises Divergence before the optimiser uses numbers that are not finite: the weights stay good.

    Named is what went wrong first: a weight, else the loss, else a gradient. grad_norm is None where nobody
    computed it, or where a gradient may overflow (float16, whose scaler leaves such a step out)."""
    if math.isfinite(loss) and (grad_norm is None or math.isfinite(grad_norm)):
        return
    what = first_nonfinite(model.named_parameters())
    if what is None and not math.isfinite(loss):
        what = f"the loss is {float(loss)}"
    if what is None:  # the backward pass came to the last parameter first
        parameters = [(name, p) for name, p in model.named_parameters() if p.grad is not None]
        what = first_nonfinite((f"the gradient of {name}", p.grad) for name, p in reversed(parameters))
    what = what or f"the norm of the gradient is {float(grad_norm)}"
    raise divergence(what, step=step, learning_rate=learning_rate)


class DeferredFiniteCheck:
    """Steps whose numbers were left on the device, because checking each would make Python wait for it.

    They are checked together, a few steps late, and always before an evaluation and a checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._steps: list[tuple[int, float, Tensor]] = []

    def push(self, step: int, learning_rate: float, *numbers: Tensor) -> None:
        """Remember a step and the 0-dimensional tensors of it that have to be finite."""
        self._steps.append((step, learning_rate, torch.stack(numbers).detach()))

    def flush(self) -> None:
        """Raises Divergence for the first bad step, with what is bad by now. Forgets the good ones."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        good = torch.stack([numbers.isfinite().all() for _, _, numbers in steps]).tolist()
        for (step, rate, numbers), is_good in zip(steps, good, strict=True):
            if not is_good:
                loss, *_ = numbers.tolist()
                what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite"
                bad = first_nonfinite(self._model.named_parameters())
                by_now = f" (by now {bad})" if bad else ""
                raise divergence(what + by_now, step=step, learning_rate=rate)
