"""The doctor: the first tensor that is not finite, and whether a run goes as healthy ones went.

Taught in notebook 09_precision."""

import contextlib
import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tinylm.device import Precision, seeded_rng
from tinylm.model.losses import IGNORE_INDEX, LossFn, next_token_loss, select_targets

LARGE = 1000.0  # no weight of a GPT that learns comes near


@dataclass(frozen=True)
class Finding:
    """The first tensor that is not finite, and why; as text, one sentence."""

    part: str  # weight, input, output, loss, gradient or norm
    name: str  # of the parameter or module, such as blocks.2.mlp.up; the whole one is "the model"
    holds: str  # nan or infinity
    cause: str

    def __str__(self) -> str:
        of = " " if self.part == "weight" else " of "
        return f"the {self.part}{of}{self.name} holds {self.holds}: {self.cause}"


def first_bad(
    model: nn.Module,
    tokens: Tensor,
    targets: Tensor | None = None,
    *,
    loss_fn: LossFn = next_token_loss,
    precision: Precision | None = None,
    scale: float = 1.0,
) -> Finding | None:
    """The first tensor of a forward and a backward pass that is not finite, with its cause; None if all are.

    tokens, targets (B, T) int64; without targets they are the tokens that come next. The backward pass is of
    the mean loss times `scale`, as a scaler has it. A module's input is named where no output before it is
    bad: what stands between the modules made it. The model and the random state stay as they were."""
    if targets is None:
        tokens, targets = tokens[:, :-1], tokens[:, 1:]
    seen = magnitudes(model, tokens, targets, loss_fn, precision, scale)
    found = next((key for key, size in seen.items() if not math.isfinite(size)), None)
    if found is None:
        return None
    size, grown = max((size, name) for (part, name), size in seen.items() if part == "weight")
    most, exact = torch.finfo(torch.float16).max, math.inf
    if "float16" in (precision and precision.dtype, str(next(model.parameters()).dtype)[6:]):
        exact = magnitudes(copy.deepcopy(model).float(), tokens, targets, loss_fn, None, scale)[found]
    if found[0] == "weight":
        cause = "an update before broke it: its learning rate was too high, or its gradient was not finite"
    elif found[0] == "loss" and not (select_targets(loss_fn, tokens, targets) != IGNORE_INDEX).any():
        cause = f"a bad batch: 0 of {targets.numel():,} targets are scored, so the mean is 0/0"
    elif math.isfinite(exact):  # too large for float16 alone, here or in what was computed on the way
        size = f"{exact:,.0f} is" if exact > most else f"it is {exact:.3g}, but what makes it has numbers"
        cause = f"float16 overflow: {size} above {most:,.0f}"
        if found[0] == "gradient" and scale > 1:
            cause += f" with the loss times {scale:,.0f}; a scaler leaves such a step out, and halves that"
    elif size > LARGE:
        cause = f"the learning rate was too high: {grown} holds numbers as large as {size:.3g}"
    else:
        cause = f"no weight is above {size:.3g}, so it comes of an operation such as 0/0 or the log of 0"
    return Finding(*found, "nan" if math.isnan(seen[found]) else "infinity", cause)


def magnitudes(
    model: nn.Module,
    tokens: Tensor,
    targets: Tensor,
    loss_fn: LossFn = next_token_loss,
    precision: Precision | None = None,
    scale: float = 1.0,
) -> dict[tuple[str, str], float]:
    """What first_bad looks through: each tensor's largest absolute number, nan where it holds one, in the
    order in which they are made, by the part and the name that a Finding has."""
    seen, hooks, device = {}, [], next(model.parameters()).device
    tokens, targets = tokens.to(device), targets.to(device)

    def look(part: str, name: str, tensors: object) -> None:
        for tensor in tensors if isinstance(tensors, tuple) else (tensors,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                seen.setdefault((part, name), float(tensor.detach().abs().max()))
                if part in ("weight", "output") and tensor.requires_grad:
                    hooks.append(tensor.register_hook(lambda gradient: look("gradient", name, gradient)))

    try:
        for name, weight in model.named_parameters():
            look("weight", name, weight)
        for name, module in model.named_modules():
            at = name or "the model"
            hooks.append(module.register_forward_pre_hook(lambda _, given, at=at: look("input", at, given)))
            hooks.append(module.register_forward_hook(lambda _, __, made, at=at: look("output", at, made)))
        with seeded_rng(device, 0):
            with contextlib.nullcontext() if precision is None else precision.autocast():
                nats, _ = loss_fn(model, tokens, targets)
            loss = nats / (select_targets(loss_fn, tokens, targets) != IGNORE_INDEX).sum()
            look("loss", "the batch", loss)
            learned = [weight for weight in model.parameters() if weight.requires_grad]
            gradients = torch.autograd.grad(loss * scale, learned, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    norm = nn.utils.get_total_norm([g.float() / scale for g in gradients if g is not None])
    return seen | {("norm", "all gradients"): float(norm)}
