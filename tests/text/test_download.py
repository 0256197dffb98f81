import errno
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.support.file_server import serving
from tinylm.errors import DownloadError
from tinylm.text import download as download_module
from tinylm.text.download import RemoteFile, download

DATA = np.random.default_rng(1).bytes(500_009)
FILE = RemoteFile("input.txt", "", len(DATA), hashlib.sha256(DATA).hexdigest())
OTHER = b"X" + DATA[1:]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    with serving(DATA) as running:
        yield running


@pytest.fixture
def target(tmp_path):
    (tmp_path / "corpus").mkdir()
    return tmp_path / "corpus" / "input.txt"


def bring(server, target):
    download(replace(FILE, url=server.url), target)


def part_of(target):
    return target.with_name("input.txt.part")


def names_beside(target):
    return {path.name for path in target.parent.iterdir()} - {"input.txt.lock"}


MANNERS = {  # what lies here before, the server's manners, the Range of every request
    "cut midway": (b"", {"stops_after": [200_000, 130_000]}, [None, "bytes=200000-", "bytes=330000-"]),
    "cut, length untold": (b"", {"stops_after": [20_000], "tells_length": False}, [None, "bytes=20000-"]),
    "begun by an earlier process": (DATA[:123_457], {}, ["bytes=123457-"]),
    "cannot resume": (b"", {"stops_after": [200_000], "resumes": False}, [None, "bytes=200000-"]),
    "busy twice": (DATA[:1000], {"refuses": [503, 429]}, ["bytes=1000-"] * 3),
}


@pytest.mark.parametrize("case", MANNERS)
def test_file_arrives_complete_whatever_happens_on_the_way(server, target, case):
    part, manners, asked = MANNERS[case]
    part_of(target).write_bytes(part)
    vars(server).update(manners)
    bring(server, target)
    assert target.read_bytes() == DATA
    assert names_beside(target) == {"input.txt"}
    assert server.asked == asked  # to the byte


LOGIN = b"<html>please log in</html>"
WRONG = {  # what lies here before, the server's manners, what is said, what is kept of it, the requests
    "breaks for good": (
        b"",
        {"stops_after": [300_000, *[0] * 5]},
        "the connection broke at 300,000 of 500,009 bytes: try again, it resumes there",
        300_000,
        6,
    ),
    "part too long": (DATA + b"more", {}, "expected 500,009 bytes, found 500,013", None, 0),
    "longer, and here": (DATA[:1000], {"data": DATA + b"!"}, "found 500,010", 1000, 1),
    "login page": (DATA[:9000], {"data": LOGIN, "resumes": False}, "500,009 bytes, found 26", 9000, 1),
    "another content": (b"", {"data": OTHER}, f"sha256 {FILE.sha256[:16]}.*found .*: try again", None, 1),
    "whole, but another": (OTHER, {}, "another file came, expected sha256", None, 0),
    "not there": (b"", {"refuses": [404] * 6}, "the server answered 404", None, 6),
}


@pytest.mark.parametrize("case", WRONG)
def test_file_that_does_not_come_is_refused_with_the_reason_and_comes_the_next_time(server, target, case):
    part, manners, match, kept, n_requests = WRONG[case]
    target.write_bytes(b"an older file")
    part_of(target).write_bytes(part)
    vars(server).update(manners)
    with pytest.raises(DownloadError, match=match) as caught:
        bring(server, target)
    assert str(target.parent) not in str(caught.value)
    assert len(server.asked) == n_requests
    assert target.read_bytes() == b"an older file"
    assert (part_of(target).read_bytes() if part_of(target).exists() else b"") == DATA[: kept or 0]
    vars(server).update(data=DATA, refuses=[], stops_after=[], resumes=True)
    bring(server, target)
    assert target.read_bytes() == DATA


def test_file_that_does_not_end_is_refused_before_its_end(server, target):
    server.data, server.tells_length = DATA * 79, False
    with pytest.raises(DownloadError, match=r"expected 500,009 bytes, found 5\d\d,\d\d\d:"):
        bring(server, target)
    assert names_beside(target) == set()
    assert server.sent < len(server.data) / 2


def test_missing_connection_fails_at_once_and_shows_nothing(server, target, capsys, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE", 60.0)
    server.server_close()
    begun = time.perf_counter()
    with pytest.raises(DownloadError, match=r"^no connection \(ConnectionError\)$"):
        bring(server, target)
    assert time.perf_counter() - begun < 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_disk_that_refuses_loses_nothing_and_costs_no_second_download(server, target, monkeypatch, broken):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    target.write_bytes(b"an older file")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(download_module.os, broken, full)
        bring(server, target)
    assert target.read_bytes() == b"an older file"
    bring(server, target)
    assert target.read_bytes() == DATA
    assert len(server.asked) == 1


def test_many_at_once_make_one_file_with_one_download_and_bars_that_tell_no_folder(server, target, capsys):
    server.delay = 0.1
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: bring(server, target), range(5)))
    shown = capsys.readouterr().err
    assert "input.txt" in shown and str(target.parent) not in shown
    assert target.read_bytes() == DATA
    assert len(server.asked) == 1
    assert names_beside(target) == {"input.txt"}
