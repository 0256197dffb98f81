"""The step: one update of the weights, from micro-batches to the optimiser.

It is a function of the weights, the seed and the number of the step, whatever came before.
Taught in notebook 04_training."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tinylm.batch import Batch, TrainingBatches
from tinylm.device import Precision, seeded_rng, synchronize, whole
from tinylm.errors import ConfigError, Divergence
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import SINGLE, World
from tinylm.training.finite import check_finite
from tinylm.training.optim import set_learning_rate


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step did. Steps count from 0; the loss is that of the weights before the update.

    At logged steps the numbers are floats. In between, those that exist stay on the device as 0-dimensional
    tensors (turning them into floats would make Python wait for the device), and the others are None."""

    step: int
    loss: float | Tensor  # nats per token, mean over the whole batch of the step
    learning_rate: float
    grad_norm: float | Tensor | None = None  # of all parameters together, before clipping
    update_ratio: float | None = None  # of a matrix in the middle: norm of the update over the weights'
    tokens_per_second: float | None = None
    metrics: dict[str, float | Tensor] = field(default_factory=dict)  # the loss function's own, means
    skipped: bool = False  # whether it moved nothing, because float16's gradient overflowed


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: TrainingBatches,
    *,
    step: int,
    skipped: int = 0,
    config: TrainConfig,
    precision: Precision | None = None,
    loss_fn: LossFn = next_token_loss,
    world: World = SINGLE,
    engine: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]] | None = None,
    log: bool = True,
    unchecked: list[tuple[int, float, Tensor]] | None = None,
) -> StepResult:
    """Do one optimiser step on config.tokens_per_step tokens: a pure function of (weights, config.seed,
    step).

    The micro-batches add up to the gradient of the whole batch: each divides its summed nats by what is
    scored in all of them, on all ranks. `skipped` is how many steps before were left out: the data goes by
    the step, the learning rate by those that were applied. log=False leaves the numbers on the device. A
    metric of the loss function is averaged over micro-batches and ranks; a scalar is part of the result.
    After an update that was applied, model.after_step(metrics) is called where the model has it, with vectors
    too. What it returns joins the metrics.

    `engine` is what world.engine(model, loss_fn) returned. Without it one is made for this step alone, which
    several processes pay for with a broadcast of all weights.

    Raises Divergence, with the weights as they were, when the loss or the gradient is not finite, except
    for an overflow of float16; where the device runs ahead of Python, a step that is not logged is added to
    `unchecked`, for check_finite."""
    if precision is None:
        precision = Precision.of(next(model.parameters()).device, config.dtype)
        if precision.scaler.is_enabled():
            raise ConfigError("float16 needs 1 scaler for all steps: pass a Precision.of(device, 'float16')")
    device, scaler = precision.device, precision.scaler
    scale = scaler.get_scale()  # 1 but in float16
    if log:
        synchronize(device)
    started = time.perf_counter()
    micro_steps = config.grad_accum_steps(batches.context_length, batches.world_size)
    # All are read first, a few MB: only then is it known how much is scored. Each rank divides by the mean.
    micro_batches = [batches.batch(step, i, micro_steps) for i in range(micro_steps)]
    n_scored = sum(batch.scored().double().sum() for batch in micro_batches)
    n_scored = world.mean(n_scored.float().to(device))

    rate = set_learning_rate(optimizer, step - skipped, config)  # never by the micro-step
    optimizer.zero_grad(set_to_none=True)  # once a step: the micro-batches accumulate
    engine = engine or world.engine(model, loss_fn)
    losses, metrics = [], []
    for micro_step, batch in enumerate(micro_batches):
        number = micro_step * batches.world_size + batches.rank  # among all of the step: ranks do not show
        dropout_seed = np.random.SeedSequence([config.seed, step, number]).generate_state(1)[0]
        # Gradients add up on each rank. Only those of the last micro-batch are sent: the sum of all of them.
        waits = world.accumulating(engine) if micro_step + 1 < micro_steps else contextlib.nullcontext()
        with waits, seeded_rng(device, int(dropout_seed)), precision.products():
            batch = batch.to(device)
            with precision.autocast():
                nats, said = engine(batch)  # (B, T)
            loss = (nats * batch.scored()).sum() / n_scored
            scaler.scale(loss).backward()
            losses.append(loss.detach())
            metrics.append(said)
    # Processes exchange everything before the update, so losing one of them leaves the weights whole.
    world.check_gradients(model)
    loss = world.mean(losses[0] if micro_steps == 1 else torch.stack(losses).sum())
    said = {name: world.mean(torch.stack([m[name].detach() for m in metrics]).mean(0)) for name in metrics[0]}

    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    scaler.unscale_(optimizer)  # before clipping, which is for the gradient as it is
    grad_norm = None
    if config.grad_clip or log:
        grad_norm = whole(nn.utils.get_total_norm([p.grad for p in parameters]))
    suspects = [loss] if grad_norm is None or scaler.is_enabled() else [loss, grad_norm]
    unchecked = [] if unchecked is None else unchecked
    unchecked.append((step, rate, torch.stack(suspects).detach()))
    if log or precision.is_synchronous:  # checking costs no waiting
        check_finite(model, unchecked)
    # torch multiplies by 1 where nothing is to clip: that pass is spared where looking costs no waiting.
    if config.grad_clip and not (precision.is_synchronous and config.grad_clip / (grad_norm + 1e-6) >= 1):
        nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, grad_norm)
    if log:
        matrices = [p for p in parameters if p.ndim >= 2] or parameters
        monitored = matrices[len(matrices) // 2]  # one tells whether updates are about 1/1000 of weights
        before = monitored.detach().clone()
    with precision.products():
        scaler.step(optimizer)
    scaler.update()
    left_out = (now := scaler.get_scale()) < scale  # it falls after an overflow; float16 alone is waited for
    if now < 1:  # or it would skip for ever
        what = f"float16's scale has fallen to {now:g} because every gradient overflows"
        raise Divergence(f"{what} at step {step} with learning rate {rate:g}")

    if hasattr(model, "after_step") and not left_out:
        said = said | (model.after_step(said) or {})
    said = {name: value for name, value in said.items() if value.ndim == 0}
    if not log:
        return StepResult(step, loss, rate, grad_norm, metrics=said, skipped=left_out)
    synchronize(device)
    speed = config.tokens_per_step / (time.perf_counter() - started)
    ratio = float(whole((monitored.detach() - before).norm()) / whole(before.norm()))
    said = {name: float(value) for name, value in said.items()}
    return StepResult(step, float(loss), rate, float(grad_norm), ratio, speed, said, left_out)
