"""The command line: what is refused, in which words, with which exit code, and what it is in any terminal."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.command_line import ROOT, TRAIN, assert_one_sentence, command, environment, python
from tinylm.__main__ import main
from tinylm.cli.options import COMMANDS
from tinylm.runs import paths
from tinylm.runs.records import read_record

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


def test_help_is_printed_by_the_program_alone_too(capsys):
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    assert all(f" {name} " in alone for name in COMMANDS)
    assert "shakespeare_char" in alone


# --- what is refused: one sentence, exit code 2, nothing written

SMALL = ["train", "shakespeare_char"]
REFUSED = {
    "an unknown command": (["sampel"], "there is no command sampel: did you mean sample?"),
    "an unknown option": (
        [*SMALL, "--train.stepz", "3"],
        "--train.stepz is not known here: did you mean --train.steps?",
    ),
    "an unknown option of sample": (["sample", "x", "--temprature", "1"], "did you mean --temperature?"),
    "one word too many": (["machine", "x"], "x is not known here"),
    "a missing argument": (["sample"], "CHECKPOINT is missing"),
    "a missing value": ([*SMALL, "--train.steps"], "--train.steps needs a value"),
    "a word for a number": (["sample", "x", "--temperature", "hot"], "--temperature is not a number: 'hot'"),
    "a power for a whole number": (
        [*SMALL, "--train.steps", "1e3"],
        "--train.steps is not a whole number: '1e3'",
    ),
    "5,000 digits": ([*SMALL, "--train.steps", "9" * 5000], "--train.steps has too many digits"),
    "400 digits": ([*SMALL, "--train.steps", "9" * 400], "steps is a number of more than 80 digits"),
    "400 digits for a size": (
        [*SMALL, "--model.n-layer", "9" * 400],
        "n_layer is a number of more than 80 digits",
    ),
    "an unknown choice": (
        [*SMALL, "--model.position", "none"],
        "--model.position 'none' is unknown: use 'learned'",
    ),
    "an unknown recipe": (["train", "shakespeare_cha"], "did you mean shakespeare_char"),
    "no recipe": (["train"], "name a recipe first"),
    "an option before the recipe": (
        ["train", "--train.steps", "3", "shakespeare_char"],
        "name a recipe first",
    ),
    "a missing corpus": (SMALL, "`python -m tinylm fetch tinyshakespeare` gets it"),
    "an unknown corpus": ([*SMALL, "--data.corpus", "shakespear"], "no corpus 'shakespear'"),
    "a missing text": ([*SMALL, "--data.corpus", "no/such.txt"], "there is no file 'no/such.txt'"),
    "heads that do not divide the width": (
        [*TRAIN, "--model.n-head", "3"],
        "n_embd 22 is not a multiple of n_head 3",
    ),
    "a minimum rate above the peak": (
        [*TRAIN, "--train.min-learning-rate", "0.5"],
        "min_learning_rate 0.5 is above",
    ),
    "a context longer than the data": (
        [*TRAIN, "--model.context-length", "99999", "--train.tokens-per-step", "299997"],
        "context_length 99999 is longer than the training text",
    ),
    "half a micro-batch": ([*TRAIN, "--train.tokens-per-step", "94"], "tokens_per_step 94 is not a multiple"),
    "a vocabulary of one's own": ([*TRAIN, "--model.vocab-size", "7"], "vocab_size 7 cannot be chosen"),
    "no steps": ([*TRAIN, "--train.steps", "0"], "steps is 0: it must be at least 1"),
    "a run's name that leads elsewhere": ([*TRAIN, "--run", "../x"], "cannot name a run"),
    "weights that are not there": ([*TRAIN, "--init-from", "nothing"], "there is no checkpoint nothing"),
    "a missing checkpoint": (["sample", "nothing"], "there is no checkpoint nothing"),
    "a missing run": (["resume", "nothing"], "there is no run nothing"),
    "a missing checkpoint to evaluate": (["evaluate", "nothing"], "there is no checkpoint nothing"),
    "fetch without a corpus": (["fetch"], "name one corpus or give --all"),
    "fetch with both": (["fetch", "tinyshakespeare", "--all"], "name one corpus or give --all"),
    "fetch without a network": (["fetch", "tinyshakespeare"], "TINYLM_OFFLINE forbids the network"),
    "pack without a network": (["pack", "stick"], "TINYLM_OFFLINE forbids the network"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_command_that_cannot_work_is_refused_in_one_sentence_and_nothing_is_written(case, capsys, tmp_path):
    typed, words = REFUSED[case]
    assert main(typed) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err, words)
    assert captured.out == "" and len(captured.err) < 400
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "mine").exists()


def test_training_into_an_existing_run_and_resume_of_one_that_has_ended_leave_it_as_it_was(my_runs, capsys):
    before = {path: path.read_bytes() for path in my_runs.rglob("*") if path.is_file()}
    assert main([*TRAIN, "--run", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the run tiny exists already: choose another --run name")
    assert main(["resume", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the run tiny ended after 11 of 11 steps")
    assert {path: path.read_bytes() for path in my_runs.rglob("*") if path.is_file()} == before


def test_sample_with_settings_that_cannot_work_is_refused_in_one_sentence(my_runs, capsys):
    for options, words in (
        (["--prompt", "snow ☃"], "☃"),
        (["--prompt", ""], "the prompt has 0 tokens"),
        *(
            (["--" + name, "-1"], name.replace("-", "_"))
            for name in ("temperature", "max-new-tokens", "top-k")
        ),
        *((["--" + name, "-1"], name.replace("-", "_")) for name in ("top-p", "min-p", "repetition-penalty")),
        (["--stop", ""], "a stop sequence has 0 characters"),
    ):
        assert main(["sample", "tiny", *options]) == 2
        captured = capsys.readouterr()
        assert_one_sentence(captured.err, words)
        assert captured.out.strip() in ("", options[-1].strip())


@pytest.mark.parametrize("file", ["model.safetensors", "tinylm.json", "tokenizer.json"])
def test_altered_checkpoint_is_refused_in_one_sentence(my_runs, tmp_path, capsys, file):
    folder = tmp_path / "altered"
    folder.mkdir()
    for path in paths.find("tiny").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    data = bytearray((folder / file).read_bytes())
    data[-9] ^= 1
    (folder / file).write_bytes(data)
    for typed in (["sample", "altered"], ["evaluate", "altered"]):
        assert main(typed) == 2
        assert_one_sentence(capsys.readouterr().err, "")
    (folder / file).unlink()
    assert main(["sample", "altered"]) == 2
    assert_one_sentence(capsys.readouterr().err, file)


def test_whatever_was_not_foreseen_is_one_sentence_and_traceback_shows_where(monkeypatch, capsys):
    for error, words in (
        (ZeroDivisionError("no\nhalves"), "ZeroDivisionError: no"),
        (ValueError("odd"), "odd"),
    ):

        def broken(error=error):
            raise error

        monkeypatch.setattr("tinylm.runs.machine.report", broken)
        assert main(["machine"]) == 1
        said = capsys.readouterr().err
        assert_one_sentence(said, f"machine met a fault of the program ({type(error).__name__}")
        assert words in said and "--traceback" in said
        assert main(["machine", "--traceback"]) == 1
        assert "in broken" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["pack", str(tmp_path / "file" / "pack")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("tinylm: ") and said.count("\n") == 1 and str(tmp_path) not in said


# --- as real processes


def test_process_refuses_with_exit_code_2_and_one_sentence(tmp_path):
    done = command("train", "shakespeare_char", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr, "tinyshakespeare is not here")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_that_is_not_utf8_gets_question_marks_and_no_error(trained, tmp_path, encoding):
    folder = tmp_path / "mine" / "stopped"
    folder.parent.mkdir()
    typed = [*TRAIN, "--run", "stopped"]
    stop = "from tinylm.runs import run\nreal = run.evaluate\n"
    stop += "def evaluate(*a, **k):\n    run.evaluate = real\n    raise KeyboardInterrupt\n"
    stop += "run.evaluate = evaluate\n"
    code = f"exec({stop!r}); paths.MINE = Path({str(folder.parent)!r}); sys.exit(main({typed!r}))"
    process = python(code, PYTHONIOENCODING=encoding)
    assert process.communicate(timeout=60) and process.returncode == 130
    for typed in (["resume", "stopped"], ["evaluate", "stopped"], ["train", "--help"]):
        code = f"paths.MINE = Path({str(folder.parent)!r}); import torch; torch.set_num_threads(2); "
        process = python(code + f"sys.exit(main({typed!r}))", PYTHONIOENCODING=encoding)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in err, err
        assert typed[0] != "resume" or "threads 1 ? 2" in out  # the arrow, which neither has


@pytest.mark.parametrize("closed", ["1", "2"])
@pytest.mark.parametrize("typed", [["--help"], ["machine", "x"]])
def test_closed_stream_is_no_error_of_its_own(tmp_path, closed, typed):
    line = f'exec "$0" -m tinylm "$@" {closed}>&-'
    env = {**os.environ, **environment(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, *typed],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=60,
    )
    assert done.returncode == (0 if typed == ["--help"] else 2)
    assert "Traceback" not in done.stdout + done.stderr


def test_reader_that_has_had_enough_is_not_an_error(trained):
    code = f"sys.exit(main(['sample', {str(trained[0] / 'tiny')!r}, '--max-new-tokens', '100000']))"
    with python(code) as writer:
        writer.stdout.read(20)
        writer.stdout.close()
        assert writer.stderr.read() == ""
    assert writer.returncode == 0


def test_ctrl_c_ends_a_sample_quietly(trained):
    code = f"sys.exit(main(['sample', {str(trained[0] / 'tiny')!r}, '--max-new-tokens', '100000']))"
    writer = python(code)
    writer.stdout.read(20)
    writer.send_signal(signal.SIGINT)
    _, err = writer.communicate(timeout=30)
    assert (writer.returncode, err) == (130, "")


@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_run_that_is_interrupted_or_killed_leaves_a_readable_checkpoint(tmp_path, sent, code, monkeypatch):
    typed = [*TRAIN, "--train.steps", "1000000", "--run", "long"]
    run = python(f"paths.MINE = Path({str(tmp_path)!r}); sys.exit(main({typed!r}))")
    for line in run.stdout:
        if line.startswith("step 10:"):
            break
    run.send_signal(sent)
    out, _ = run.communicate(timeout=30)
    assert run.returncode == code
    assert ("a sample:" in out) == (sent == signal.SIGINT)
    monkeypatch.setattr(paths, "MINE", tmp_path)
    assert paths.open_checkpoint("long").notes["step"] >= 5
    assert read_record(tmp_path / "long" / "record.jsonl").header["recipe"] == "shakespeare_char"
