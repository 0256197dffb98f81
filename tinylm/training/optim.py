"""Optimisers: which parameter goes to which optimiser, and the learning rate as a function of the step.

Knows parameters and plain numbers. Refuses to know losses, data and the loop; a step here is always
an optimiser step, never a micro-batch.
Taught in notebook 04_training. Source: Loshchilov and Hutter 2019, algorithm 2; 2017, equation 5."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tinylm.errors import ConfigError
from tinylm.model.attention import CausalSelfAttention
from tinylm.training.config import OptimizerName, Schedule
from tinylm.training.muon import Muon

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
    return _adamw(parameter_groups(model, weight_decay), learning_rate, betas)


class Optimizers:
    """Several optimisers that act as one: one list of parameter groups, one step, one state dict.

    The state dict has torch's own layout, with the parameters numbered through all of them."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all of them, in order: the very dictionaries that they read."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """One step of each."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: its tensors}, "param_groups": [...]}, as torch has it."""
        state, groups, first = {}, [], 0
        for optimizer in self.optimizers:
            own = optimizer.state_dict()
            state |= {first + number: tensors for number, tensors in own["state"].items()}
            groups += [g | {"params": [first + n for n in g["params"]]} for g in own["param_groups"]]
            first += _n_parameters(optimizer)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of state_dict, for the same parameters in the same groups."""
        groups, first = list(state_dict["param_groups"]), 0
        for optimizer in self.optimizers:
            last = first + _n_parameters(optimizer)
            state = {n - first: s for n, s in state_dict["state"].items() if first <= n < last}
            own, groups = groups[: len(optimizer.param_groups)], groups[len(optimizer.param_groups) :]
            own = [g | {"params": [n - first for n in g["params"]]} for g in own]
            optimizer.load_state_dict({"state": state, "param_groups": own})
            first = last


def make_optimizer(
    model: nn.Module,
    *,
    optimizer: OptimizerName,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    muon_learning_rate: float,
    muon_momentum: float,
) -> torch.optim.Optimizer | Optimizers:
    """ "adamw" for everything, or "muon" for the matrices inside the blocks and AdamW for the rest.

    The rest are the embeddings, the head and the gains: for them a direction has no reason to be as long as
    any other, and they are not decayed. Every group says under `lr_ratio` how its rate compares with
    `learning_rate`, so that one schedule moves them all. Raises ConfigError when nothing would move."""
    if not any(p.requires_grad for p in model.parameters()):
        count = sum(p.numel() for p in model.parameters())
        raise ConfigError(f"0 of {count} parameters are trainable: unfreeze some with requires_grad_(True)")
    if optimizer == "adamw":
        return adamw(model, learning_rate=learning_rate, betas=betas, weight_decay=weight_decay)
    rest, groups = muon_groups(model)
    if not (rest and groups):
        where = "outside" if groups else "inside"
        raise ConfigError(
            f"muon works inside the blocks and adamw outside, and 0 parameters {where} are trainable: "
            "use optimizer adamw for all of them"
        )
    for group in groups:
        group["lr_ratio"] = muon_learning_rate / learning_rate if learning_rate else 0.0
    return Optimizers(
        _adamw(rest, learning_rate, betas),
        Muon(groups, lr=muon_learning_rate, momentum=muon_momentum, weight_decay=weight_decay),
    )


def muon_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[dict]]:
    """What AdamW keeps, and the groups for Muon: the matrices of model.blocks.

    The query, key and value matrices of all heads are stored as one; Muon is told to cut them apart, because
    what is strong in one head should not decide how another one moves."""
    inside = [p for p in model.blocks.parameters() if p.requires_grad and p.ndim == 2]
    heads = {
        id(module.qkv.weight): 3 * module.n_head
        for module in model.modules()
        if isinstance(module, CausalSelfAttention)
    }
    by_blocks: dict[int, list[nn.Parameter]] = {}
    for p in inside:
        by_blocks.setdefault(heads.get(id(p), 1), []).append(p)
    taken = {id(p) for p in inside}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    return rest, [{"params": matrices, "blocks": blocks} for blocks, matrices in by_blocks.items()]


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


def _adamw(groups: list, learning_rate: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    try:
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, weight_decay=0.0, fused=True)
    except RuntimeError:  # this torch or this device has no fused AdamW: same numbers, slower
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, weight_decay=0.0)


def _n_parameters(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)
