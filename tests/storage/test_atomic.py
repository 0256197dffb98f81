"""Atomic folders are complete or not there, no changed byte goes unnoticed, and JSON is strict.

Cuts and faults while a checkpoint is written are in test_checkpoint and tests/end_to_end/test_faults."""

import json

import pytest

from tinylm.errors import CheckpointError
from tinylm.storage.atomic import (
    SEAL,
    atomic_directory,
    read_json,
    recover_directory,
    seal,
    verify,
    write,
    write_json,
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
    expected = write(tmp_path / "file", b"new")
    verify(tmp_path, "file", expected, "shown")
    found = write(tmp_path / "file", change(b"new"))
    with pytest.raises(CheckpointError) as refusal:
        verify(tmp_path, "file", expected, "shown")
    for told in ("shown/file is damaged", *map(str, expected.values()), *map(str, found.values())):
        assert told in str(refusal.value)
    (tmp_path / "file").unlink()
    with pytest.raises(CheckpointError, match=r"expected .*'bytes': 3, .* found None"):
        verify(tmp_path, "file", expected, "shown")


def test_json_comes_back_as_it_went_with_and_without_a_seal(tmp_path):
    data = {"number": 0.1 + 0.2, "text": "é→", "large": 2**63, "inner": {"b": 1, "a": [None, True]}}
    for sealed in (True, False):
        write_json(tmp_path / "x.json", data, sealed=sealed)
        assert read_json(tmp_path, "x.json", "shown") == data


def test_sealed_json_refuses_any_other_content(tmp_path):
    other = {"n_head": 8, SEAL: seal({"n_head": 4})}
    write_json(tmp_path / "x.json", other)
    with pytest.raises(CheckpointError, match=rf"shown/x.json is damaged .* '{other[SEAL]}' and found"):
        read_json(tmp_path, "x.json", "shown")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), {1, 2}, "half a pair: \ud83d"], ids=repr)
def test_json_that_could_not_be_read_back_is_not_written(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"x\.json cannot be written as JSON"):
        write_json(tmp_path / "x.json", {"value": value}, sealed=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        '{"cut": ',
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"x": ' + "9" * 5000 + "}",
        '{"x": "\\ud83d"}',
        '{"x": ' + "[" * 100_000,
        '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        b"\xff",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_json_that_is_no_object_of_plain_values_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(
        CheckpointError, match=r"^shown/x\.json is damaged .* (is not JSON|holds a list)"
    ) as refusal:
        read_json(tmp_path, "x.json", "shown")
    assert len(str(refusal.value)) < 250 and "\n" not in str(refusal.value)


def test_json_without_an_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tinylm.storage.atomic.MOST_JSON", 1000)
    (tmp_path / "x.json").write_text(json.dumps({"x": "a" * 1000}))
    with pytest.raises(CheckpointError, match="it is not JSON"):
        read_json(tmp_path, "x.json", "shown")


def test_json_with_a_field_that_is_missing_unknown_or_of_another_type_is_refused_by_name(tmp_path):
    fields = {"step": int, "version": (1, 2)}
    good = {"step": 1, "version": 2}
    for change, said in (
        ({}, None),
        ({"step": True}, "step is True:"),
        ({"step": 1.0}, "step is 1.0:"),
        ({"more": 1}, "more is unknown:"),
        ({"version": 4}, "version is 4:"),
        ({"step": None}, "step is None:"),
    ):
        write_json(tmp_path / "x.json", good | change)
        if said is None:
            assert read_json(tmp_path, "x.json", "shown", fields) == good
            continue
        with pytest.raises(CheckpointError, match=f"shown/x.json is damaged or from another tinylm, {said}"):
            read_json(tmp_path, "x.json", "shown", fields)
    write_json(tmp_path / "x.json", {"version": 1})
    with pytest.raises(CheckpointError, match="step is missing"):
        read_json(tmp_path, "x.json", "shown", fields)
