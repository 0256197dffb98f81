"""Divergence: find nan and infinity where they begin, and name the first bad tensor.

Taught in notebook 04_training."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tinylm.errors import Divergence


def first_nonfinite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return "head.weight holds nan" for the first tensor that is not finite, None if all of them are."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} holds {'nan' if bool(tensor.isnan().any()) else 'infinity'}"
    return None


def check_finite(model: nn.Module, steps: list[tuple[int, float, Tensor]]) -> None:
    """Raise Divergence for the first step with a number that is not finite; otherwise empty the list.

    steps: (step, learning rate, its loss and perhaps the norm of its gradient: shape (1,) or (2,)). On a GPU,
    looking at a number makes Python wait. So several steps are checked together, a little late, and always
    before an evaluation and a checkpoint. The sentence names a tensor that is bad by now: the first weight,
    or the gradient that the backward pass computed first."""
    if not steps or torch.cat([numbers for *_, numbers in steps]).isfinite().all():
        steps.clear()
        return
    step, rate, numbers = next(step for step in steps if not step[-1].isfinite().all())
    loss = float(numbers[0])
    what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
    weights = dict(model.named_parameters())
    last_first = {f"the gradient of {name}": weights[name].grad for name in reversed(weights)}
    if bad := first_nonfinite(weights | {name: g for name, g in last_first.items() if g is not None}):
        what += f" (by now {bad})"
    raise Divergence(f"{what} at step {step} with learning rate {rate:g}")
