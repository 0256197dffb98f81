"""Watch: what a run does along the way: it validates, keeps checkpoints, and lets the model write a line.

Knows a prepared recipe and the folder of its checkpoints. Refuses to know when these things are done
(training/loop) and how a run begins and ends (runs).
Taught in notebook 04_training."""

import hashlib
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from tinylm.inference.config import GenerationConfig
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.inference.generate import generate_text
from tinylm.runs import paths
from tinylm.runs.build import Experiment
from tinylm.runs.records import RunRecord
from tinylm.storage import checkpoint
from tinylm.training.progress import TrainingState
from tinylm.training.loop import Callback

SAMPLE = GenerationConfig(max_new_tokens=72, temperature=0.8)  # a line


def in_words(result: Evaluation) -> str:
    """An evaluation in one line."""
    error = "" if math.isnan(result.standard_error) else f" ± {result.standard_error:.4f}"
    return (
        f"validation loss {result.loss:.4f}{error} nats per character, perplexity {result.perplexity:.2f}, "
        f"{result.bits_per_token:.3f} bits per character"
    )


def provenance(ready: Experiment) -> dict[str, Any]:
    """What a run is made of besides its model and its training: a resumed run must find the same."""
    text = ready.text
    digest = hashlib.sha256(f"{len(text.train)}\n{text.train}{text.validation}".encode()).hexdigest()
    return {
        "recipe": ready.recipe.name,
        "about": ready.recipe.about,
        "data": asdict(replace(ready.recipe.data, corpus=text.name)),
        "text": digest,
        "tokenizer": ready.tokenizer.fingerprint,
    }


def write_down(record: RunRecord) -> Callback:
    """Each logged step and each evaluation becomes a line of the record."""

    def callback(state: TrainingState) -> None:
        if state.evaluation is not None:
            record.evaluation(
                step=state.progress.step, **asdict(state.evaluation), seconds=state.progress.seconds
            )
        elif state.logged:
            numbers = asdict(state.result)
            record.step(**numbers | numbers.pop("metrics"), seconds=state.progress.seconds)

    return callback


class Watch:
    """The callables that `train` is given: `step`, `evaluate` and `save`."""

    def __init__(self, ready: Experiment, home: Path, *, steps: int = 0) -> None:
        self.ready, self.home, self.steps = ready, home, steps
        self.best: int | None = None
        """After how many steps the validation loss was lowest: that checkpoint is kept."""

    def step(self, state: TrainingState) -> None:
        """Count the steps."""
        self.steps = state.progress.step

    def evaluate(self, state: TrainingState) -> Evaluation:
        """The loss on the whole validation text, said above the progress bar, with a line by the model."""
        model = state.model
        validation = self.ready.validation
        bytes_per_token = len(self.ready.text.validation.encode()) / len(validation)
        found = evaluate(model, validation, bytes_per_token=bytes_per_token)
        tqdm.write(f"step {self.steps}: {in_words(found)}")
        if math.isfinite(found.loss):
            tqdm.write(f"  {self._sample(model)!r}")
        return found

    def save(self, state: TrainingState) -> str:
        """Keep a checkpoint, and remove those no longer wanted. Returns its name as it can be typed."""
        progress = state.progress
        folder = self.home / checkpoint.folder_of(progress.step)
        notes = {"recipe": self.ready.recipe.name, "corpus": self.ready.text.name, "step": progress.step}
        if state.evaluation is not None:
            notes["loss"] = state.evaluation.loss
            if not math.isnan(state.evaluation.standard_error):
                notes["standard_error"] = state.evaluation.standard_error
        notes["train"] = asdict(state.config)
        tokenizer = self.ready.tokenizer.to_json()
        checkpoint.save(folder, state, tokenizer=tokenizer, notes=notes)
        self.best = progress.best[0] if progress.best else None
        checkpoint.rotate(self.home, step=progress.step, best=self.best)
        return paths.shown(folder)

    def _sample(self, model: nn.Module) -> str:
        """What the model writes by now, in one line; its own generator, so that training sees none of it."""
        generator = torch.Generator().manual_seed(self.steps)
        return generate_text(model, self.ready.tokenizer, "\n", SAMPLE, generator=generator)
