"""Downloads: a file arrives whole or not at all.

Whole means of the expected size and sha256. Until then its bytes wait in a `.part` file beside the target,
so a broken download goes on where it stopped. Used by corpora, taught in notebook 01_characters."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DownloadError

TIMEOUTS = (3.0, 30.0)  # seconds for a connection, and of silence in the middle of a file
ATTEMPTS = 3  # in a row that bring nothing new
PAUSE = 1.0  # seconds before another attempt, twice as many before the one after it
CHUNK = 1 << 16
BUSY = (408, 429, 500, 502, 503, 504)  # answers that may be another one in a moment


def difference(path: Path, *, size: int, sha256: str) -> str | None:
    """None for a whole file; otherwise what was expected and what was found."""
    if (found := path.stat().st_size) != size:
        return f"expected {size:,} bytes, found {found:,}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == sha256 else f"expected sha256 {sha256[:16]}…, found {digest[:16]}…"


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Make the folder of `target`; what the disk refuses is a DownloadError without a path."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise DownloadError(f"the disk refused to write: {said}") from error


def download(url: str, target: Path, *, size: int, sha256: str) -> None:
    """Bring `url` to `target`, of `size` bytes; goes on from `target`.part where there is one.

    Processes that ask for the same target wait for one another, and one of them downloads. A connection that
    breaks and a busy server are tried again. Raises DownloadError without a path in it, and removes what
    turned out to be another file.
    """
    part = target.with_name(f"{target.name}.part")
    with writing(target), FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_file() and difference(target, size=size, sha256=sha256) is None:
            return  # another process was first
        most, failures = _size(part), 0
        while (have := _size(part)) != size:
            if failures:
                time.sleep(PAUSE * failures)
            why = _request(url, part, have if have < size else 0, size)
            have = _size(part)
            failures = 0 if have > most else failures + 1
            most = max(most, have)
            if failures == ATTEMPTS:
                raise DownloadError(f"{why} at {have:,} of {size:,} bytes: try again, it goes on there")
        if wrong := difference(part, size=size, sha256=sha256):
            part.unlink()
            raise DownloadError(f"another file came, {wrong}: try again")
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)  # a reader sees the old file or the new one, never a half


def _request(url: str, part: Path, begin: int, size: int) -> str:
    """Ask once for the bytes from `begin` on, into `part`; why it ended, should it be too early."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS)
    except (requests.RequestException, ValueError) as error:  # ValueError: an address that is none
        raise DownloadError(f"no connection ({type(error).__name__})") from error
    with response:
        status, told = response.status_code, response.headers
        if status not in (200, 206, 416, *BUSY):
            raise DownloadError(f"the server answered {status}")
        wrong_part = status == 206 and not told.get("Content-Range", "").startswith(f"bytes {begin}-")
        if wrong_part or status == 416:
            part.unlink(missing_ok=True)  # what is here is no beginning of that file: start again
        if wrong_part or status not in (200, 206):
            return f"the server answered {status}"
        begin = begin if status == 206 else 0
        length = told.get("Content-Length", "") if "Content-Encoding" not in told else ""
        if re.fullmatch("[0-9]{1,18}", length) and begin + int(length) != size:
            if begin:  # no login page: what is kept came from that other file
                part.unlink()
            raise DownloadError(f"another file came, expected {size:,} bytes, found {begin + int(length):,}")
        with (
            tqdm(desc=part.stem, total=size, initial=begin, unit="B", unit_scale=True, leave=False) as bar,
            open(part, "ab" if begin else "wb") as file,
            contextlib.suppress(urllib3.exceptions.HTTPError),  # what came before a break counts
        ):
            while file.tell() <= size and (chunk := response.raw.read1(CHUNK, decode_content=True)):
                file.write(chunk)
                bar.update(len(chunk))
    if _size(part) > size:
        part.unlink()
        raise DownloadError(f"another file came, expected {size:,} bytes, found more")
    return "the connection broke"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
