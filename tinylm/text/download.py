"""Downloads: a file arrives whole or not at all.

A file counts as whole when its size and its sha256 are the expected ones. Until then its bytes wait in
a `.part` file beside the target, so a broken download goes on where it stopped. No sentence holds a path.
Used by corpora, which is taught in notebook 01_characters."""

import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DownloadError

TIMEOUTS = (3.0, 30.0)  # seconds for a connection, and of silence in the middle of a file
ATTEMPTS = 3  # in a row that bring nothing new
CHUNK = 1 << 16
BUSY = (408, 429, 500, 502, 503, 504)  # answers that may be another one in a moment
REASONS = (
    (requests.exceptions.ProxyError, "the proxy gave no connection"),
    (requests.exceptions.SSLError, "the server's certificate was not accepted"),
    (requests.exceptions.Timeout, "the server did not answer in time"),
    (requests.exceptions.ConnectionError, "no connection"),
)


def difference(path: Path, *, size: int, sha256: str) -> str | None:
    """None for a whole file; otherwise what was expected and what was found."""
    if (found := path.stat().st_size) != size:
        return f"expected {size:,} bytes, found {found:,}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == sha256 else f"expected sha256 {sha256[:16]}…, found {digest[:16]}…"


def download(
    url: str, target: Path, *, size: int, sha256: str, progress: bool = True, pause: float = 1.0
) -> None:
    """Bring `url` to `target`, of `size` bytes; goes on from `target`.part where there is one.

    Processes that ask for the same target wait for one another, and one of them downloads. A connection that
    breaks and a busy server are tried again, after `pause` seconds and then after twice as many. Raises
    DownloadError, and removes what turned out to be another file.
    """
    part = target.with_name(f"{target.name}.part")
    with _writing(target), FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_file() and difference(target, size=size, sha256=sha256) is None:
            return  # another process was first
        resumed = _size(part) > 0
        _receive(url, part, size, progress, pause)
        if resumed and difference(part, size=size, sha256=sha256):
            part.unlink()  # what lay here was no beginning of this file: not the network's fault
            _receive(url, part, size, progress, pause)
        _place(part, target, size, sha256)


def copy(source: Path, target: Path, *, size: int, sha256: str) -> None:
    """Copy a file that must be whole: written beside the target, checked, then renamed. Same errors."""
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    with _writing(target):
        try:
            shutil.copyfile(source, part)
            _place(part, target, size, sha256)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:  # its own sentence would hold a path
        said = error.strerror or type(error).__name__
        raise DownloadError(f"the disk refused to write: {said}") from error


def _place(part: Path, target: Path, size: int, sha256: str) -> None:
    if wrong := difference(part, size=size, sha256=sha256):
        part.unlink()
        raise DownloadError(f"another file came, {wrong}")
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)  # a reader sees the old file or the new one, never a half


def _receive(url: str, part: Path, size: int, progress: bool, pause: float) -> None:
    """Ask for what is missing until `part` has `size` bytes."""
    most, failures = _size(part), 0
    while _size(part) != size:
        why = _request(url, part, size, progress)
        have = _size(part)
        failures = 0 if have > most else failures + 1
        most = max(most, have)
        if failures == ATTEMPTS:
            kept = ", which are kept" if have else ""
            raise DownloadError(f"{why} at {have:,} of {size:,} bytes{kept}")
        if have != size:
            time.sleep(pause * max(failures, 1))


def _request(url: str, part: Path, size: int, progress: bool) -> str:
    """One request: append to `part` what is missing. Returns why it ended, should it have been too early."""
    have = _size(part) if _size(part) <= size else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS)
    except (requests.RequestException, ValueError) as error:  # ValueError: an address that is none
        known = (reason for kind, reason in REASONS if isinstance(error, kind))
        raise DownloadError(next(known, f"the request failed with {type(error).__name__}")) from error
    with response:
        status, told = response.status_code, response.headers
        if status in BUSY:
            return f"the server answered {status}"
        if status not in (200, 206, 416):
            raise DownloadError(f"the server answered {status}")
        begin, total = 0, told.get("Content-Length", "") if "Content-Encoding" not in told else ""
        if status != 200:
            pattern = r"bytes (?:([0-9]{1,18})-[0-9]+|\*)/([0-9]+|\*)"
            found = re.fullmatch(pattern, told.get("Content-Range", ""))
            begin = int(found[1]) if found and found[1] and status == 206 else -1
            total = found[2] if found else ""
        if re.fullmatch("[0-9]{1,18}", total) and int(total) != size:
            if status != 200:  # no login page: what is kept came from that other file
                part.unlink(missing_ok=True)
            raise DownloadError(f"another file came, expected {size:,} bytes, found {int(total):,}")
        if begin not in (0, have):
            part.unlink(missing_ok=True)  # what is here is no beginning of that file: start again
            return f"the server answered {status}"
        show = {"desc": part.stem, "unit": "B", "unit_scale": True, "leave": False, "disable": not progress}
        with (
            tqdm(total=size, initial=begin, **show) as bar,
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
