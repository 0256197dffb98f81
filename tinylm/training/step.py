"""The step: one update of the weights, from micro-batches to the optimiser.

Knows models, batches and optimisers. Refuses to know what came before and what comes after (loop): it is a
function of the weights, the seed and the step.
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import torch
from torch import nn

from tinylm.device import Precision, seeded_rng, synchronize
from tinylm.errors import ConfigError
from tinylm.model.losses import next_token_loss
from tinylm.text.batches import IGNORE_INDEX, Batches
from tinylm.training.config import TrainConfig
from tinylm.training.finite import DeferredFiniteCheck, check_loss_scale, refuse
from tinylm.training.optim import Optimizers, learning_rate, make_optimizer


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What one optimiser step did. Steps count from 0; the loss is that of the weights before the update.

    At measured steps the numbers are floats. In between, loss and grad_norm stay on the device as
    0-dimensional tensors (turning them into floats would make Python wait for the device) and the
    last two are None."""

    step: int
    loss: float | torch.Tensor
    """Nats per token, mean over the whole batch of the step."""
    learning_rate: float
    grad_norm: float | torch.Tensor
    """Length of the gradient of all parameters together, before clipping."""
    update_ratio: float | None = None
    """Length of the update over length of the weights, of one matrix in the middle of the model."""
    tokens_per_second: float | None = None


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Optimizers,
    batches: Batches,
    *,
    step: int,
    config: TrainConfig,
    precision: Precision | None = None,
    measure: bool = True,
    unseen: DeferredFiniteCheck | None = None,
) -> StepResult:
    """One optimiser step on config.tokens_per_step tokens, a pure function of (weights, config.seed, step).

    The micro-batches add up to the gradient of the whole batch: each divides its summed loss by the
    number of targets in all of them. measure=False leaves the numbers on the device. Raises Divergence, with
    the weights as they were, when the loss or the gradient is not finite; where the device runs ahead of
    Python, an unmeasured step is left to `unseen`."""
    precision = precision or _default_precision(model, config)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if measure:
        synchronize(precision.device)
    started = time.perf_counter()
    micro_steps = config.grad_accum_steps(batches.context_length, batches.world_size)
    micro_batches = [batches.batch(step, i, micro_steps) for i in range(micro_steps)]  # (B, T) each
    n_targets = sum(int((targets != IGNORE_INDEX).sum()) for _, targets in micro_batches)

    rate = set_learning_rate(optimizer, step, config)  # by the step, never by the micro-step
    optimizer.zero_grad(set_to_none=True)  # once a step: the micro-batches accumulate
    losses = []
    with seeded_rng(precision.device, _dropout_seed(config.seed, step, batches.rank)):
        for tokens, targets in micro_batches:
            with precision.autocast():
                nats, _ = next_token_loss(model, tokens.to(precision.device), targets.to(precision.device))
                loss = nats / n_targets
            precision.scaler.scale(loss).backward()
            losses.append(loss.detach())
    loss = losses[0] if micro_steps == 1 else torch.stack(losses).sum()
    precision.scaler.unscale_(optimizer)  # before clipping: the clip is for true gradients
    grad_norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    suspects = (loss,) if precision.skips_overflow else (loss, grad_norm)
    if measure or precision.is_synchronous:  # a look costs no waiting
        if unseen is not None:
            unseen.look()  # an earlier step may be to blame
        refuse(model, *suspects, step=step, learning_rate=rate)
    elif unseen is not None:
        unseen.add(step, rate, *suspects)
    nn.utils.clip_grads_with_norm_(parameters, config.grad_clip or math.inf, grad_norm)
    before = _watched(parameters).detach().clone() if measure else None
    precision.scaler.step(optimizer)
    precision.scaler.update()
    if measure and precision.skips_overflow:
        check_loss_scale(precision.scaler.get_scale(), step=step, learning_rate=rate)

    if not measure:
        return StepResult(step, loss, rate, grad_norm)
    synchronize(precision.device)
    speed = config.tokens_per_step / (time.perf_counter() - started)
    ratio = float((_watched(parameters).detach() - before).norm() / before.norm())
    return StepResult(step, float(loss), rate, float(grad_norm), ratio, speed)


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Optimizers:
    """The optimiser that the config asks for, over the parameters of this model."""
    return make_optimizer(
        model,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        muon_learning_rate=config.muon_learning_rate,
        muon_momentum=config.muon_momentum,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer | Optimizers, step: int, config: TrainConfig) -> float:
    """Give every group the rate that the schedule has for this step; returns it."""
    rate = learning_rate(
        step,
        schedule=config.schedule,
        peak=config.learning_rate,
        minimum=config.min_learning_rate,
        warmup_steps=config.warmup_steps,
        steps=config.steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_ratio", 1.0)
    return rate


def _default_precision(model: nn.Module, config: TrainConfig) -> Precision:
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    if precision.scaler.is_enabled():
        raise ConfigError(
            "float16 needs one scaler for all steps, not 1 for each of them: "
            "make Precision.of(device, 'float16') once and pass it as precision"
        )
    return precision


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _watched(parameters: list[nn.Parameter]) -> nn.Parameter:
    """One matrix, in the middle of the model: enough to see whether updates are about 1/1000 of weights."""
    matrices = [p for p in parameters if p.ndim >= 2] or parameters
    return matrices[len(matrices) // 2]
