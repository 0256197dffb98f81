"""Runs: a recipe is made ready and trained, and what it leaves behind is kept in a folder of its own.

    data/mine/RUN/record.jsonl                   what was measured
    data/mine/RUN/checkpoints/step_00000200/     from which `resume` goes on

Taught in notebook 04_training."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from tinylm import device
from tinylm.errors import CheckpointError, ConfigError, RunError, WorldLost
from tinylm.inference.config import GenerationConfig
from tinylm.inference.evaluate import Evaluation
from tinylm.inference.generate import generate_text, opening
from tinylm.model.cost import flops_per_token
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs import paths
from tinylm.runs.recipes import DataConfig, Recipe
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.runs.scoring import Task, stored
from tinylm.storage import atomic, checkpoint, weights
from tinylm.storage.checkpoint import TrainingCheckpoint, folder_of, load_newest, saved_steps
from tinylm.text.batches import Batches
from tinylm.text.dataset import Dataset
from tinylm.text.recall import Recall
from tinylm.training.ddp import SINGLE, World, joined
from tinylm.training.forecast import check_memory, forecast, plain_duration
from tinylm.training.loop import train
from tinylm.training.progress import Progress, TrainingState, check_same, check_unchanged, default_provenance
from tinylm.training.speed import measure_speed, threads_for

TORCHRUN = "torchrun --nproc-per-node=%d"
FREE = {"dropout", "attention", "residual_init"}  # may differ from those of the weights
FREE |= {"vocab_multiple", "activation_checkpointing"}
ENDED = ("seconds", "tokens", "skipped", "interrupted", "stopped_early")  # what the end line says
SAMPLE = GenerationConfig(max_new_tokens=72, temperature=0.8)  # a line


@contextmanager
def together() -> Iterator[World]:
    """The world that torchrun has started this process in, or that of one process. Rank 0 alone prints."""
    with joined() as world, redirect_stdout(sys.stdout if world.rank == 0 else None):
        yield world


def run_recipe(
    recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str, world: World = SINGLE
) -> "Run":
    """Train a recipe, from its forecast to its last evaluation, and print what happens on the way.

    A checkpoint is saved at the beginning, at each evaluation, every ten minutes and at the end, also after
    Ctrl-C. Everything is checked before the folder is made, so that a refused run leaves nothing behind.
    `command` is what to type to repeat the run, for its record. Of several processes rank 0 writes all,
    where the others can read it. Raises the TinyLMError of what is wrong."""
    if world.rank == 0:
        new_folder(recipe.name, name)
    best, context_length = world.device, recipe.model.context_length
    if world.size == 1:  # what was typed is refused; several divide the same tokens as they can
        recipe.train.grad_accum_steps(context_length)
    plan = recipe.train.divided(context_length, world.size)
    dtype, _ = (device.resolve_dtype(best, name) for name in (plan.dtype, plan.eval_dtype))
    if recipe.data.scored == "answers":  # whether an answer is right takes all logits
        plan = replace(plan, fused_loss=False)
    if best.type == "cpu":
        memory = device.cpu_memory_bytes()
        check_memory(recipe.model, plan, memory and memory // world.on_machine)
    run = Run(recipe, fallback=fallback, world=world)
    with run.at_work():
        sizes = {"micro_batch_size": plan.micro_batch_size, "context_length": context_length}
        costly = {name: getattr(plan, name) for name in ("dtype", "optimizer", "compile", "fused_loss")}
        speed = measure_speed(run.model.to(best), **sizes, **costly)
        speed = float(world.sum(torch.tensor(speed, dtype=torch.float64)))
        pace = {"tokens_per_second": speed, "validation_tokens": len(run.dataset.validation)}
        expected = forecast(run.model.config, plan, **pace)
        print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now, evaluations included")
        header = record_header(  # what the table of results needs
            "training",
            command=command if world.size == 1 else command.replace("python", TORCHRUN % world.on_machine, 1),
            device=best.type if best.type == "cpu" else device.describe_device(best),
            dtype=dtype,
            threads=torch.get_num_threads(),
            **({"processes": world.size} if world.size > 1 else {}),
            seed=plan.seed,
            tokens=expected.tokens,
            parameters=expected.parameters,
            data=run.dataset.name,
            holds=run.dataset.holds,
            scale=recipe.scale,
            reading=asdict(run.recipe.data) | {"corpus": run.dataset.name},
            init_from=run.provenance.get("init_from"),
            forecast_seconds=expected.seconds,
            **{part: run.provenance[part] for part in ("recipe", "tokenizer", "model", "train")},
        )
        folder = paths.MINE / world.broadcast(new_folder(recipe.name, name).name if not world.rank else None)
        if world.rank:
            return run.go(folder, None)
        folder.mkdir(parents=True, exist_ok=name is not None)
        with _alone_in(folder):
            new_folder(recipe.name, folder.name)  # nobody has saved into it meanwhile
            (folder / "record.jsonl").unlink(missing_ok=True)
            return run.go(folder, RunRecord(folder / "record.jsonl", header))


def resume(name: str, *, world: World = SINGLE) -> "Run":
    """Go on with a run that was stopped, from its newest complete checkpoint, as if it never had been.

    Nothing is retyped: recipe, text and tokenizer are those that the checkpoint names. Another number of
    processes reads the same rows, and its numbers are equal up to rounding. Raises CheckpointError when
    something is not what it was or no checkpoint is complete, and RunError when nothing is left to do; a
    refusal leaves the run as it was."""
    folder = paths.find_run(name)
    with _alone_in(folder) if world.rank == 0 else nullcontext():
        paths.find(folder)
        saved, passed_over = load_newest(paths.display_path(folder / paths.KEPT))
        for sentence in passed_over:
            print(f"passed over: {sentence}")
        record, made, done = read_record(folder / "record.jsonl"), saved.provenance, saved.progress
        if record.has_ended and not passed_over:
            go = f"{made['recipe']} --scale {record.header.get('scale')}".removesuffix(" --scale None")
            go = f"steps: `python -m tinylm train {go} --init-from {folder.name}` trains on from its weights"
            raise RunError(f"the run {folder.name} ended after {done.step} of {saved.config.steps} {go}")
        header = {name: record.header.get(name) for name in ("recipe", "seed")}
        check_unchanged(saved.name, {"recipe": made["recipe"], "seed": saved.config.seed}, header)
        data = DataConfig.from_json(made["data"])  # the recipe is as it was, whatever it says today
        made["data"] = asdict(data)  # with the settings that came later, as they were then
        data = stored(data, saved.model.name)
        run = Run(Recipe(made["recipe"], made["about"], saved.model.config, saved.config, data), world=world)
        if "init_from" in made:  # its weights have become those of the checkpoint
            run.provenance["init_from"] = made["init_from"]
        check_unchanged(saved.name, made, run.provenance)
        check_same(world, {"the checkpoint": saved.name, "its files": saved.data["files"]})
        with run.at_work():
            print(f"going on from {saved.name}: {done.step:,} of {saved.config.steps:,} steps are done")
            if rounding := saved.rounding(world.device.type, run.plan, world.size):
                print(rounding)
            world.meet()  # all have read the record
            going_on = RunRecord.resumed(folder / "record.jsonl", done) if world.rank == 0 else None
            return run.go(folder, going_on, saved)


class Run(Task):
    """A recipe made ready: its text read, its batches cut, its model built. `go` trains it.

    `recipe` is as it will be trained, with the vocabulary's true size and the corpus that was really read;
    `plan` is how this world trains it; `provenance` is what must not change when the run is resumed, in any
    world, as plain JSON. Rank 0 reads first, and prepares what has to be. With `fallback`, a missing
    corpus is replaced by the recipe's generated one, and one printed line says so. Raises CorpusMissing,
    DataError, CheckpointError for `init_from`, and ConfigError where the context is longer than the text."""

    def __init__(self, recipe: Recipe, *, fallback: bool = False, world: World = SINGLE) -> None:
        world.first(lambda: super(Run, self).__init__(recipe.data, fallback=fallback))
        dataset, context_length = self.dataset, recipe.model.context_length
        self.world, self.plan = world, recipe.train.divided(context_length, world.size)
        for part, tokens in (("training", dataset.train), ("validation", dataset.validation)):
            if len(tokens) <= context_length:
                what = f"context_length {context_length} is longer than the {part} text of {dataset.name}"
                has = f"which has {len(tokens):,} {dataset.unit}s"
                raise ConfigError(f"{what}, {has}: use {len(tokens) - 1} or less")
        config = replace(recipe.model, vocab_size=self.tokenizer.vocab_size)
        self.recipe = replace(recipe, model=config, data=self.data)
        self.model = GPT(config, generator=torch.Generator().manual_seed(self.plan.seed))
        sizes = {"context_length": context_length, "batch_size": self.plan.micro_batch_size}
        sizes |= {"rank": world.rank, "world_size": world.size, "align": dataset.line}
        more = {"begins": self.begins, "keep": self.keep, "fingerprint": dataset.fingerprint}
        if self.rare is not None:
            n_rows = recipe.train.steps * (recipe.train.tokens_per_step // context_length)
            end, weight = self.tokenizer.end_of_text, recipe.data.recall
            more["weigh"] = Recall(self.rare, end=end, weight=weight, n_rows=n_rows)
        self.batches = Batches(dataset.train, **sizes, **more, seed=self.plan.seed)
        self.provenance = {
            "recipe": recipe.name,
            "about": recipe.about,
            "data": asdict(self.data),
            "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
            "tokenizer": self.tokenizer.fingerprint,
            **default_provenance(self.model, recipe.train, self.batches),
        }
        if recipe.init_from is not None:
            self.provenance["init_from"] = self._start_from(recipe.init_from)
        check_same(world, self.provenance | {"dtype": device.resolve_dtype(world.device, self.plan.dtype)})
        self.progress, self.interrupted = Progress(), False  # whether Ctrl-C ended it early

    def _start_from(self, name: str) -> dict[str, Any]:
        """Load the weights of a checkpoint; its name, and what tells its weights from any other."""
        folder = paths.find(name)
        start = weights.load(paths.display_path(folder))
        free = {setting: getattr(self.model.config, setting) for setting in FREE}
        if start.tokenizer.fingerprint != self.tokenizer.fingerprint:
            unlike = f"{name} reads {start.config.vocab_size} {self.tokenizer.unit}s"
            unlike += f" and {self.dataset.name} has {self.tokenizer.vocab_size}, not the same"
            own = "choose a text and settings with its own"
            if start.tokenizer.unit != "character":
                own = f"use --data.tokenizer {paths.display_path(folder / weights.TOKENIZER)}"
            raise CheckpointError(f"{unlike}: {own}, or leave init_from out")
        theirs = {"model": replace(start.config, **free).to_json()}
        check_unchanged(name, theirs, {"model": self.provenance["model"]})
        start.fill(self.model)
        files = atomic.read_json(folder, weights.ABOUT, name)["files"]  # load has verified them
        return {"name": Path(name).name, "sha256": files[weights.WEIGHTS]["sha256"]}

    def at_work(self) -> AbstractContextManager[None]:
        """Say what is trained; inside what is returned, it has the threads that it is worth."""
        config, plan, dataset, here = self.recipe.model, self.plan, self.dataset, self.world.device
        many = f", in {self.world.size} processes" if self.world.size > 1 else ""
        if plan.micro_batch_size != (asked := self.recipe.train.micro_batch_size):
            many += f", {plan.micro_batch_size} rows at once instead of {asked}: that divides a step's tokens"
        print(
            f"{self.recipe.name}: {self.recipe.about}\n"
            f"{dataset.described}: {len(dataset.train):,} {dataset.unit}s to train on, "
            f"{len(dataset.validation):,} to validate, {config.vocab_size:,} different ones\n"
            f"on {device.describe_device(here)}, in {device.resolve_dtype(here, plan.dtype)}{many}",
            flush=True,
        )
        return threads_for(flops_per_token(config) * config.context_length * plan.micro_batch_size)

    def go(self, folder: Path, record: RunRecord | None, saved: TrainingCheckpoint | None = None) -> "Run":
        """Train, from the beginning or from a checkpoint; print what it took. Rank 0 has a record."""
        self.folder, config = folder, self.plan
        name, home = folder.name, folder / paths.KEPT
        shown, go_on = paths.display_path(folder), f"`python -m tinylm resume {name}` goes on"
        print(f"writing to {shown}; Ctrl-C ends the run early and keeps the model", flush=True)
        is_plain = self.loss_fn is next_token_loss  # nobody asks for its logits
        try:
            history = train(
                self.model.to(self.world.device),
                self.batches,
                config,
                evaluate=self.evaluate,
                save=self.save,
                callbacks=[self, *([record] if record else [])],
                loss_fn=fused_loss() if config.fused_loss and is_plain else self.loss_fn,
                resume=saved,
                provenance=self.provenance,
                world=self.world,
            )
            self.interrupted = history.interrupted
            if record is None:
                return self
            record.write("end", **{name: getattr(history, name) for name in ENDED})
        except OSError as error:  # a full disk, a folder that is gone or read-only, a terminal that is closed
            way_out = f"nothing was saved yet, train it again, also as --run {name}"
            if saved_steps(home):
                way_out = f"its checkpoints are complete, {go_on}"
            stopped = f"the run {name} stopped after step {self.progress.step}, because the system refused"
            raise RunError(f"{stopped}: {error.strerror}; {way_out}") from error
        except WorldLost as error:
            raise WorldLost(f"{error}: {go_on}, also with another number of processes") from error
        if history.interrupted:
            print(f"ended early, after {self.progress.step} steps: {go_on}")
        elif history.stopped_early:
            best = paths.display_path(home / folder_of(self.progress.best[0]))
            patience = f"{config.patience} evaluations had not lowered the loss"
            print(f"stopped early, after {self.progress.step} steps: {patience}\nthe lowest is kept: {best}")
        took, planned = f"took {plain_duration(history.seconds)}", config.steps * config.tokens_per_step
        expected = read_record(folder / "record.jsonl").header.get("forecast_seconds") or 0
        if expected := expected * history.tokens / planned:  # for what was read
            took += f", {history.seconds / expected:.2f} times its forecast ({plain_duration(expected)})"
        print(took)
        self.model.cpu().eval()
        return self

    def evaluate(self, state: TrainingState) -> Evaluation:
        """The loss on the validation text, in the arithmetic of the training or in eval_dtype."""
        config = state.config
        dtype = state.precision.dtype if config.eval_dtype == "auto" else config.eval_dtype
        limit = config.eval_tokens or None
        return self.measure(state.model, dtype=dtype, max_tokens=limit, world=state.world)

    def __call__(self, state: TrainingState) -> None:
        """Print an evaluation, with a line that the model writes by now.

        The line has a generator of its own, so that training sees none of its random numbers."""
        self.progress = state.progress
        if state.evaluation is not None and state.world.rank == 0:
            step = state.progress.step
            tqdm.write(f"step {step}: {state.evaluation.described(self.dataset.unit)}")
            generator, prompt = torch.Generator().manual_seed(step), self.prompt or opening(self.tokenizer)
            sample = replace(SAMPLE, temperature=0.0, stop=("\n",)) if self.prompt else SAMPLE
            line = generate_text(state.model, self.tokenizer, prompt, sample, generator=generator)
            tqdm.write(f"  {(self.prompt or '') + line!r}")

    def save(self, state: TrainingState) -> str:
        """Save a checkpoint and remove those no longer wanted. Returns its name as it can be typed."""
        home, recipe, progress = self.folder / paths.KEPT, self.recipe, state.progress
        notes = {"recipe": recipe.name, "corpus": recipe.data.corpus, "step": progress.step}
        if self.prompt:  # what an evaluation and a sample of it have to know
            notes |= {"rows": recipe.data.rows, "scored": recipe.data.scored, "prompt": self.prompt}
        if state.evaluation is not None:
            known = asdict(state.evaluation)  # an error of nan is none
            notes |= {name: value for name, value in known.items() if value == value and value != {}}
        if recipe.data.tokenizer != "characters":
            notes["tokenizer"] = recipe.data.tokenizer
        notes["train"] = recipe.train.to_json()
        folder = home / folder_of(progress.step)
        checkpoint.save(folder, state, tokenizer=self.tokenizer.to_json(), notes=notes)
        checkpoint.rotate(home, step=progress.step, best=progress.best[0] if progress.best else None)
        return paths.display_path(folder)


def new_folder(recipe_name: str, name: str | None = None) -> Path:
    """Where the next run goes: data/mine/NAME, by default the recipe's name and the first free number.

    Nothing is created yet. A run that ended before its first checkpoint may be begun again under its name.
    Raises RunError for a name that is taken, ConfigError for one not plain."""
    if name is None:
        numbered = (paths.MINE / f"{recipe_name}-{number}" for number in itertools.count(1))
        return next(folder for folder in numbered if not folder.exists())
    folder = paths.MINE / paths.validate_name(name, "a run")
    is_taken = bool(saved_steps(folder / paths.KEPT))
    with suppress(RunError, FileNotFoundError):  # there is no record, or its first line was cut off
        record = read_record(folder / "record.jsonl")
        is_taken |= record.what != "training" or record.end is not None
    if is_taken:
        taken = f"the run {name} exists already"
        others = "choose another --run name, leave it out for the next number"
        raise RunError(f"{taken}: {others}, or go on with `python -m tinylm resume {name}`")
    return folder


def _alone_in(folder: Path) -> AbstractContextManager[None]:
    busy = f"another training is writing to the run {folder.name}: wait for its end, or choose another name"
    return atomic.alone_in(folder, RunError(busy))


def validate(name: str | Path) -> tuple[Evaluation, Dataset]:
    """A trained model's loss on the validation text of its own corpus, and that dataset.

    Raises CheckpointError where the text is not what it was: a run knows its hash, others their alphabet."""
    opened, made = paths.open_checkpoint(name), {}
    home = atomic.recover_directory(Path(opened.name))
    if (home / checkpoint.TRAINING).exists():
        made = atomic.read_json(home, checkpoint.TRAINING, opened.name).get("provenance", {})
    asked = {"lowercase": getattr(opened.tokenizer, "lowercase", False)}
    if opened.tokenizer.unit != "character":  # unless the notes say another one, the checkpoint's own file
        asked["tokenizer"] = weights.TOKENIZER
    asked |= {name: opened.notes[name] for name in ("tokenizer", "rows", "scored") if name in opened.notes}
    task = Task(stored(DataConfig.from_json(made.get("data", asked) | {"corpus": opened.corpus}), home))
    name, was = task.dataset.name, made.get("dataset", {}).get("fingerprint", task.dataset.fingerprint)
    if (was, opened.tokenizer.fingerprint) != (task.dataset.fingerprint, task.tokenizer.fingerprint):
        what = f"{name} has changed since {opened.name} was trained on it"
        raise CheckpointError(f"{what}: give it back its text, or train again")
    return task.measure(opened.model.to(device.best_device()), dtype="auto"), task.dataset
