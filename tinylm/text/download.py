"""Downloads: a file arrives complete and correct, or it doesn't appear under its name.

Until its size and sha256 are right, its bytes wait in a `.part` file beside the target, so an interrupted
download resumes where it stopped. Used by corpora, taught in notebook 01_characters."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DownloadError
from tinylm.terminal import shows_bars

TIMEOUTS = (3.0, 30.0)  # seconds to connect, and of silence in the middle of a file
ATTEMPTS = 6  # connections for one file
PAUSE = 1.0  # seconds before the second attempt, twice as many before the third, and so on
CHUNK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file of a corpus. `url` is "" where only a pack has it, `sha256` is "" where none is known."""

    name: str
    url: str
    size: int  # bytes
    sha256: str

    def difference(self, path: Path) -> str | None:
        """Return None where `path` is exactly this file, otherwise what was expected and what was found."""
        try:
            if (found := path.stat().st_size) != self.size:
                return f"expected {self.size:,} bytes, found {found:,}"
            digest = sha256(path) if self.sha256 else ""
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        wrong = f"expected sha256 {self.sha256[:16]}…, found {digest[:16]}…"
        return None if digest == self.sha256 else wrong


def sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a draft for writing, and rename it to `path` when the block ends without an error.

    The rename is atomic, and the bytes are on the disk before it: a file under its final name is complete,
    even after a power cut. An error removes the draft, which makes room on a full disk."""
    draft = Path(f"{path}.part")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_file(path) as file:
        file.write(json.dumps(data, indent=1).encode())


def download(file: RemoteFile, target: Path) -> None:
    """Download a file to `target`, resuming from `target.part` where an earlier download was interrupted.

    Processes that want the same target wait for one another, and only one of them downloads. A file with a
    wrong hash is removed. Raises DownloadError, whose message names no path, and OSError where the disk
    refuses."""
    # huggingface_hub would do for some of the files, but since its version 2 an interrupted download begins
    # again from nothing, and these files have up to 2 GB.
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if not file.difference(target):
            return  # another process was first
        why = ""
        for attempt in range(ATTEMPTS):
            if _size(part) < file.size:
                time.sleep(PAUSE * attempt)
                why = _request(file, part)
        if (have := _size(part)) < file.size:
            raise DownloadError(f"{why} at {have:,} of {file.size:,} bytes: try again, it resumes there")
        if wrong := file.difference(part):
            part.unlink()
            raise DownloadError(f"another file came, {wrong}: try again")
        with open(part, "rb+") as done:
            os.fsync(done.fileno())
        os.replace(part, target)


def _request(file: RemoteFile, part: Path) -> str:
    """Ask the server once for what `part` lacks. Return why the answer ended too early, if it did."""
    begin = _size(part)
    headers = {"Accept-Encoding": "identity"}  # a compressed answer could not be resumed by its bytes
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        response = requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUTS)
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to a broken address
        raise DownloadError(f"no connection ({type(error).__name__})") from error
    with response:
        status = response.status_code
        coming = response.raw.length_remaining  # bytes; None where the server doesn't say
        if status not in (200, 206):
            return f"the server answered {status}"
        begin = begin if status == 206 else 0  # 200: the server sends all of it, Range or not
        if coming not in (None, file.size - begin):  # a login page, say: keep the bytes that we have
            found = begin + coming
            raise DownloadError(f"another file came, expected {file.size:,} bytes, found {found:,}")
        shown = {"desc": file.name, "unit": "B", "unit_scale": True, "leave": False}
        shown["disable"] = not shows_bars()
        with (
            tqdm(total=file.size, initial=begin, **shown) as bar,
            open(part, "ab" if begin else "wb") as out,
            contextlib.suppress(urllib3.exceptions.HTTPError),  # what came before a break counts
        ):
            while out.tell() <= file.size and (chunk := response.raw.read1(CHUNK, decode_content=True)):
                out.write(chunk)
                bar.update(len(chunk))
    return "the connection broke"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
