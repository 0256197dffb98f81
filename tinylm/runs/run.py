"""Runs: a recipe is trained, and what it leaves behind is kept in a folder of its own.

    data/mine/RUN/record.jsonl                   what was measured
    data/mine/RUN/checkpoints/step_00000200/     from which `resume` goes on

Taught in notebook 04_training."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from filelock import FileLock, Timeout

from tinylm import device
from tinylm.errors import CheckpointError, RunError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.build import Experiment, build_experiment
from tinylm.runs.callbacks import RunCallbacks
from tinylm.runs.forecast import (
    Forecast,
    check_memory,
    flops_per_token,
    forecast,
    format_vs_forecast,
    measure_speed,
)
from tinylm.runs.recipes import DataConfig, Recipe
from tinylm.runs.records import Record, RunRecord, read_record, record_header
from tinylm.storage.checkpoint import TrainingCheckpoint, folder_of, load_newest, saved_steps
from tinylm.text.dataset import Dataset, load_dataset
from tinylm.text.tokenizers import Tokenizer
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.progress import TrainingState, check_unchanged


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind."""

    folder: Path
    """Holds record.jsonl and checkpoints/."""
    model: GPT
    tokenizer: Tokenizer
    interrupted: bool
    """Whether Ctrl-C ended it early."""


def new_folder(recipe_name: str, name: str | None = None) -> Path:
    """Where the next run goes: data/mine/NAME, by default the recipe's name and the first free number.

    Nothing is created yet. A run that ended before its first checkpoint may be begun again under its name.
    Raises RunError for a name that is taken, ConfigError for one not plain."""
    if name is None:
        number = 1
        while (paths.MINE / f"{recipe_name}-{number}").exists():
            number += 1
        return paths.MINE / f"{recipe_name}-{number}"
    folder = paths.MINE / paths.validate_name(name, "a run")
    if folder.exists() and not _ended_before_its_first_checkpoint(folder):
        raise RunError(
            f"the run {name} exists already: choose another --run name, leave it out for the next number, "
            f"or go on with `python -m tinylm resume {name}`"
        )
    return folder


def run_recipe(recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str) -> RunResult:
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
    _introduce(experiment)
    with _threads(recipe):
        speed = measure_speed(
            experiment.model,
            micro_batch_size=recipe.train.micro_batch_size,
            context_length=recipe.model.context_length,
            dtype=recipe.train.dtype,
            optimizer=recipe.train.optimizer,
        )
        expected = forecast(recipe.model, recipe.train, tokens_per_second=speed)
        print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now; evaluations come on top")
        with _new_run(recipe.name, name) as folder:
            header = _header(experiment, expected, command)
            callbacks = RunCallbacks(experiment, folder)
            callbacks.record = RunRecord(folder / "record.jsonl", header)
            return _train(callbacks, header)


def resume(name: str) -> RunResult:
    """Go on with a run that was stopped, from its newest complete checkpoint, as if it never had been.

    Nothing is retyped: recipe, text and tokenizer are those that the checkpoint names. Raises CheckpointError
    when one of them is not what it was or when no checkpoint is complete, and RunError when nothing is left
    to do; a refusal leaves the run as it was."""
    folder = paths.run_folder(name)
    with _alone_in(folder):
        if not saved_steps(folder / paths.KEPT):
            raise paths.no_checkpoint(folder)
        saved, passed_over = load_newest(paths.display_path(folder / paths.KEPT))
        for sentence in passed_over:
            print(f"passed over: {sentence}")
        record, recipe = _read_quietly(folder), _recipe_of(saved)
        if record.has_ended and not passed_over:
            raise RunError(
                f"the run {folder.name} ended after {saved.progress.step} of {recipe.train.steps} steps, "
                f"there is nothing to go on with: train again for more"
            )
        _check_beside(record, saved)
        experiment = build_experiment(recipe)
        if "init_from" in saved.provenance:  # its weights have become those of the checkpoint
            experiment.provenance["init_from"] = saved.provenance["init_from"]
        _introduce(experiment)
        print(f"going on from {saved.name}: {saved.progress.step:,} of {recipe.train.steps:,} steps are done")
        with _threads(recipe):
            if rounding := saved.rounding(device.best_device()):
                print(rounding)
            return _train(RunCallbacks(experiment, folder), record.header, saved)


def validate(name: str | Path) -> tuple[Evaluation, Dataset]:
    """A trained model's loss on the validation text of its own corpus, and that dataset.

    Raises CheckpointError for weights that give no number."""
    opened = paths.open_checkpoint(name)
    dataset = load_dataset(paths.locate_text(opened.corpus))
    tokens = dataset.validation
    if dataset.tokenizer.fingerprint != opened.tokenizer.fingerprint:  # such as one that folds to lower case
        tokens = opened.tokenizer.encode(dataset.tokenizer.decode(tokens))
    bytes_per_token = dataset.bytes_per_token * len(dataset.validation) / len(tokens)
    here = device.best_device()
    result = evaluate(
        opened.model.to(here),
        tokens,
        documents=dataset.documents if len(tokens) == len(dataset.validation) else None,
        bytes_per_token=bytes_per_token,
        device=here,
        dtype=device.resolve_dtype(here),
    )
    if result.loss != result.loss:
        raise CheckpointError(
            f"{name} holds weights that are no numbers any more, its loss is nan: use another"
        )
    return result, replace(dataset, name=Path(dataset.name).name)


def _train(
    callbacks: RunCallbacks, header: dict[str, Any], saved: TrainingCheckpoint | None = None
) -> RunResult:
    """The training itself, from the beginning or from a checkpoint; at its end it prints what it took."""
    experiment, folder = callbacks.experiment, callbacks.folder

    def restore(state: TrainingState) -> None:  # the record is truncated last: a refusal has changed nothing
        saved.restore(state)
        evaluated = [step for step, _ in state.progress.val_losses]
        callbacks.record = RunRecord.resumed(
            folder / "record.jsonl", step=state.progress.step, evaluated=evaluated
        )

    print(
        f"writing to {paths.display_path(folder)}; Ctrl-C ends the run early and keeps the model", flush=True
    )
    try:
        history = train(
            experiment.model.to(device.best_device()),
            experiment.batches,
            experiment.recipe.train,
            evaluate=callbacks.evaluate,
            save=callbacks.save,
            callbacks=[callbacks],
            resume=saved and SimpleNamespace(name=saved.name, restore=restore),
            provenance=experiment.provenance,
        )
        callbacks.record.close(
            seconds=history.seconds,
            tokens=history.tokens,
            interrupted=history.interrupted,
            stopped_early=history.stopped_early,
        )
    except OSError as error:  # a full disk, a folder that may not be written to any more, a closed terminal
        unread = isinstance(error, BrokenPipeError)
        because = "nobody reads its output" if unread else f"the disk refused: {error.strerror}"
        way_out = f"nothing was saved yet, train it again, also as --run {folder.name}"
        if saved_steps(folder / paths.KEPT):
            way_out = f"its checkpoints are complete, `python -m tinylm resume {folder.name}` goes on"
        raise RunError(
            f"the run {folder.name} stopped after step {callbacks.steps}, because {because}; {way_out}"
        ) from error
    finally:
        if callbacks.record is not None:
            callbacks.record.abandon()
    recipe, dataset = experiment.recipe, experiment.dataset
    if history.interrupted:
        print(f"ended early, after {callbacks.steps} steps: `python -m tinylm resume {folder.name}` goes on")
    elif history.stopped_early:
        best = paths.display_path(folder / paths.KEPT / folder_of(callbacks.state.progress.best[0]))
        patience = f"{recipe.train.patience} evaluations had not lowered the loss"
        print(f"stopped early, after {callbacks.steps} steps: {patience}\nthe lowest is kept: {best}")
    share = history.tokens / (recipe.train.steps * recipe.train.tokens_per_step)
    print(format_vs_forecast(header.get("forecast_seconds"), history.seconds, share=share))
    return RunResult(folder, experiment.model.cpu().eval(), dataset.tokenizer, history.interrupted)


def _threads(recipe: Recipe) -> AbstractContextManager[None]:
    """As many threads as the work is worth, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" in os.environ:
        return nullcontext()
    flops = flops_per_token(recipe.model) * recipe.model.context_length * recipe.train.micro_batch_size
    return device.num_threads(device.suggested_threads(flops))


@contextmanager
def _new_run(recipe_name: str, name: str | None) -> Iterator[Path]:
    """A folder for a new run, in which nobody else trains; what a run without a checkpoint left goes."""
    while True:
        folder = new_folder(recipe_name, name)
        try:
            folder.mkdir(parents=True, exist_ok=name is not None)
            break
        except FileExistsError:  # another process was first: the next number
            continue
    with _alone_in(folder):
        new_folder(recipe_name, folder.name)  # nobody has saved into it meanwhile
        (folder / "record.jsonl").unlink(missing_ok=True)
        shutil.rmtree(folder / paths.KEPT, ignore_errors=True)
        yield folder


def _ended_before_its_first_checkpoint(folder: Path) -> bool:
    if saved_steps(folder / paths.KEPT) or (folder / "checkpoint").exists():
        return False
    try:
        record = _read_quietly(folder)
    except RunError:  # none, or its first line was cut off
        return True
    return record.what == "training" and record.end is None


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


def _read_quietly(folder: Path) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a last line that a kill cut off will be truncated
        return read_record(folder / "record.jsonl")


def _introduce(experiment: Experiment) -> None:
    recipe, dataset = experiment.recipe, experiment.dataset
    if not paths.IN_REPOSITORY:
        print("tinylm was installed without its repository: runs are kept in data/mine of this folder")
    print(f"{recipe.name}: {recipe.about}")
    print(
        f"{dataset.name} ({dataset.source}): {len(dataset.train):,} {dataset.unit}s to train on, "
        f"{len(dataset.validation):,} to validate, {dataset.tokenizer.vocab_size:,} different ones"
    )
    here = device.best_device()
    dtype = device.resolve_dtype(here, recipe.train.dtype)
    print(f"on {device.describe_device(here)}, in {dtype}", flush=True)


def _recipe_of(saved: TrainingCheckpoint) -> Recipe:
    """The recipe as the checkpoint has it, whatever the recipe of that name says today."""
    made = saved.provenance
    try:
        data = DataConfig(**made["data"])
        return Recipe(made["recipe"], made["about"], saved.model.config, saved.config, data)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{saved.name} does not say what it was made of ({error}): resume with the tinylm that wrote it"
        ) from error


def _check_beside(record: Record, saved: TrainingCheckpoint) -> None:
    """Raises CheckpointError for a checkpoint that is not of the run of the record beside it."""
    said = {name: record.header[name] for name in ("recipe", "tokenizer") if name in record.header}
    for name, config in (("model", ModelConfig), ("train", TrainConfig)):
        if isinstance(record.header.get(name), dict):
            said[name] = config.from_json(record.header[name]).to_json()
    check_unchanged(saved.name, {name: saved.provenance.get(name) for name in said}, said)


def _header(experiment: Experiment, expected: Forecast, command: str) -> dict[str, Any]:
    recipe, dataset, here = experiment.recipe, experiment.dataset, device.best_device()
    return record_header(
        "training",
        command=command,
        recipe=recipe.name,
        device=here.type if here.type == "cpu" else device.describe_device(here),
        dtype=device.resolve_dtype(here, recipe.train.dtype),
        threads=torch.get_num_threads(),
        seed=recipe.train.seed,
        tokens=expected.tokens,
        parameters=expected.parameters,
        data=dataset.name,
        reading=asdict(replace(recipe.data, corpus=dataset.name)),
        tokenizer=dataset.tokenizer.fingerprint,
        forecast_seconds=expected.seconds,
        model=recipe.model.to_json(),
        train=recipe.train.to_json(),
    )
