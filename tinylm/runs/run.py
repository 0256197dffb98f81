"""Runs: train a recipe, and resume a run that was stopped. Each run keeps what it leaves behind in a folder.

    data/mine/RUN/record.jsonl                   what was measured
    data/mine/RUN/checkpoints/step_00000200/     from which `resume` goes on

`Run.on_event` is the callback that prints during training; `RunRecord.on_event` in records is the one that
writes the record.
Taught in notebook 04_training."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from tqdm.auto import tqdm

from tinylm import device
from tinylm.errors import CheckpointError, RunError, WorldLost
from tinylm.inference.config import GenerationConfig
from tinylm.inference.evaluate import Evaluation
from tinylm.inference.generate import generate_text, opening
from tinylm.model.cost import flops_per_token
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.recipes import Recipe
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.runs.task import Task, read_dataset, stored_data
from tinylm.storage import atomic, checkpoint, weights
from tinylm.storage.checkpoint import TrainingCheckpoint, folder_of, load_newest, saved_steps
from tinylm.text.batches import Batches
from tinylm.training.ddp import SINGLE, World, joined
from tinylm.training.forecast import Forecast, check_memory, forecast, plain_duration
from tinylm.training.loop import train
from tinylm.training.provenance import check_same, default_provenance, fingerprint
from tinylm.training.speed import measure_speed
from tinylm.training.state import Progress, TrainingState

TORCHRUN = "torchrun --nproc-per-node=%d"
RECORD = "record.jsonl"  # in the folder of a run
HEADER = b'{"kind": "header"'  # how it begins
PARTS = (
    "recipe",
    "scale",
    "init_from",
    "tokenizer",
    "model",
    "train",
)  # of the provenance, in the record too
SAMPLE = GenerationConfig(max_new_tokens=72, temperature=0.8)  # a line


@contextmanager
def together(*, fsdp: bool = False) -> Iterator[World]:
    """Join the processes that torchrun started, or yield a `World` of one process. Only rank 0 prints."""
    with joined(fsdp=fsdp) as world, redirect_stdout(sys.stdout if world.rank == 0 else None):
        yield world


def run_recipe(
    recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str, world: World = SINGLE
) -> "Run":
    """Train a recipe, from its forecast to its last evaluation, and print what happens on the way.

    A checkpoint is saved at the beginning, at each evaluation, every ten minutes and at the end, also after
    Ctrl-C. Everything is checked before the folder is made, so a run that is refused leaves nothing behind.
    `command` is what to type to repeat the run, for its record. With several processes rank 0 does all of
    the writing, to a disk that the others can read. Raises a TinyLMError that says what is wrong."""
    if world.rank == 0 and name is not None:
        new_folder(name)
    run = Run(recipe, fallback=fallback, world=world)
    run.describe()
    header = run.header(run.forecast(), command)
    chosen = make_folder(recipe.name, name) if world.rank == 0 else None
    folder = paths.MINE / world.broadcast(chosen)
    with _alone_in(folder, world):
        record = None
        if world.rank == 0:
            new_folder(folder.name)  # nobody has saved into it in the meantime
            (folder / RECORD).unlink(missing_ok=True)
            record = RunRecord(folder / RECORD, header)
        return run.go(folder, record)


def resume(name: str, *, world: World = SINGLE) -> "Run":
    """Go on with a run that was stopped, from its newest complete checkpoint, as if it had never stopped.

    Nothing is typed again: the checkpoint names recipe, text and tokenizer. Another number of processes reads
    the same rows, and its numbers are equal up to rounding. Raises CheckpointError if something is not
    what it was or no checkpoint is complete, RunError if the record is damaged or nothing is left to do; a
    refusal leaves the run as it was."""
    folder = paths.find_run(name)
    with _alone_in(folder, world):
        saved, passed_over = load_newest(paths.display_path(folder / paths.KEPT))
        for sentence in passed_over:
            print(f"passed over: {sentence}")
        record, done = read_record(folder / RECORD), saved.progress
        for step in saved_steps(folder / paths.KEPT):
            place = folder / paths.KEPT / folder_of(step)
            if step > done.step and not checkpoint.is_ours(place):  # the run would save there
                raise RunError(f"{paths.display_path(place)} is not only a checkpoint: move it elsewhere")
        check_same(world, {"the checkpoint": saved.name, "its files": saved.data["files"]})
        if record.has_ended and not passed_over:
            ended = f"the run {folder.name} ended after {done.step} of {saved.config.steps} steps"
            raise RunError(f"{ended}: train another one from its weights with --init-from {folder.name}")
        # Every rank reads the record, so that all of them refuse it. Rank 0 writes to it.
        going_on = RunRecord.resumed(folder / RECORD, saved.model.notes.get("record"), done.step)
        run = Run.from_provenance(saved, world=world)
        run.describe()
        print(f"going on from {saved.name}: {done.step:,} of {saved.config.steps:,} steps are done")
        return run.go(folder, going_on if world.rank == 0 else None, saved)


class Run:
    """A recipe that is ready to train: its text is read, its batches are cut, its model is built.

    recipe: as it will be trained, with the true vocabulary size and the corpus that was really read.
    plan: how this number of processes trains it.
    provenance: what must not change when the run is resumed, on any number of processes, as plain JSON.

    What needs no text is checked before the text is read, which may take minutes. Rank 0 reads first, and
    prepares the text if that is needed. With `fallback`, a missing corpus is replaced by the recipe's
    generated one, and one printed line says so. Raises CorpusMissing, DataError, CheckpointError if the
    weights of `init_from` do not fit, and ConfigError for what this machine cannot do."""

    def __init__(self, recipe: Recipe, *, fallback: bool = False, world: World = SINGLE) -> None:
        context_length = recipe.model.context_length
        self.world, self.plan = world, recipe.train.divided(context_length, world.size)
        world.check(recipe.train.optimizer)
        device.resolve_dtype(world.device, self.plan.dtype)
        if world.device.type == "cpu" and (memory := device.cpu_memory_bytes()):
            check_memory(recipe.model, self.plan, memory // world.on_machine)
        start = None if recipe.init_from is None else _open_start(recipe)
        self.task = Task(recipe.data, world.first(lambda: read_dataset(recipe.data, fallback=fallback)))
        dataset, self.tokenizer, self.prompt = self.task.dataset, self.task.tokenizer, self.task.prompt
        if self.task.loss_fn is not next_token_loss:  # only the cross-entropy is fused with the head
            self.plan = replace(self.plan, fused_loss=False)
        config = replace(recipe.model, vocab_size=self.tokenizer.vocab_size)
        self.recipe = replace(recipe, model=config, data=self.task.data)
        self.model = GPT(config, generator=torch.Generator().manual_seed(self.plan.seed))
        self.batches = Batches(
            dataset.train,
            context_length=context_length,
            batch_size=self.plan.micro_batch_size,
            seed=self.plan.seed,
            rank=world.rank,
            world_size=world.size,
            align=dataset.line,
            begins=self.task.begins,
            keep=self.task.keep,
            weigh=self.task.recall(n_rows=self.plan.steps * (self.plan.tokens_per_step // context_length)),
            fingerprint=dataset.fingerprint,
        )
        self.provenance = {
            "recipe": recipe.name,
            "about": recipe.about,
            "scale": recipe.scale,
            "data": asdict(self.task.data),
            "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
            "tokenizer": self.tokenizer.fingerprint,
            "init_from": None,
            **default_provenance(self.model, recipe.train, self.batches),
        }
        if start is not None:
            self._start_from(start)
        check_same(world, self.provenance | {"dtype": device.resolve_dtype(world.device, self.plan.dtype)})
        self.progress, self.interrupted = Progress(), False  # whether Ctrl-C ended it early

    @classmethod
    def from_provenance(cls, saved: TrainingCheckpoint, *, world: World = SINGLE) -> Self:
        """Make ready what a checkpoint was saved by. `train` compares the two when it restores the state.

        Raises CheckpointError if the provenance does not say what the run was made of."""
        made, opened = saved.provenance, saved.model
        try:
            data, init_from = stored_data(opened), made["init_from"]
            recipe = Recipe(made["recipe"], made["about"], opened.config, saved.config, data)
            recipe = replace(recipe, scale=made["scale"])
        except (KeyError, TypeError) as error:
            raise atomic.damaged(f"{opened.name}/{weights.ABOUT}", f"its provenance: {error}") from error
        run = cls(recipe, world=world)
        run.provenance["init_from"] = init_from  # its weights have become those of the checkpoint
        return run

    def _start_from(self, start: weights.Checkpoint) -> None:
        """Take the weights of another model, and note which."""
        name, theirs = self.recipe.init_from, start.tokenizer
        if theirs.fingerprint != self.tokenizer.fingerprint:
            unlike = f"{name} reads {theirs.vocab_size} {theirs.unit}s, {self.task.dataset.name} has others"
            way_out = "choose a text with the same characters"
            if theirs.unit == "token":
                way_out = f"use --data.tokenizer {start.name}/{weights.TOKENIZER}"
            raise CheckpointError(f"{unlike}: {way_out}, or leave init_from out")
        start.fill(self.model)
        self.provenance["init_from"] = {"name": Path(name).name, "sha256": fingerprint(self.model)}

    def describe(self) -> None:
        """Print what is trained: the recipe, the text, the device and the arithmetic."""
        config, plan, dataset, here = self.recipe.model, self.plan, self.task.dataset, self.world.device
        n, rows = self.world.size, plan.micro_batch_size
        many = f", in {n} processes, {rows} rows at once in each" if n > 1 else ""
        print(
            f"{self.recipe.name}: {self.recipe.about}\n"
            f"{dataset.described}: {len(dataset.train):,} {dataset.unit}s to train on, "
            f"{len(dataset.validation):,} to validate, {config.vocab_size:,} different ones\n"
            f"on {device.describe_device(here)}, in {device.resolve_dtype(here, plan.dtype)}{many}",
            flush=True,
        )

    def forecast(self) -> Forecast:
        """Measure how fast the model trains here, print how long the run will take, and return that."""
        busy = device.busy()  # asked before this program itself keeps the cores busy
        plan, model = self.plan, self.model
        if self.world.is_sharded:  # the model may not fit one device: one of its blocks does
            model = GPT(replace(model.config, n_layer=1))
        model = model.to(self.world.device)
        speed = measure_speed(model, config=plan, context_length=model.config.context_length)
        speed *= flops_per_token(model.config) / flops_per_token(self.model.config)
        speed = float(self.world.sum(torch.tensor(speed, dtype=torch.float64)))
        n = len(self.task.dataset.validation)
        expected = forecast(self.model.config, plan, tokens_per_second=speed, validation_tokens=n)
        print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now, evaluations included")
        if busy:
            print(f"  {busy}")
        return expected

    def header(self, expected: Forecast, command: str) -> dict[str, Any]:
        """Return the header of the run's record: what the table of results and the card need."""
        here, plan, dataset = self.world.device, self.plan, self.task.dataset
        if self.world.size > 1:
            command = command.replace("python", TORCHRUN % self.world.on_machine, 1)
        return record_header(
            "training",
            command=command,
            device="cpu" if here.type == "cpu" else device.describe_device(here),
            dtype=device.resolve_dtype(here, plan.dtype),
            threads=torch.get_num_threads(),
            processes=self.world.size,
            seed=plan.seed,
            tokens=expected.tokens,
            parameters=expected.parameters,
            data=dataset.name,
            holds=dataset.holds,
            reading=self.provenance["data"] | {"corpus": dataset.name},
            forecast_seconds=expected.seconds,
            **{part: self.provenance[part] for part in PARTS},
        )

    def go(self, folder: Path, record: RunRecord | None, saved: TrainingCheckpoint | None = None) -> Self:
        """Train, from the beginning or from a checkpoint, and print what it took. Rank 0 has a record."""
        self.folder, self.record = folder, record
        name, go_on = folder.name, f"`python -m tinylm resume {folder.name}` goes on"
        where = paths.display_path(folder)
        print(f"writing to {where}; Ctrl-C ends the run early and keeps the model", flush=True)
        # The record comes first: a second Ctrl-C may cut off the text that on_event prints, but no line.
        callbacks = [self.on_event] if record is None else [record.on_event, self.on_event]
        try:
            history = train(
                self.model if self.world.is_sharded else self.model.to(self.world.device),
                self.batches,
                self.plan,
                evaluate=self.evaluate,
                save=self.save,
                callbacks=callbacks,
                loss_fn=fused_loss if self.plan.fused_loss else self.task.loss_fn,
                resume=saved,
                provenance=self.provenance,
                world=self.world,
            )
            if record is not None:
                sums = {name: value for name, value in vars(history).items() if not isinstance(value, list)}
                record.write("end", **sums)
        except OSError as error:  # a full disk, a folder that is gone or read-only, a terminal that is closed
            stopped = f"the run {name} stopped after step {self.progress.step}, because the system refused"
            raise RunError(f"{stopped}: {error.strerror}; {go_on} from its last checkpoint") from error
        except WorldLost as error:
            raise WorldLost(f"{error}: {go_on}, also with another number of processes") from error
        self.interrupted, step = history.interrupted, self.progress.step
        if history.interrupted:
            print(f"ended early, after {step} steps: {go_on}")
        elif history.stopped_early:
            lowest = f"{where}/{paths.KEPT}/{folder_of(self.progress.best[0])}"
            print(f"stopped early, after {step} steps, {self.plan.patience} evaluations without a lower loss")
            print(f"the lowest is kept: {lowest}")
        print(f"took {plain_duration(history.seconds)}")
        if self.world.is_sharded:  # no process has the whole model, except on the disk
            self.model = load_newest(folder / paths.KEPT)[0].model.model
        self.model.cpu().eval()
        return self

    def evaluate(self, state: TrainingState) -> Evaluation:
        """Return the loss on the validation text, in the arithmetic of the training."""
        dtype, most = state.precision.dtype, state.config.eval_tokens or None
        return self.task.measure(state.model, dtype=dtype, max_tokens=most, world=state.world)

    def on_event(self, state: TrainingState) -> None:
        """Print an evaluation, and a line of text that the model writes now. The loop calls this.

        The text has a generator of its own, so that it takes no random numbers from the training."""
        self.progress = state.progress
        if state.evaluation is not None and state.world.rank == 0:
            step, asked = state.progress.step, self.prompt or ""
            tqdm.write(f"step {step}: {state.evaluation.described(self.task.dataset.unit)}")
            if state.world.is_sharded:  # rank 0 alone does not have the weights to write a line with
                return
            generator, prompt = torch.Generator().manual_seed(step), asked or opening(self.tokenizer)
            sample = replace(SAMPLE, temperature=0.0, stop=("\n",)) if asked else SAMPLE
            line = generate_text(state.model, self.tokenizer, prompt, sample, generator=generator)
            tqdm.write(f"  {asked + line!r}")

    def save(self, state: TrainingState) -> str:
        """Save a checkpoint and remove those no longer wanted. Returns its name as it can be typed."""
        home, step, best = self.folder / paths.KEPT, state.progress.step, state.progress.best
        notes: dict[str, Any] = {"step": step, "prompt": self.prompt}
        if self.record is not None:  # only rank 0 writes, though with --fsdp all processes save together
            # After a power cut a checkpoint must not know more than the record, so that comes first. Its
            # sha256 tells a later resume which lines it had, and that none of them has changed.
            atomic.flush(self.record.path)
            notes["record"] = self.record.sha256()
        if state.evaluation is not None:
            known = asdict(state.evaluation)  # an error of nan says nothing
            notes |= {name: value for name, value in known.items() if value == value and value != {}}
        folder = home / folder_of(step)
        checkpoint.save(folder, state, tokenizer=self.tokenizer.to_json(), notes=notes)
        if self.record is not None:
            checkpoint.rotate(home, step=step, best=best[0] if best else None)
        return paths.display_path(folder)


def _open_start(recipe: Recipe) -> weights.Checkpoint:
    """Open the weights that a training starts from. Raises CheckpointError if they are of another shape.

    The size of the vocabulary is not known before the text is read, which may take minutes."""
    start = paths.open_checkpoint(recipe.init_from)
    theirs, ours = start.config.shape(), recipe.model.shape()
    unlike = [name for name in ours if name != "vocab_size" and theirs[name] != ours[name]]  # set by the text
    if unlike:
        found = ", ".join(f"{name} is {theirs[name]} there and {ours[name]} here" for name in unlike)
        raise CheckpointError(f"the weights of {recipe.init_from} do not fit: {found}; use the same settings")
    return start


def new_folder(name: str) -> Path:
    """Return the folder of a run that is to begin, data/mine/NAME. It is not made yet.

    A run that ended before its first checkpoint may begin again under its name. Raises RunError for a name
    that is taken, ConfigError for one that is no plain name."""
    folder = paths.MINE / paths.validate_name(name, "a run")
    is_taken = bool(saved_steps(folder / paths.KEPT))
    with suppress(RunError, FileNotFoundError):  # there is no record, or its first line was cut off
        begin = (folder / RECORD).read_bytes()[: len(HEADER)]
        is_taken |= not HEADER.startswith(begin)  # it is somebody's own file
        record = read_record(folder / RECORD)
        is_taken |= record.what != "training" or record.end is not None
    if is_taken:
        others = "choose another --run name, leave it out for the next number"
        way_out = f"{others}, or go on with `python -m tinylm resume {name}`"
        raise RunError(f"the run {name} exists already: {way_out}")
    return folder


def make_folder(recipe_name: str, name: str | None) -> str:
    """Make the folder of a new run and return its name, by default with the first number that is free."""
    if name is not None:
        (paths.MINE / name).mkdir(parents=True, exist_ok=True)
        return name
    for number in itertools.count(1):
        with suppress(FileExistsError):  # also where another training was faster
            (paths.MINE / f"{recipe_name}-{number}").mkdir(parents=True)
            return f"{recipe_name}-{number}"


def _alone_in(folder: Path, world: World) -> AbstractContextManager[None]:
    """Lock the folder of a run for rank 0, which does all of the writing."""
    busy = f"another training is writing to the run {folder.name}: wait for its end, or choose another name"
    return nullcontext() if world.rank > 0 else atomic.alone_in(folder, RunError(busy))
