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


def refused(server, target, match):
    """That the download is refused in a sentence without a path, and that the next one succeeds."""
    before = target.read_bytes() if target.exists() else None
    with pytest.raises(DownloadError, match=match) as caught:
        bring(server, target)
    assert str(target.parent) not in str(caught.value)
    assert (target.read_bytes() if target.exists() else None) == before
    kept = part_of(target).read_bytes() if part_of(target).exists() else None
    vars(server).update(data=DATA, refuses=[], resumes=True, headers={})
    bring(server, target)
    assert target.read_bytes() == DATA
    return kept


def part_of(target):
    return target.with_name("input.txt.part")


def names_beside(target):
    return {path.name for path in target.parent.iterdir()} - {"input.txt.lock"}


def test_file_arrives_complete_once_and_leaves_nothing_beside_it(server, target, capsys):
    bring(server, target)
    shown = capsys.readouterr().err  # the progress bar
    assert "input.txt" in shown and str(target.parent) not in shown
    bring(server, target)
    assert target.read_bytes() == DATA
    assert names_beside(target) == {"input.txt"}
    assert server.asked == [None]  # what is there already is not asked for


RANGES = [f"bytes={120 * i}-" for i in range(1, 21)]
MANNERS = {  # what lies here before, the server's manners, the Range of every request
    "cut midway": (b"", {"stops_after": [200_000, 130_000]}, [None, "bytes=200000-", "bytes=330000-"]),
    "cut, length untold": (b"", {"stops_after": [20_000], "tells_length": False}, [None, "bytes=20000-"]),
    "cut after few bytes each time": (b"", {"stops_after": [120] * 20}, [None, *RANGES]),
    "begun by an earlier process": (DATA[:123_457], {}, ["bytes=123457-"]),
    "cannot resume": (b"", {"stops_after": [200_000], "resumes": False}, [None, "bytes=200000-"]),
    "part too long": (DATA + b"more", {}, [None]),
    "nothing left to send": (DATA[:1000], {"refuses": [416]}, ["bytes=1000-", None]),
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


def test_connection_that_breaks_for_good_keeps_what_came(server, target):
    server.stops_after = [300_000, 0, 0, 0]
    kept = refused(server, target, r"broke at 300,000 of 500,009 bytes: try again, it goes on there")
    assert kept == DATA[:300_000] and server.asked[-1] == "bytes=300000-"


@pytest.mark.parametrize("part", [b"", DATA[:1000]])
@pytest.mark.parametrize("data", [DATA[:700], DATA + b"!", b"<html>please log in</html>", b""])
def test_file_of_another_size_is_refused_with_both_sizes(server, target, data, part):
    part_of(target).write_bytes(part)
    server.data = data
    refused(server, target, f"expected 500,009 bytes, found {len(data):,}")


def test_file_that_does_not_end_is_refused_before_its_end(server, target):
    server.data, server.tells_length = DATA * 79, False
    with pytest.raises(DownloadError, match=r"expected 500,009 bytes, found 5\d\d,\d\d\d:"):
        bring(server, target)
    assert names_beside(target) == set()
    assert server.sent < len(server.data) / 2


def test_login_page_does_not_cost_what_was_already_here(server, target):
    part_of(target).write_bytes(DATA[:100_000])
    server.refuses, server.resumes = [200], False
    assert refused(server, target, "found 5") == DATA[:100_000]


@pytest.mark.parametrize("part", [b"", b"X" * 1000, OTHER])
def test_file_of_another_content_is_refused_with_both_hashes_and_removed(server, target, part):
    part_of(target).write_bytes(part)
    server.data = DATA if part else OTHER
    target.write_bytes(b"an older file")
    assert refused(server, target, f"sha256 {FILE.sha256[:16]}.*found .*: try again") is None


@pytest.mark.parametrize(("status", "requests"), [(403, 1), (404, 1), (501, 1), (429, 3), (500, 3), (503, 3)])
def test_server_that_refuses_is_named_by_its_answer_and_asked_again_if_busy(server, target, status, requests):
    server.refuses = [status] * requests
    refused(server, target, f"the server answered {status}")
    assert len(server.asked) == requests + 1


def test_missing_connection_fails_at_once_in_one_sentence_and_shows_nothing(
    server, target, capsys, monkeypatch
):
    server.headers, server.refuses = {"Location": "http://[bad/"}, [302]  # to an address that is none
    refused(server, target, "no connection")
    target.unlink()
    capsys.readouterr()
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


def test_many_at_once_make_one_file_with_one_download(server, target):
    server.delay = 0.1
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: bring(server, target), range(5)))
    assert target.read_bytes() == DATA
    assert len(server.asked) == 1
    assert names_beside(target) == {"input.txt"}


def test_difference_tells_size_first_and_then_content(tmp_path):
    path = tmp_path / "file"
    assert FILE.difference(path) == "it cannot be read: No such file or directory"
    for data, said in ((DATA[:7], "expected 500,009 bytes, found 7"), (OTHER, "expected sha256"), (DATA, "")):
        path.write_bytes(data)
        assert (FILE.difference(path) or "").startswith(said)
    assert FILE.difference(path) is None
