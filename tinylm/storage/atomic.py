"""Atomic folders: files that appear together or not at all, and that prove they are complete.

They are written into a folder beside, flushed to the disk, and get their name by one rename. A JSON among
them holds the size and the sha256 of the others, and a sha256 of itself.
Taught in notebook 04_training."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinylm.errors import CheckpointError, short

MOST_JSON = 1 << 26  # bytes: a tokenizer of 200,000 tokens is a tenth of it
SEAL = "content_sha256"
Digest = dict[str, Any]  # the size in bytes and the sha256 of a file


@contextmanager
def atomic_directory(home: Path) -> Iterator[Path]:
    """A folder to write into; when the block ends without an error it becomes `home`, in one step.

    An earlier folder of that name is replaced. Whenever this is cut short, `recover_directory(home)` is the
    earlier folder or the new one, complete; after an error what was half-written is removed."""
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


def recover_directory(home: Path) -> Path:
    """Where the folder is: at `home`, or one step aside where replacing it was cut short."""
    return home if home.exists() else set_aside(home)


def set_aside(home: Path) -> Path:
    """Where an earlier folder waits while a new one takes its name."""
    return home.with_name(f".{home.name}.earlier")


def write(path: Path, content: bytes) -> Digest:
    """Write a file; returns its digest. Raises OSError when the disk refuses."""
    path.write_bytes(content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, Digest]:
    """The digest of each of these files, read from the disk."""
    digests = {}
    for name in names:
        with (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            digests[name] = {"bytes": file.tell(), "sha256": sha256}
    return digests


def verify(home: Path, name: str, expected: Any, shown: str | Path) -> None:
    """Raises CheckpointError with both sizes and hashes unless the file is the one that was saved.

    `shown` is what the folder is called in the sentence."""
    found = file_digests(home, [name])[name] if (home / name).exists() else None
    if found != expected or found is None:
        was, is_ = (
            f"{d.get('bytes')} bytes with sha256 {d.get('sha256')}" if isinstance(d, dict) else "no file"
            for d in (expected, found)
        )
        raise CheckpointError(
            f"{shown}/{name} is not the file that was saved: expected {was}, found {is_}; "
            "copy or download the checkpoint again"
        )


def json_bytes(what: str, data: Mapping[str, Any]) -> bytes:
    """Strict JSON in UTF-8, one field a line. Raises CheckpointError for what is none; `what` names it."""
    try:
        return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:  # half a surrogate pair is no UTF-8
        raise CheckpointError(f"{what} cannot be written as JSON: {error}") from error


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The object with a sha256 of itself, which read_json takes off again."""
    return {**data, SEAL: _sha256(data)}


def read_json(home: Path, name: str, shown: str | Path) -> dict[str, Any]:
    """The object in a JSON file, unaltered where it is sealed. Raises CheckpointError naming the file.

    Strict, so that what comes later need not wonder: no nan or infinity, no integer of more than 64 bits,
    no half surrogate pair, no bottomless nesting, no endless file."""
    try:
        with (home / name).open("rb") as file:
            content = file.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise ValueError(f"it has more than {MOST_JSON:,} bytes")
        data = json.loads(content, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no UTF-8
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {shown}: {name} is missing") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown}/{name} is not JSON that can be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{shown}/{name} holds a {type(data).__name__}, not an object")
    if SEAL in data and (expected := data.pop(SEAL)) != (found := _sha256(data)):
        raise CheckpointError(
            f"{shown}/{name} is not the file that was saved: expected content with sha256 {short(expected)}, "
            f"found {found}; go back to an earlier checkpoint"
        )
    return data


def check_fields(data: dict[str, Any], fields: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError unless the object has these fields, of these types, and no others.

    fields: {name: a type, or again fields}. An int will do for a float; a bool is no int."""
    for name in [*fields, *sorted(data.keys() - fields.keys())]:
        kind, value = fields.get(name), data.get(name)
        if isinstance(kind, Mapping) and isinstance(value, dict):
            check_fields(value, kind, f"{where}: {name}")
        elif type(value) is not kind and not (kind is float and type(value) is int):
            found = short(value) if name in data else "missing"
            said = "unknown" if name not in fields else found
            raise CheckpointError(
                f"{where}: {name} is {said}: use the tinylm that wrote it, or an earlier one"
            )


def flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"{short(digits)} is more than 64 bits hold")
    return int(digits)


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(f"{short(number)} is not finite")
    return float(number)


def _replace(home: Path, new: Path) -> None:
    """Put `new` where `home` is. Folders cannot be swapped in one step: the earlier one steps aside."""
    earlier = set_aside(home)
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
