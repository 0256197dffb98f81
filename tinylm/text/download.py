"""Downloads: a file arrives whole or not at all.

A file counts as whole when its size and its sha256 are the expected ones. Until then its bytes wait in
a `.part` file beside the target, so a broken download goes on where it stopped. Knows only addresses,
files and hashes; refuses to know corpora and where they are kept. Used by corpora, which is taught in
notebook 01_characters."""

import hashlib
import os
import re
import shutil
import time
import uuid
from pathlib import Path

import requests
from filelock import FileLock
from tqdm.auto import tqdm

from tinylm.errors import DownloadError, TinyLMError

CONNECT_SECONDS = 3.0  # per address of the server: without a network the answer comes soon
READ_SECONDS = 30.0  # silence in the middle of a file
ATTEMPTS = 3  # in a row that bring nothing new
CHUNK = 1 << 16


class WrongFile(TinyLMError):
    """A file arrived, but it is another one than expected. It was removed."""


def difference(path: Path, *, size: int, sha256: str) -> str | None:
    """None for a whole file; otherwise what was expected and what was found."""
    found = path.stat().st_size
    if found != size:
        return f"expected {size:,} bytes, found {found:,}"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == sha256 else f"expected sha256 {sha256[:16]}…, found {digest[:16]}…"


def download(
    url: str, target: Path, *, size: int, sha256: str, progress: bool = True, pause: float = 1.0
) -> None:
    """Bring `url` to `target`, of `size` bytes; goes on from `target`.part where there is one.

    Processes that ask for the same target wait for one another, and one of them downloads. A connection
    that breaks is taken up again after `pause` seconds. Raises DownloadError or WrongFile, whose
    sentences hold reasons and numbers but no path.
    """
    part = _beside(target, "part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(target, "lock")):
            if target.is_file() and difference(target, size=size, sha256=sha256) is None:
                return  # another process was first
            _receive(url, part, size, progress, pause)
            _finish(part, target, size, sha256)
    except OSError as error:
        raise DownloadError(f"the disk refused to write: {_said(error)}") from error


def copy(source: Path, target: Path, *, size: int, sha256: str) -> None:
    """Copy a file that must be whole: written beside the target, checked, then renamed. Same errors."""
    part = _beside(target, f"{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(source, "rb") as original, open(part, "xb") as file:
                shutil.copyfileobj(original, file, CHUNK)
                file.flush()
                os.fsync(file.fileno())
            _finish(part, target, size, sha256)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"the disk refused to write: {_said(error)}") from error


def _finish(part: Path, target: Path, size: int, sha256: str) -> None:
    wrong = difference(part, size=size, sha256=sha256)
    if wrong:
        part.unlink()
        raise WrongFile(wrong)
    os.replace(part, target)  # a reader sees the old file or the new one, never a half
    if os.name == "posix":  # the new name must survive a power cut too
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _receive(url: str, part: Path, size: int, progress: bool, pause: float) -> None:
    """Ask for what is missing until `part` has `size` bytes."""
    most, failures = _size(part), 0
    while (have := _size(part)) != size:
        if have > size:
            part.unlink()
            continue
        _stream(url, part, have, size, progress)
        failures = 0 if _size(part) > most else failures + 1
        most = max(most, _size(part))
        if failures == ATTEMPTS:
            raise DownloadError(f"the connection broke at {_size(part):,} of {size:,} bytes, which are kept")
        if _size(part) != size:
            time.sleep(pause)


def _stream(url: str, part: Path, have: int, size: int, progress: bool) -> None:
    """One request: append to `part` what comes, from byte `have` on. A connection may break quietly."""
    headers = {"Accept-Encoding": "identity"}  # compressed bytes could not be counted
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    except requests.RequestException as error:
        raise DownloadError(_reason(error)) from error
    with response:
        begin, total = _offer(response)
        if total is not None and total != size:
            if response.status_code != 200:  # not a login page: what is kept came from that other file
                part.unlink(missing_ok=True)
            raise WrongFile(f"expected {size:,} bytes, found {total:,}")
        if response.status_code == 416 or begin not in (0, have):
            part.unlink(missing_ok=True)  # what is here is no beginning of that file: start again
            return
        if response.status_code not in (200, 206):
            raise DownloadError(f"the server answered {response.status_code}")
        have = begin  # 0 from a server that cannot resume
        bar = tqdm(
            total=size,
            initial=begin,
            unit="B",
            unit_scale=True,
            desc=part.stem,
            disable=not progress,
            leave=False,
        )  # only now: without a connection nothing is shown
        with bar, open(part, "ab" if begin else "wb") as file:
            try:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    bar.update(len(chunk))
                    if have > size:
                        break
            except requests.RequestException:
                pass  # what came before the break counts; the caller asks for the rest
            file.flush()
            os.fsync(file.fileno())
    if have > size:
        part.unlink()
        raise WrongFile(f"expected {size:,} bytes, found more")


def _offer(response: requests.Response) -> tuple[int, int | None]:
    """The byte at which the body begins, and the size of the whole file if the server tells it."""
    if response.status_code in (206, 416):
        told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not told:
            return -1, None
        return int(told[1] or -1), None if told[2] == "*" else int(told[2])
    if response.status_code == 200 and "Content-Encoding" not in response.headers:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    return 0, None


def _reason(error: requests.RequestException) -> str:
    for kind, reason in (
        (requests.exceptions.ProxyError, "the proxy gave no connection"),
        (requests.exceptions.SSLError, "the server's certificate was not accepted"),
        (requests.exceptions.Timeout, "the server did not answer in time"),
        (requests.exceptions.ConnectionError, "no connection"),
    ):
        if isinstance(error, kind):
            return reason
    return f"the request failed with {type(error).__name__}"


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _said(error: OSError) -> str:
    return error.strerror or type(error).__name__  # str(error) would hold a path
