"""Runs: a recipe is trained, and what it leaves behind is kept in a folder of its own.

    data/mine/RUN/record.jsonl                   what was measured
    data/mine/RUN/checkpoints/step_00000200/     from which `resume` goes on

Refuses to know what happens along the way (watch), what was typed (__main__) and which numbers are good ones
(recipes).
Taught in notebook 04_training."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tinylm.device import best_device, cpu_memory_bytes, describe_device, resolve_dtype
from tinylm.errors import RunError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.runs import paths
from tinylm.runs.build import Experiment, prepare
from tinylm.runs.callbacks import Watch, provenance, write_down
from tinylm.runs.forecast import Forecast, check_memory, compared, forecast, measure_speed
from tinylm.runs.names import validate_name
from tinylm.runs.recipes import DataConfig, Recipe
from tinylm.runs.records import RunRecord, read_record, run_header
from tinylm.runs.rewind import has_ended, rewind
from tinylm.storage.checkpoint import TrainingCheckpoint, folder_of, load_newest
from tinylm.text.corpora import Text, load
from tinylm.training.loop import train
from tinylm.training.progress import check_unchanged, default_provenance


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind."""

    folder: Path
    """Holds record.jsonl and checkpoints/."""
    interrupted: bool
    """Whether Ctrl-C ended it early."""


def new_folder(recipe_name: str, name: str | None = None) -> Path:
    """Where the next run goes: data/mine/NAME, by default the recipe's name and the first free number.

    Nothing is created yet. Raises RunError for a name that is taken, ConfigError for one not plain."""
    mine = paths.MINE
    if name is None:
        number = 1
        while (mine / f"{recipe_name}-{number}").exists():
            number += 1
        return mine / f"{recipe_name}-{number}"
    validate_name(name, "a run")
    if (mine / name).exists():
        raise RunError(
            f"the run {name} exists already: choose another --run name, leave it out for the next number, "
            f"or go on with `python -m tinylm resume {name}`"
        )
    return mine / name


def run_recipe(recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str) -> RunResult:
    """Train a recipe, from its forecast to its last evaluation, and say so on the way.

    A checkpoint is kept at the beginning, at each evaluation, every ten minutes and at the end, also after
    Ctrl-C. Everything is checked before the folder is made, so a refused run leaves nothing behind. `command`
    is what to type to repeat the run, for its record. Raises the TinyLMError of whatever does not fit."""
    folder = new_folder(recipe.name, name)
    device = best_device()
    dtype = resolve_dtype(device, recipe.train.dtype)
    recipe.train.grad_accum_steps(recipe.model.context_length)
    if device.type == "cpu":
        check_memory(recipe.model, recipe.train, cpu_memory_bytes())
    ready = prepare(recipe, fallback=fallback)
    recipe, model = ready.recipe, ready.model.to(device)
    _introduce(ready, dtype)
    speed = measure_speed(
        model,
        micro_batch_size=recipe.train.micro_batch_size,
        context_length=recipe.model.context_length,
        dtype=recipe.train.dtype,
        optimizer=recipe.train.optimizer,
    )
    expected = forecast(recipe.model, recipe.train, tokens_per_second=speed)
    print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now; evaluations come on top")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:  # another process was first
        raise RunError(f"the run {folder.name} exists already: choose another --run name") from None
    with _alone_in(folder):
        header = _header(ready, expected, dtype=dtype, command=command)
        return _train(ready, folder, RunRecord(folder / "record.jsonl", header), header)


def resume(name: str) -> RunResult:
    """Go on with a run that was stopped, from its newest whole checkpoint, as if it never had been.

    Nothing is retyped: recipe, text and tokenizer are those that the checkpoint names. Raises CheckpointError when
    one is not what it was, RunError when nothing is left to do, CheckpointError when none is whole."""
    folder = paths.run_folder(name)
    path = folder / "record.jsonl"
    with _alone_in(folder):
        saved, passed_over = load_newest(paths.shown(folder / paths.KEPT))
        for sentence in passed_over:
            print(f"passed over: {sentence}")
        header = _header_beside(path, saved)
        recipe, step = _recipe_of(saved), saved.progress.step
        if has_ended(path) and not passed_over:
            raise RunError(
                f"the run {folder.name} ended after {step} of {recipe.train.steps} steps, there is nothing "
                f"to go on with: train again for more"
            )
        device = best_device()
        dtype = resolve_dtype(device, recipe.train.dtype)
        ready = prepare(recipe)
        check_unchanged(saved.name, saved.provenance, _made_of(ready))
        ready.model.to(device)
        _introduce(ready, dtype)
        print(f"going on from {saved.name}: {step:,} of {recipe.train.steps:,} steps are done", flush=True)
        if rounding := saved.rounding(device):
            print(rounding)
        rewind(path, step, [after for after, _ in saved.progress.val_losses])
        return _train(ready, folder, RunRecord.reopened(path, step=step), header, saved)


def _train(
    ready: Experiment, folder: Path, record: RunRecord, header: dict, saved: TrainingCheckpoint | None = None
) -> RunResult:
    """The training itself, from the beginning or from a checkpoint; at its end it is said what it took."""
    print(f"writing to {paths.shown(folder)}; Ctrl-C ends the run early and keeps the model", flush=True)
    watch = Watch(ready, folder / paths.KEPT, steps=saved.progress.step if saved else 0)
    try:
        with record:
            history = train(
                ready.model,
                ready.batches,
                ready.recipe.train,
                evaluate=watch.evaluate,
                callbacks=(watch.step, write_down(record)),
                save=watch.save,
                provenance=_made_of(ready),
                resume=saved,
            )
            record.close(
                seconds=history.seconds,
                tokens=history.tokens,
                interrupted=history.interrupted,
                stopped_early=history.stopped_early,
            )
    except OSError as error:  # a full disk, a folder that may not be written to any more, a closed terminal
        unread = isinstance(error, BrokenPipeError)
        because = "nobody reads its output" if unread else f"the disk refused: {error.strerror}"
        raise RunError(
            f"the run {folder.name} stopped after step {watch.steps}, because {because}; its checkpoints "
            f"are whole, `python -m tinylm resume {folder.name}` goes on"
        ) from error
    if history.interrupted:
        print(f"ended early, after {watch.steps} steps: `python -m tinylm resume {folder.name}` goes on")
    elif history.stopped_early:
        patience = ready.recipe.train.patience
        print(f"stopped early, after {watch.steps} steps: {patience} evaluations had not lowered the loss")
        print(f"the lowest is kept: {paths.shown(watch.home / folder_of(watch.best))}")
    share = history.tokens / header["tokens"]
    print(compared(header["forecast_seconds"], history.seconds, share=share))
    return RunResult(folder, history.interrupted)


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


def _introduce(ready: Experiment, dtype: str) -> None:
    recipe, text = ready.recipe, ready.text
    print(f"{recipe.name}: {recipe.about}")
    print(
        f"{text.name} ({text.source}): {len(text.train):,} characters to train on, "
        f"{len(text.validation):,} to validate, {ready.tokenizer.vocab_size} different ones"
    )
    print(f"on {describe_device(best_device())}, in {dtype}", flush=True)


def _recipe_of(saved: TrainingCheckpoint) -> Recipe:
    """The recipe as the checkpoint has it, whatever the recipe of that name says today."""
    return Recipe(
        name=saved.provenance["recipe"],
        about=saved.provenance["about"],
        model=saved.model.config,
        train=saved.config,
        data=DataConfig(**saved.provenance["data"]),
    )


def _header_beside(path: Path, saved: TrainingCheckpoint) -> dict:
    """The header of the record; refused, untouched, where a line is damaged or the run another's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a last line that a kill cut off will be rewound
        header = read_record(path).header
    made = saved.provenance | {"data": saved.provenance["data"]["corpus"]}
    said = {
        name: header[name] for name in ("recipe", "data", "tokenizer", "model", "train") if name in header
    }
    check_unchanged(saved.name, {name: made[name] for name in said}, said)
    return header


def validate(opened: paths.LoadedModel) -> tuple[Evaluation, Text]:
    """A trained model's loss on the whole validation text of its own corpus, and that text."""
    text = load(opened.corpus)
    return evaluate(opened.model, opened.tokenizer.encode(text.validation)), text


def _header(ready: Experiment, expected: Forecast, *, dtype: str, command: str) -> dict:
    recipe = ready.recipe
    device = best_device()
    return run_header(
        recipe=recipe.name,
        command=command,
        device=device.type if device.type == "cpu" else describe_device(device),
        dtype=dtype,
        seed=recipe.train.seed,
        tokens=expected.tokens,
        parameters=expected.parameters,
        data=ready.text.name,
        reading=asdict(recipe.data),
        tokenizer=ready.tokenizer.fingerprint,
        forecast_seconds=expected.seconds,
        model=recipe.model.to_json(),
        train=asdict(recipe.train),
    )


def _made_of(ready: Experiment) -> dict:
    return default_provenance(ready.model, ready.recipe.train, ready.batches) | provenance(ready)
