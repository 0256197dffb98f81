import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest

from tinylm.errors import CorpusMissing, DataError, DownloadError
from tinylm.text import corpora
from tinylm.text.corpora import fetch, load, locate, pack
from tinylm.text.registry import CORPORA, Corpus, CorpusFile

TEXT = "Ein Reiter, naïve – ß 🎭\r\nand on.\n\n" * 103
DATA = TEXT.encode()
OTHER = DATA[:-1] + b"X"
REAL_PACK = os.environ.get("TINYLM_DATA")


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """An empty cache, no pack, no network; and one small corpus in the registry."""
    monkeypatch.delenv("TINYLM_DATA", raising=False)
    monkeypatch.setenv("TINYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", 20_000)
    corpora._generated.cache_clear()
    register(monkeypatch, "http://127.0.0.1:9/nowhere")
    yield
    corpora._generated.cache_clear()


def register(monkeypatch, url):
    file = CorpusFile("input.txt", url, len(DATA), hashlib.sha256(DATA).hexdigest())
    monkeypatch.setitem(CORPORA, "small", Corpus("small", (file,), "none", "here", 0.1, "\n\n", "a test"))


@pytest.fixture
def network(monkeypatch):
    """The corpus on a server of this machine; returns the list of requests, and what it serves."""
    asked, served = [], [DATA]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(served[0])))
            self.end_headers()
            self.wfile.write(served[0])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        register(monkeypatch, f"http://127.0.0.1:{server.server_port}/input.txt")
        monkeypatch.delenv("TINYLM_OFFLINE")
        yield asked, served
        server.shutdown()
        thread.join()


def put(folder: Path, data: bytes = DATA) -> Path:
    path = folder / "small" / "input.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def one_sentence(message: str, tmp_path: Path) -> bool:
    return "\n" not in message and str(tmp_path) not in message and "/tmp" not in message


def test_the_pack_comes_before_the_cache_and_the_cache_before_the_network(monkeypatch, tmp_path, network):
    asked, _ = network
    assert locate("small") is None
    assert load("small").source == "network" and len(asked) == 1
    assert locate("small") == "cache"
    assert load("small").source == "cache"
    packed = put(tmp_path / "pack")
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    assert locate("small") == "pack"
    assert load("small").source == "pack"
    assert fetch("small") == {"input.txt": packed}
    assert len(asked) == 1


def test_a_pack_without_the_corpus_leaves_it_to_the_cache(monkeypatch, tmp_path):
    (tmp_path / "pack").mkdir()
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    put(tmp_path / "cache")
    assert locate("small") == load("small").source == "cache"


def test_a_relative_folder_counts_from_the_root_of_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "ROOT", tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "pack")
    put(tmp_path / "repository" / "caches")
    monkeypatch.setenv("TINYLM_CACHE", "caches")
    assert locate("small") == "cache"
    monkeypatch.setenv("TINYLM_DATA", "../pack")
    assert locate("small") == "pack"


def test_the_root_is_that_of_the_repository_and_the_cache_is_in_its_data_folder(monkeypatch, tmp_path):
    assert (corpora.ROOT / "tinylm" / "text" / "corpora.py").is_file()
    monkeypatch.delenv("TINYLM_CACHE")
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    put(tmp_path / "data" / "cache")
    assert locate("small") == "cache"


def test_the_text_is_the_file_to_the_byte_with_the_last_tenth_for_validation(tmp_path):
    put(tmp_path / "cache")
    text = load("small")
    assert (text.train + text.validation).encode() == DATA  # no line end was translated
    assert len(text.train) == int(len(TEXT) * 0.9)
    assert text.name == "small"
    assert len(repr(text)) < 100


def test_offline_never_touches_the_network(monkeypatch, tmp_path, network):
    asked, _ = network
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    with pytest.raises(CorpusMissing, match="TINYLM_OFFLINE forbids the network"):
        load("small")
    assert not asked
    monkeypatch.setenv("TINYLM_OFFLINE", "0")
    assert load("small").source == "network"


def test_a_missing_corpus_is_one_sentence_with_the_command_that_gets_it(monkeypatch, tmp_path):
    with pytest.raises(CorpusMissing, match="`python -m tinylm fetch small` gets it") as caught:
        load("small")
    assert one_sentence(str(caught.value), tmp_path)
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(CorpusMissing, match="TINYLM_DATA names no folder") as caught:
        fetch("small")
    assert one_sentence(str(caught.value), tmp_path)


def test_no_connection_is_said_in_one_sentence(monkeypatch, tmp_path, network):
    monkeypatch.setitem(os.environ, "TINYLM_OFFLINE", "")
    register(monkeypatch, "http://127.0.0.1:9/nothing-listens-here")
    with pytest.raises(CorpusMissing, match="no connection") as caught:
        load("small")
    assert one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("data", [OTHER, DATA[:-1], b""])
def test_a_damaged_pack_is_refused_and_never_replaced_by_another_source(monkeypatch, tmp_path, network, data):
    put(tmp_path / "pack", data)
    put(tmp_path / "cache")
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    for use in (load, fetch, lambda name: load(name, fallback="toyworld-plays")):
        with pytest.raises(CorpusMissing, match=r"small/input.txt in the pack .*expected .*found") as caught:
            use("small")
        assert one_sentence(str(caught.value), tmp_path)
    assert not network[0]


def test_a_damaged_copy_in_the_cache_is_replaced_from_the_network(tmp_path, network):
    path = put(tmp_path / "cache", OTHER)
    assert load("small").source == "network"
    assert path.read_bytes() == DATA


def test_a_damaged_copy_in_the_cache_is_refused_where_there_is_no_network(tmp_path):
    put(tmp_path / "cache", OTHER)
    with pytest.raises(CorpusMissing, match=r"cache's input.txt is damaged, expected .*found") as caught:
        load("small")
    assert one_sentence(str(caught.value), tmp_path)


def test_a_file_that_changes_after_it_was_checked_is_checked_again(monkeypatch, tmp_path):
    for limit in (corpora.ALWAYS_CHECKED, 0):  # a small file, and one that counts as large
        monkeypatch.setattr(corpora, "ALWAYS_CHECKED", limit)
        path = put(tmp_path / "cache")
        load("small")
        path.unlink()
        os.utime(put(tmp_path / "cache", OTHER), ns=(1, 1))
        with pytest.raises(CorpusMissing):
            load("small")


def test_a_large_file_is_hashed_once_per_process(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "ALWAYS_CHECKED", 0)
    put(tmp_path / "cache")
    load("small")
    monkeypatch.setattr(corpora, "difference", None)
    assert load("small").source == "cache"


@pytest.mark.parametrize("served", [OTHER, DATA[:-1], b"<html>log in</html>"])
def test_a_wrong_file_from_the_network_is_refused_and_leaves_nothing(tmp_path, network, served):
    network[1][0] = served
    with pytest.raises(CorpusMissing, match=r"small/input.txt from the network .*expected .*found") as caught:
        load("small")
    assert one_sentence(str(caught.value), tmp_path)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} <= {"input.txt.lock"}


def test_a_cache_that_cannot_be_written_is_said_without_its_path(monkeypatch, tmp_path, network):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TINYLM_CACHE", str(tmp_path / "file"))
    with pytest.raises(CorpusMissing, match="the disk refused to write") as caught:
        load("small")
    assert one_sentence(str(caught.value), tmp_path)


def test_the_fallback_is_announced_in_exactly_one_line(tmp_path, capsys):
    text = load("small", fallback="toyworld-plays")
    shown = capsys.readouterr()
    assert shown.out == (
        "small is not here (no pack or cache has it, and TINYLM_OFFLINE forbids the network): "
        "using toyworld-plays instead; `python -m tinylm fetch small` gets it\n"
    )
    assert shown.err == ""
    assert text.name == "toyworld-plays" and text.source == "generated"
    assert text == load("toyworld-plays")


def test_a_login_page_instead_of_the_file_leads_to_the_fallback(capsys, network):
    network[1][0] = b"<html>log in</html>"
    assert load("small", fallback="toyworld-plays").source == "generated"
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and f"expected {len(DATA):,} bytes, found 19" in out


def test_nothing_is_printed_where_the_corpus_is_here(tmp_path, capsys):
    put(tmp_path / "cache")
    assert load("small", fallback="toyworld-plays").name == "small"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["toyworld-plays", "toyworld-stories"])
def test_a_generated_corpus_needs_no_file(name):
    from tinylm.text.toyworld import world as toyworld

    world = {"toyworld-plays": toyworld.PLAYS, "toyworld-stories": toyworld.STORIES}[name]
    assert locate(name) == "generated"
    assert fetch(name) == {}
    text = load(name)
    assert text.source == "generated"
    assert CORPORA[name].separator == world.separator
    for part, length in ((text.train, 18_000), (text.validation, 2_000)):
        assert length <= len(part) < length + 2 * world.mean_length
        assert part.endswith(world.separator)
    assert not text.train.startswith(text.validation[:500])
    corpora._generated.cache_clear()
    assert load(name) == text


def test_a_pack_holds_the_whole_files_and_can_be_used_as_one(monkeypatch, tmp_path, network):
    written = pack(tmp_path / "usb", ["small", "toyworld-plays"])
    assert written == [tmp_path / "usb" / "small" / "input.txt"]
    assert written[0].read_bytes() == DATA
    assert [p for p in (tmp_path / "usb").rglob("*") if p.is_file()] == written
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "usb"))
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    assert load("small").source == "pack"


def test_a_pack_is_made_of_every_corpus_with_files_by_default(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "CORPORA", {name: CORPORA[name] for name in ("toyworld-plays", "small")})
    put(tmp_path / "cache")
    assert pack(tmp_path / "usb") == [tmp_path / "usb" / "small" / "input.txt"]


def test_packing_again_mends_what_is_damaged_and_leaves_what_is_whole(tmp_path, network):
    target = pack(tmp_path / "usb", ["small"])[0]
    before = target.stat().st_mtime_ns
    assert pack(tmp_path / "usb", ["small"]) == [target]
    assert target.stat().st_mtime_ns == before and len(network[0]) == 1
    target.write_bytes(OTHER)
    pack(tmp_path / "usb", ["small"])
    assert target.read_bytes() == DATA


def test_a_pack_with_an_unknown_name_writes_nothing(tmp_path):
    put(tmp_path / "cache")
    with pytest.raises(DataError):
        pack(tmp_path / "usb", ["small", "smal"])
    assert not (tmp_path / "usb").exists()


def test_a_pack_that_cannot_be_written_is_said_without_its_path(tmp_path):
    put(tmp_path / "cache")
    (tmp_path / "usb").write_bytes(b"")
    with pytest.raises(
        DownloadError, match=r"small/input.txt is not in the pack: the disk refused"
    ) as caught:
        pack(tmp_path / "usb", ["small"])
    assert one_sentence(str(caught.value), tmp_path)


@pytest.mark.skipif(not REAL_PACK, reason="TINYLM_DATA is not set")
def test_the_pack_at_hand_holds_tinyshakespeare_as_the_registry_describes_it(monkeypatch):
    monkeypatch.setenv("TINYLM_DATA", REAL_PACK)
    if locate("tinyshakespeare") != "pack":
        pytest.skip("the pack holds no tinyshakespeare")
    text = load("tinyshakespeare")
    assert (len(text.train), len(text.validation)) == (1_003_854, 111_540)
    assert len(set(text.train + text.validation)) == 65
    assert text.train.startswith("First Citizen:\n")


NONSENSE = ["~nosuchuser/x", "x" * 5000, "x/" * 3000, "file", "file/deeper", " ", "\x07"]


@pytest.mark.parametrize("variable", ["TINYLM_DATA", "TINYLM_CACHE"])
@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: value[:8])
def test_a_folder_that_cannot_be_one_is_a_source_that_has_nothing(monkeypatch, tmp_path, variable, value):
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, value)
    assert locate("small") is None
    assert load("small", fallback="toyworld-plays").name == "toyworld-plays"
    with pytest.raises(
        CorpusMissing, match="TINYLM_DATA names no folder" if variable[-1] == "A" else "is not here"
    ):
        load("small")
    monkeypatch.delenv("TINYLM_OFFLINE")
    with pytest.raises(CorpusMissing, match="small is not here"):  # nor can a download be put there
        fetch("small", progress=False)


def test_a_pack_that_may_not_be_read_is_a_source_that_has_nothing_and_the_error_says_so(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path))

    def locked(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", locked)
    monkeypatch.setattr(os, "scandir", locked)
    assert locate("small") is None
    with pytest.raises(CorpusMissing, match="TINYLM_DATA names no folder that can be read"):
        load("small")
