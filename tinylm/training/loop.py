"""The loop: a whole run of steps, and what happens between them.

It knows no files, sampling or records. What should happen along the way is passed in as `evaluate`, `save`
and `callbacks`, which all get the same argument, the TrainingState.
Taught in notebook 04_training."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from tinylm.batch import TrainingBatches
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence, TinyLMError, WorldLost
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.terminal import shows_bars
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import SINGLE, World
from tinylm.training.finite import check_finite
from tinylm.training.interrupts import Interrupts
from tinylm.training.optim import build_optimizer, scheduled_rate
from tinylm.training.provenance import check_same, default_provenance, fingerprint
from tinylm.training.speed import compile_loss
from tinylm.training.state import Progress, TrainingState
from tinylm.training.step import StepResult, train_step


@dataclasses.dataclass
class History:
    """The result of a run: the logged steps, and the evaluations by number of finished steps.

    Counts and seconds are those of the whole run. The lists begin where it was resumed."""

    steps: list[StepResult] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps that float16 skipped
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
    precision: Precision | None = None,
    resume: Any | None = None,  # storage.checkpoint's TrainingCheckpoint: a name, and restore(state)
    provenance: dict[str, Any] | None = None,
    show_progress: bool = True,
    save_seconds: float = 600.0,
) -> History:
    """Train the model in place up to config.steps. The same seed gives the same weights, even after a resume.

    evaluate(state) is called every config.eval_every finished steps and after the last one. It must return a
    number, or an object with a number called loss, such as inference's Evaluation. save(state) is called
    before the first step, after each evaluation, when save_seconds have passed and at the end. It must return
    the name of the checkpoint. Each callback(state) is called after each step, with the step in state.result,
    and after each evaluation, with the evaluation in state.evaluation and no result. `resume` is the
    checkpoint to resume, which must have the same provenance (by default the settings of model, training and
    batches). `precision` replaces what config.dtype means on the model's device, even if that is refused.

    Ctrl-C or SIGTERM ends the run after the step or evaluation in progress, and a second one at once. With
    `save` the run is saved and its history so far is returned; without it KeyboardInterrupt is raised. With
    several processes all end after the same step. Raises Divergence when a loss or a gradient is
    not finite, with the step and the last good checkpoint. Raises WorldLost when another process is lost,
    after rank 0 has saved; on GPUs it doesn't save, because their queue waits for the lost process. Raises
    ConfigError if batches and config disagree, or the processes about what to train.

    In a world made by joined(fsdp=True) each process trains its part of the model, which may be on the CPU
    and becomes unusable outside this function. save(state) is then called on all processes, and when one of
    them is lost nothing more is saved, because nobody has its part. How processes share a model is no part of
    the provenance: a run may be resumed with or without it."""
    if batches.batch_size != config.micro_batch_size:
        unlike = f"batches of {batches.batch_size} do not match micro_batch_size {config.micro_batch_size}"
        raise ConfigError(f"{unlike}: make the batches with batch_size={config.micro_batch_size}")
    ours, theirs = f"rank {world.rank} of {world.size}", f"rank {batches.rank} of {batches.world_size}"
    if ours != theirs:
        raise ConfigError(f"batches of {theirs} are not those of this process, {ours}: make them for it")
    config.grad_accum_steps(batches.context_length, batches.world_size)  # refused before anything is done
    world.check(config.optimizer)
    optimizer = optimizer or build_optimizer(model, config)
    provenance = provenance or default_provenance(model, config, batches)
    if precision is not None:  # otherwise a resumed run might silently use another arithmetic
        provenance = {**provenance, "precision": precision.dtype}
    device = world.device if world.is_sharded else next(model.parameters()).device
    precision = precision or Precision.of(device, config.dtype)
    state = TrainingState(model, optimizer, precision, config, batches, Progress(), provenance, world)
    if resume is not None:
        resume.restore(state)
        state.saved = resume.name
    progress = state.progress
    if world.size > 1:
        mine = {"step": progress.step, "dtype": precision.dtype, "weights": fingerprint(model)}
        check_same(world, provenance | mine)
    world.shard(model, optimizer)
    engine = world.engine(model, compile_loss(loss_fn) if config.compile else loss_fn)
    saved_step, began = None if resume is None else progress.step, time.perf_counter() - progress.seconds
    loop = _Loop(state, evaluate, save, callbacks, began, saved_step)
    history, interrupts = loop.history, Interrupts(world)
    hide = not show_progress or world.rank > 0 or not shows_bars()
    bar = tqdm(total=config.steps, initial=progress.step, disable=hide, mininterval=0.5, unit="step")
    with bar, interrupts, loop.ending():
        model.train()
        while True:
            step = progress.step
            # Evaluate every eval_every steps and after the last one, unless the resumed run already did.
            now = step == config.steps or (config.eval_every and step % config.eval_every == 0)
            measured = progress.val_losses[-1][0] if progress.val_losses else 0
            if is_due := evaluate is not None and now and step > measured:
                loop.evaluate_now()
            history.stopped_early = 0 < config.patience <= progress.since_best
            is_over = step >= config.steps or history.stopped_early
            # Save before the first step, after each evaluation, after save_seconds and at the end.
            if save is not None:
                is_late = time.perf_counter() - loop.saved_at >= save_seconds
                asks = world.rank == 0 and (is_late or is_over or loop.saved_step is None)  # its clock counts
                if is_due or (world.any(asks) and step != loop.saved_step):
                    loop.save_now(world)
            # Stop at the end, or when Ctrl-C was pressed on any process.
            interrupts.check()
            if is_over:
                break
            # Do one step of training.
            loop.torn = step
            logged = step % config.log_every == 0 or step + 1 == config.steps
            state.result = train_step(
                model,
                optimizer,
                batches,
                step=step,
                skipped=progress.skipped,
                config=config,
                precision=precision,
                world=world,
                engine=engine,
                log=logged,
                unchecked=loop.unchecked,
            )
            state.evaluation = None
            progress.step += 1
            progress.skipped += state.result.skipped
            progress.tokens += config.tokens_per_step
            if logged:
                history.steps.append(state.result)
                bar.set_postfix(loss=f"{state.result.loss:.4f}", refresh=False)
            bar.update()
            loop.call_back()
    history.tokens, history.seconds, history.skipped = progress.tokens, progress.seconds, progress.skipped
    return history


@dataclasses.dataclass
class _Loop:
    """What happens between the steps of a run, and how it ends."""

    state: TrainingState
    evaluate: Callable[[TrainingState], Any] | None
    save: Callable[[TrainingState], str] | None
    callbacks: Sequence[Callable[[TrainingState], None]]
    began: float  # when the run would have begun without a break, in seconds of time.perf_counter
    saved_step: int | None  # the step whose state is on the disk
    saved_at: float = dataclasses.field(default_factory=time.perf_counter)
    torn: int | None = None  # the step whose update has begun and may not have ended
    history: History = dataclasses.field(default_factory=History)
    unchecked: list[tuple[int, float, torch.Tensor]] = dataclasses.field(default_factory=list)

    def evaluate_now(self) -> None:
        """Evaluate, and note the result."""
        state, progress, model = self.state, self.state.progress, self.state.model
        check_finite(model, self.unchecked)
        model.eval()
        evaluation = self.evaluate(state)
        model.train()
        loss = state.world.broadcast(float(getattr(evaluation, "loss", evaluation)))
        if not math.isfinite(loss):
            rate = scheduled_rate(progress.step - progress.skipped - 1, state.config)
            at = f"at step {progress.step} with learning rate {rate:g}"
            raise Divergence(f"the validation loss is {loss} {at}")
        state.result, state.evaluation = None, evaluation
        progress.val_losses.append((progress.step, loss))
        self.history.evaluations.append((progress.step, evaluation))
        self.call_back()

    def save_now(self, world: World) -> None:
        """Save the state, after checking every number in it. Only rank 0 writes."""
        state = self.state
        check_finite(state.model, self.unchecked)
        state.progress.seconds = time.perf_counter() - self.began
        world.reshard(state.model)
        if world.rank == 0 or world.is_sharded:
            state.saved = self.save(state)
        self.saved_step, self.saved_at = state.progress.step, time.perf_counter()
        world.meet()  # without a time-out: a disk may be slow
        state.saved = world.broadcast(state.saved)

    def call_back(self) -> None:
        """Call each callback with what has just happened."""
        self.state.progress.seconds = time.perf_counter() - self.began
        for callback in self.callbacks:
            callback(self.state)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Turn Ctrl-C, a divergence and a lost process into the end of the run: saved where it can be."""
        state, was_training = self.state, self.state.model.training
        try:
            with state.world.exchanging():
                yield
        except KeyboardInterrupt:
            if self.save is None:
                raise
            self.history.interrupted = True
            if state.progress.step not in (self.saved_step, self.torn):
                with suppress(KeyboardInterrupt):
                    self.save_now(state.world)
        except (Divergence, WorldLost) as error:
            is_lost = isinstance(error, WorldLost)
            is_unsaved = self.save is not None and state.progress.step != self.saved_step
            # No rank's weights move before all gradients are exchanged, so they are those of a whole step.
            # A GPU may still have work in its queue that waits for the lost process, and with --fsdp that
            # process had a part of the weights.
            can_save = state.precision.is_synchronous and not state.world.is_sharded
            if is_lost and state.world.rank == 0 and is_unsaved and can_save:
                with suppress(TinyLMError, OSError):  # the lost process is what to report
                    self.save_now(SINGLE)
            left = f"the last good checkpoint is {state.saved}" if state.saved else "nothing was saved"
            if is_lost:
                raise WorldLost(f"{error} ({left})") from error
            peak = f"use a peak rate of {state.config.learning_rate / 3:.1g} or a longer warm-up"
            raise Divergence(f"{error} ({left}): {peak}") from error
        finally:
            state.model.train(was_training)
