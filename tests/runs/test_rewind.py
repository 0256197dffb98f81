"""A record that is cut back holds what had happened by then, each line once, and nothing else changes."""

import os

import pytest

from tinylm.runs.records import RunRecord, read_record
from tinylm.runs.rewind import has_ended, rewind


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "record.jsonl"
    with RunRecord(path, {"recipe": "é"}) as record:
        for step in range(0, 8, 2):
            record.step(step=step, loss=1.0)
            if step in (2, 6):
                record.evaluation(step=step + 1, loss=2.0)
    return path  # header, 0, 2, evaluation 3, 4, 6, evaluation 7, end


def steps(path):
    record = read_record(path)
    return [line["step"] for line in record.steps], [line["step"] for line in record.evaluations], record.end


@pytest.mark.parametrize(
    "step, expected",
    [
        (0, ([], [], None)),
        (2, ([0], [], None)),
        (3, ([0, 2], [3], None)),
        (4, ([0, 2], [3], None)),
        (6, ([0, 2, 4], [3], None)),
        (7, ([0, 2, 4, 6], [3, 7], None)),
        (99, ([0, 2, 4, 6], [3, 7], None)),
    ],
)
def test_what_came_later_is_cut_and_so_is_the_end(path, step, expected):
    before = path.read_bytes()
    cut = rewind(path, step, [s for s in (3, 7) if s <= step])
    assert steps(path) == expected
    assert before.startswith(path.read_bytes())
    assert cut == before.count(b"\n") - path.read_bytes().count(b"\n")


def test_an_evaluation_that_the_checkpoint_does_not_know_of_goes_because_it_will_be_done_again(path):
    rewind(path, 7, [3])
    assert steps(path) == ([0, 2, 4, 6], [3], None)


def test_a_line_that_a_kill_cut_off_goes_too_even_in_the_middle_of_a_letter(path):
    whole = path.read_bytes()
    line = '{"kind": "step", "step": 8, "note": "é"}\n'.encode()
    for length in range(1, len(line)):
        path.write_bytes(whole + line[:length])
        rewind(path, 99, [3, 7])
        assert steps(path) == ([0, 2, 4, 6], [3, 7], None)


def test_a_record_that_goes_on_says_so_and_counts_each_step_once(path):
    for step in (3, 5):
        rewind(path, step, [3])
        with RunRecord.reopened(path, step=step) as record:
            record.step(step=step + 1, loss=1.0)
    assert steps(path)[:2] == ([0, 2, 4, 6], [3]) and steps(path)[2] == {}
    kinds = [line.split('"')[3] for line in path.read_text().splitlines()]
    assert kinds == ["header", "step", "step", "evaluation", "resumed", "step", "resumed", "step", "end"]


@pytest.mark.parametrize(
    "end, expected",
    [
        ("", False),
        ('{"kind": "end", "interrupted": true}\n', False),
        ('{"kind": "end", "interrupted": false}\n', True),
        ('{"kind": "end"}\n', True),
        ('{"kind": "end", "interrupted": false}', False),  # cut off just before its line was whole
        ('{"kind": "end"}\n{"kind": "resumed", "step": 3}\n', False),
        ('{"kind": "end", "interrupted": fa1se}\n', False),  # altered
    ],
)
def test_a_run_has_ended_when_the_last_line_says_so(tmp_path, end, expected):
    path = tmp_path / "record.jsonl"
    path.write_text('{"kind": "header"}\n' + end)
    assert has_ended(path) is expected


def test_what_need_not_be_cut_is_not_written_again(path):
    rewind(path, 7, [3, 7])
    before = path.stat()
    assert rewind(path, 7, [3, 7]) == 0
    assert path.stat() == before


def test_the_shorter_record_is_on_the_disk_before_it_gets_the_name(path, monkeypatch):
    order = []
    for owner, name in ((os, "fsync"), (type(path), "replace")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, name=name, real=real: order.append(name) or real(*a))
    rewind(path, 3, [3])
    assert order == ["fsync", "replace", "fsync"]
    assert [p.name for p in path.parent.iterdir()] == ["record.jsonl"]


def test_a_text_with_line_ends_of_its_own_is_kept_as_it_is(tmp_path):
    with RunRecord(tmp_path / "record.jsonl", {"command": "a\u2028b\x85c"}) as record:
        record.step(step=3)
    before = (tmp_path / "record.jsonl").read_bytes()
    rewind(tmp_path / "record.jsonl", 3, [])
    assert (tmp_path / "record.jsonl").read_bytes() == before.partition(b"\n")[0] + b"\n"
