"""Atomic folders: a folder appears with all of its files or not at all, and its files prove that they are
complete.

The files are written into a draft folder beside the target and flushed to the disk, and one rename gives the
draft its name. A JSON file among them holds the size and the sha256 of the others, and a sha256 of itself
(its seal). This detects damage, not forgery: someone who writes all of the files anew is believed.
Taught in notebook 04_training."""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tinylm.errors import CheckpointError, short

SEAL = "content_sha256"
JSON = dict[str, Any]


def damaged(where: str, what: str) -> CheckpointError:
    """Return the error for a file that is not as it was saved, whatever is wrong with it."""
    way_out = "copy it again, use an earlier checkpoint, or use the tinylm that wrote it"
    return CheckpointError(f"{where} is damaged or from another tinylm, {what}: {way_out}")


@contextmanager
def atomic_directory(folder: str | Path, ours: Collection[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield an empty draft folder; when the block ends without an error, the draft becomes `folder`.

    ours: the names of all files that the block may write. They are the only ones that are ever replaced.
    overwrite: whether `folder` may hold files. Ours are replaced, all others are kept, hidden ones too.

    Raises CheckpointError for a folder that holds files and must not, for one with a folder under one of our
    names, and if somebody's own folder has a draft's name. Raises OSError with the folder's name as given.
    Whenever this is cut short, `recover_directory(folder)` is the earlier folder or the new one, complete.
    There is no such promise where the folder itself must stay: where it keeps other files, is the working
    folder, or is a mounted disk. Then each file is renamed into place, one after the other."""
    home = Path(os.path.realpath(folder))  # unlike resolve(), also where a link leads to itself
    earlier = _ours_alone(home.parent / f".{home.name}.earlier", ours)
    draft = _ours_alone(home.parent / f".{home.name}.partial", ours)
    try:
        now = recover_directory(home)
        is_folder = {path.name: path.is_dir() for path in now.iterdir()} if now.exists() else {}
        if is_folder and not overwrite:
            way_out = "name a new folder, or add --overwrite, which replaces a model's files alone"
            raise CheckpointError(f"{folder} holds {short(min(is_folder))}: {way_out}")
        if folders := [name for name in ours if is_folder.get(name)]:
            raise CheckpointError(f"{folder} holds a folder {short(min(folders))}: name another folder")
        others = is_folder.keys() - ours
        stays = home.exists() and bool(others or os.path.ismount(home) or home.samefile("."))
        if stays:
            draft = _ours_alone(home / draft.name, ours)  # on the same disk, in a writable folder
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        yield draft
        for path in (*sorted(draft.iterdir()), draft):
            flush(path)
        if stays:
            for path in sorted(draft.iterdir()):
                path.replace(home / path.name)
            flush(home)
            return
        if home.exists():  # two folders cannot be swapped in one step: the earlier one steps aside
            shutil.rmtree(earlier, ignore_errors=True)
            home.rename(earlier)
        draft.rename(home)
        flush(home.parent)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:  # a full disk names no file, and other faults the draft, which nobody typed
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
    finally:
        if earlier.exists() and not home.exists():
            earlier.rename(home)
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def alone_in(folder: Path, refusal: Exception) -> Iterator[None]:
    """Keep every other process out of this folder during the block, or raise `refusal` if one is inside.

    The lock is the operating system's, so a process that was killed holds none."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise refusal from None


def _ours_alone(aside: Path, ours: Collection[str]) -> Path:
    """Return a folder that will be deleted. Raises CheckpointError if it holds anything but our files."""
    if others := {path.name for path in aside.glob("*")} - {*ours}:
        raise CheckpointError(f"{aside.name} holds {short(min(others))}: move it elsewhere")
    return aside


def recover_directory(home: Path) -> Path:
    """Return where the folder is: at `home`, or one step aside if its replacement was cut short."""
    return home if home.exists() else home.parent / f".{home.name}.earlier"


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
    """Write a file and return its digest (size and sha256). Raises OSError if the disk refuses."""
    path.write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_json(path: Path, data: JSON, *, sealed: bool = False) -> JSON:
    """Write strict JSON in UTF-8, one field a line; if sealed, with a sha256 of itself. Returns its digest.

    Raises CheckpointError for a number or a text that JSON cannot hold, and OSError if the disk refuses."""
    whole = data | {SEAL: seal(data)} if sealed else data
    try:
        content = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as error:  # nan, or half a surrogate pair, as in a file name that is no UTF-8
        raise CheckpointError(f"{path.name} cannot be written as JSON: {error}") from error
    return write(path, content)


def read_json(home: Path, name: str, shown: str | Path) -> JSON:
    """Return the object in a JSON file. Raises CheckpointError, which calls the folder `shown`.

    Reading is strict, so that nobody else has to check again: no nan or infinity, no half surrogate pair, no
    nesting without end. Only a regular file is opened: a pipe might never end."""
    where = f"{shown}/{name}"
    if not (home / name).is_file():
        raise CheckpointError(f"there is no checkpoint at {shown}: {name} is missing")
    try:
        data = json.loads((home / name).read_bytes())
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise damaged(where, f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise damaged(where, f"it holds a {type(data).__name__}, not an object")
    return data


def read_sealed(home: Path, name: str, shown: str | Path, fields: JSON, files: Sequence[str]) -> JSON:
    """Return the object in one of our own, sealed JSON files, and verify the files that it vouches for.

    fields: what it must hold: {name: its type, or a tuple of the values that are allowed}. files: the names
    of files beside it, whose digests are in its field "files". Raises CheckpointError naming the file."""
    data, where = read_json(home, name, shown), f"{shown}/{name}"
    for field, kind in fields.items():
        value = data.get(field)
        if type(value) is not kind and not (isinstance(kind, tuple) and value in kind):
            raise damaged(where, f"{field} is {short(value)}")
    expected = data.pop(SEAL, None)
    if expected != (found := seal(data)):
        raise damaged(where, f"expected content with sha256 {short(expected)} and found {found}")
    for beside in files:
        expected, found = data["files"].get(beside), None
        if (home / beside).is_file():
            with (home / beside).open("rb") as file:
                found = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}
        if found is None or found != expected:
            raise damaged(f"{shown}/{beside}", f"expected {short(expected, 120)} and found {found}")
    return data


def seal(data: JSON) -> str:
    """Return the sha256 of an object, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
