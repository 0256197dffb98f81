"""Downloads: a file arrives whole or not at all.

Whole means of the expected size and sha256. Until then its bytes wait in a `.part` file beside the target,
so a broken download goes on where it stopped. Used by corpora, taught in notebook 01_characters."""

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DownloadError

TIMEOUTS = (3.0, 30.0)  # seconds for a connection, and of silence in the middle of a file
ATTEMPTS = 3  # in a row that bring nothing new
PAUSE = 1.0  # seconds before another attempt, twice as many before the one after it
CHUNK = 1 << 16
AGAIN = (408, 416, 429, 500, 502, 503, 504)  # answers that may be another one in a moment


@dataclass(frozen=True)
class RemoteFile:
    """One file of a corpus: where it comes from (nowhere: ""), its bytes, and its sha256 ("": unknown)."""

    name: str
    url: str
    size: int
    sha256: str

    def difference(self, path: Path) -> str | None:
        """None where `path` is this file, whole; otherwise what was expected and what was found."""
        try:
            if (found := path.stat().st_size) != self.size:
                return f"expected {self.size:,} bytes, found {found:,}"
            digest = sha256(path) if self.sha256 else ""
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        wrong = f"expected sha256 {self.sha256[:16]}…, found {digest[:16]}…"
        return None if digest == self.sha256 else wrong


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file that is on the disk, whole, before it has its name."""
    with open(f"{path}.part", "wb") as file:
        file.write(json.dumps(data, indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.part", path)


def download(file: RemoteFile, target: Path) -> None:
    """Bring the file to `target`; goes on from `target`.part where there is one.

    Processes that ask for the same target wait for one another, and one of them downloads. A connection that
    breaks and a busy server are tried again. Raises DownloadError without a path in it, and removes what
    turned out to be another file; raises OSError where the disk refuses."""
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if not file.difference(target):
            return  # another process was first
        if _size(part) > file.size:
            part.unlink()  # of an earlier version of the file
        most, failures = _size(part), 0
        while _size(part) < file.size:
            time.sleep(PAUSE * failures)
            why = _request(file, part)
            have = _size(part)
            failures, most = (0, have) if have > most else (failures + 1, most)
            if failures == ATTEMPTS:
                raise DownloadError(f"{why} at {have:,} of {file.size:,} bytes: try again, it goes on there")
        if wrong := file.difference(part):
            part.unlink()
            raise DownloadError(f"another file came, {wrong}: try again")
        with open(part, "rb+") as done:
            os.fsync(done.fileno())
        os.replace(part, target)  # a reader sees the old file or the new one, never a half


def _request(file: RemoteFile, part: Path) -> str:
    """Ask once for what is missing of `part`; why it ended, should it be too early."""
    begin, size = _size(part), file.size
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        response = requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUTS)
    except (requests.RequestException, ValueError) as error:  # ValueError: an address that is none
        raise DownloadError(f"no connection ({type(error).__name__})") from error
    with response:
        status, coming = response.status_code, response.raw.length_remaining  # None where it is not told
        if status == 416:
            part.unlink(missing_ok=True)  # what is here is no beginning of that file: start again
        if status in AGAIN:
            return f"the server answered {status}"
        if status not in (200, 206):
            raise DownloadError(f"the server answered {status}")
        begin = begin if status == 206 else 0
        if coming not in (None, size - begin):
            if begin:  # no login page: what is kept came from that other file
                part.unlink()
            raise DownloadError(f"another file came, expected {size:,} bytes, found {begin + coming:,}")
        with (
            tqdm(desc=file.name, total=size, initial=begin, unit="B", unit_scale=True, leave=False) as bar,
            open(part, "ab" if begin else "wb") as out,
            contextlib.suppress(urllib3.exceptions.HTTPError),  # what came before a break counts
        ):
            while out.tell() <= size and (chunk := response.raw.read1(CHUNK, decode_content=True)):
                out.write(chunk)
                bar.update(len(chunk))
    return "the connection broke"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
