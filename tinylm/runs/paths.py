"""Checkpoints: where trained models are kept, and how one is opened by its name.

data/mine/RUN/checkpoints/step_00000200 is from one of your runs, data/checkpoints/NAME came with the course.
Refuses to know how a checkpoint is written (model.weights) and how it was trained (runs).
Taught in notebook 05_sampling."""

import contextlib
import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinylm.errors import CheckpointError
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.checkpoint import folder_of, saved_steps
from tinylm.text.tokenizers import Tokenizer, tokenizer_from_json

DATA = Path(__file__).resolve().parents[2] / "data"
MINE = DATA / "mine"
SHIPPED = DATA / "checkpoints"
KEPT = "checkpoints"  # inside a run's folder


@dataclass(frozen=True)
class LoadedModel:
    """A trained model with the tokenizer that it was trained with."""

    model: GPT
    tokenizer: Tokenizer
    notes: dict[str, Any]
    """What the run wrote about itself: its recipe, corpus, steps and loss."""

    @property
    def corpus(self) -> str:
        """The corpus that it was trained on. Raises CheckpointError when its notes do not say."""
        if not isinstance(self.notes.get("corpus"), str):
            raise CheckpointError(
                "the checkpoint's notes do not name its corpus: train it again to have it written"
            )
        return self.notes["corpus"]


def open_checkpoint(name: str | Path) -> LoadedModel:
    """Open a checkpoint by its folder, its run's folder or name, or its shipped name, on the CPU.

    Raises CheckpointError, or CheckpointError when its files are damaged or do not belong together; of a run
    that has an earlier checkpoint, it is named."""
    folder = find(name)
    try:
        checkpoint = weights.load(shown(folder))  # an error then shows no more of the machine than was typed
    except weights.CheckpointError as damaged:
        earlier = [step for step in saved_steps(folder.parent) if folder_of(step) < folder.name]
        if not earlier or folder.name not in map(folder_of, saved_steps(folder.parent)):
            raise
        instead = shown(folder.with_name(folder_of(earlier[-1])))
        raise weights.CheckpointError(f"{damaged}; there is an earlier one, {instead}") from damaged
    return LoadedModel(checkpoint.model, tokenizer_from_json(checkpoint.tokenizer), checkpoint.notes)


def find(name: str | Path) -> Path:
    """The folder that holds the checkpoint: of a run, the newest. Raises CheckpointError with the nearest name.

    Only the folder is looked for: whether its files are whole is found out by opening it."""
    given = Path(name)
    with contextlib.suppress(OSError):  # a name too long for a file is nobody's
        for run in (given, MINE / name):
            if (run / "record.jsonl").is_file():
                steps = saved_steps(run / KEPT)
                return run / KEPT / folder_of(steps[-1]) if steps else run / "checkpoint"
        for folder in (SHIPPED / name, given):
            if folder.is_dir():
                return folder
    raise _nothing_called(name)


def run_folder(name: str | Path) -> Path:
    """The folder of a run, by the run's name or by the folder. Raises CheckpointError with the nearest name."""
    with contextlib.suppress(OSError):
        for run in (MINE / name, Path(name)):
            if (run / "record.jsonl").is_file():
                return run
    raise _nothing_called(name)


def _nothing_called(name: str | Path) -> CheckpointError:
    known = sorted(
        {f.parent.name for f in MINE.glob("*/record.jsonl")} | {f.name for f in SHIPPED.glob("*/")}
    )
    if not known:
        return CheckpointError(
            f"there is no checkpoint {name}: `python -m tinylm train shakespeare_char` makes one"
        )
    nearest = difflib.get_close_matches(Path(name).name, known, n=1, cutoff=0.0)[0]
    return CheckpointError(
        f"there is no checkpoint {name}: did you mean {nearest}? (there is {', '.join(known)})"
    )


def shown(folder: Path) -> str:
    """A folder as it can be typed from where we are, without the path that leads here.

    On Windows no relative path leads to another drive: there it is shown in full."""
    try:
        return Path(os.path.relpath(folder)).as_posix()
    except ValueError:
        return Path(folder).as_posix()
