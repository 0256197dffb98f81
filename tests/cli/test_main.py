"""The command line: its exit codes, one sentence for whatever goes wrong, and its output in any pipe."""

import os
import signal
import subprocess
import sys
from unittest import mock

import pytest

from tests.support.command_line import ROOT, TRAIN, assert_one_sentence, environment, process
from tests.support.tiny_run import interrupt_at
from tinylm.__main__ import main

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


@pytest.mark.parametrize("error", [ZeroDivisionError("no\nhalves"), ValueError("no")])
def test_whatever_was_not_foreseen_is_one_sentence_and_traceback_shows_where(monkeypatch, capsys, error):
    monkeypatch.setattr("tinylm.runs.machine.report", mock.Mock(side_effect=error))
    assert main(["machine"]) == 1
    said = f"machine met a fault of the program ({type(error).__name__}: no): --traceback shows more"
    assert_one_sentence(capsys.readouterr().err, said)
    assert main(["machine", "--traceback"]) == 1
    assert "in perform" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_sentence_without_the_path(monkeypatch, capsys):
    full = OSError(28, "No space left on device", "/a/b/record.jsonl")
    monkeypatch.setattr("tinylm.runs.machine.report", mock.Mock(side_effect=full))
    assert main(["machine"]) == 2
    assert capsys.readouterr().err == "tinylm: record.jsonl: No space left on device\n"


# --- as real processes


@pytest.mark.parametrize("typed", [[], ["machine"]])
def test_python_without_the_packages_is_told_what_to_type_instead(typed):
    alone = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": ""}}  # -S: without the installed packages
    done = subprocess.run(
        [sys.executable, "-S", "-m", "tinylm", *typed], capture_output=True, text=True, timeout=60, **alone
    )
    assert done.returncode == 2
    assert_one_sentence(done.stderr, "tinylm is not installed in this Python (No module named ")
    assert "-m tinylm …, or `" in done.stderr


@pytest.mark.parametrize(
    "closed, typed, code",
    [
        ("", ["--help"], 0),
        ("1>&-", ["--help"], 0),
        ("1>&-", ["train", "shakespeare_char"], 2),
        ("2>&-", ["train", "shakespeare_char"], 2),
    ],
)
def test_process_says_help_or_one_sentence_and_a_closed_stream_is_no_error_of_its_own(
    tmp_path, closed, typed, code
):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m tinylm "$@" {closed}', sys.executable, *typed],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment(tmp_path)},
        timeout=300,
    )
    assert done.returncode == code and "Traceback" not in done.stderr
    if closed != "2>&-" and code:
        assert_one_sentence(done.stderr, "tinyshakespeare is not here")
        assert "or add --fallback" in done.stderr
    assert bool(done.stdout) == (code == 0 and closed != "1>&-")


@pytest.mark.slow
def test_output_that_is_not_utf8_gets_question_marks_and_no_error(monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        interrupt_at(patched, 1)
        assert main([*TRAIN, "--run", "stopped"]) == 130
    for typed, words in (
        (["resume", "stopped"], " ? "),  # ±
        (["train", "--help"], "--train.steps"),
    ):
        done = process(tmp_path / "mine", typed, PYTHONIOENCODING="ascii")
        out, err = done.communicate(timeout=300)
        assert done.returncode == 0 and "Traceback" not in err and words in out, err


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["reader", "ctrl-c"])
def test_sample_ends_quietly_when_its_reader_has_had_enough_and_at_ctrl_c(trained, stop):
    with process(trained[0], ["sample", "tiny", "--max-new-tokens", "100000"]) as writer:
        writer.stdout.read(20)
        writer.stdout.close() if stop == "reader" else writer.send_signal(signal.SIGINT)
        assert writer.stderr.read() == ""
    assert writer.returncode == (0 if stop == "reader" else 130)
