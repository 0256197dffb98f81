"""Atomic folders: files that appear together or not at all, and that prove they are complete.

They are written into a folder beside, flushed to the disk, and get their name by one rename. A JSON among
them holds the size and the sha256 of the others (their digests), and a sha256 of itself. That shows damage;
whoever writes all of them anew is believed.
Taught in notebook 04_training."""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tinylm.errors import CheckpointError, short

SEAL = "content_sha256"
JSON = dict[str, Any]


def damaged(where: str, what: str) -> CheckpointError:
    """What is said of a file that is not as it was saved, whatever is wrong with it."""
    way_out = "copy it again, or use an earlier checkpoint, or the tinylm that wrote it"
    return CheckpointError(f"{where} is damaged or from another tinylm, {what}: {way_out}")


@contextmanager
def atomic_directory(home: Path, only: Collection[str] | None = None) -> Iterator[Path]:
    """A folder to write into; when the block ends without an error it becomes `home`, in one step.

    An earlier folder of that name is replaced; with `only`, CheckpointError is raised where it holds files of
    other names, which would be lost. Whenever this is cut short, `recover_directory(home)` is the
    earlier folder or the new one, complete; after an error what was half-written is removed."""
    there = home.iterdir() if home.is_dir() else [home] if home.exists() else []
    if only is not None and (strangers := {p.name for p in there if p.name[0] != "."}.difference(only)):
        raise CheckpointError(f"{home.name} holds {min(strangers)}, no part of a checkpoint: save elsewhere")
    home.parent.mkdir(parents=True, exist_ok=True)
    beside, earlier = (home.with_name(f".{home.name}.{what}") for what in ("partial", "earlier"))
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for path in (*sorted(beside.iterdir()), beside):
            flush(path)
        if home.exists():  # folders cannot be swapped in one step: the earlier one steps aside
            shutil.rmtree(earlier, ignore_errors=True)
            home.rename(earlier)
        beside.rename(home)
        flush(home.parent)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        if earlier.exists() and not home.exists():
            earlier.rename(home)
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, refusal: Exception) -> Iterator[None]:
    """Nobody else is in this folder meanwhile, or `refusal` is raised. The lock is the system's: a killed
    process holds none."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise refusal from None


def recover_directory(home: Path) -> Path:
    """Where the folder is: at `home`, or one step aside where replacing it was cut short."""
    return home if home.exists() else home.with_name(f".{home.name}.earlier")


def flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> JSON:
    """Write a file; returns its digest. Raises OSError when the disk refuses."""
    path.write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def verify(home: Path, name: str, expected: Any, shown: str | Path) -> None:
    """Raises CheckpointError, which calls the folder `shown`, unless the file is the one that was saved."""
    found = None
    with suppress(FileNotFoundError, IsADirectoryError), (home / name).open("rb") as file:
        found = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}
    if not found or found != expected:
        raise damaged(f"{shown}/{name}", f"expected {short(expected, 120)} and found {found}")


def write_json(path: Path, data: JSON, *, sealed: bool = False) -> JSON:
    """Write strict JSON in UTF-8, one field a line; sealed, with a sha256 of itself. Returns its digest.

    Raises CheckpointError for what is no JSON, and OSError when the disk refuses."""
    try:
        whole = data | {SEAL: seal(data)} if sealed else data
        content = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # half a surrogate pair is no UTF-8
        raise CheckpointError(f"{path.name} cannot be written as JSON: {error}") from error
    return write(path, content)


def read_json(home: Path, name: str, shown: str | Path, fields: JSON | None = None) -> JSON:
    """The object in a JSON file, unaltered where it is sealed. Raises CheckpointError naming file and field.

    `fields` are all that it has: {name: its type, or a tuple of the values that it may have}. Strict, so that
    what comes later need not wonder: no nan or infinity, no half surrogate pair, no bottomless nesting."""
    where = f"{shown}/{name}"
    try:
        data = json.loads((home / name).read_bytes())
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (FileNotFoundError, IsADirectoryError):
        raise CheckpointError(f"there is no checkpoint at {shown}: {name} is missing") from None
    except (ValueError, RecursionError) as error:
        raise damaged(where, f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise damaged(where, f"it holds a {type(data).__name__}, not an object")
    is_sealed = SEAL in data or data.get("version") == 3  # the first version of both files to have a seal
    if is_sealed and (expected := data.pop(SEAL, None)) != (found := seal(data)):
        raise damaged(where, f"expected content with sha256 {short(expected)} and found {found}")
    for field in fields | data if fields else ():
        kind, value = fields.get(field), data.get(field)
        if type(value) is not kind and not (isinstance(kind, tuple) and value in kind):
            found = "missing" if field not in data else "unknown" if field not in fields else short(value)
            raise damaged(where, f"{field} is {found}")
    return data


def seal(data: JSON) -> str:
    """The sha256 of an object, however its fields are ordered."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
