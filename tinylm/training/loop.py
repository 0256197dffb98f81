"""The loop: a whole run of steps, and what happens between them.

It knows no files, sampling or records: what should happen along the way is passed in as `evaluate`, `save`
and `callbacks`, which all get one thing, the TrainingState.
Taught in notebook 04_training."""

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
from tinylm.errors import ConfigError, Divergence, TinyLMError, WorldLost
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.text.batches import TrainingBatches
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import SINGLE, World
from tinylm.training.finite import check_finite
from tinylm.training.interrupts import Interrupts
from tinylm.training.optim import build_optimizer, scheduled_rate
from tinylm.training.progress import Progress, TrainingState
from tinylm.training.provenance import check_same, default_provenance, fingerprint
from tinylm.training.speed import compile_loss
from tinylm.training.step import StepResult, train_step


@dataclasses.dataclass
class History:
    """What a run leaves behind: the logged steps, and the evaluations by number of finished steps.

    The counts and seconds are of the whole run; steps and evaluations hold what was done since it was
    resumed."""

    steps: list[StepResult] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps that float16 left out
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
    """Train the model in place to config.steps. The same seed gives the same weights, even when stopped.

    evaluate(state) is called every config.eval_every finished steps and after the last; it returns a number
    or a dataclass with a number called loss, such as inference's Evaluation. save(state) is called before the
    first step, after each evaluation, when save_seconds have passed and at the end; it returns the
    checkpoint's name. Each callback(state) is called after each step, with the step in state.result, and
    after each evaluation, with that in state.evaluation and no result. `resume` is the checkpoint to go on
    from, which must have the same provenance (by default the settings of model, training and batches).
    `precision` stands for what config.dtype means on the model's device, also where that is refused.

    Ctrl-C or SIGTERM ends the run after the step it fell into: with `save` it is saved and what there is is
    returned, without it KeyboardInterrupt goes on to whoever called. Raises Divergence when something is not
    finite, naming it, the step and the last good checkpoint, WorldLost when another process is gone, once
    rank 0 has saved, but on cards, whose queue waits for the one that is gone, and ConfigError when batches
    and config disagree, or processes on what to train."""
    if batches.batch_size != (size := config.micro_batch_size):
        unlike = f"batches of {batches.batch_size} do not match micro_batch_size {size}"
        raise ConfigError(f"{unlike}: make the batches with batch_size={size}")
    ours = f"rank {world.rank} of {world.size}"
    if (theirs := f"rank {batches.rank} of {batches.world_size}") != ours:
        raise ConfigError(f"batches of {theirs} are not those of this process, {ours}: make them for it")
    config.grad_accum_steps(batches.context_length, batches.world_size)  # refused before anything is done
    optimizer = optimizer or build_optimizer(model, config)
    provenance = provenance or default_provenance(model, config, batches)
    if precision is not None:  # or a resumed run would go on in another arithmetic without a word
        provenance = {**provenance, "precision": precision.dtype}
    precision = precision or Precision.of(next(model.parameters()).device, config.dtype)
    state = TrainingState(model, optimizer, precision, config, batches, Progress(), provenance, world)
    if resume is not None:
        resume.restore(state)
        state.saved = resume.name
    if world.size > 1:
        mine = {"step": state.progress.step, "dtype": precision.dtype, "weights": fingerprint(model)}
        check_same(world, provenance | mine)
    if config.compile:
        loss_fn = compile_loss(loss_fn)
    progress, history, unchecked, was_training = state.progress, History(), [], model.training
    settings = {"config": config, "precision": precision, "loss_fn": loss_fn, "world": world}
    settings["unchecked"] = unchecked
    interrupts, saved_at = Interrupts(world), time.perf_counter()
    began = saved_at - progress.seconds
    saved_step = None if resume is None else progress.step  # the weights of that step are on the disk
    torn = None  # an update that began then has perhaps not ended

    def evaluate_now() -> None:
        """Evaluate, and write the result down. Ctrl-C cuts the evaluation short: it changes nothing."""
        check_finite(model, unchecked)
        model.eval()
        interrupts.at_once = True
        try:
            interrupts.check()
            evaluation = evaluate(state)
        finally:
            interrupts.at_once = False
        model.train()
        try:
            loss = float(getattr(evaluation, "loss", evaluation))
        except (TypeError, ValueError, RuntimeError):
            way_out = "return one number, or an object with a number called loss"
            raise ConfigError(f"evaluate gave {evaluation!r}: {way_out}") from None
        loss = world.broadcast(loss)
        if not math.isfinite(loss):
            rate = scheduled_rate(progress.step - progress.skipped - 1, config)
            at = f"at step {progress.step} with learning rate {rate:g}"
            raise Divergence(f"the validation loss is {loss} {at}")
        state.result, state.evaluation = None, evaluation
        progress.val_losses.append((progress.step, loss))
        history.evaluations.append((progress.step, evaluation))
        call_back()

    def save_now(world: World = world) -> None:
        """Save the state, once every number in it has been checked. Only rank 0 writes."""
        nonlocal saved_step, saved_at
        check_finite(model, unchecked)
        progress.seconds = time.perf_counter() - began
        if world.rank == 0:
            state.saved = save(state)
        saved_step, saved_at = progress.step, time.perf_counter()
        world.meet()  # a disk may be slow
        state.saved = world.broadcast(state.saved)

    def call_back() -> None:
        """Tell everyone who asked what has just happened."""
        progress.seconds = time.perf_counter() - began
        for callback in callbacks:
            callback(state)

    hide = not show_progress or world.rank > 0
    bar = tqdm(total=config.steps, initial=progress.step, disable=hide, mininterval=0.5, unit="step")
    with bar, interrupts:
        try:
            try:
                model.train()
                while True:
                    step = progress.step
                    now = step == config.steps or (config.eval_every and step % config.eval_every == 0)
                    measured = [at for at, _ in progress.val_losses[-1:]] == [step]  # by the run resumed
                    if due := evaluate is not None and step > 0 and now and not measured:
                        evaluate_now()
                    history.stopped_early = 0 < config.patience <= progress.since_best
                    over = step >= config.steps or history.stopped_early
                    if save is not None:
                        late = over or saved_step is None or time.perf_counter() - saved_at >= save_seconds
                        if due or (world.any(late and world.rank == 0) and step != saved_step):
                            save_now()
                    interrupts.check()  # Ctrl-C is answered here, and when and while the model is evaluated
                    if over:
                        break
                    torn = step
                    logged = step % config.log_every == 0 or step + 1 == config.steps
                    where = {"step": step, "skipped": progress.skipped, "log": logged}
                    state.result = train_step(model, optimizer, batches, **where, **settings)
                    state.evaluation = None
                    progress.step += 1
                    progress.skipped += state.result.skipped
                    progress.tokens += config.tokens_per_step
                    if logged:
                        history.steps.append(state.result)
                        bar.set_postfix(loss=f"{state.result.loss:.4f}", refresh=False)
                    bar.update()
                    call_back()
            except KeyboardInterrupt:
                if save is None:
                    raise
                history.interrupted = True
                if progress.step not in (saved_step, torn):
                    with contextlib.suppress(KeyboardInterrupt):
                        save_now()
        except (Divergence, WorldLost) as error:
            is_lost, unsaved = isinstance(error, WorldLost), progress.step != saved_step
            # Nobody's weights move before all have met. A card has perhaps still to do what waits for ever.
            if is_lost and world.rank == 0 and save is not None and unsaved and precision.is_synchronous:
                with contextlib.suppress(TinyLMError, OSError):  # that the other is lost is what to say
                    save_now(SINGLE)
            left = f"the last good checkpoint is {state.saved}" if state.saved else "nothing was saved"
            if is_lost:
                raise WorldLost(f"{error} ({left})") from error
            rate = f"use a peak rate of {config.learning_rate / 3:.1g} or a longer warm-up"
            raise Divergence(f"{error} ({left}): {rate}") from error
        finally:
            model.train(was_training)
    history.tokens, history.seconds, history.skipped = progress.tokens, progress.seconds, progress.skipped
    return history
