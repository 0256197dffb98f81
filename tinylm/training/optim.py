"""Optimisers: which parameters are decayed, AdamW, and the learning rate as a function of the step.

Knows parameters and plain numbers. Refuses to know losses, data and the loop; a step here is always
an optimiser step, never a micro-batch.
Taught in notebook 04_training. Source: Loshchilov and Hutter 2019, algorithm 2; 2017, equation 5."""

from __future__ import annotations

import math

import torch
from torch import nn

from tinylm.training.config import Schedule

WSD_DECAY = 0.2
"""The last fifth of a wsd run decays (Hägele et al. 2024, section 3.2)."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups for an optimiser: matrices (two dimensions or more) decay, gains and biases do not.

    Every trainable parameter is in exactly one group; a tied matrix counts once; a frozen one not at all."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the two parameter groups; one fused kernel where this torch has it for the device."""
    groups = parameter_groups(model, weight_decay)
    try:
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    except RuntimeError:  # this torch or this device has no fused AdamW: same numbers, slower
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)


def learning_rate(
    step: int, *, schedule: Schedule, peak: float, minimum: float, warmup_steps: int, steps: int
) -> float:
    """The learning rate of one optimiser step; a pure function.

    Steps count from 0. Step s of the warm-up has peak · (s+1)/(warmup_steps+1), so that step 0 already
    learns and step `warmup_steps` is the first at the peak. A decaying schedule reaches `minimum` exactly at
    step `steps`-1 and stays there; a run with no step left after the warm-up ends at its peak."""
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    last = steps - 1
    if schedule == "constant" or last <= warmup_steps:
        return peak
    start = (
        warmup_steps if schedule != "wsd" else max(warmup_steps, min(last - 1, round(last * (1 - WSD_DECAY))))
    )
    progress = min(max((step - start) / (last - start), 0.0), 1.0)  # 0 at the peak, 1 at the last step
    share = 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress
    return minimum + (peak - minimum) * share
