"""Atomic folders are complete or not there, and nothing that we did not write is ever lost.

Damage to a written file is in test_weights and test_checkpoint, and faults while a run saves are in
tests/end_to_end/test_faults."""

import os
from pathlib import Path

import pytest

from tests.support.fault_injection import Faults, PowerCut
from tests.support.tiny_run import contents
from tinylm.errors import CheckpointError
from tinylm.storage.atomic import atomic_directory, read_json, recover_directory


def made(home, text="new"):
    with atomic_directory(home, {"file"}) as beside:
        assert not home.exists() or (home / "file").read_text() != text
        (beside / "file").write_text(text)
    return home


def test_atomic_directory_appears_with_its_files_replaces_an_earlier_one_and_keeps_it_after_an_error(
    tmp_path,
):
    home = tmp_path / "deep" / "here"
    for text in ("old", "new"):
        (home.parent / ".here.partial").mkdir(parents=True)  # what a cut left beside does not get into it
        (home.parent / ".here.partial" / "file").write_text("half of it")
        made(home, text)
        with pytest.raises(KeyError), atomic_directory(home, {"file"}) as beside:
            (beside / "file").write_text("half")
            raise KeyError
        assert [(p.name, p.read_text()) for p in home.iterdir()] == [("file", text)]
        assert [path.name for path in home.parent.iterdir()] == ["here"]


@pytest.mark.parametrize("kind", ["refused", "cut"])
def test_fault_at_any_call_leaves_the_old_folder_or_the_new_one_complete(tmp_path, monkeypatch, kind):
    outcomes = []
    while True:
        home = made(tmp_path / f"{len(outcomes)}", "old")
        with monkeypatch.context() as patched:
            faults = Faults(patched, len(outcomes), kind)
            try:
                made(home)
            except (PowerCut, OSError):
                assert faults.hit
        if faults.hit is None:
            break
        assert kind == "cut" or home.exists()
        outcomes.append((recover_directory(home) / "file").read_text())
        made(home, "newer")  # the next one is none the worse, and nothing is left lying about
        assert (home / "file").read_text() == "newer" and len(list(tmp_path.iterdir())) == len(outcomes)
    assert len(outcomes) > 8 and set(outcomes) == {"old", "new"}
    assert kind == "refused" or outcomes == sorted(outcomes, reverse=True)


def test_all_is_on_the_disk_before_the_name_appears(tmp_path, monkeypatch):
    order = []
    for owner, name in ((os, "fsync"), (Path, "rename")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, name=name, real=real: order.append(name) or real(*args)
        )
    made(tmp_path / "here")
    assert order == ["fsync"] * 2 + ["rename", "fsync"]  # the file and its folder; then the name


OURS = ("config.json", "file")
STRANGERS = [".git/config", ".gitattributes", "essay.txt", "folder/file", ".file.earlier"]


def written(home, overwrite=True):
    with atomic_directory(home, OURS, overwrite=overwrite) as draft:
        (draft / "file").write_text("new")


@pytest.mark.parametrize("name", [*STRANGERS, "file/inside"])
def test_files_that_we_did_not_write_are_kept_and_so_is_the_folder_itself(tmp_path, name):
    other = tmp_path / "out" / name
    other.parent.mkdir(parents=True)
    other.write_text("precious")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"out holds '.*': name a new folder, or add --overwrite"):
        written(tmp_path / "out", overwrite=False)
    assert contents(tmp_path) == before
    if name == "file/inside":
        with pytest.raises(CheckpointError, match="out holds a folder 'file': name another folder"):
            written(tmp_path / "out")
        assert contents(tmp_path) == before
        return
    for ours in OURS:
        (tmp_path / "out" / ours).write_text("old")
    folder = (tmp_path / "out").stat().st_ino
    for _ in range(2):
        written(tmp_path / "out")
        assert contents(tmp_path / "out") == {name: b"precious", "file": b"new", "config.json": b"old"}
    assert (tmp_path / "out").stat().st_ino == folder


@pytest.mark.parametrize("aside", [".out.partial", ".out.earlier", "out/.out.partial"])
def test_folder_of_somebodys_own_where_a_draft_would_be_is_never_deleted(tmp_path, aside):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "essay.txt").write_text("precious")
    (tmp_path / aside).mkdir()
    (tmp_path / aside / "thesis.txt").write_text("precious too")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"\.out\.\w+ holds 'thesis.txt': move it elsewhere"):
        written(tmp_path / "out")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_working_folder_is_written_into_and_never_replaced(tmp_path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path.stat().st_ino
    written("", overwrite)
    assert contents(tmp_path) == {"file": b"new"} and tmp_path.stat().st_ino == folder


def test_folder_that_cannot_be_written_is_named_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a file")
    Path("loop").symlink_to("loop")
    for folder in ("file", "file/deep/here", "/proc/here", "loop"):
        with pytest.raises(OSError) as refusal:
            written(folder)
        assert refusal.value.filename == folder and "partial" not in str(refusal.value)
    assert Path("file").read_text() == "a file"
    with pytest.raises(CheckpointError, match=r"^/ holds '"):
        written("/", overwrite=False)


DEEP = b'{"x": ' + b"[" * 100_000
TEXTS = [b"", b"[1, 2]", b'{"cut": ', b'{"x": NaN}', b'{"x": 1e999}', b'{"x": ' + b"9" * 5000 + b"}"]
TEXTS += [b'{"x": "\\ud83d"}', DEEP, DEEP + b"]" * 100_000 + b"}", b"\xff"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:30]))
def test_json_that_is_no_object_of_plain_values_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(CheckpointError) as refusal:
        read_json(tmp_path, "x.json", "shown")
    said = str(refusal.value)
    assert said.startswith("shown/x.json is damaged") and ("is not JSON" in said or "holds a list" in said)
    assert len(said) < 350 and "\n" not in said
