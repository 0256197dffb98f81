"""Atomic folders are complete or not there, no changed byte goes unnoticed, and JSON is strict.

Cuts and faults while a checkpoint is written are in test_checkpoint and tests/end_to_end/test_faults."""

import json

import pytest

from tinylm.errors import CheckpointError
from tinylm.storage.atomic import (
    SEAL,
    atomic_directory,
    check_fields,
    file_digests,
    json_bytes,
    read_json,
    recover_directory,
    sealed,
    verify,
)


def made(home, text="new"):
    with atomic_directory(home) as beside:
        assert not home.exists() or (home / "file").read_text() != text
        (beside / "file").write_text(text)
    return home


def test_atomic_directory_appears_with_its_files_and_replaces_an_earlier_one(tmp_path):
    home = tmp_path / "deep" / "here"
    for text in ("old", "new"):
        (home.parent / ".here.partial").mkdir(parents=True)  # what a cut left beside does not get into it
        (home.parent / ".here.partial" / "left over").write_text("x")
        assert [(p.name, p.read_text()) for p in made(home, text).iterdir()] == [("file", text)]
        assert [path.name for path in home.parent.iterdir()] == ["here"]


def test_atomic_directory_leaves_the_earlier_one_and_nothing_beside_it_after_an_error(tmp_path):
    home = made(tmp_path / "here", "old")
    with pytest.raises(KeyError), atomic_directory(home) as beside:
        (beside / "file").write_text("half")
        raise KeyError
    assert (home / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_recover_directory_finds_what_had_stepped_aside(tmp_path):
    home = made(tmp_path / "here", "old")
    assert recover_directory(home) == home
    home.rename(tmp_path / ".here.earlier")
    assert (recover_directory(home) / "file").read_text() == "old"


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b"N" + b[1:], lambda b: b + b"!"])
def test_verify_refuses_a_changed_file_with_what_was_expected_and_found(tmp_path, change):
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


def test_json_comes_back_as_it_went_with_and_without_a_seal(tmp_path):
    data = {"number": 0.1 + 0.2, "text": "é→", "large": 2**63, "inner": {"b": 1, "a": [None, True]}}
    for content in (data, sealed(data)):
        (tmp_path / "x.json").write_bytes(json_bytes("x", content))
        assert read_json(tmp_path, "x.json", "shown") == data


def test_sealed_json_refuses_any_other_content(tmp_path):
    other = sealed({"n_head": 4}) | {"n_head": 8}
    (tmp_path / "x.json").write_bytes(json_bytes("x", other))
    with pytest.raises(CheckpointError, match=rf"shown/x.json is not the file .* '{other[SEAL]}', found"):
        read_json(tmp_path, "x.json", "shown")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), {1, 2}, "half a pair: \ud83d"], ids=repr)
def test_json_that_could_not_be_read_back_is_not_written(value):
    with pytest.raises(CheckpointError, match="the notes cannot be written as JSON"):
        json_bytes("the notes", {"value": value})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        '{"cut": ',
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"x": ' + "9" * 400 + "}",
        '{"x": ' + "9" * 5000 + "}",
        '{"x": 18446744073709551616}',
        '{"x": "\\ud83d"}',
        '{"x": ' + "[" * 100_000,
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        b"\xff",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_json_that_is_no_object_of_plain_values_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=r"^shown/x\.json (is not JSON|holds a list)") as refusal:
        read_json(tmp_path, "x.json", "shown")
    assert len(str(refusal.value)) < 250 and "\n" not in str(refusal.value)


def test_json_without_an_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tinylm.storage.atomic.MOST_JSON", 1000)
    (tmp_path / "x.json").write_text(json.dumps({"x": "a" * 1000}))
    with pytest.raises(CheckpointError, match="it has more than 1,000 bytes"):
        read_json(tmp_path, "x.json", "shown")


def test_check_fields_names_what_is_missing_unknown_or_of_another_type():
    fields = {"step": int, "progress": {"seconds": float}}
    good = {"step": 1, "progress": {"seconds": 2}}
    check_fields(good, fields, "shown")
    for change, said in (
        ({"step": True}, "shown: step is True:"),
        ({"step": 1.0}, "shown: step is 1.0:"),
        ({"more": 1}, "shown: more is unknown:"),
        ({"progress": []}, r"shown: progress is \[\]:"),
        ({"progress": {}}, "shown: progress: seconds is missing:"),
        ({"progress": {"seconds": "x"}}, "shown: progress: seconds is 'x':"),
    ):
        with pytest.raises(CheckpointError, match=said):
            check_fields(good | change, fields, "shown")
