"""The loop: one optimiser step, and a whole run of them.

Knows models, batches and optimisers. Refuses to know sampling, benchmarks and text: what should happen
along the way is passed in as `evaluate` and `on_step` callables.
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from tinylm.errors import TinyLMError
from tinylm.text.batches import IGNORE, Batches
from tinylm.training.config import TrainConfig
from tinylm.training.losses import cross_entropy
from tinylm.training.optim import Optimizers, learning_rate, make_optimizer
from tinylm.training.precision import Precision, own_randomness, synchronize
from tinylm.training.records import RunRecord


class TrainingError(TinyLMError):
    """A run that cannot start, or that broke."""


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


@dataclasses.dataclass
class History:
    """What a run leaves behind: the logged steps, and the evaluations by number of finished steps."""

    steps: list[StepResult] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    interrupted: bool = False


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Optimizers,
    batches: Batches,
    *,
    step: int,
    config: TrainConfig,
    precision: Precision | None = None,
    measure: bool = True,
) -> StepResult:
    """One optimiser step on config.tokens_per_step tokens, a pure function of (weights, config.seed, step).

    The micro-batches add up to the gradient of the whole batch: each divides its summed loss by the
    number of targets in all of them. measure=False leaves the numbers on the device."""
    precision = precision or _default_precision(model, config)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if measure:
        synchronize(precision.device)
    started = time.perf_counter()
    micro_steps = config.grad_accum_steps(batches.context_length, batches.world_size)
    micro_batches = [batches.batch(step, i, micro_steps) for i in range(micro_steps)]  # (B, T) each
    n_targets = sum(int((targets != IGNORE).sum()) for _, targets in micro_batches)

    rate = _set_learning_rate(optimizer, step, config)  # by the step, never by the micro-step
    optimizer.zero_grad(set_to_none=True)  # once a step: the micro-batches accumulate
    losses = []
    with own_randomness(precision.device, _dropout_seed(config.seed, step, batches.rank)):
        for tokens, targets in micro_batches:
            with precision.autocast():
                logits = model(tokens.to(precision.device))  # (B, T, V)
                loss = cross_entropy(logits, targets.to(precision.device), n_targets)
            precision.scaler.scale(loss).backward()
            losses.append(loss.detach())
    precision.scaler.unscale_(optimizer)  # before clipping: the clip is for true gradients
    grad_norm = nn.utils.clip_grad_norm_(parameters, config.grad_clip or math.inf)
    before = _watched(parameters).detach().clone() if measure else None
    precision.scaler.step(optimizer)
    precision.scaler.update()

    loss = losses[0] if micro_steps == 1 else torch.stack(losses).sum()
    if not measure:
        return StepResult(step, loss, rate, grad_norm)
    synchronize(precision.device)
    speed = config.tokens_per_step / (time.perf_counter() - started)
    ratio = float((_watched(parameters).detach() - before).norm() / before.norm())
    return StepResult(step, float(loss), rate, float(grad_norm), ratio, speed)


def train(
    model: nn.Module,
    batches: Batches,
    config: TrainConfig,
    *,
    evaluate: Callable[[nn.Module], Any] | None = None,
    on_step: Sequence[Callable[[StepResult], None]] = (),
    record: RunRecord | None = None,
    progress: bool = True,
    optimizer: torch.optim.Optimizer | Optimizers | None = None,
    start_step: int = 0,
) -> History:
    """Train the model in place, from start_step to config.steps. The same seed gives the same weights.

    evaluate(model) is called every config.eval_every finished steps and after the last; its result (a
    number, or a dataclass such as inference's Evaluation) is kept. Each on_step callable gets the
    StepResult of every step. Ctrl-C ends the run early and keeps the model: History.interrupted is True.
    Raises TrainingError when a logged loss is nan or infinite, or batches and config disagree."""
    if batches.batch_size != config.micro_batch_size:
        raise TrainingError(
            f"batches of {batches.batch_size} do not match micro_batch_size {config.micro_batch_size}: "
            f"make the batches with batch_size={config.micro_batch_size}"
        )
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    optimizer = optimizer or optimizer_of(model, config)
    history, was_training, began = History(), model.training, time.perf_counter()
    bar = tqdm(total=config.steps, initial=start_step, disable=not progress, mininterval=0.5, unit="step")
    model.train()
    try:
        for step in range(start_step, config.steps):
            last = step + 1 == config.steps
            logged = last or step % config.log_every == 0
            result = train_step(
                model, optimizer, batches, step=step, config=config, precision=precision, measure=logged
            )
            history.tokens += config.tokens_per_step
            history.seconds = time.perf_counter() - began
            if logged:
                _refuse_divergence(result, history, config)
                history.steps.append(result)
                bar.set_postfix(loss=f"{result.loss:.4f}", refresh=False)
                if record is not None:
                    record.step(**dataclasses.asdict(result), seconds=history.seconds)
            bar.update()
            for call in on_step:
                call(result)
            if evaluate is not None and (last or (config.eval_every and (step + 1) % config.eval_every == 0)):
                model.eval()
                evaluation = evaluate(model)
                model.train()
                history.evaluations.append((step + 1, evaluation))
                if record is not None:
                    record.evaluation(
                        step=step + 1, **_numbers(evaluation), seconds=time.perf_counter() - began
                    )
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        bar.close()
        model.train(was_training)
    history.seconds = time.perf_counter() - began
    return history


def optimizer_of(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Optimizers:
    """The optimiser that the config asks for, over the parameters of this model."""
    return make_optimizer(
        model,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        matrix_learning_rate=config.matrix_learning_rate,
        matrix_momentum=config.matrix_momentum,
    )


def _set_learning_rate(
    optimizer: torch.optim.Optimizer | Optimizers, step: int, config: TrainConfig
) -> float:
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
        raise TrainingError(
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


def _refuse_divergence(result: StepResult, history: History, config: TrainConfig) -> None:
    if math.isfinite(result.loss):
        return
    good = (
        f"step {history.steps[-1].step} was the last logged one to be finite"
        if history.steps
        else "it never was"
    )
    raise TrainingError(
        f"the loss is {result.loss} at step {result.step} with learning rate {result.learning_rate:g} "
        f"({good}): use a peak rate of {config.learning_rate / 3:.1g} or a longer warm-up"
    )


def _numbers(evaluation: Any) -> dict[str, float | int | None]:
    if dataclasses.is_dataclass(evaluation):
        return dataclasses.asdict(evaluation)
    return {"loss": float(evaluation)}
