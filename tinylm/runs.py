"""Runs: a recipe is trained, and what it leaves behind is kept in a folder of its own.

data/mine/RUN/ holds record.jsonl and checkpoint/. Refuses to know what was typed (__main__) and which
numbers are good ones (recipes).
Taught in notebook 04_training."""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn
from tqdm.auto import tqdm

from tinylm import checkpoints
from tinylm.errors import TinyLMError
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.model import weights
from tinylm.names import plain_name
from tinylm.prepared import Prepared, prepare
from tinylm.recipes import Recipe
from tinylm.text.corpora import Text, load
from tinylm.training.forecast import Forecast, compared, forecast, measure_speed
from tinylm.training.loop import StepResult, train
from tinylm.training.precision import best_device, describe_device, resolve_dtype
from tinylm.training.records import RunRecord, run_header


class RunError(TinyLMError):
    """A run of that name exists already, or it diverged."""


@dataclass(frozen=True)
class Finished:
    """What a run leaves behind."""

    folder: Path
    """Holds record.jsonl and checkpoint/."""
    interrupted: bool
    """Whether Ctrl-C ended it early."""


def new_folder(recipe_name: str, name: str | None = None) -> Path:
    """Where the next run goes: data/mine/NAME, by default the recipe's name and the first free number.

    Nothing is created yet. Raises RunError for a name that is taken, NameRefused for one not plain."""
    mine = checkpoints.MINE
    if name is None:
        number = 1
        while (mine / f"{recipe_name}-{number}").exists():
            number += 1
        return mine / f"{recipe_name}-{number}"
    plain_name(name, "a run")
    if (mine / name).exists():
        raise RunError(
            f"the run {name} exists already: choose another --run name, or leave it out for the next number"
        )
    return mine / name


def run(recipe: Recipe, *, name: str | None = None, fallback: bool = False, command: str) -> Finished:
    """Train a recipe, from its forecast to its last evaluation, and say so on the way.

    The checkpoint is written at each evaluation and at the end, also after Ctrl-C: always the latest weights,
    never the best point of a noisy curve. Everything is checked before the folder is made, so a refused run
    leaves nothing behind. `command` is what to type to repeat the run, for its record. Raises the TinyLMError
    of whatever does not fit."""
    folder = new_folder(recipe.name, name)
    device = best_device()
    dtype = resolve_dtype(device, recipe.train.dtype)
    recipe.train.grad_accum_steps(recipe.model.context_length)
    ready = prepare(recipe, fallback=fallback)
    recipe, model = ready.recipe, ready.model.to(device)
    print(f"{recipe.name}: {recipe.about}")
    print(
        f"{ready.text.name} ({ready.text.source}): {len(ready.text.train):,} characters to train on, "
        f"{len(ready.text.validation):,} to validate, {ready.tokenizer.vocab_size} different ones"
    )
    print(f"on {describe_device(device)}, in {dtype}", flush=True)
    speed = measure_speed(
        model,
        micro_batch_size=recipe.train.micro_batch_size,
        context_length=recipe.model.context_length,
        dtype=recipe.train.dtype,
    )
    expected = forecast(recipe.model, recipe.train, tokens_per_second=speed)
    print(f"{expected}\n  at {speed:,.0f} tokens per second, measured just now; evaluations come on top")
    folder.mkdir(parents=True)
    print(
        f"writing to {checkpoints.shown(folder)}; Ctrl-C ends the run early and keeps the model", flush=True
    )
    watch = _Watch(ready, folder / "checkpoint")
    began = time.perf_counter()
    with RunRecord(folder / "record.jsonl", _header(ready, expected, dtype=dtype, command=command)) as record:
        history = train(
            model, ready.batches, recipe.train, evaluate=watch.evaluate, on_step=(watch.step,), record=record
        )
        if history.interrupted:
            watch.save(None)
        seconds = time.perf_counter() - began
        record.close(seconds=seconds, tokens=history.tokens, interrupted=history.interrupted)
    ended = f"ended early, after {watch.steps} steps: " if history.interrupted else ""
    print(ended + compared(expected.seconds, seconds, share=history.tokens / expected.tokens))
    return Finished(folder, history.interrupted)


def validate(opened: checkpoints.Opened) -> tuple[Evaluation, Text]:
    """A trained model's loss on the whole validation text of its own corpus, and that text."""
    text = load(opened.corpus)
    return evaluate(opened.model, opened.tokenizer.encode(text.validation)), text


def in_words(result: Evaluation) -> str:
    """An evaluation in one line."""
    error = "" if math.isnan(result.standard_error) else f" ± {result.standard_error:.4f}"
    return (
        f"validation loss {result.loss:.4f}{error} nats per character, perplexity {result.perplexity:.2f}, "
        f"{result.bits_per_token:.3f} bits per character"
    )


class _Watch:
    """What happens along the way: count the steps, evaluate, save, say so above the progress bar."""

    def __init__(self, ready: Prepared, folder: Path) -> None:
        self.ready, self.folder, self.steps = ready, folder, 0

    def step(self, result: StepResult) -> None:
        self.steps = result.step + 1

    def evaluate(self, model: nn.Module) -> Evaluation:
        validation = self.ready.validation
        bytes_per_token = len(self.ready.text.validation.encode()) / len(validation)
        result = evaluate(model, validation, bytes_per_token=bytes_per_token)
        if not math.isfinite(result.loss):  # nothing is saved: the last checkpoint is the last good one
            rate = self.ready.recipe.train.learning_rate
            raise RunError(
                f"the validation loss is {result.loss} after step {self.steps} with a peak learning rate of "
                f"{rate:g}: use {rate / 3:.1g} or a longer warm-up"
            )
        tqdm.write(f"step {self.steps}: {in_words(result)}")
        self.save(result)
        return result

    def save(self, result: Evaluation | None) -> None:
        recipe = self.ready.recipe
        notes = {"recipe": recipe.name, "corpus": self.ready.text.name, "step": self.steps}
        if result is not None:
            notes["loss"] = result.loss
            if not math.isnan(result.standard_error):
                notes["standard_error"] = result.standard_error
        notes["train"] = asdict(recipe.train)
        weights.save(self.folder, self.ready.model, tokenizer=self.ready.tokenizer.to_json(), notes=notes)


def _header(ready: Prepared, expected: Forecast, *, dtype: str, command: str) -> dict:
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
        tokenizer=ready.tokenizer.fingerprint,
        forecast_seconds=expected.seconds,
        model=recipe.model.to_json(),
        train=asdict(recipe.train),
    )
