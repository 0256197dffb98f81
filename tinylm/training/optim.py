"""Optimisers: which parameter goes to which optimiser, and the learning-rate schedule with its warm-up.

A step here is always an optimiser step, never a micro-batch. Gradients are clipped in training/step.
Taught in notebook 04_training. Source: Loshchilov and Hutter 2019, algorithm 2; 2017, equation 5."""

import math

import torch
from torch import nn

from tinylm.errors import ConfigError
from tinylm.model.layers import parameter_roles
from tinylm.training.config import Schedule, TrainConfig
from tinylm.training.muon import MuonAdamW

WSD_DECAY = 0.2  # the last fifth of a wsd run (Hägele et al. 2024, section 3.2)


def adamw(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """Return torch's fused AdamW with two groups: what decays (matrices, embeddings), and biases and norms.

    The role of a parameter decides, which the module that holds it declares (model.layers). Every trainable
    parameter is in exactly one group: a tied matrix once, a frozen parameter not at all."""
    roles = parameter_roles(model)
    trained = [(p, roles[name].decay) for name, p in model.named_parameters() if p.requires_grad]
    decayed, others = ([p for p, decays in trained if decays is kind] for kind in (True, False))
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser that the config asks for, over the trainable parameters of this model.

    "adamw" takes everything. "muon" takes the matrices whose role says so, those inside the blocks, and AdamW
    takes the rest, without decay: in an embedding, the head or a norm there is no reason to move every
    direction equally far. Raises ConfigError if nothing is trainable, or nothing by Muon."""
    betas = (config.beta1, config.beta2)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        count = sum(p.numel() for p in model.parameters())
        raise ConfigError(f"0 of {count} parameters are trainable: unfreeze some with requires_grad_(True)")
    if config.optimizer == "adamw":
        return adamw(model, learning_rate=config.learning_rate, betas=betas, weight_decay=config.weight_decay)
    rest = {"kind": "adamw", "params": [], "lr": config.learning_rate, "betas": betas}
    peak, groups = config.muon_learning_rate, {}
    for name, role in parameter_roles(model).items():
        if name in trained and role.muon:
            new = {"kind": "muon", "params": [], "lr": peak, "peak": peak, "momentum": config.muon_momentum}
            new["splits"] = role.splits
            new["weight_decay"] = config.weight_decay if role.decay else 0.0
            groups.setdefault((role.splits, role.decay), new)["params"].append(trained[name])
        elif name in trained:
            rest["params"].append(trained[name])
    if not groups:
        raise ConfigError("0 of the trainable parameters are matrices for muon: use optimizer adamw")
    return MuonAdamW([rest, *groups.values()])


def learning_rate(
    step: int, *, schedule: Schedule, peak: float, minimum: float, warmup_steps: int, steps: int
) -> float:
    """Return the learning rate of one optimiser step: a pure function.

    Steps count from 0. Step s of the warm-up has the rate peak · (s+1)/(warmup_steps+1), so step 0 already
    learns and step `warmup_steps` is the first at the peak. A decaying schedule reaches `minimum` exactly at
    step `steps`-1 and stays there. A run with no step left after the warm-up ends at its peak."""
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    last = steps - 1
    if schedule == "constant" or last <= warmup_steps:
        return peak
    held = round(last * (1 - WSD_DECAY)) if schedule == "wsd" else 0
    start = max(warmup_steps, min(last - 1, held))
    progress = min(max((step - start) / (last - start), 0.0), 1.0)  # 0 at the peak, 1 at the last step
    share = 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress
    return minimum + (peak - minimum) * share


def scheduled_rate(step: int, config: TrainConfig, peak: float | None = None) -> float:
    """Return learning_rate(step) of a run, for parameters with this peak (by default config.learning_rate).

    Every peak decays to the same share of itself. If that share is 0, the schedule is made one step longer: a
    last step with rate 0 would compute a gradient and not use it."""
    peak = config.learning_rate if peak is None else peak
    minimum = config.min_learning_rate * (peak / config.learning_rate if config.learning_rate else 0.0)
    steps = config.steps if minimum else config.steps + 1
    schedule, warmup = config.schedule, config.warmup_steps
    return learning_rate(
        step, schedule=schedule, peak=peak, minimum=minimum, warmup_steps=warmup, steps=steps
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TrainConfig) -> float:
    """Set every group's rate for this step, by its own `peak` where it has one. Return AdamW's rate."""
    for group in optimizer.param_groups:
        group["lr"] = scheduled_rate(step, config, group.get("peak"))
    return scheduled_rate(step, config)
