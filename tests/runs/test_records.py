"""Records: what is written can be read back, also after a crash, and nothing is overwritten."""

import getpass
import json
import math
import os
import socket
from dataclasses import replace

import pytest

from tinylm.errors import RunError
from tinylm.runs import records
from tinylm.runs.records import RunRecord, read_record, record_header, run_header


@pytest.fixture
def header():
    return run_header(
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
        record.step(step=0, loss=4.25, grad_norm=math.inf)
        record.step(step=10, loss=3.5, seconds=30.0)
        record.evaluation(step=11, loss=3.0, standard_error=0.01)
        record.evaluation(step=20, loss=math.log(2) * 2, standard_error=0.02)
        record.close(seconds=90.0)
    return path


def test_what_was_written_is_read_back(path, header):
    record = read_record(path)
    assert record.header == header
    assert [line["step"] for line in record.steps] == [0, 10]
    assert [line["loss"] for line in record.evaluations] == [3.0, math.log(2) * 2]
    assert record.end == {"seconds": 90.0} and record.complete


def test_every_line_is_strict_json_and_names_its_kind(path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    kinds = [json.loads(line, parse_constant=refuse)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["header", "step", "step", "evaluation", "evaluation", "end"]
    assert read_record(path).steps[0]["grad_norm"] is None


def test_every_line_reaches_the_file_at_once(tmp_path, header):
    record = RunRecord(tmp_path / "r.jsonl", header)
    record.step(step=0, loss=1.0)
    assert len(read_record(tmp_path / "r.jsonl").steps) == 1
    assert read_record(tmp_path / "r.jsonl").end is None
    record.close()


def test_an_existing_record_is_refused_and_left_as_it_was(path, header):
    before = path.read_bytes()
    with pytest.raises(RunError, match="exists already"):
        RunRecord(path, header)
    assert path.read_bytes() == before


def test_a_cut_off_last_line_is_left_out_and_said(path):
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"last line \(6\)"):
        record = read_record(path)
    assert not record.complete and record.end is None and len(record.evaluations) == 2


def test_a_broken_line_in_the_middle_is_refused(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:-5], *lines[3:]]))
    with pytest.raises(RunError, match="line 3 of 6"):
        read_record(path)


def test_a_missing_record_and_a_headless_one_are_refused(tmp_path):
    with pytest.raises(RunError, match="no record"):
        read_record(tmp_path / "nothing.jsonl")
    (tmp_path / "headless.jsonl").write_text('{"kind": "step", "step": 0}\n')
    with pytest.raises(RunError, match="0 headers"):
        read_record(tmp_path / "headless.jsonl")


def test_the_header_holds_what_a_repeat_needs(header):
    needed = "what recipe commit command machine device dtype seed tokens versions started"
    assert set(needed.split()) <= set(header)
    assert {"python", "torch", "numpy", "tinylm"} == set(header["versions"])


def test_the_header_tells_no_host_no_user_and_no_path(header):
    told = json.dumps(header)
    for secret in (socket.gethostname(), os.path.expanduser("~"), os.getcwd(), f'"{getpass.getuser()}"'):
        assert not secret or secret not in told


def test_outside_a_repository_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert records.commit() == "unknown"


def test_a_measurement_is_read_back_and_what_it_is_of_is_in_the_header(tmp_path):
    header = record_header("benchmark", command="python tests/benchmarks/x.py", name="x", threads=2)
    with RunRecord(tmp_path / "r.jsonl", header) as record:
        record.measurement(name="a step", seconds=0.25, rounds=[0.2, math.nan, {"slow": math.inf}])
    read = read_record(tmp_path / "r.jsonl")
    assert (read.what, read.header) == ("benchmark", header)
    assert read.measurements == [{"name": "a step", "seconds": 0.25, "rounds": [0.2, None, {"slow": None}]}]
    assert read.steps == read.evaluations == [] and read.end == {}


def test_an_evaluation_is_on_the_disk_before_the_checkpoint_that_knows_of_it(tmp_path, header, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    with RunRecord(tmp_path / "r.jsonl", header) as record:
        record.step(step=0, loss=1.0)
        assert synced == []
        record.evaluation(step=1, loss=1.0)
        assert len(synced) == 1


def test_a_record_that_goes_on_keeps_what_it_had_and_says_where(tmp_path, header):
    with RunRecord(tmp_path / "r.jsonl", header) as record:
        record.step(step=0, loss=1.0)
        record.close(interrupted=True)
    with RunRecord.reopened(tmp_path / "r.jsonl", step=1) as record:
        record.step(step=1, loss=0.5)
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert kinds == ["header", "step", "end", "resumed", "step", "end"]
    read = read_record(tmp_path / "r.jsonl")
    assert [line["step"] for line in read.steps] == [0, 1] and read.end == {}


def test_a_record_with_no_path_is_the_same_to_write_and_is_kept_nowhere(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    with RunRecord(None, header) as record:
        record.measurement(name="a step", seconds=0.25)
        record.close(seconds=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_a_training_and_so_is_a_record_from_before_the_header_said_so(path, header):
    old = {name: value for name, value in header.items() if name != "what"}
    assert read_record(path).what == replace(read_record(path), header=old).what == "training"


def test_what_is_no_text_or_has_a_line_of_a_kind_that_is_not_is_refused(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], '{"kind": "rumour"}', *lines[2:]]))
    with pytest.raises(RunError, match="line 3 of 7"):
        read_record(path)
    path.write_bytes(b"\xff\xfe\x00" * 7)
    with pytest.raises(RunError, match=r"line 1 of 1 in record.jsonl"):
        read_record(path)


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\u2029"])
def test_a_line_end_that_only_some_languages_know_is_text(tmp_path, separator):
    with RunRecord(tmp_path / "record.jsonl", {"command": f"a{separator}b"}):
        pass
    assert read_record(tmp_path / "record.jsonl").header["command"] == f"a{separator}b"
