"""The loop: a whole run of steps, and what happens between them.

Knows a state and the step that moves it. Refuses to know sampling, benchmarks, text and files: what should
happen along the way is passed in as `evaluate`, `on_step` and `save` callables.
Taught in notebook 04_training."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from tqdm.auto import tqdm

from tinylm.device import Precision
from tinylm.errors import Divergence, TinyLMError
from tinylm.runs.records import RunRecord
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.finite import DeferredFiniteCheck, diverged
from tinylm.training.interrupts import Interrupts
from tinylm.training.optim import Optimizers
from tinylm.training.progress import TrainingState
from tinylm.training.step import StepResult, build_optimizer, set_learning_rate, train_step


class TrainingError(TinyLMError):
    """A run that cannot start, or that broke."""


@dataclasses.dataclass
class History:
    """What a run leaves behind: the logged steps, and the evaluations by number of finished steps.

    tokens and seconds count the whole run; steps and evaluations hold what was done since it was resumed."""

    steps: list[StepResult] = dataclasses.field(default_factory=list)
    evaluations: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    """Ctrl-C ended the run."""
    stopped_early: bool = False
    """config.patience evaluations in a row had not lowered the best loss."""


class Resumable(Protocol):
    """Something that puts an earlier state back: training.checkpoint's TrainingCheckpoint."""

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        ...

    def restore(self, state: TrainingState) -> None:
        """Fill in a fresh state. Raises a TinyLMError when it does not fit."""
        ...


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
    save: Callable[[TrainingState], Any] | None = None,
    save_seconds: float = 600.0,
    resume: Resumable | None = None,
) -> History:
    """Train the model in place to config.steps. The same seed gives the same weights, even when stopped.

    evaluate(model) is called every config.eval_every finished steps and after the last; its result (a number,
    or a dataclass such as inference's Evaluation) is kept. Each on_step callable gets the StepResult of every
    step. save(state) is called before the first step, after each evaluation, when save_seconds have passed
    and at the end; it returns the checkpoint's name. `resume` (a checkpoint's TrainingCheckpoint) is where to go on.
    Ctrl-C ends the run after the step it fell into: with `save` it is saved and what there is is returned,
    without it KeyboardInterrupt goes on to whoever called. Raises TrainingError when something is not
    finite, naming it, the step and the last good checkpoint; and when batches and config disagree."""
    if batches.batch_size != config.micro_batch_size:
        raise TrainingError(
            f"batches of {batches.batch_size} do not match micro_batch_size {config.micro_batch_size}: "
            f"make the batches with batch_size={config.micro_batch_size}"
        )
    config.grad_accum_steps(batches.context_length, batches.world_size)  # refused before anything is done
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    optimizer = optimizer or build_optimizer(model, config)
    state = TrainingState(model, optimizer, precision.scaler, config, batches)
    if resume is not None:
        resume.restore(state)
    done = state.progress.step
    bar = tqdm(total=config.steps, initial=done, disable=not progress, mininterval=0.5, unit="step")
    was_training = model.training
    with bar, Interrupts() as interrupts:
        run = _Run(state, precision, evaluate, on_step, record, save, save_seconds, interrupts, bar)
        if resume is not None:
            run.saved_step, run.saved_name = done, resume.name
        try:
            model.train()
            while not run.arrive():
                run.step()
        except KeyboardInterrupt:
            if save is None:
                raise
            run.leave()
        except Divergence as divergence:
            raise TrainingError(run.what_is_left(divergence)) from divergence
        finally:
            model.train(was_training)
    run.count()
    return run.history


@dataclasses.dataclass
class _Run:
    """One call of train: what was passed in, and what has happened so far."""

    state: TrainingState
    precision: Precision
    evaluate: Callable[[nn.Module], Any] | None
    on_step: Sequence[Callable[[StepResult], None]]
    record: RunRecord | None
    save: Callable[[TrainingState], Any] | None
    save_seconds: float
    interrupts: Interrupts
    bar: tqdm
    saved_step: int | None = None
    saved_name: Any = None
    history: History = dataclasses.field(default_factory=History)
    whole: bool = True
    """False while the weights are somewhere between two steps, and nothing to save."""

    def __post_init__(self) -> None:
        self.unseen = DeferredFiniteCheck(self.state.model)
        self.saved_at = time.perf_counter()
        self.began = self.saved_at - self.state.progress.seconds
        self.count()

    def arrive(self) -> bool:
        """What happens when a step is finished, or none is done yet; True when the run is over."""
        state, progress = self.state, self.state.progress
        if due := self.evaluate is not None and state.evaluation_is_due():
            self.measure()
        self.history.stopped_early = state.stops_early()
        over = progress.step >= state.config.steps or self.history.stopped_early
        late = over or self.saved_step is None or time.perf_counter() - self.saved_at >= self.save_seconds
        if self.save is not None and (due or (late and progress.step != self.saved_step)):
            self.keep()
        return over

    def measure(self) -> None:
        """Evaluate. May be cut short by Ctrl-C: it changes nothing."""
        self.unseen.look()
        model, progress = self.state.model, self.state.progress
        model.eval()
        evaluation = self.evaluate(model)
        model.train()
        numbers = _numbers(evaluation)
        if not math.isfinite(numbers["loss"]):
            rate = set_learning_rate(self.state.optimizer, progress.step - 1, self.state.config)
            what = f"the validation loss is {numbers['loss']}"
            raise diverged(what, step=progress.step, learning_rate=rate)
        with self.interrupts.held():
            self.history.evaluations.append((progress.step, evaluation))
            progress.losses.append((progress.step, numbers["loss"]))
            self.count()
            if self.record is not None:
                self.record.evaluation(step=progress.step, **numbers, seconds=progress.seconds)

    def keep(self) -> None:
        """Save the state, once every number in it has been looked at."""
        self.unseen.look()
        with self.interrupts.held():
            self.count()
            self.saved_name = self.save(self.state)
            self.saved_step, self.saved_at = self.state.progress.step, time.perf_counter()

    def step(self) -> None:
        """One optimiser step, and all that is written down about it."""
        progress, config = self.state.progress, self.state.config
        logged = progress.step % config.log_every == 0 or progress.step + 1 == config.steps
        with self.interrupts.held():
            self.whole = False
            result = train_step(
                self.state.model,
                self.state.optimizer,
                self.state.batches,
                step=progress.step,
                config=config,
                precision=self.precision,
                measure=logged,
                unseen=self.unseen,
            )
            progress.step += 1
            progress.tokens += config.tokens_per_step
            self.whole = True
            self.count()
            if logged:
                self.history.steps.append(result)
                if self.record is not None:
                    self.record.step(**dataclasses.asdict(result), seconds=progress.seconds)
        if logged:
            self.bar.set_postfix(loss=f"{result.loss:.4f}", refresh=False)
        self.bar.update()
        for call in self.on_step:
            call(result)

    def leave(self) -> None:
        """After Ctrl-C: keep the state, unless it was pressed twice and a step was cut in two."""
        self.history.interrupted = True
        if self.whole and self.state.progress.step != self.saved_step:
            with contextlib.suppress(KeyboardInterrupt):
                self.keep()

    def count(self) -> None:
        """Bring the times and the history's totals up to date."""
        progress = self.state.progress
        progress.seconds = time.perf_counter() - self.began
        self.history.tokens, self.history.seconds = progress.tokens, progress.seconds

    def what_is_left(self, divergence: Divergence) -> str:
        """The sentence for a run that broke."""
        if self.saved_name is not None:
            left = f"the last good checkpoint is {self.saved_name}"
        elif self.history.steps:
            left = f"step {self.history.steps[-1].step} was the last logged one to be finite"
        else:
            left = "it never was finite"
        peak = self.state.config.learning_rate
        return f"{divergence} ({left}): use a peak rate of {peak / 3:.1g} or a longer warm-up"


def _numbers(evaluation: Any) -> dict[str, float | int | None]:
    whole = dataclasses.is_dataclass(evaluation)
    numbers = dataclasses.asdict(evaluation) if whole else {"loss": evaluation}
    try:
        return numbers | {"loss": float(numbers["loss"])}
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise TrainingError(
            f"evaluate gave {evaluation!r}: return one number, or a dataclass with a number called loss"
        ) from None
