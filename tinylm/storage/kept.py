"""Kept: which checkpoints of a run are on disk, which are passed over, and which are removed.

    checkpoints/step_00000200/   one whole checkpoint: the number is that of the optimiser steps finished

The last ones are kept, and the one with the lowest validation loss. Knows names and steps. Refuses to know
what is in a checkpoint (checkpoint) and where runs live (runs).
Taught in notebook 04_training."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from tinylm.errors import CheckpointError
from tinylm.storage.checkpoint import TrainingCheckpoint, load

LAST = 2
"""How many of the latest checkpoints are kept: one may be damaged, and there is another."""


def folder_of(step: int) -> str:
    """The name of the checkpoint that was saved after so many steps."""
    return f"step_{step:08d}"


def saved_steps(home: Path) -> list[int]:
    """The steps for which a checkpoint is there, rising, without drafts and what is being removed."""
    found = (re.fullmatch(r"step_(\d{8,})", path.name) for path in home.glob("step_*"))
    return sorted(int(match[1]) for match in found if match)


def load_newest(home: str | Path) -> tuple[TrainingCheckpoint, list[str]]:
    """The newest checkpoint that is whole, and one sentence for each newer one that is not.

    Sentences call the folder what it is called here. Raises CheckpointError when none is whole."""
    passed_over: list[str] = []
    for step in reversed(saved_steps(Path(home))):
        try:
            return load(f"{home}/{folder_of(step)}"), passed_over
        except CheckpointError as damaged:
            passed_over.append(str(damaged))
        except OSError as error:  # a bad sector, a file where a folder should be
            name = Path(error.filename or folder_of(step)).name
            passed_over.append(f"{home}/{folder_of(step)} cannot be read: {name}: {error.strerror}")
    if not passed_over:
        raise CheckpointError(f"there is no checkpoint in {home}: nothing was saved yet")
    raise CheckpointError(f"none of the {len(passed_over)} checkpoints in {home} is whole: {passed_over[0]}")


def prune(home: Path, *, step: int, best: int | None, last: int = LAST) -> None:
    """Remove the checkpoints up to `step` that are neither among the `last` ones nor the best.

    Later ones, which a resumed run has not reached again, are left alone. One that is removed loses its name
    first, so that a cut leaves no half of it there. A disk that refuses is asked again next time."""
    reached = [s for s in saved_steps(home) if s <= step]
    with contextlib.suppress(OSError):
        for old in reached[: max(0, len(reached) - last)]:
            if old != best:
                (home / folder_of(old)).rename(home / f".{folder_of(old)}.removed")
        for rest in home.glob(".step_*"):  # what a cut left behind, too
            shutil.rmtree(rest, ignore_errors=True)
