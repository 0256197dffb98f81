"""Runs: a recipe is trained, and what it leaves behind is kept in a folder of its own.

    data/mine/RUN/record.jsonl                   what was measured
    data/mine/RUN/checkpoints/step_00000200/     from which `resume` goes on

Taught in notebook 04_training."""

import itertools
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from tinylm import device
from tinylm.errors import RunError, TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.inference.generate import generate_text
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.build import Experiment, build_experiment
from tinylm.runs.forecast import (
    Forecast,
    check_memory,
    flops_per_token,
    forecast,
    format_vs_forecast,
    measure_speed,
)
from tinylm.runs.recipes import DataConfig, Recipe
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.storage import checkpoint
from tinylm.storage.checkpoint import TrainingCheckpoint, folder_of, load_newest, saved_steps
from tinylm.text.dataset import Dataset, load_dataset
from tinylm.text.tokenizers import Tokenizer
from tinylm.training.loop import train
from tinylm.training.progress import Progress, TrainingState, check_unchanged

ENDED = ("seconds", "tokens", "interrupted", "stopped_early")  # what the end line says of a history
SAMPLE = GenerationConfig(max_new_tokens=72, temperature=0.8)  # a line


def new_folder(recipe_name: str, name: str | None = None) -> Path:
    """Where the next run goes: data/mine/NAME, by default the recipe's name and the first free number.

    Nothing is created yet. A run that ended before its first checkpoint may be begun again under its name.
    Raises RunError for a name that is taken, ConfigError for one not plain."""
    if name is None:
        numbered = (paths.MINE / f"{recipe_name}-{number}" for number in itertools.count(1))
        return next(folder for folder in numbered if not folder.exists())
    folder = paths.MINE / paths.validate_name(name, "a run")
    if folder.exists() and not _ended_before_its_first_checkpoint(folder):
        raise RunError(
            f"the run {name} exists already: choose another --run name, leave it out for the next number, "
            f"or go on with `python -m tinylm resume {name}`"
        )
    return folder


def _ended_before_its_first_checkpoint(folder: Path) -> bool:
    with suppress(RunError):  # no record, or its first line was cut off
        record = read_record(folder / "record.jsonl")
        return record.what == "training" and record.end is None and not saved_steps(folder / paths.KEPT)
    return not saved_steps(folder / paths.KEPT)


def run_recipe(recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str) -> "Run":
    """Train a recipe, from its forecast to its last evaluation, and print what happens on the way.

    A checkpoint is saved at the beginning, at each evaluation, every ten minutes and at the end, also after
    Ctrl-C. Everything is checked before the folder is made, so that a refused run leaves nothing behind.
    `command` is what to type to repeat the run, for its record. Raises the TinyLMError of what is wrong."""
    new_folder(recipe.name, name)
    best = device.best_device()
    device.resolve_dtype(best, recipe.train.dtype)
    recipe.train.grad_accum_steps(recipe.model.context_length)
    if best.type == "cpu":
        check_memory(recipe.model, recipe.train, device.cpu_memory_bytes())
    experiment = build_experiment(recipe, fallback=fallback)
    recipe = experiment.recipe
    with _at_work(experiment):
        speed = measure_speed(
            experiment.model,
            micro_batch_size=recipe.train.micro_batch_size,
            context_length=recipe.model.context_length,
            dtype=recipe.train.dtype,
            optimizer=recipe.train.optimizer,
        )
        expected = forecast(recipe.model, recipe.train, tokens_per_second=speed)
        print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now; evaluations come on top")
        folder = new_folder(recipe.name, name)
        folder.mkdir(parents=True, exist_ok=name is not None)
        with _alone_in(folder):
            new_folder(recipe.name, folder.name)  # nobody has saved into it meanwhile
            (folder / "record.jsonl").unlink(missing_ok=True)
            shutil.rmtree(folder / paths.KEPT, ignore_errors=True)
            header = _header(experiment, command, expected)
            return Run(experiment, folder, RunRecord(folder / "record.jsonl", header)).go(expected.seconds)


def resume(name: str) -> "Run":
    """Go on with a run that was stopped, from its newest complete checkpoint, as if it never had been.

    Nothing is retyped: recipe, text and tokenizer are those that the checkpoint names. Raises CheckpointError
    when one of them is not what it was or when no checkpoint is complete, and RunError when nothing is left
    to do; a refusal leaves the run as it was."""
    folder = paths.find_run(name)
    with _alone_in(folder):
        paths.newest_checkpoint(folder)
        saved, passed_over = load_newest(paths.display_path(folder / paths.KEPT))
        for sentence in passed_over:
            print(f"passed over: {sentence}")
        record, made, done = read_record(folder / "record.jsonl"), saved.provenance, saved.progress
        if record.has_ended and not passed_over:
            raise RunError(
                f"the run {folder.name} ended after {done.step} of {saved.config.steps} steps, "
                f"there is nothing to go on with: train again for more"
            )
        header = {name: record.header.get(name) for name in ("recipe", "seed")}
        check_unchanged(saved.name, {"recipe": made["recipe"], "seed": saved.config.seed}, header)
        data = DataConfig(**made["data"])  # the recipe is as it was, whatever it says today
        data = replace(data, corpus=paths.stored_text(data.corpus))
        recipe = Recipe(made["recipe"], made["about"], saved.model.config, saved.config, data)
        experiment = build_experiment(recipe)
        if "init_from" in made:  # its weights have become those of the checkpoint
            experiment.provenance["init_from"] = made["init_from"]
        check_unchanged(saved.name, made, experiment.provenance)
        with _at_work(experiment):
            print(f"going on from {saved.name}: {done.step:,} of {saved.config.steps:,} steps are done")
            if rounding := saved.rounding(device.best_device()):
                print(rounding)
            evaluated = [step for step, _ in done.val_losses]
            going_on = RunRecord.resumed(folder / "record.jsonl", step=done.step, evaluated=evaluated)
            return Run(experiment, folder, going_on).go(record.header.get("forecast_seconds"), saved)


def validate(name: str | Path) -> tuple[Evaluation, Dataset]:
    """A trained model's loss on the validation text of its own corpus, and that dataset."""
    opened = paths.open_checkpoint(name)
    dataset = load_dataset(paths.stored_text(opened.corpus))
    if dataset.tokenizer.fingerprint != opened.tokenizer.fingerprint:  # such as one that folds to lower case
        tokens = opened.tokenizer.encode(dataset.tokenizer.decode(dataset.validation))
        longer = len(dataset.validation) / len(tokens)
        documents = dataset.documents if longer == 1 else None
        numbers = {"bytes_per_token": dataset.bytes_per_token * longer, "documents": documents}
        dataset = replace(dataset, validation=tokens, **numbers)
    where = {"device": device.best_device(), "dtype": device.resolve_dtype(device.best_device())}
    result = _evaluate(opened.model.to(where["device"]), dataset, **where)
    return result, replace(dataset, name=Path(dataset.name).name)


def _evaluate(model: GPT, dataset: Dataset, **more: Any) -> Evaluation:
    return evaluate(
        model,
        dataset.validation,
        documents=dataset.documents,
        bytes_per_token=dataset.bytes_per_token,
        **more,
    )


def format_evaluation(evaluation: Evaluation, unit: str) -> str:
    """An evaluation in one line; `unit` is what one token is called. Its ± says over what it was taken."""
    error = "" if math.isnan(evaluation.standard_error) else f" ± {evaluation.standard_error:.4f}"
    over = f" (± over {evaluation.unit})" if error else ""
    return (
        f"validation loss {evaluation.loss:.4f}{error} nats per {unit}, perplexity "
        f"{evaluation.perplexity:.2f}, {evaluation.bits_per_token:.3f} bits per {unit}{over}"
    )


def opening(tokenizer: Tokenizer) -> str:
    """What a text begins with: a line's end or, where the text had none, the tokenizer's first token."""
    try:
        tokenizer.encode("\n")
        return "\n"
    except TinyLMError:
        return tokenizer.decode([0])


class Run:
    """A run: what `train` is given for it, and afterwards what it leaves behind."""

    def __init__(self, experiment: Experiment, folder: Path, record: RunRecord) -> None:
        self.experiment, self.folder, self.record = experiment, folder, record
        self.model, self.tokenizer = experiment.model, experiment.dataset.tokenizer
        self.progress, self.interrupted = Progress(), False  # whether Ctrl-C ended it early

    def go(self, forecast_seconds: float | None, saved: TrainingCheckpoint | None = None) -> "Run":
        """Train, from the beginning or from a checkpoint; at the end print what it took."""
        config, name, home = self.experiment.recipe.train, self.folder.name, self.folder / paths.KEPT
        folder, go_on = paths.display_path(self.folder), f"`python -m tinylm resume {name}` goes on"
        print(f"writing to {folder}; Ctrl-C ends the run early and keeps the model", flush=True)
        try:
            history = train(
                self.model.to(device.best_device()),
                self.experiment.batches,
                config,
                evaluate=self.evaluate,
                save=self.save,
                callbacks=[self],
                resume=saved,
                provenance=self.experiment.provenance,
            )
            self.record.close(**{name: getattr(history, name) for name in ENDED})
        except OSError as error:  # a full disk, a folder that is gone or read-only, a terminal that is closed
            way_out = f"nothing was saved yet, train it again, also as --run {name}"
            if saved_steps(home):
                way_out = f"its checkpoints are complete, {go_on}"
            raise RunError(
                f"the run {name} stopped after step {self.progress.step}, because the system refused: "
                f"{error.strerror}; {way_out}"
            ) from error
        if history.interrupted:
            print(f"ended early, after {self.progress.step} steps: {go_on}")
        elif history.stopped_early:
            best = paths.display_path(home / folder_of(self.progress.best[0]))
            patience = f"{config.patience} evaluations had not lowered the loss"
            print(f"stopped early, after {self.progress.step} steps: {patience}\nthe lowest is kept: {best}")
        share = history.tokens / (config.steps * config.tokens_per_step)
        print(format_vs_forecast(forecast_seconds, history.seconds, share=share))
        self.model.cpu().eval()
        self.interrupted = history.interrupted
        return self

    def evaluate(self, state: TrainingState) -> Evaluation:
        """The loss on the validation text, in the arithmetic of the training or in eval_dtype."""
        config, precision = state.config, state.precision
        return _evaluate(
            state.model,
            self.experiment.dataset,
            max_tokens=config.eval_tokens or None,
            device=precision.device,
            dtype=precision.dtype if config.eval_dtype == "auto" else config.eval_dtype,
            world=state.world,
        )

    def __call__(self, state: TrainingState) -> None:
        """Write down a step or an evaluation; print an evaluation, with a line that the model writes by now.

        The line has a generator of its own, so that training sees none of its random numbers."""
        self.progress = state.progress
        self.record(state)
        if state.evaluation is not None:
            step, unit = state.progress.step, self.experiment.dataset.unit
            tqdm.write(f"step {step}: {format_evaluation(state.evaluation, unit)}")
            generator, prompt = torch.Generator().manual_seed(step), opening(self.tokenizer)
            line = generate_text(state.model, self.tokenizer, prompt, SAMPLE, generator=generator)
            tqdm.write(f"  {line!r}")

    def save(self, state: TrainingState) -> str:
        """Save a checkpoint and remove those no longer wanted. Returns its name as it can be typed."""
        self.progress = progress = state.progress
        home, recipe = self.folder / paths.KEPT, self.experiment.recipe
        notes = {"recipe": recipe.name, "corpus": recipe.data.corpus, "step": progress.step}
        if (evaluation := state.evaluation) is not None:
            notes |= {"loss": evaluation.loss, "unit": evaluation.unit}
            if not math.isnan(evaluation.standard_error):
                notes["standard_error"] = evaluation.standard_error
        notes["train"] = recipe.train.to_json()
        folder = home / folder_of(progress.step)
        checkpoint.save(folder, state, tokenizer=self.tokenizer.to_json(), notes=notes)
        checkpoint.rotate(home, step=progress.step, best=progress.best[0] if progress.best else None)
        return paths.display_path(folder)


def _header(experiment: Experiment, command: str, expected: Forecast) -> dict[str, Any]:
    """What the record of a training begins with, and the table of results needs."""
    recipe, dataset, here = experiment.recipe, experiment.dataset, device.best_device()
    return record_header(
        "training",
        command=command,
        device=here.type if here.type == "cpu" else device.describe_device(here),
        dtype=device.resolve_dtype(here, recipe.train.dtype),
        threads=torch.get_num_threads(),
        seed=recipe.train.seed,
        tokens=expected.tokens,
        parameters=expected.parameters,
        data=dataset.name,
        reading=asdict(replace(recipe.data, corpus=dataset.name)),
        init_from=experiment.provenance.get("init_from"),
        forecast_seconds=expected.seconds,
        **{name: experiment.provenance[name] for name in ("recipe", "tokenizer", "model", "train")},
    )


@contextmanager
def _at_work(experiment: Experiment) -> Iterator[None]:
    """Say what is trained, and take as many threads as it is worth, unless OMP_NUM_THREADS says how many."""
    recipe, dataset, here = experiment.recipe, experiment.dataset, device.best_device()
    dtype = device.resolve_dtype(here, recipe.train.dtype)
    print(
        f"{recipe.name}: {recipe.about}\n"
        f"{dataset.name} ({dataset.source}): {len(dataset.train):,} {dataset.unit}s to train on, "
        f"{len(dataset.validation):,} to validate, {dataset.tokenizer.vocab_size:,} different ones\n"
        f"on {device.describe_device(here)}, in {dtype}",
        flush=True,
    )
    # On 2 quiet cores two threads took 0.96 of the time of one for 0.04 GFLOP and 0.66 for 1.2; on busy ones
    # up to 1.7 times as long, because a thread that waits for the other one spins.
    flops = flops_per_token(recipe.model) * recipe.model.context_length * recipe.train.micro_batch_size
    before = torch.get_num_threads()
    if flops < 1e9 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile. The lock is the system's: a killed process holds none."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RunError(
            f"another training is writing to the run {folder.name}: wait for its end, or choose another name"
        ) from None
