"""Records: what is written can be read back, also after a crash, each step and each evaluation once."""

import getpass
import hashlib
import json
import math
import os
import socket

import pytest

from tinylm.errors import RunError
from tinylm.runs import records
from tinylm.runs.paths import DATA
from tinylm.runs.records import RunRecord, read_record, record_header

HEADER = record_header("training", command="python -m tinylm train tiny", recipe="tiny", seed=7)

NOTE = "é\u2028b\x85c\x0cd"  # line ends that only some languages know


@pytest.fixture
def path(tmp_path):
    """A record: header, steps 0 and 2, evaluation 3, steps 4 and 6, evaluation 7, end."""
    path = tmp_path / "run" / "record.jsonl"
    record = RunRecord(path, HEADER | {"note": NOTE})
    for step in range(0, 8, 2):
        record.write("step", step=step, loss=4.25 - step, grad_norm=math.inf)
        if step in (2, 6):
            record.write("evaluation", step=step + 1, loss=math.log(2) * step)
    record.write("end", seconds=90.0)
    return path


def test_record_that_was_written_is_read_back(path):
    with pytest.raises(FileExistsError):  # never over another
        RunRecord(path, HEADER)
    record = read_record(path)
    assert (record.header, record.what) == (HEADER | {"note": NOTE}, "training")
    assert [(line["step"], line["loss"]) for line in record.steps] == [(n, 4.25 - n) for n in (0, 2, 4, 6)]
    assert record.steps[0]["grad_norm"] is None  # JSON has no infinity
    assert record.evaluations == [{"step": n + 1, "loss": math.log(2) * n} for n in (2, 6)]
    assert record.end == {"seconds": 90.0} and record.has_ended


ODD = ["5", '{"kind": "rumour"}', '{"kind": ["step"]}', '{"kind": "step", "st', "\udcff"]
ODD += ['{"kind": "step", "step": ' + "9" * 5000 + "}", '{"x": ' + "[" * 100_000]


@pytest.mark.parametrize("line", ODD)
def test_read_record_refuses_an_odd_line_and_leaves_it_out_at_the_end(path, line):
    lines = path.read_bytes().splitlines()
    odd = line.encode(errors="surrogateescape")
    path.write_bytes(b"\n".join([*lines[:2], odd, *lines[3:], b""]))
    with pytest.raises(RunError, match=r"line 3 of 8 in record[.]jsonl is not a record's"):
        read_record(path)
    path.write_bytes(b"\n".join([*lines[:4], odd]))
    record = read_record(path)
    assert record.end is None and len(record.evaluations) == 1
    for old, new in ((b'"what": "training"', b'"train": 5'), (b'"step": 3', b'"step": [3]')):
        path.write_bytes(b"\n".join([*lines, b""]).replace(old, new, 1))
        with pytest.raises(RunError, match="odd settings or steps"):
            read_record(path)
    path.write_bytes(lines[1] + b"\n")
    with pytest.raises(RunError, match="0 headers"):
        read_record(path)


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "runs").glob("*.jsonl")))
def test_read_record_reads_every_record_of_the_course(name):
    record = read_record(DATA / "runs" / name)
    assert record.has_ended and record.header["versions"]["torch"]
    assert record.what == "training" or record.measurements  # early ones do not say what they are of


def test_record_header_holds_what_a_repeat_needs_and_tells_no_host_no_user_and_no_path(monkeypatch):
    assert {"what", "recipe", "commit", "command", "machine", "seed", "versions", "started"} == set(HEADER)
    assert {"python", "torch", "numpy"} <= set(HEADER["versions"])
    told = json.dumps(HEADER)
    for secret in (socket.gethostname(), os.path.expanduser("~"), os.getcwd(), f'"{getpass.getuser()}"'):
        assert not secret or secret not in told
    monkeypatch.setenv("PATH", "")  # no git
    assert records.commit() == "unknown"


# --- resumed


def lines(path):
    """Steps, evaluations, and where it was resumed."""
    record = read_record(path)
    resumed = [json.loads(line)["step"] for line in path.read_text().split("\n") if '"resumed"' in line]
    return [line["step"] for line in record.steps], [line["step"] for line in record.evaluations], resumed


def sha256_of(path, n_lines):
    """What a checkpoint notes that was saved when the record had so many lines, the header included."""
    return hashlib.sha256(b"".join(path.read_bytes().splitlines(keepends=True)[:n_lines])).hexdigest()


KNOWN = {1: ([], []), 4: ([0, 2], [3]), 6: ([0, 2, 4, 6], [3])}  # lines at the checkpoint, and what stays


@pytest.mark.parametrize("n_lines", KNOWN)
def test_resumed_record_is_cut_at_its_first_line_to_what_the_checkpoint_knows_and_says_so(path, n_lines):
    before, known = path.read_bytes(), sha256_of(path, n_lines)
    record = RunRecord.resumed(path, known, 5)
    assert path.read_bytes() == before  # until then the resume may be refused
    with pytest.raises(RunError, match=r"record.jsonl is not as it was at step 5, .*: restore the file"):
        RunRecord.resumed(path, None, 5)
    assert record.sha256() == known  # also for a checkpoint that is saved before the first line
    record.write("end")
    assert lines(path) == (*KNOWN[n_lines], [5])
    assert before.startswith(path.read_bytes().partition(b'{"kind": "resumed"')[0])


def test_resumed_record_loses_a_line_that_a_kill_cut_off_even_in_the_middle_of_a_letter(path):
    known = sha256_of(path, 7)
    complete, line = (
        path.read_bytes().rpartition(b'{"kind": "end"')[0],
        '{"kind": "step", "note": "é'.encode(),
    )
    for rest in (line, line[:-1], line[:1]):
        path.write_bytes(complete + rest)
        RunRecord.resumed(path, known, 8).write("end")
        assert lines(path) == ([0, 2, 4, 6], [3, 7], [8])
