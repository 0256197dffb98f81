"""Sealed folders: whole or not at all, and no changed byte goes unnoticed. Cuts and faults while a checkpoint
is written are in test_weights and tests/training/test_checkpoint."""

import json

import pytest

from tinylm.errors import CheckpointError
from tinylm.storage.atomic import atomic_directory, file_digests, json_text, read_json, settled, verify


def made(home, text="new"):
    with atomic_directory(home) as beside:
        assert not home.exists() or (home / "file").read_text() != text
        (beside / "file").write_text(text)
    return home


def test_a_folder_appears_with_its_files_and_replaces_an_earlier_one(tmp_path):
    home = tmp_path / "deep" / "here"
    for text in ("old", "new"):
        assert (made(home, text) / "file").read_text() == text
        assert [path.name for path in home.parent.iterdir()] == ["here"]


def test_an_error_inside_leaves_the_earlier_folder_and_nothing_beside_it(tmp_path):
    home = made(tmp_path / "here", "old")
    with pytest.raises(KeyError), atomic_directory(home) as beside:
        (beside / "file").write_text("half")
        raise KeyError
    assert (home / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_a_cut_left_beside_does_not_get_into_the_next_folder(tmp_path):
    (tmp_path / ".here.partial").mkdir()
    (tmp_path / ".here.partial" / "left over").write_text("x")
    assert [path.name for path in made(tmp_path / "here").iterdir()] == ["file"]


def test_a_folder_that_was_cut_off_while_it_stepped_aside_is_still_found(tmp_path):
    home = made(tmp_path / "here", "old")
    assert settled(home) == home
    home.rename(tmp_path / ".here.earlier")
    assert (settled(home) / "file").read_text() == "old"


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b"N" + b[1:], lambda b: b + b"!"])
def test_a_changed_file_is_refused_with_what_was_expected_and_found(tmp_path, change):
    home = made(tmp_path / "here")
    expected = file_digests(home, ["file"])["file"]
    verify(home, "file", expected, "shown")
    (home / "file").write_bytes(change((home / "file").read_bytes()))
    found = file_digests(home, ["file"])["file"]
    with pytest.raises(CheckpointError) as refusal:
        verify(home, "file", expected, "shown")
    for told in ("shown/file is not the file", *map(str, expected.values()), *map(str, found.values())):
        assert told in str(refusal.value)
    (home / "file").unlink()
    with pytest.raises(CheckpointError, match=r"expected 3 bytes .* found no file"):
        verify(home, "file", expected, "shown")


def test_json_is_strict_and_comes_back_as_it_went(tmp_path):
    data = {"number": 0.1 + 0.2, "text": "é→"}
    (tmp_path / "x.json").write_text(json_text("x", data), encoding="utf-8")
    assert read_json(tmp_path, "x.json", "shown") == json.loads(json_text("x", data)) == data
    with pytest.raises(CheckpointError, match="x cannot be written as JSON"):
        json_text("x", {"loss": float("inf")})


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"cut": '])
def test_what_is_no_json_object_is_refused_by_name(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"shown/x\.json"):
        read_json(tmp_path, "x.json", "shown")
