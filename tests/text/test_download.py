import errno
import hashlib
import http.server
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinylm.errors import DownloadError
from tinylm.text import download as download_module
from tinylm.text.download import difference, download

DATA = np.random.default_rng(1).bytes(500_009)
EXPECTED = {"size": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
OTHER = b"X" + DATA[1:]


class Server(http.server.ThreadingHTTPServer):
    """A server on this machine whose manners a test can spoil."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file"
        self.data = DATA
        self.resumes = True  # honours Range
        self.tells_length = True
        self.headers = {}  # said instead of the true ones
        self.stops_after = []  # for each request, the bytes after which the connection is cut
        self.refuses = []  # for each request, the status to answer instead of the file
        self.delay = 0.0
        self.asked = []  # the Range of every request
        self.sent = 0  # bytes, rounded up to whole pieces


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        begin, status, headers = 0, 200, {}
        if asked and server.resumes:
            begin, status = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(server.data) - 1}/{len(server.data)}"
            if begin >= len(server.data):
                status, headers["Content-Range"] = 416, f"bytes */{len(server.data)}"
        body = b"" if status == 416 else server.data[begin:]
        if server.refuses:
            status, body = server.refuses.pop(0), b"sorry"
        if server.tells_length:
            headers["Content-Length"] = str(len(body))
        self.send_response(status)
        for name, value in (headers | server.headers).items():
            self.send_header(name, value)
        self.end_headers()
        stop = server.stops_after.pop(0) if server.stops_after else len(body)
        time.sleep(server.delay)
        for begin in range(0, stop, len(DATA)):
            try:
                self.wfile.write(body[begin : min(begin + len(DATA), stop)])
            except ConnectionError:  # the other side has had enough
                break
            server.sent += len(DATA)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "corpus" / "input.txt"


def bring(server, target):
    download(server.url, target, **EXPECTED)


def put_part(target, data):
    target.parent.mkdir(exist_ok=True)
    part_of(target).write_bytes(data)


def part_of(target):
    return target.with_name("input.txt.part")


def leftovers(target):
    return {path.name for path in target.parent.iterdir()} - {"input.txt", "input.txt.lock"}


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/input.txt")


def test_file_arrives_complete_once_and_leaves_nothing_beside_it(server, target):
    bring(server, target)
    bring(server, target)
    assert target.read_bytes() == DATA
    assert leftovers(target) == set()
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
    if part:
        put_part(target, part)
    vars(server).update(manners)
    bring(server, target)
    assert target.read_bytes() == DATA
    assert leftovers(target) == set()
    assert server.asked == asked  # to the byte


def test_connection_that_breaks_for_good_keeps_what_came(server, target):
    server.stops_after = [300_000, 0, 0, 0]
    with pytest.raises(
        DownloadError, match=r"broke at 300,000 of 500,009 bytes: try again, it goes on there"
    ):
        bring(server, target)
    assert not target.exists()
    assert part_of(target).read_bytes() == DATA[:300_000]
    bring(server, target)
    assert target.read_bytes() == DATA
    assert server.asked[-1] == "bytes=300000-"


@pytest.mark.parametrize("told", [f"bytes 900-{len(DATA) - 1}/{len(DATA)}", "bytes nonsense"])
def test_server_that_resumes_at_another_byte_is_asked_for_all_of_it(server, target, told, monkeypatch):
    put_part(target, DATA[:1000])
    send, spoiled = Handler.send_header, {"Content-Range": told}
    monkeypatch.setattr(Handler, "send_header", lambda self, name, v: send(self, name, spoiled.get(name, v)))
    bring(server, target)
    assert target.read_bytes() == DATA
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("part", [b"", DATA[:1000]])
@pytest.mark.parametrize("data", [DATA[:700], DATA + b"!", b"<html>please log in</html>", b""])
def test_file_of_another_size_is_refused_with_both_sizes(server, target, data, part):
    put_part(target, part)
    server.data = data
    with pytest.raises(DownloadError, match=f"expected 500,009 bytes, found {len(data):,}"):
        bring(server, target)
    assert not target.exists()
    server.data = DATA
    bring(server, target)
    assert target.read_bytes() == DATA


def test_file_that_does_not_end_is_refused_before_its_end(server, target):
    server.data, server.tells_length = DATA * 79, False
    with pytest.raises(DownloadError, match="expected 500,009 bytes, found more"):
        bring(server, target)
    assert leftovers(target) == set() and not target.exists()
    assert server.sent < len(server.data) / 2


def test_login_page_does_not_cost_what_was_already_here(server, target):
    put_part(target, DATA[:100_000])
    server.refuses, server.resumes = [200], False
    with pytest.raises(DownloadError, match="found 5"):
        bring(server, target)
    assert part_of(target).read_bytes() == DATA[:100_000]


@pytest.mark.parametrize("part", [b"", b"X" * 1000, OTHER])
def test_file_of_another_content_is_refused_with_both_hashes_and_removed(server, target, part):
    put_part(target, part)
    server.data = DATA if part else OTHER
    target.write_bytes(b"an older file")
    with pytest.raises(DownloadError, match=f"sha256 {EXPECTED['sha256'][:16]}.*found .*: try again"):
        bring(server, target)
    assert leftovers(target) == set() and target.read_bytes() == b"an older file"
    server.data = DATA
    bring(server, target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(("status", "requests"), [(403, 1), (404, 1), (501, 1), (429, 3), (500, 3), (503, 3)])
def test_server_that_refuses_is_named_by_its_answer_and_asked_again_if_busy(server, target, status, requests):
    server.refuses = [status] * requests
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        bring(server, target)
    assert len(server.asked) == requests and not target.exists()


def test_redirect_to_an_address_that_is_none_is_one_sentence(server, target):
    server.headers = {"Location": "http://[bad/"}
    server.refuses = [302]
    with pytest.raises(DownloadError, match="no connection"):
        bring(server, target)


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
    target.parent.mkdir()
    target.write_bytes(b"an older file")
    with monkeypatch.context() as patch, pytest.raises(DownloadError, match="write: No space left") as caught:
        patch.setattr(download_module.os, broken, full)
        bring(server, target)
    assert "somewhere" not in str(caught.value)
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
    assert leftovers(target) == set()


def test_progress_bar_shows_the_file_and_no_path(server, target, capsys, tmp_path):
    bring(server, target)
    shown = capsys.readouterr().err
    assert "input.txt" in shown and str(tmp_path) not in shown


def test_difference_tells_size_first_and_then_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert difference(path, **EXPECTED) is None
    path.write_bytes(DATA[:7])
    assert difference(path, **EXPECTED) == "expected 500,009 bytes, found 7"
    path.write_bytes(DATA[::-1])
    assert difference(path, **EXPECTED).startswith("expected sha256")
