"""Atomic folders are complete or not there. What of a written file may be damaged is in test_weights and
test_checkpoint; every fault while a run saves is in tests/end_to_end/test_faults."""

import os
from pathlib import Path

import pytest

from tests.support.fault_injection import Faults, PowerCut
from tinylm.errors import CheckpointError
from tinylm.storage.atomic import atomic_directory, read_json, recover_directory


def made(home, text="new"):
    with atomic_directory(home) as beside:
        assert not home.exists() or (home / "file").read_text() != text
        (beside / "file").write_text(text)
    return home


def test_atomic_directory_appears_with_its_files_replaces_an_earlier_one_and_keeps_it_after_an_error(
    tmp_path,
):
    home = tmp_path / "deep" / "here"
    for text in ("old", "new"):
        (home.parent / ".here.partial").mkdir(parents=True)  # what a cut left beside does not get into it
        (home.parent / ".here.partial" / "left over").write_text("x")
        made(home, text)
        with pytest.raises(KeyError), atomic_directory(home) as beside:
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
