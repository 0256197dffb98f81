"""Paths: where runs and trained models are kept, what they may be called, and how one is opened by its name.

data/mine/RUN/checkpoints/step_00000200 is from one of your runs, data/checkpoints/NAME came with the course.
Taught in notebooks 04_training and 05_sampling."""

import contextlib
import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.atomic import recover_directory
from tinylm.storage.checkpoint import folder_of, saved_steps
from tinylm.text.corpora import CORPORA
from tinylm.text.tokenizers import Tokenizer, tokenizer_from_json

REPOSITORY = Path(__file__).resolve().parents[2]
IN_REPOSITORY = (REPOSITORY / "pyproject.toml").is_file()
"""False where tinylm was installed without its repository: runs are then kept under the working folder."""
HOME = REPOSITORY if IN_REPOSITORY else Path.cwd()
DATA = HOME / "data"
MINE = DATA / "mine"
SHIPPED = DATA / "checkpoints"
KEPT = "checkpoints"  # inside a run's folder
LONGEST = 100  # characters of a name: most systems end at 255 bytes, and names get endings
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


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

    Raises CheckpointError when there is none, or when its files are damaged or do not belong together; of a
    run that has an earlier checkpoint, that one is named."""
    folder = find(name)
    try:
        checkpoint = weights.load(display_path(folder))  # an error then shows no more than could be typed
    except CheckpointError as damaged:
        steps = saved_steps(folder.parent)
        earlier = [step for step in steps if folder_of(step) < folder.name]
        if not earlier or folder.name not in map(folder_of, steps):
            raise
        instead = display_path(folder.with_name(folder_of(earlier[-1])))
        raise CheckpointError(f"{damaged}; there is an earlier one, {instead}") from damaged
    return LoadedModel(checkpoint.model, tokenizer_from_json(checkpoint.tokenizer), checkpoint.notes)


def find(name: str | Path) -> Path:
    """The folder that holds the checkpoint: of a run, the newest.

    Only the folder is looked for: whether its files are complete is found out by opening it. Raises
    CheckpointError with the nearest name."""
    if run := _first(_is_run, Path(name), MINE / name):
        if steps := saved_steps(run / KEPT):
            return run / KEPT / folder_of(steps[-1])
        if _is_folder(run / "checkpoint"):  # of a run from before there were several
            return run / "checkpoint"
        raise no_checkpoint(run)
    if folder := str(name).strip("/\\ ") and _first(_is_folder, SHIPPED / name, Path(name)):
        return folder
    raise _not_there("checkpoint", name, [*_runs(), *(folder.name for folder in SHIPPED.glob("*/"))])


def run_folder(name: str | Path) -> Path:
    """The folder of a run, by its name or by the folder. Raises CheckpointError with the nearest name."""
    if run := str(name) and _first(_is_run, MINE / name, Path(name)):
        return run
    if str(name).strip("/\\ ") and _first(_is_folder, SHIPPED / name):
        raise CheckpointError(
            f"{name} came with the course and is no run of yours: `python -m tinylm sample {name}` opens it, "
            f"and `python -m tinylm train` begins a run"
        )
    raise _not_there("run", name, _runs())


def no_checkpoint(run: Path) -> CheckpointError:
    """What is said of a run that ended before its first checkpoint: nothing is lost by beginning it again."""
    return CheckpointError(
        f"there is no checkpoint in {display_path(run)}, the run ended before its first was saved: train it "
        f"again, also as --run {run.name}"
    )


def _runs() -> list[str]:
    return [record.parent.name for record in MINE.glob("*/record.jsonl")]


def _is_run(folder: Path) -> bool:
    return (folder / "record.jsonl").is_file()


def _is_folder(folder: Path) -> bool:
    return recover_directory(folder).is_dir()


def _first(fits: Callable[[Path], bool], *folders: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have is nobody's
        return next(filter(fits, folders), None)
    return None


def _not_there(what: str, name: str | Path, known: list[str]) -> CheckpointError:
    cut = (str(name) or "''") if len(str(name)) <= LONGEST else f"{str(name)[:20]}…"
    if not known:
        return CheckpointError(
            f"there is no {what} {cut}: `python -m tinylm train shakespeare_char` makes one"
        )
    near = difflib.get_close_matches(Path(name).name[:LONGEST], known, n=1, cutoff=0.0)[0]
    known = sorted(known) if len(known) <= 12 else [*sorted(known)[:12], "…"]
    return CheckpointError(f"there is no {what} {cut}: did you mean {near}? (there is {', '.join(known)})")


def display_path(folder: Path) -> str:
    """A folder as it can be typed from where we are, without the path that leads here.

    On Windows no relative path leads to another drive: there it is shown in full."""
    try:
        return Path(os.path.relpath(folder)).as_posix()
    except ValueError:
        return Path(folder).as_posix()


def locate_text(corpus: str) -> str:
    """Where a text of one's own is, counted from the working folder or, as runs store it, the repository.

    The name of a corpus of the course comes back as it is, and so does a path at which nothing is."""
    found = corpus not in CORPORA and _first(Path.exists, Path(corpus), HOME / corpus)
    return str(found or corpus)


def stored_text(corpus: str) -> str:
    """What a run stores of a text of one's own: its path from the repository, which names no user."""
    if corpus in CORPORA:
        return corpus
    try:
        return Path(os.path.relpath(corpus, HOME)).as_posix()
    except ValueError:  # on another drive
        return Path(corpus).resolve().as_posix()


def validate_name(name: str, what: str) -> str:
    """The name itself. Raises ConfigError, which says that it cannot name `what` ("a run") and why."""
    if not re.fullmatch(rf"\w[\w.-]{{0,{LONGEST - 1}}}", name, re.ASCII) or name.endswith("."):
        raise ConfigError(
            f"{short(name)} cannot name {what}: use letters, digits, - and _, such as my-first-run, "
            f"and at most {LONGEST} of them"
        )
    if name.split(".")[0].lower() in DEVICES:
        raise ConfigError(f"{name} cannot name {what}, on Windows it is a device: use my-{name}")
    return name
