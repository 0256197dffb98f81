"""Records: what is written can be read back, also after a crash, each step and each evaluation once."""

import getpass
import json
import math
import os
import socket
from dataclasses import replace

import pytest
import torch

from tests.support.tiny import QUIET, make_batches, make_config, tiny_gpt
from tinylm.errors import RunError
from tinylm.model.losses import next_token_loss
from tinylm.runs import records
from tinylm.runs.paths import DATA
from tinylm.runs.records import RunRecord, read_record, record_header
from tinylm.training.loop import train


@pytest.fixture
def header():
    return record_header(
        "training",
        recipe="tiny",
        command="python -m tinylm train tiny",
        device="cpu",
        dtype="float32",
        seed=7,
        tokens=76_800,
        parameters=809_856,
        data="toyworld-plays",
    )


@pytest.fixture
def path(tmp_path, header):
    path = tmp_path / "run" / "record.jsonl"
    with RunRecord(path, header) as record:
        record.write("step", step=0, loss=4.25, grad_norm=math.inf)
        record.write("step", step=10, loss=3.5, seconds=30.0)
        record.write("evaluation", step=11, loss=3.0, standard_error=0.01)
        record.write("evaluation", step=20, loss=math.log(2) * 2, standard_error=0.02)
        record.close(seconds=90.0)
    return path


def test_record_that_was_written_is_read_back(path, header):
    record = read_record(path)
    assert record.header == header
    assert [line["step"] for line in record.steps] == [0, 10]
    assert [line["loss"] for line in record.evaluations] == [3.0, math.log(2) * 2]
    assert record.end == {"seconds": 90.0} and record.complete


def test_record_lines_are_strict_json_and_name_their_kind(path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    kinds = [json.loads(line, parse_constant=refuse)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["header", "step", "step", "evaluation", "evaluation", "end"]
    assert read_record(path).steps[0]["grad_norm"] is None


def test_record_lines_reach_the_file_at_once(tmp_path, header):
    record = RunRecord(tmp_path / "r.jsonl", header)
    record.write("step", step=0, loss=1.0)
    assert len(read_record(tmp_path / "r.jsonl").steps) == 1
    assert read_record(tmp_path / "r.jsonl").end is None
    record.close()


def test_record_that_exists_is_refused_and_left_as_it_was(path, header):
    before = path.read_bytes()
    with pytest.raises(RunError, match="exists already"):
        RunRecord(path, header)
    assert path.read_bytes() == before


def test_read_record_leaves_out_a_cut_off_last_line_and_says_so(path):
    path.write_bytes(path.read_bytes()[:-9])
    record = read_record(path)
    assert not record.complete and record.end is None and len(record.evaluations) == 2


ODD = [
    "5",
    "null",
    '{"kind": "rumour"}',
    '{"kind": "step", "st',
]
ODD += [
    '{"kind": ["step"]}',
    '{"kind": "step", "step": ' + "9" * 5000 + "}",
    "\udcff",
]


@pytest.mark.parametrize("line", ODD)
def test_read_record_refuses_an_odd_line_and_leaves_it_out_at_the_end(path, line):
    lines = path.read_bytes().splitlines()
    odd = line.encode(errors="surrogateescape")
    path.write_bytes(b"\n".join([*lines[:2], odd, *lines[3:]]))
    with pytest.raises(RunError, match=r"line 3 of 6 in record[.]jsonl is not a record's"):
        read_record(path)
    path.write_bytes(b"\n".join([*lines[:2], odd]))
    assert not read_record(path).complete
    path.write_bytes(odd)
    with pytest.raises(RunError, match=r"line 1 of 1|0 headers"):
        read_record(path)


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "runs").glob("*.jsonl")))
def test_read_record_reads_every_record_of_the_course(name):
    record = read_record(DATA / "runs" / name)
    assert record.complete and record.has_ended and record.header["versions"]["torch"]


def test_read_record_refuses_a_missing_file_and_one_without_a_header(tmp_path):
    with pytest.raises(RunError, match="no record"):
        read_record(tmp_path / "nothing.jsonl")
    (tmp_path / "headless.jsonl").write_text('{"kind": "step", "step": 0}\n')
    with pytest.raises(RunError, match="0 headers"):
        read_record(tmp_path / "headless.jsonl")


def test_record_header_holds_what_a_repeat_needs(header):
    needed = "what recipe commit command machine device dtype seed tokens versions started"
    assert set(needed.split()) <= set(header)
    assert {"python", "torch", "numpy", "tinylm"} == set(header["versions"])


def test_record_header_tells_no_host_no_user_and_no_path(header):
    told = json.dumps(header)
    for secret in (socket.gethostname(), os.path.expanduser("~"), os.getcwd(), f'"{getpass.getuser()}"'):
        assert not secret or secret not in told


def test_commit_outside_a_repository_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert records.commit() == "unknown"


def test_measurement_is_read_back_and_what_it_is_of_is_in_the_header(tmp_path):
    header = record_header("benchmark", command="python tests/benchmarks/x.py", name="x", threads=2)
    with RunRecord(tmp_path / "r.jsonl", header) as record:
        record.write("measurement", name="a step", seconds=0.25, rounds=[0.2, math.nan, {"slow": math.inf}])
    read = read_record(tmp_path / "r.jsonl")
    assert (read.what, read.header) == ("benchmark", header)
    assert read.measurements == [{"name": "a step", "seconds": 0.25, "rounds": [0.2, None, {"slow": None}]}]
    assert read.steps == read.evaluations == [] and read.end == {}


def test_evaluation_is_synced_before_the_checkpoint_that_knows_of_it(tmp_path, header, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    with RunRecord(tmp_path / "r.jsonl", header) as record:
        record.write("step", step=0, loss=1.0)
        assert synced == []
        record.write("evaluation", step=1, loss=1.0)
        assert len(synced) == 1


def test_record_is_a_callback_of_logged_steps_and_evaluations(tmp_path, header):
    def with_metrics(model, tokens, targets):
        return next_token_loss(model, tokens, targets)[0], {"odd": torch.tensor(0.5)}

    with RunRecord(tmp_path / "r.jsonl", header) as record:
        config, more = make_config(steps=7, log_every=4, eval_every=3), {"loss_fn": with_metrics, **QUIET}
        train(tiny_gpt(), make_batches(), config, evaluate=lambda state: 1.25, callbacks=[record], **more)
    read = read_record(tmp_path / "r.jsonl")
    assert [line["step"] for line in read.steps] == [0, 4, 6]
    assert {"loss", "learning_rate", "grad_norm", "update_ratio", "seconds"} < set(read.steps[0])
    assert all(math.isfinite(line["metrics"]["odd"]) for line in read.steps)
    assert [(line["step"], line["loss"]) for line in read.evaluations] == [(3, 1.25), (6, 1.25), (7, 1.25)]


def test_record_with_no_path_is_kept_nowhere(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    with RunRecord(None, header) as record:
        record.write("measurement", name="a step", seconds=0.25)
        record.close(seconds=1.0)
    assert list(tmp_path.iterdir()) == []


def test_record_from_before_the_header_said_what_it_is_of_is_a_training(path, header):
    old = {name: value for name, value in header.items() if name != "what"}
    assert read_record(path).what == replace(read_record(path), header=old).what == "training"


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\u2029"])
def test_record_takes_a_line_end_that_only_some_languages_know_as_text(tmp_path, separator):
    with RunRecord(tmp_path / "record.jsonl", {"command": f"a{separator}b"}):
        pass
    assert read_record(tmp_path / "record.jsonl").header["command"] == f"a{separator}b"


# --- resumed


@pytest.fixture
def long(tmp_path):
    path = tmp_path / "record.jsonl"
    with RunRecord(path, {"recipe": "é"}) as record:
        for step in range(0, 8, 2):
            record.write("step", step=step, loss=1.0)
            if step in (2, 6):
                record.write("evaluation", step=step + 1, loss=2.0)
    return path  # header, 0, 2, evaluation 3, 4, 6, evaluation 7, end


def lines(path):
    """Steps, evaluations, and where it was resumed."""
    record = read_record(path)
    resumed = [json.loads(line)["step"] for line in path.read_text().split("\n") if '"resumed"' in line]
    return [line["step"] for line in record.steps], [line["step"] for line in record.evaluations], resumed


@pytest.mark.parametrize(
    "step, evaluated, expected",
    [
        (0, [], ([], [])),
        (2, [], ([0], [])),
        (3, [3], ([0, 2], [3])),
        (6, [3], ([0, 2, 4], [3])),
        (7, [3, 7], ([0, 2, 4, 6], [3, 7])),
        (
            7,
            [3],
            ([0, 2, 4, 6], [3]),
        ),  # the checkpoint does not know of one that is due: it will be done again
        (99, [3, 7], ([0, 2, 4, 6], [3, 7])),
    ],
)
def test_resumed_record_is_cut_to_what_the_checkpoint_knows_and_says_so(long, step, evaluated, expected):
    before = long.read_bytes()
    RunRecord.resumed(long, step=step, evaluated=evaluated)
    assert lines(long) == (*expected, [step])
    assert read_record(long).end is None and not read_record(long).has_ended
    assert before.startswith(long.read_bytes().partition(b'{"kind": "resumed"')[0])


def test_resumed_record_holds_each_step_once_however_often_it_was_stopped(long):
    for step in (5, 3, 5):
        with RunRecord.resumed(long, step=step, evaluated=[3]) as record:
            record.write("step", step=step + 1, loss=1.0)
    assert lines(long) == ([0, 2, 4, 6], [3], [3, 5]) and read_record(long).has_ended


def test_resumed_record_loses_a_line_that_a_kill_cut_off_even_in_the_middle_of_a_letter(long):
    complete = long.read_bytes().rpartition(b'{"kind": "end"')[0]
    line = '{"kind": "step", "step": 8, "note": "é"}\n'.encode()
    for length in range(1, len(line)):
        long.write_bytes(complete + line[:length])
        RunRecord.resumed(long, step=99, evaluated=[3, 7])
        assert lines(long) == ([0, 2, 4, 6], [3, 7], [99])


@pytest.mark.parametrize(
    "end, expected",
    [
        ("", False),
        ('{"kind": "end", "interrupted": true}\n', False),
        ('{"kind": "end", "interrupted": false}\n', True),
        ('{"kind": "end"}\n', True),
        ('{"kind": "end"}\n{"kind": "resumed", "step": 3}\n', False),
    ],
)
def test_record_has_ended_when_the_last_line_says_so(tmp_path, end, expected):
    path = tmp_path / "record.jsonl"
    path.write_text('{"kind": "header"}\n' + end)
    assert read_record(path).has_ended is expected
