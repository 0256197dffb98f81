"""Tests of tinylm.__main__: what is refused, in which words, and with which exit code."""

import signal

import pytest

from tests.support.command_line import TRAIN, assert_one_sentence, command, python
from tinylm.__main__ import COMMANDS, main
from tinylm.runs import paths
from tinylm.runs.records import read_record

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


def test_the_program_alone_prints_the_help_and_so_does_help(capsys):
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    for kind in COMMANDS:
        assert f" {kind.__name__.lower()} " in alone
    assert "shakespeare_char" in alone


# --- what is refused: one sentence, exit code 2, nothing written

REFUSED = {
    "an unknown recipe": (["train", "shakespeare_cha"], "did you mean shakespeare_char"),
    "no recipe": (["train"], "name a recipe first"),
    "an option before the recipe": (
        ["train", "--train.steps", "3", "shakespeare_char"],
        "name a recipe first",
    ),
    "a missing corpus": (
        [*TRAIN, "--data.corpus", "tinyshakespeare"],
        "`python -m tinylm fetch tinyshakespeare` gets it",
    ),
    "an unknown corpus": (
        ["train", "shakespeare_char", "--data.corpus", "shakespear"],
        "no corpus 'shakespear'",
    ),
    "heads that do not divide the width": (
        [*TRAIN, "--model.n-head", "3"],
        "n_embd 22 is not a multiple of n_head 3",
    ),
    "a minimum rate above the peak": (
        [*TRAIN, "--train.min-learning-rate", "0.5"],
        "min_learning_rate 0.5 is above",
    ),
    "a context longer than the data": (
        [*TRAIN, "--model.context-length", "999999", "--train.tokens-per-step", "2999997"],
        "context_length 999999 is longer than the training text",
    ),
    "half a micro-batch": ([*TRAIN, "--train.tokens-per-step", "94"], "tokens_per_step 94 is not a multiple"),
    "a vocabulary of one's own": ([*TRAIN, "--model.vocab-size", "7"], "vocab_size 7 cannot be chosen"),
    "no steps": ([*TRAIN, "--train.steps", "0"], "steps 0 is below 1"),
    "a run's name that leads elsewhere": ([*TRAIN, "--run", "../x"], "cannot name a run"),
    "a missing checkpoint": (["sample", "nothing"], "there is no checkpoint nothing"),
    "a missing run": (["resume", "nothing"], "there is no checkpoint nothing"),
    "a missing checkpoint to evaluate": (["evaluate", "nothing"], "there is no checkpoint nothing"),
    "fetch without a corpus": (["fetch"], "name one corpus or give --all"),
    "fetch with both": (["fetch", "tinyshakespeare", "--all"], "name one corpus or give --all"),
    "fetch without a network": (["fetch", "tinyshakespeare"], "TINYLM_OFFLINE forbids the network"),
    "pack without a network": (["pack", "stick"], "TINYLM_OFFLINE forbids the network"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_one_sentence_with_exit_code_2_and_nothing_is_written(
    case, capsys, tmp_path
):
    typed, words = REFUSED[case]
    assert main(typed) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err, words)
    assert captured.out == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "mine").exists()


def test_an_existing_run_is_refused_and_left_as_it_was(my_runs, capsys):
    before = {path: path.read_bytes() for path in my_runs.rglob("*") if path.is_file()}
    assert main([*TRAIN, "--run", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the run tiny exists already: choose another --run name")
    assert {path: path.read_bytes() for path in my_runs.rglob("*") if path.is_file()} == before


def test_a_run_that_has_ended_cannot_be_resumed(my_runs, capsys):
    assert main(["resume", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the run tiny ended after 11 of 11 steps")


def test_a_sample_with_bad_wishes_is_refused_in_one_sentence(my_runs, capsys):
    for options, words in (
        (["--prompt", "snow ☃"], "☃"),
        (["--prompt", ""], "the prompt has 0 tokens"),
        (["--temperature", "-1"], "temperature -1.0 is not a finite number"),
        (["--max-new-tokens", "-3"], "max_new_tokens -3 is not a whole number of at least 0"),
        (["--top-k", "-2"], "top_k -2 is not a whole number of at least 0: use 20"),
        (["--top-p", "1.5"], "top_p 1.5 is not a finite number above 0 and at most 1: use 0.9"),
        (["--min-p", "-1"], "min_p -1.0 is not a finite number between 0 and 1: use 0.1"),
        (["--repetition-penalty", "0"], "repetition_penalty 0.0 is not a finite number above 0: use 1.2"),
        (["--stop", ""], "a stop sequence has 0 characters"),
    ):
        assert main(["sample", "tiny", *options]) == 2
        captured = capsys.readouterr()
        assert_one_sentence(captured.err, words)
        assert captured.out.strip() in ("", options[-1].strip())


@pytest.mark.parametrize("file", ["model.safetensors", "tinylm.json", "tokenizer.json"])
def test_an_altered_checkpoint_is_refused_in_one_sentence(my_runs, tmp_path, capsys, file):
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


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("tinylm.runs.machine.report", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["machine"])


def test_a_plain_value_error_is_a_bug_too(monkeypatch):
    def broken():
        raise ValueError("not ours")

    monkeypatch.setattr("tinylm.runs.machine.report", broken)
    with pytest.raises(ValueError, match="not ours"):
        main(["machine"])


def test_what_the_system_refuses_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["pack", str(tmp_path / "file" / "pack")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("tinylm: ") and said.count("\n") == 1 and str(tmp_path) not in said


# --- as real processes


def test_a_real_process_refuses_with_exit_code_2_and_one_sentence(tmp_path):
    done = command("train", "shakespeare_char", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert_one_sentence(done.stderr, "tinyshakespeare is not here")


def test_a_reader_that_has_had_enough_is_not_an_error(trained):
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
def test_a_run_that_is_ended_or_killed_leaves_a_readable_checkpoint(tmp_path, sent, code, monkeypatch):
    typed = [*TRAIN, "--train.steps", "1000000", "--run", "long"]
    run = python(f"checkpoints.MINE = Path({str(tmp_path)!r}); sys.exit(main({typed!r}))")
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
