"""Paths: where runs and checkpoints are, what they may be called, and how to open one by its name.

data/mine/RUN/checkpoints/step_00000200 is from one of your runs, data/checkpoints/NAME came with the course.
Taught in notebooks 04_training and 05_sampling."""

import os
import re
from pathlib import Path

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.runs.recipes import did_you_mean
from tinylm.storage import weights
from tinylm.storage.checkpoint import folder_of, saved_steps
from tinylm.storage.export import is_hugging_face, open_hugging_face

REPOSITORY = Path(__file__).resolve().parents[2]
IN_REPOSITORY = (REPOSITORY / "pyproject.toml").is_file()  # if not, runs are kept under the working folder
HOME = REPOSITORY if IN_REPOSITORY else Path.cwd()
DATA = HOME / "data"
MINE = HOME / os.path.expanduser(os.environ.get("TINYLM_MINE") or "data/mine")
SHIPPED = DATA / "checkpoints"
KEPT = "checkpoints"  # inside a run's folder
LONGEST = 100  # characters of a name: most systems end at 255 bytes, and names get endings


def open_checkpoint(name: str | Path) -> weights.Checkpoint:
    """Open a checkpoint on the CPU, by its folder, its run's folder or name, or a shipped or Hub name.

    Raises CheckpointError when there is none, or when its files are damaged or do not belong together."""
    if is_hugging_face(name):
        return open_hugging_face(name)
    return weights.load(display_path(find(name)))  # so an error shows a path that can be typed


def find(name: str | Path) -> Path:
    """Return the folder of a checkpoint, the newest one for a run. It may be incomplete: nothing is read.

    Raises CheckpointError with the nearest name, or if the run ended before its first checkpoint."""
    shipped = {folder.name: folder for folder in SHIPPED.glob("*/")}
    folder = _search(name, "checkpoint", shipped | _runs())
    if not _is_run(folder):
        return folder
    if steps := saved_steps(folder / KEPT):
        return folder / KEPT / folder_of(steps[-1])
    empty = f"there is no checkpoint in {display_path(folder)}, the run ended before its first was saved"
    raise CheckpointError(f"{empty}: train it again, also as --run {folder.name}")


def find_run(name: str | Path) -> Path:
    """Return the folder of a run, by its name or folder. Raises CheckpointError with the nearest name."""
    return _search(name, "run", _runs())


def _search(name: str | Path, what: str, known: dict[str, Path]) -> Path:
    """Return the folder that is known by that name, or that is named itself."""
    folder = known.get(str(Path(name)), Path(name))
    if _is_run(folder) or (what == "checkpoint" and str(name).strip("/\\ ") and os.path.isdir(folder)):
        return folder
    near = did_you_mean(str(name), known) if known else "`python -m tinylm train shakespeare_char` makes one"
    raise CheckpointError(f"there is no {what} {short(str(name), most=60)}: {near}")


def _runs() -> dict[str, Path]:
    return {record.parent.name: record.parent for record in MINE.glob("*/record.jsonl")}


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / "record.jsonl")  # which takes any name, also one that no file can have


def display_path(path: str | Path) -> str:
    """Return a path as a sentence shows it: what was typed, or for a path of the course the way from here.

    A path of the course is never shown in full, because notebooks store what they print."""
    own = any(Path(path).absolute().is_relative_to(folder) for folder in (HOME, MINE))
    return relative_path(path, ".") if own else Path(path).as_posix()


def relative_path(path: str | Path, start: str | Path) -> str:
    """Return the way to a path from `start`. Between two drives of Windows there is none: then in full."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return Path(path).absolute().as_posix()


def validate_name(name: str, what: str) -> str:
    """Return the name itself. Raises ConfigError if it cannot name `what` ("a run") on every system."""
    if not re.fullmatch(rf"\w[\w.-]{{0,{LONGEST - 1}}}(?<!\.)", name, re.ASCII):
        raise ConfigError(
            f"{short(name)} cannot name {what}: use letters, digits, - and _, at most {LONGEST}"
        )
    return name
