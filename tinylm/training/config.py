"""Training configuration: every number that decides how a run goes, checked once, in one place.

Knows only plain numbers. Refuses to know models, tensors and devices. The attribute docstrings
are what `python -m tinylm train --help` prints.
Taught in notebook 04_training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tinylm.errors import ConfigError

Schedule = Literal["cosine", "linear", "constant", "wsd"]
OptimizerName = Literal["adamw", "muon"]
DTypeName = Literal[
    "auto", "float32", "bfloat16", "float16"
]  # device's: importing it would load torch, for --help too


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Raises ConfigError at construction; the message holds the way out."""

    steps: int = 2000
    """Optimiser steps in the whole run."""
    micro_batch_size: int = 12
    """Sequences per forward pass per device: as many as the memory holds."""
    tokens_per_step: int = 768
    """Tokens per optimiser step over all devices; micro-batches are accumulated until it is reached."""
    optimizer: OptimizerName = "adamw"
    """adamw for all parameters, or muon for the matrices inside the blocks and adamw for the rest."""
    learning_rate: float = 1e-3
    """AdamW's peak learning rate, reached when the warm-up ends."""
    min_learning_rate: float = 1e-4
    """Learning rate of the last step, for the schedules that decay."""
    warmup_steps: int = 100
    """Steps over which the rate rises linearly to its peak."""
    schedule: Schedule = "cosine"
    """What the rate does after the warm-up; wsd holds the peak, then falls over the last fifth."""
    weight_decay: float = 0.1
    """Decoupled decay of the matrices; gains and biases are never decayed. With muon, inside the blocks."""
    muon_learning_rate: float = 0.02
    """Muon's peak learning rate; the schedule moves it in step with the other."""
    muon_momentum: float = 0.95
    """Muon's memory of the gradient."""
    beta1: float = 0.9
    """AdamW's memory of the gradient."""
    beta2: float = 0.99
    """AdamW's memory of the squared gradient; 0.95 is common for large batches."""
    grad_clip: float = 1.0
    """The gradient is scaled down to this norm when it is longer; 0 switches clipping off."""
    eval_every: int = 250
    """Steps between evaluations; 0 evaluates only at the end."""
    patience: int = 0
    """Evaluations in a row that do not lower the best loss after which the run stops; 0 never stops early."""
    log_every: int = 10
    """Steps between logged lines."""
    seed: int = 1337
    """Decides the order of the data and the dropout masks."""
    dtype: DTypeName = "auto"
    """Arithmetic of the forward pass; auto takes what the device does best. Weights stay float32."""

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("micro_batch_size", 1),
            ("tokens_per_step", 1),
            ("log_every", 1),
            ("warmup_steps", 0),
            ("eval_every", 0),
            ("patience", 0),
            ("seed", 0),
            ("learning_rate", 0),
            ("min_learning_rate", 0),
            ("muon_learning_rate", 0),
            ("weight_decay", 0),
            ("grad_clip", 0),
        ):
            value = getattr(self, name)
            if not value >= least:  # also catches nan
                raise ConfigError(f"{name} {value} is below {least}: use {least} or more")
            if value == math.inf:
                raise ConfigError(f"{name} {value} is no number to count with: use a finite one")
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} is outside 0 ≤ {name} < 1: use 0.9 to 0.999")
        if self.min_learning_rate > self.learning_rate:
            raise ConfigError(
                f"min_learning_rate {self.min_learning_rate:g} is above the peak learning_rate "
                f"{self.learning_rate:g}: use a minimum of {self.learning_rate / 10:g}"
            )
        if self.warmup_steps >= self.steps:
            raise ConfigError(
                f"warmup_steps {self.warmup_steps} never ends within steps {self.steps}: "
                f"use {self.steps // 10} warm-up steps, or more steps than {self.warmup_steps}"
            )
        if self.patience and not self.eval_every:
            raise ConfigError(
                f"patience {self.patience} has nothing to wait for with eval_every {self.eval_every}: "
                f"use eval_every {max(1, self.steps // 10)}, or patience 0"
            )
        if self.seed >= 2**63:
            raise ConfigError(f"seed {self.seed} is above {2**63 - 1}: use a smaller one")
        _one_of("schedule", self.schedule, ("cosine", "linear", "constant", "wsd"))
        _one_of("optimizer", self.optimizer, ("adamw", "muon"))
        _one_of("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))

    def grad_accum_steps(self, context_length: int, world_size: int = 1) -> int:
        """Micro-batches per optimiser step on each device, so that tokens_per_step is met exactly.

        Raises ConfigError when tokens_per_step is not a whole number of micro-batches."""
        at_once = self.micro_batch_size * context_length * world_size  # tokens
        if self.tokens_per_step % at_once:
            below = self.tokens_per_step // at_once * at_once
            nearest = f"{below} or {below + at_once}" if below else f"{at_once}"
            devices = f" × world_size {world_size}" if world_size > 1 else ""
            raise ConfigError(
                f"tokens_per_step {self.tokens_per_step} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size} × context_length {context_length}{devices} = {at_once}: "
                f"use {nearest}"
            )
        return self.tokens_per_step // at_once


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r} is unknown: use one of {', '.join(allowed)}")
