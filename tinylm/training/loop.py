"""The loop: a whole run of steps, and what happens between them.

It knows no files, sampling or records: what should happen along the way is passed in as `evaluate`, `save`
and `callbacks`, which all get one thing, the TrainingState.
Taught in notebook 04_training."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.text.batches import TrainingBatches
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import SINGLE, World
from tinylm.training.finite import FiniteCheck, divergence
from tinylm.training.interrupts import Interrupts
from tinylm.training.optim import build_optimizer, scheduled_rate
from tinylm.training.progress import Progress, TrainingState, default_provenance
from tinylm.training.step import StepResult, train_step


@dataclasses.dataclass
class History:
    """What a run leaves behind: the logged steps, and the evaluations by number of finished steps.

    tokens and seconds count the whole run; steps and evaluations hold what was done since it was resumed."""

    steps: list[StepResult] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    stopped_early: bool = False


def train(
    model: nn.Module,
    batches: TrainingBatches,
    config: TrainConfig,
    *,
    evaluate: Callable[[TrainingState], Any] | None = None,
    save: Callable[[TrainingState], str] | None = None,
    callbacks: Sequence[Callable[[TrainingState], None]] = (),
    loss_fn: LossFn = next_token_loss,
    world: World = SINGLE,
    optimizer: torch.optim.Optimizer | None = None,
    resume: Any | None = None,  # storage.checkpoint's TrainingCheckpoint: a name, and restore(state)
    provenance: dict[str, Any] | None = None,
    show_progress: bool = True,
    save_seconds: float = 600.0,
) -> History:
    """Train the model in place to config.steps. The same seed gives the same weights, even when stopped.

    evaluate(state) is called every config.eval_every finished steps and after the last; it returns a number
    or a dataclass with a number called loss, such as inference's Evaluation. save(state) is called before the
    first step, after each evaluation, when save_seconds have passed and at the end; it returns the
    checkpoint's name. Each callback(state) is called after each step, with the step in state.result, and
    after each evaluation, with that in state.evaluation and no result. `resume` is the checkpoint to go on
    from, which must have the same provenance (by default the settings of model, training and batches).

    Ctrl-C ends the run after the step it fell into: with `save` it is saved and what there is is returned,
    without it KeyboardInterrupt goes on to whoever called. Raises Divergence when something is not finite,
    naming it, the step and the last good checkpoint, and ConfigError when batches and config disagree."""
    if batches.batch_size != config.micro_batch_size:
        raise ConfigError(
            f"batches of {batches.batch_size} do not match micro_batch_size {config.micro_batch_size}: "
            f"make the batches with batch_size={config.micro_batch_size}"
        )
    if (batches.rank, batches.world_size) != (world.rank, world.size):
        raise ConfigError(
            f"batches of rank {batches.rank} of {batches.world_size} are not those of this process, rank "
            f"{world.rank} of {world.size}: make the batches with its rank and world_size"
        )
    config.grad_accum_steps(batches.context_length, batches.world_size)  # refused before anything is done
    optimizer = optimizer or build_optimizer(model, config)
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    provenance = provenance or default_provenance(model, config, batches)
    state = TrainingState(model, optimizer, precision, config, batches, Progress(), provenance, world)
    if resume is not None:
        resume.restore(state)
        state.saved = resume.name
    if config.compile:  # the function, never the model: generation with a cache would compile for each token
        loss_fn = torch.compile(loss_fn)
    was_training, done = model.training, state.progress.step
    hide = not (show_progress and world.is_main)
    bar = tqdm(total=config.steps, initial=done, disable=hide, mininterval=0.5, unit="step")
    with bar, Interrupts(world) as interrupts:
        saved_step = done if resume is not None else None
        run = _Run(state, evaluate, save, callbacks, loss_fn, save_seconds, interrupts, bar, saved_step)
        try:
            model.train()
            while not run.between_steps():
                run.step()
        except KeyboardInterrupt:
            if save is None:
                raise
            run.history.interrupted = True
            if state.progress.step != run.saved_step:
                with contextlib.suppress(KeyboardInterrupt):
                    run.save()
        except Divergence as error:
            left = f"the last good checkpoint is {state.saved}" if state.saved else "nothing was saved"
            rate = f"use a peak rate of {config.learning_rate / 3:.1g} or a longer warm-up"
            raise Divergence(f"{error} ({left}): {rate}") from error
        finally:
            model.train(was_training)
    run.history.tokens, run.history.seconds = state.progress.tokens, state.progress.seconds
    return run.history


@dataclasses.dataclass
class _Run:
    """One call of train: what was passed in, and what the loop has to remember besides the state."""

    state: TrainingState
    evaluate_state: Callable[[TrainingState], Any] | None
    save_state: Callable[[TrainingState], str] | None
    callbacks: Sequence[Callable[[TrainingState], None]]
    loss_fn: LossFn
    save_seconds: float
    interrupts: Interrupts
    bar: tqdm
    saved_step: int | None
    history: History = dataclasses.field(default_factory=History)

    def __post_init__(self) -> None:
        self.finite_check = FiniteCheck(self.state.model)
        self.saved_at = time.perf_counter()
        self.began = self.saved_at - self.state.progress.seconds

    def between_steps(self) -> bool:
        """What happens when a step is finished, or none is done yet; True when the run is over."""
        state, progress, config = self.state, self.state.progress, self.state.config
        now = progress.step == config.steps or (config.eval_every and progress.step % config.eval_every == 0)
        measured = progress.val_losses and progress.val_losses[-1][0] == progress.step  # by the run resumed
        if due := self.evaluate_state is not None and progress.step > 0 and now and not measured:
            self.evaluate()
        self.history.stopped_early = 0 < config.patience <= progress.since_best
        over = progress.step >= config.steps or self.history.stopped_early
        if self.save_state is not None:
            late = over or self.saved_step is None or time.perf_counter() - self.saved_at >= self.save_seconds
            if due or (state.world.broadcast(late) and progress.step != self.saved_step):
                self.save()
        return over

    def evaluate(self) -> None:
        """Evaluate. May be cut short by Ctrl-C: it changes nothing."""
        self.finite_check.flush()
        state, progress = self.state, self.state.progress
        state.model.eval()
        evaluation = self.evaluate_state(state)
        state.model.train()
        try:
            loss = state.world.broadcast(float(getattr(evaluation, "loss", evaluation)))
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(
                f"evaluate gave {evaluation!r}: return one number, or an object with a number called loss"
            ) from None
        if not math.isfinite(loss):
            rate = scheduled_rate(progress.step - 1, state.config)
            raise divergence(f"the validation loss is {loss}", step=progress.step, learning_rate=rate)
        with self.interrupts.deferred():
            state.result, state.evaluation = None, evaluation
            progress.val_losses.append((progress.step, loss))
            self.history.evaluations.append((progress.step, evaluation))
            self.call_back()

    def save(self) -> None:
        """Save the state, once every number in it has been checked. Only rank 0 writes."""
        self.finite_check.flush()
        with self.interrupts.deferred():
            self.state.progress.seconds = time.perf_counter() - self.began
            name = self.save_state(self.state) if self.state.world.is_main else None
            self.state.saved = self.state.world.broadcast(name)
            self.saved_step, self.saved_at = self.state.progress.step, time.perf_counter()

    def step(self) -> None:
        """One optimiser step, and all that is written down about it."""
        state, progress, config = self.state, self.state.progress, self.state.config
        logged = progress.step % config.log_every == 0 or progress.step + 1 == config.steps
        with self.interrupts.deferred():
            self.saved_step = progress.step  # from here on the weights of that step are gone
            result = train_step(
                state.model,
                state.optimizer,
                state.batches,
                step=progress.step,
                config=config,
                precision=state.precision,
                loss_fn=self.loss_fn,
                world=state.world,
                log=logged,
                finite_check=self.finite_check,
            )
            progress.step += 1
            progress.tokens += config.tokens_per_step
            state.result, state.evaluation = result, None
            if logged:
                self.history.steps.append(result)
                self.bar.set_postfix(loss=f"{result.loss:.4f}", refresh=False)
            self.bar.update()
            self.call_back()

    def call_back(self) -> None:
        """Tell everyone who asked what has just happened."""
        self.state.progress.seconds = time.perf_counter() - self.began
        for callback in self.callbacks:
            callback(self.state)
