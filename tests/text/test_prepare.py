import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from tests.support.command_line import ROOT
from tests.support.crash import runs, until
from tests.support.fault_injection import Faults, PowerCut
from tests.support.tiny_run import contents
from tests.text.packs import END, declare, put_files, register, written
from tinylm.errors import CorpusMissing, DataError
from tinylm.text import corpora, documents
from tinylm.text.corpora import CORPORA
from tinylm.text.dataset import load_dataset
from tinylm.text.prepare import prepare, prepared
from tinylm.text.shards import open_tokens, read_manifest
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES

TEXTS = STORIES.joined(20_000, seed=3).split("\n\n")
TRAIN, VALIDATION = [text for text in TEXTS[:-20] if text], [text for text in TEXTS[-20:] if text]
PIECE = 1_500  # bytes: some ten pieces


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of 300 ids, saved."""
    made = BPETokenizer.train(TRAIN, 300)
    (tmp_path / "tokenizer.json").write_text(json.dumps(made.to_json()))
    return made


@pytest.fixture(autouse=True)
def stories(nothing_at_hand, monkeypatch, tmp_path):
    """A corpus of stories in the cache, in pieces of a few stories."""
    monkeypatch.setattr(documents, "PIECE", PIECE)
    put_stories(monkeypatch, tmp_path)


def put_stories(monkeypatch, tmp_path, train=TRAIN):
    files = {"Stories-train.txt": written(train), "Stories-valid.txt": written(VALIDATION)}
    put_files(tmp_path / "cache" / "stories", files)
    register(monkeypatch, "stories", files, separator=END)


def plain_loop(tokenizer, texts):
    """One process, one document after the other, by the tokenizer's own encoder."""
    return np.concatenate([np.append(tokenizer.encode(text), tokenizer.end_of_text) for text in texts])


def refused(match, *arguments, kind=DataError):
    with pytest.raises(kind, match=match) as caught:
        prepare(*arguments)
    message = str(caught.value)
    assert "\n" not in message and "/tmp" not in message and len(message) < 400


@pytest.mark.parametrize("piece", [1, PIECE, 10**9])
def test_ids_are_those_of_the_plain_loop_in_pieces_of_any_size(monkeypatch, tokenizer, piece):
    monkeypatch.setattr(documents, "PIECE", piece)
    folder = prepare("stories", "tokenizer.json")
    assert folder.parent == corpora.cache() / "prepared"
    for part, texts in (("train", TRAIN), ("validation", VALIDATION)):
        tokens, manifest = open_tokens(folder / part), read_manifest(folder / part)
        assert np.array_equal(np.asarray(tokens), plain_loop(tokenizer, texts))
        assert len(manifest["shards"]) == {1: len(texts), 10**9: 1}.get(piece, len(manifest["shards"]))
        about = {"corpus": "stories", "tokenizer": tokenizer.fingerprint[:12]}
        assert manifest["source"] == about | CORPORA["stories"].contents
        names = {"manifest.json"} | {shard["file"] for shard in manifest["shards"]}
        assert {path.name for path in (folder / part).iterdir()} == names
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


CODE = """
import sys
from tinylm.text import documents
from tinylm.text.prepare import prepare
documents.PIECE = 40_000
prepare("large", "tokenizer.json")
sys.exit("torch" in sys.modules)
"""


def start(tmp_path, cache="cache"):
    """A preparation of some megabytes, as a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TINYLM_CACHE": str(tmp_path / cache)}
    command, nowhere = [sys.executable, "-c", CODE], subprocess.DEVNULL
    return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=nowhere)


def made_at(folder):
    """When each shard was made: one that is made again has another time."""
    time.sleep(0.01)
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.bin")}


def test_preparation_killed_at_seeded_moments_does_no_finished_shard_again_and_ends_the_same(
    tmp_path, tokenizer
):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "a.txt").write_bytes(written(TRAIN * 120))
    rows = pyarrow.table({"text": TRAIN * 120, "id": range(len(TRAIN) * 120)})
    pyarrow.parquet.write_table(rows, tmp_path / "large" / "b.parquet", row_group_size=40)
    cache, finished = tmp_path / "cache" / "prepared", {}
    draw = random.Random(12)
    for ended_by in ("KILL", "TERM", "INT"):
        enough = len(finished) + draw.randrange(2, 9)
        running = start(tmp_path)
        until(lambda: len([*cache.rglob("*.bin")]) >= enough, runs(running))  # noqa: B023
        time.sleep(draw.random() / 100)
        running.send_signal(getattr(signal, f"SIG{ended_by}"))
        assert running.wait() == {"KILL": -9, "TERM": -15, "INT": -2}[ended_by]
        now = made_at(cache)
        assert not [*cache.rglob("manifest.json")]
        assert len(now) >= enough and finished.items() <= now.items()
        finished = now
    assert start(tmp_path).wait(120) == 0  # and without torch
    assert len(finished) < len(made_at(cache)) and finished.items() <= made_at(cache).items()
    assert start(tmp_path, "whole").wait(120) == 0  # without interruption
    assert contents(cache) == contents(tmp_path / "whole" / "prepared")
    (home,) = (path for path in cache.iterdir() if path.is_dir())
    assert np.array_equal(np.asarray(open_tokens(home)), plain_loop(tokenizer, TRAIN * 240))


def test_second_preparation_of_the_same_text_waits_for_the_first_and_finds_it_ready(monkeypatch, tokenizer):
    begun, go_on, read = threading.Event(), threading.Event(), []
    whole = documents.stream

    def slow(path, size):
        read.append(path.name)
        begun.set()
        assert go_on.wait(60)
        yield from whole(path, size)

    monkeypatch.setattr(documents, "stream", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(prepare, "stories", "tokenizer.json")
        assert begun.wait(60)
        second = pool.submit(prepare, "stories", "tokenizer.json")
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
        go_on.set()
        assert first.result(60) == second.result(60)
    assert read == ["Stories-train.txt", "Stories-valid.txt"]  # once


@pytest.mark.parametrize("kind", ["refused", "cut"])
def test_preparation_survives_a_fault_at_every_call_that_touches_the_disk(monkeypatch, tokenizer, kind):
    monkeypatch.setattr(documents, "PIECE", 6_000)
    folder = prepare("stories", "tokenizer.json")
    expected = contents(folder)
    for at in count():
        shutil.rmtree(folder)
        with monkeypatch.context() as patch:
            faults = Faults(patch, at, kind)
            try:
                prepare("stories", "tokenizer.json")
            except PowerCut:
                assert kind == "cut"
            except DataError as error:
                assert "the disk refused: No space left on device: prepare it again" in str(error)
        if faults.hit is None:
            break
        prepare("stories", "tokenizer.json")
        assert contents(folder) == expected  # nothing is left lying about
    assert at > 8


def test_too_little_memory_is_one_sentence_and_leaves_what_is_finished(monkeypatch, tokenizer):
    whole = documents.stream

    def broken(path, size):
        yield from islice(whole(path, size), 15)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(documents, "stream", broken)
        refused("too little memory: prepare it again, what is finished stays", "stories", "tokenizer.json")
    finished = made_at(corpora.cache())
    assert len(finished) > 1
    assert finished.items() <= made_at(prepare("stories", "tokenizer.json")).items()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut_short, flip, Path.unlink])
@pytest.mark.parametrize("name", ["train/train_002.bin", "validation/manifest.json"])
def test_damage_is_found_and_preparing_again_mends_it(damage, name):
    folder = prepare("stories", "bpe-300")
    before = contents(folder)
    damage(folder / name)
    reads_all = damage is flip and name.endswith(".bin")  # what only reading it all finds
    assert prepared("stories", "bpe-300") == (folder if reads_all else None)
    assert prepare("stories", "bpe-300") == folder
    assert contents(folder) == before


@pytest.mark.parametrize("damage", [cut_short, flip, Path.unlink])
@pytest.mark.parametrize("name", ["tokenizer.json", "finished.json", "train/train_001.bin"])
def test_unfinished_preparation_believes_no_damage_and_takes_in_no_other_shard(damage, name):
    folder = prepare("stories", "bpe-300")
    before = contents(folder)
    for part in ("train", "validation"):
        (folder / part / "manifest.json").unlink()
    (folder / "train" / "train_099.bin").write_bytes(b"other ids")
    damage(folder / name)
    assert before.items() <= contents(prepare("stories", "bpe-300")).items()


def test_ready_shards_need_no_right_to_write(monkeypatch, tokenizer):
    folder = prepare("stories", "tokenizer.json")

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tinylm.text.prepare.FileLock", read_only)
    monkeypatch.setattr(Path, "mkdir", read_only)
    assert prepare("stories", "tokenizer.json") == folder


def test_shards_of_another_text_finished_or_not_are_neither_used_nor_resumed(monkeypatch, tmp_path):
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        Faults(patch, 12, "cut")
        prepare("stories", "bpe-300")
    for begin in (1, 2):
        put_stories(monkeypatch, tmp_path, TRAIN[begin:])
        assert prepared("stories", "bpe-300") is None
        assert load_dataset("stories", tokenizer="bpe-300").source == "cache"
        folder = prepare("stories", "bpe-300")
        ids = plain_loop(BPETokenizer.train(TRAIN[begin:], 300), TRAIN[begin:])
        assert np.array_equal(np.asarray(open_tokens(folder / "train")), ids)
        assert prepared("stories", "bpe-300") == folder
    data = load_dataset("stories", tokenizer="bpe-300")
    assert data.source == "prepared" and data.tokenizer.decode(data.train[:200]).startswith(TRAIN[2][:99])


def test_texts_of_ones_own_are_a_file_or_a_folder_with_what_is_set_aside_by_name(tmp_path, tokenizer):
    mine = {"b.txt": written(TRAIN[3:]), "a.txt": written(TRAIN[:3]), "my_valid.txt": written(VALIDATION)}
    none = {"notes.md": b"none", "ab.txt": f"\n{END}\n".encode()}  # no document: no shard
    put_files(tmp_path / "mine", mine | none)
    folder = prepare("mine", "tokenizer.json")
    told = [read_manifest(folder / part) for part in ("train", "validation")]
    shards = [shard["file"] for manifest in told for shard in manifest["shards"]]
    assert sorted(path.name for path in folder.rglob("*.bin")) == sorted(shards)
    data = load_dataset(str(folder))
    assert np.array_equal(np.asarray(data.train), plain_loop(tokenizer, TRAIN))
    assert np.array_equal(np.asarray(data.validation), plain_loop(tokenizer, VALIDATION))
    assert told[0]["source"]["corpus"] == "mine"
    one = str(tmp_path / "mine" / "a.txt")
    other = prepare(one, "tokenizer.json")
    assert np.array_equal(np.asarray(open_tokens(other)), plain_loop(tokenizer, TRAIN[:3]))
    put_files(tmp_path / "mine", {"a.txt": written(TRAIN[:2])})
    assert prepare(one, "tokenizer.json") != other  # another text of that name


def test_bad_input_is_refused_in_a_sentence(tmp_path, tokenizer):
    (tmp_path / "empty.txt").write_bytes(b"\n\n")
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    name = "tokenizer.json"
    refused("tinyshakespeare needs no shards", "tinyshakespeare", name)
    refused("fineweb-edu-shards needs no shards: give its name", "fineweb-edu-shards", name)
    refused("there is no text 'storys': give a corpus by name", "storys", name)
    refused("for tokens, not for characters", "stories", "characters")
    refused("0 ids in shards: give at least 1 document", "empty.txt", name)
    refused("latin.txt is no text in UTF-8", "latin.txt", name)
    (corpora.cache() / "stories" / "Stories-valid.txt").write_bytes(b"")
    refused("damaged", "stories", name, kind=CorpusMissing)
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.part")]


def declare_texts(monkeypatch, tmp_path, texts, ending):
    """A pack whose part of the stories is one file of these texts, without one to validate on."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    files = {f"some{ending}": lines if ending == ".jsonl" else written(texts), "licence.md": b"free"}
    declare(tmp_path / "pack", "stories", files)
    monkeypatch.setenv("TINYLM_DATA", str(tmp_path / "pack"))
    monkeypatch.setitem(CORPORA, "stories", CORPORA["stories"]._replace(endings=(".jsonl", ".txt")))


def sides():
    """The documents of both parts, read back from their ids."""
    data = load_dataset("stories", tokenizer="tokenizer.json")
    found = []
    for ids in (np.asarray(data.train), np.asarray(data.validation)):
        ends = np.flatnonzero(ids == data.tokenizer.end_of_text) + 1
        found.append([data.tokenizer.decode(row[:-1]) for row in np.split(ids, ends)[:-1]])
    assert data.holds == "part" and len(data.documents) == len(found[1])
    return found


@pytest.mark.parametrize("ending", [".jsonl", ".txt"])
def test_documents_of_a_part_are_set_aside_one_by_one_and_never_change_sides(
    monkeypatch, tmp_path, tokenizer, ending
):
    texts = [*TRAIN, *VALIDATION]
    tenth = [t for t in texts if int(hashlib.sha256(" ".join(t.split()).encode()).hexdigest(), 16) % 10 == 0]
    declare_texts(monkeypatch, tmp_path, [*texts, "", " \n"], ending)
    train, validation = sides()  # made ready where it is asked for
    assert validation == tenth and train == [text for text in texts if text not in tenth]
    assert 0.05 < len(tenth) / len(texts) < 0.2
    others = STORIES.joined(9_000, seed=4).split("\n\n")[:-1]
    mixed = [*texts[::3], *others, *texts, *(f"{text}\n" for text in texts)]
    random.Random(1).shuffle(mixed)
    declare_texts(monkeypatch, tmp_path, mixed, ending)
    train, validation = sides()
    assert {*tenth} < {text.strip("\n") for text in validation}
    assert not {text.strip() for text in train} & {text.strip() for text in validation}
    assert len(train) + len(validation) == len(mixed)
