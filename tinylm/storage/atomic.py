"""Sealed folders: files that appear together or not at all, and that prove they are whole.

They are written into a folder beside, flushed to the disk, and get their name by one rename. One of them, a
JSON, holds the size and the sha256 of the others. Knows bytes and names. Refuses to know what is in the
files (weights, training/checkpoint).
Taught in notebook 04_training."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinylm.errors import CheckpointError


@contextmanager
def atomic_directory(home: Path) -> Iterator[Path]:
    """A folder to write into; when the block ends without an error it becomes `home`, in one step.

    An earlier folder of that name is replaced. Whenever this is cut short, `settled(home)` is the earlier
    folder or the new one, whole; after an error what was half-written is removed."""
    home.parent.mkdir(parents=True, exist_ok=True)
    beside = home.with_name(f".{home.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for path in (*sorted(beside.iterdir()), beside):
            flush(path)
        _replace(home, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def settled(home: Path) -> Path:
    """Where the folder is: at `home`, or one step aside where replacing it was cut short."""
    return home if home.exists() else _earlier(home)


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The size in bytes and the sha256 of each of these files."""
    return {name: _fingerprint(folder / name) for name in names}


def verify(home: Path, name: str, expected: dict[str, Any], shown: str | Path) -> None:
    """Raises CheckpointError with both sizes and hashes unless the file is the one that was sealed.

    `shown` is what the folder is called in the sentence."""
    if not isinstance(expected, dict) or not expected:
        raise CheckpointError(
            f"{shown} does not say which {name} was saved: copy or download the checkpoint again"
        )
    found = _fingerprint(home / name) if (home / name).exists() else {}
    if found != expected:
        raise CheckpointError(
            f"{shown}/{name} is not the file that was saved: expected {_in_words(expected)}, "
            f"found {_in_words(found)}; copy or download the checkpoint again"
        )


def json_text(what: str, data: dict[str, Any]) -> str:
    """Strict JSON, one field a line. Raises CheckpointError for what is no JSON; `what` names it."""
    try:
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{what} cannot be written as JSON: {error}") from error


def read_json(home: Path, name: str, shown: str | Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError naming the file when there is none."""
    try:
        data = json.loads((home / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {shown}: {name} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{shown}/{name} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{shown}/{name} holds a {type(data).__name__}, not an object")
    return data


def flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _in_words(fingerprint: dict[str, Any]) -> str:
    if not fingerprint:
        return "no file"
    return f"{fingerprint.get('bytes')} bytes with sha256 {fingerprint.get('sha256')}"


def _earlier(home: Path) -> Path:
    return home.with_name(f".{home.name}.earlier")


def _replace(home: Path, new: Path) -> None:
    """Put `new` where `home` is. Folders cannot be swapped in one step: the earlier one steps aside."""
    earlier = _earlier(home)
    if home.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        home.rename(earlier)
    try:
        new.rename(home)
    except OSError:
        if earlier.exists():
            earlier.rename(home)
        raise
    flush(home.parent)
    shutil.rmtree(earlier, ignore_errors=True)
