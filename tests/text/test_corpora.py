import json
import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.support.file_server import serving
from tests.text.packs import END, NOWHERE, declare, put_files, register, remote, written
from tinylm.errors import CorpusMissing, DataError
from tinylm.text import corpora
from tinylm.text.corpora import CORPORA, Corpus, fetch, load, locate, pack
from tinylm.text.dataset import load_dataset
from tinylm.text.download import RemoteFile
from tinylm.text.toyworld.world import PLAYS, STORIES, unspaced

TEXT = "Ein Reiter, naïve – ß 🎭\r\nand on.\n\n" * 103
DATA = TEXT.encode()
SMALL = {"input.txt": DATA}
OTHER = DATA[:-1] + b"X"


@pytest.fixture(autouse=True)
def places(nothing_at_hand, monkeypatch):
    """An empty cache, no pack, no network; and one small corpus in the registry."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("TINYLM_DATA")
    register(monkeypatch, "small", SMALL)


def put(folder: Path, data: bytes = DATA) -> Path:
    put_files(folder / "small", {"input.txt": data})
    return folder / "small" / "input.txt"


@pytest.fixture
def network(monkeypatch):
    """The corpus on a server of this machine."""
    with serving(DATA) as server:
        register(monkeypatch, "small", SMALL, server.url)
        monkeypatch.delenv("TINYLM_OFFLINE")
        yield server


def only(monkeypatch, *names):
    monkeypatch.setattr(corpora, "CORPORA", {name: CORPORA[name] for name in names})


def refused(tmp_path, use=load, match="", kind=CorpusMissing):
    """That `use` is refused in one sentence without a path."""
    with pytest.raises(kind, match=match) as caught:
        use("small")
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) not in message and "/tmp" not in message


def test_entries_have_secure_addresses_and_cards_with_source_licence_size_and_hash():
    cards = (corpora.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name, corpus in CORPORA.items():
        if name == "small":
            continue
        assert re.fullmatch(r"[a-z0-9-]+", name)  # it is also the name of a folder
        card = re.search(rf"^## .*\b{name}\b.*\n(?P<card>(?s:.*?))(?=^## |\Z)", cards, re.M)["card"]
        addresses = {file.url.rpartition("/")[0] for file in corpus.files}
        assert addresses <= {""} or {urlparse(address).scheme for address in addresses} == {"https"}
        licence = re.search(r"^\| licence \| (.*) \|$", card, re.MULTILINE)[1]
        assert corpus.licence and licence.startswith(corpus.licence.split(",")[0]) and "| source |" in card
        assert corpus.hub is None or re.fullmatch(r"[\w.-]+/[\w.-]+", corpus.hub)
        assert corpus.hub is None or corpus.hub in card or name == "hellaswag"
        for file in corpus.files:
            assert re.fullmatch(r"[A-Za-z0-9._-]+", file.name)
            assert not file.url or file.url.endswith(file.name)
            assert file.size > 0 and re.fullmatch(r"[0-9a-f]{64}|", file.sha256)
            assert file.sha256 or "size alone" in card  # whoever fetches it is told what was not checked
            for fact in (f"{name}/{file.name}", f"{file.size:,} bytes", file.sha256):
                assert fact in card or len(corpus.files) > 2
        if len(corpus.files) > 2:
            assert f"{len(corpus.files)} files" in card and f"{corpora.size(corpus):,} bytes" in card


def test_pack_comes_before_the_cache_and_the_cache_before_the_network(monkeypatch, tmp_path, network):
    assert locate("small") is None
    assert load("small").source == "network"
    assert locate("small") == load("small").source == "cache"
    assert fetch("small") == {"input.txt": tmp_path / "cache" / "small" / "input.txt"}
    (tmp_path / "pack").mkdir()
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    assert locate("small") == load("small").source == "cache"  # a pack without it
    packed = put(tmp_path / "pack")
    assert locate("small") == load("small").source == "pack"
    assert fetch("small") == {"input.txt": packed}
    assert len(network.asked) == 1
    text = load("small")  # to the byte: no line end is translated
    assert (text.train + text.validation).encode() == DATA and len(text.train) == int(len(TEXT) * 0.9)


def test_relative_folder_of_a_pack_counts_from_the_root_wherever_one_is(monkeypatch, tmp_path):
    assert (corpora.ROOT / "tinylm" / "text" / "corpora.py").is_file()
    monkeypatch.setattr(corpora, "ROOT", tmp_path / "repository")
    put(tmp_path / "repository" / "packs" / "a")
    monkeypatch.setenv("TINYLM_DATA", "packs/a")
    for elsewhere in ("/", tmp_path):
        monkeypatch.chdir(elsewhere)
        assert locate("small") == "pack"


def test_missing_corpus_is_one_sentence_with_the_command_that_gets_it(monkeypatch, tmp_path, network):
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    refused(tmp_path, match="TINYLM_OFFLINE forbids the network.*`python -m tinylm fetch small` gets it")
    assert not network.asked  # offline never touches the network
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "mistyped"))
    refused(tmp_path, fetch, "TINYLM_DATA names no folder")


def test_damaged_copy_is_replaced_from_the_network_in_the_cache_and_never_in_a_pack(
    monkeypatch, tmp_path, network
):
    path = put(tmp_path / "cache", OTHER)
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    refused(tmp_path, match=r"cache's input.txt is damaged, expected .*found")
    monkeypatch.delenv("TINYLM_OFFLINE")
    assert load("small").source == "network"
    assert path.read_bytes() == DATA
    put(tmp_path / "pack", OTHER)
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    damaged = r"the pack's input.txt is damaged, expected .*found.*: make it again"
    for use in (load, fetch, lambda name: load(name, fallback="toyworld-plays")):
        refused(tmp_path, use, damaged, DataError)
    assert len(network.asked) == 1


def test_fallback_is_announced_in_exactly_one_line(monkeypatch, tmp_path, capsys):
    text = load("small", fallback="toyworld-plays")
    assert capsys.readouterr() == (
        "small is not here (no pack or cache has it, and TINYLM_OFFLINE forbids the network): "
        "using toyworld-plays instead; `python -m tinylm fetch small` gets it with a network, or set "
        "TINYLM_DATA to a pack that has small\n",
        "",
    )
    assert text == load("toyworld-plays")
    put(tmp_path / "cache")
    assert load("small", fallback="toyworld-plays").name == "small"


def test_library_is_the_stories_and_more_with_a_space_before_each_line(monkeypatch):
    monkeypatch.setattr(corpora, "LIBRARY_CHARACTERS", 50_000)
    made = corpora._generated.__wrapped__
    training, validation = made("toyworld-library")
    stories = made("toyworld-stories")
    assert unspaced(validation) == stories[1]
    assert unspaced(training).startswith(stories[0]) and len(unspaced(training)) > len(stories[0])
    assert {line[:1] for line in training.split("\n")} == {" ", ""}


@pytest.mark.parametrize(
    ("name", "world"), [("toyworld-plays", PLAYS), ("toyworld-stories", STORIES)], ids=["plays", "stories"]
)
def test_generated_corpus_needs_no_file(name, world):
    assert CORPORA[name].separator == world.separator
    assert (locate(name), fetch(name)) == ("generated", {})
    text = load(name)
    assert (text.name, text.source) == (name, "generated")
    for part, length in ((text.train, 18_000), (text.validation, 2_000)):
        assert length <= len(part) < length + 2 * world.mean_length
        assert part.endswith(world.separator)
    assert not text.train.startswith(text.validation[:500])


def test_pack_holds_the_files_of_all_corpora_and_can_be_used_as_one(monkeypatch, tmp_path, network):
    only(monkeypatch, "toyworld-plays", "small")
    written = pack(tmp_path / "usb")
    assert written == [tmp_path / "usb" / "small" / "input.txt", tmp_path / "usb" / "pack.json"]
    assert sorted(p for p in (tmp_path / "usb").rglob("*") if p.is_file()) == sorted(written)
    monkeypatch.setenv("TINYLM_OFFLINE", "1")
    before = written[0].stat().st_mtime_ns  # packing again leaves what is right, and replaces what is not
    assert pack(tmp_path / "usb") == written
    assert written[0].stat().st_mtime_ns == before
    written[0].write_bytes(OTHER)
    pack(tmp_path / "usb")
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "usb"))
    assert load("small").source == "pack"


@pytest.mark.parametrize("value", ["~nosuchuser/x", "x" * 5000, "file/deeper"], ids=len)
def test_folder_that_cannot_be_one_is_a_source_that_has_nothing(monkeypatch, tmp_path, value):
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patched:
        patched.setenv("TINYLM_DATA", value)
        refused(tmp_path, match="TINYLM_DATA names no folder")
    monkeypatch.setenv("TINYLM_CACHE", value)
    assert locate("small") is None
    monkeypatch.delenv("TINYLM_OFFLINE")  # nor can a download be put there
    refused(tmp_path, match="no connection" if value[0] == "~" else "the disk refused to write")


@pytest.fixture
def stories(monkeypatch, tmp_path):
    """A corpus of gigabytes in the registry, and an empty pack."""
    large = [RemoteFile(f"Big-{part}.txt", NOWHERE, 10**9, "0" * 64) for part in ("train", "valid")]
    monkeypatch.setitem(CORPORA, "stories", Corpus(tuple(large), END))
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    return tmp_path / "pack"


PART = {"train.txt": written(["Es war einmal."]), "valid.txt": written(["Und dann?"])}


@pytest.mark.parametrize("holds", ["part", "stand-in", "whole, preprocessed"])
def test_part_that_a_pack_declares_is_read_by_its_own_files_and_says_so(stories, holds):
    declare(stories, "stories", PART, holds=holds)
    text, holds = load("stories"), holds.replace("whole, preprocessed", "stand-in")
    assert (text.train.encode(), text.validation.encode()) == tuple(PART.values())
    assert (text.source, text.holds, text.what) == ("pack", holds, "two real stories")
    assert locate("stories") == f"pack (a {holds})"
    assert {name: path.read_bytes() for name, path in fetch("stories").items()} == PART
    declare(stories, "stories", PART, holds="whole")
    assert locate("stories") is None and corpora.corpus_here("stories") == CORPORA["stories"]


def test_part_of_a_pack_is_packed_again_as_a_part(stories, monkeypatch, tmp_path):
    declare(stories, "stories", PART)
    only(monkeypatch, "stories")
    (tmp_path / "usb" / "other").mkdir(parents=True)
    (tmp_path / "usb" / "pack.json").write_text('{"other": {"holds": "whole"}}')
    assert [path.name for path in pack(tmp_path / "usb")] == ["train.txt", "valid.txt", "pack.json"]
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "usb"))
    assert load("stories").holds == "part"
    assert json.loads((tmp_path / "usb" / "pack.json").read_bytes())["other"] == {"holds": "whole"}


MANIFESTS = [b"[]", b'{"a":' * 100_000]


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        ({}, written(["Es war keinmal"]), "the pack's train.txt is damaged, expected .*found"),
        ({}, None, "stories: no pack or cache has it"),
        ({"files": []}, b"", "pack.json names no files of stories"),
        ({"files": [{"name": "train.txt"}]}, b"", "what its pack.json says of stories cannot be"),
        ({"what": None}, b"", "what its pack.json says"),
        ({"files": [{"name": "../x", "size": 1, "sha256": ""}]}, b"", "the pack is damaged"),
        ({"files": [{"name": "train.txt", "size": -1, "sha256": ""}]}, b"", "the pack is damaged"),
        ({"files": [{"name": "train.txt", "size": 0, "sha256": None}]}, b"", "the pack is damaged"),
    ],
)
def test_damaged_part_is_refused_in_a_sentence_and_never_replaced(stories, tmp_path, changes, data, message):
    declare(stories, "stories", PART, **changes)
    path = stories / "stories" / "train.txt"
    path.unlink() if data is None else path.write_bytes(data)
    for use in (load, fetch, lambda name: load(name, fallback="toyworld-plays")):
        with pytest.raises(DataError, match=f"{message}.*: make it again, or unset TINYLM_DATA") as caught:
            use("stories")
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    for text in MANIFESTS:
        (stories / "pack.json").write_bytes(text)
        with pytest.raises(DataError, match=r"the pack is damaged \(its pack.json is no .*: make it again"):
            load("stories")


def test_large_corpus_is_neither_read_at_once_nor_fetched_or_packed_unless_it_is_named(
    stories, monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv("TINYLM_OFFLINE")
    with pytest.raises(
        CorpusMissing, match=r"2.0 GB are too much .*`python -m tinylm prepare stories --tokenizer gpt2`"
    ):
        load("stories")
    only(monkeypatch, "stories", "small", "toyworld-plays")
    assert list(corpora.unnamed()) == ["small"]
    put(tmp_path / "cache")
    assert [path.name for path in pack(tmp_path / "usb")] == ["input.txt", "pack.json"]
    assert capsys.readouterr().out == "stories (2,000 MB) is left out: name it to get it too\n" * 2
    with pytest.raises(CorpusMissing, match="no connection"):  # named, it is asked for
        pack(tmp_path / "usb", "stories")


def test_corpus_that_comes_with_a_pack_alone_says_so_and_is_left_out_where_none_has_it(
    monkeypatch, tmp_path, capsys
):
    lines = {"books.jsonl": b'{"text": "one"}\n{"text": "two"}\n'}
    monkeypatch.setitem(CORPORA, "openstax", CORPORA["openstax"]._replace(files=remote(lines, "")))
    only(monkeypatch, "openstax", "toyworld-stories")
    monkeypatch.delenv("TINYLM_OFFLINE")
    message = "openstax is not here (no pack or cache has it, and it comes with a pack alone)"
    with pytest.raises(CorpusMissing, match=re.escape(message)) as caught:
        fetch("openstax")
    assert str(caught.value).endswith(": set TINYLM_DATA to a pack that has openstax")
    assert load("openstax", fallback="toyworld-stories").name == "toyworld-stories"
    assert capsys.readouterr().out.startswith(f"{message}: using toyworld-stories instead; set TINYLM_DATA")
    assert [path.name for path in pack(tmp_path / "usb")] == ["pack.json"]
    assert capsys.readouterr().out == "openstax (0 MB) is left out: name it to get it too\n"
    put_files(tmp_path / "cache" / "openstax", lines)
    assert [path.name for path in pack(tmp_path / "usb")] == ["books.jsonl", "pack.json"]
    with pytest.raises(CorpusMissing, match=r"read as tokens alone.*`python -m tinylm prepare openstax"):
        load("openstax")


def test_files_of_the_large_corpora_are_those_that_were_published_and_one_part_of_them_is_set_aside():
    edu, shards = CORPORA["fineweb-edu"], CORPORA["fineweb-edu-shards"]
    assert corpora.size(edu) == 28_518_193_415 and not edu.by_document
    assert len({file.sha256 for file in edu.files} - {""}) == 14
    assert edu.parts["validation"] == ["013_00000.parquet"] and len(edu.parts["train"]) == 13
    assert sum((file.size - 1024) // 2 for file in shards.files) == 9_953_989_344
    assert shards.parts["validation"] == ["finewebedu_val_000000.bin"]
    assert shards.parts["train"] == [f"finewebedu_train_{i:06d}.bin" for i in range(1, 100)]


def test_what_is_no_text_is_refused_where_one_would_train_on_it():
    name = "hellaswag"
    for use in (load, load_dataset, lambda name: load_dataset(name, tokenizer="bpe-4096")):
        with pytest.raises(DataError, match=f"{name} is no text to train on: use tinystories"):
            use(name)


def test_unknown_name_is_refused_with_those_there_are_and_the_way_to_own_text():
    with pytest.raises(DataError, match=r"'tinyshakespere': use tinyshakespeare, .* by path"):
        load("tinyshakespere")
