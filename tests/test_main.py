"""Tests of tinylm.__main__: what is typed, what comes back, and with which exit code."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tinylm import checkpoints
from tinylm.__main__ import COMMANDS, main
from tinylm.model.config import ModelConfig
from tinylm.recipes import DataConfig, recipe
from tinylm.text import corpora
from tinylm.training.config import TrainConfig
from tinylm.training.records import read_record

TRAIN = [
    *("train", "shakespeare_char", "--data.corpus", "toyworld-plays", "--train.steps", "11"),
    *("--model.n-layer", "1", "--model.n-head", "2", "--model.n-embd", "22", "--model.context-length", "31"),
    *("--train.micro-batch-size", "3", "--train.tokens-per-step", "93", "--train.eval-every", "5"),
]
CHARACTERS = 20_000
ROOT = Path(checkpoints.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """data/mine with one tiny run in it, trained by the command itself; (folder, what it printed)."""
    folder = tmp_path_factory.mktemp("data") / "mine"
    done = python(f"checkpoints.MINE = Path({str(folder)!r}); sys.exit(main({[*TRAIN, '--run', 'tiny']!r}))")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    return folder, out


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(checkpoints, "MINE", tmp_path / "mine")
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", CHARACTERS)
    corpora._generated.cache_clear()
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a model this small a second thread only costs
    yield
    torch.set_num_threads(threads)
    corpora._generated.cache_clear()


@pytest.fixture
def mine(monkeypatch, trained):
    monkeypatch.setattr(checkpoints, "MINE", trained[0])
    return trained[0]


def environment(folder: Path) -> dict[str, str]:
    """No pack, no cache, no network; a terminal wide enough not to break sentences."""
    return {
        "TINYLM_DATA": str(folder / "pack"),
        "TINYLM_CACHE": str(folder / "cache"),
        "TINYLM_OFFLINE": "1",
        "COLUMNS": "200",
    }


def python(code: str) -> subprocess.Popen:
    """A fresh Python in which main, checkpoints, Path and sys are at hand, and toyworld is short."""
    imports = "import sys; from pathlib import Path; from tinylm import checkpoints; "
    imports += f"from tinylm.text import corpora; corpora.GENERATED_CHARACTERS = {CHARACTERS}; "
    return subprocess.Popen(
        [sys.executable, "-u", "-c", imports + f"from tinylm.__main__ import main; {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


def command(*arguments: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """python -m tinylm, as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "tinylm", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **environment(folder)},
        **options,
    )


# --- help


def test_the_program_alone_prints_the_help_and_so_does_help(capsys):
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == alone
    for kind in COMMANDS:
        assert f" {kind.__name__.lower()} " in alone
    assert "shakespeare_char" in alone


@pytest.mark.parametrize(
    "name, config", [("model", ModelConfig), ("train", TrainConfig), ("data", DataConfig)]
)
def test_every_number_of_a_recipe_is_an_option_with_its_explanation(capsys, name, config):
    assert main(["train", "--help"]) == 0
    shown = " ".join(re.sub(r"[│─]", " ", capsys.readouterr().out).split())
    for field in dataclasses.fields(config):
        option = shown.rindex(f"--{name}.{field.name.replace('_', '-')}")
        assert re.search(r"\w{4,}.*\(default: ", shown[option + len(field.name) + 8 :][:300]), field.name


def test_the_help_shows_the_numbers_of_the_recipe_and_the_warm_up_that_goes_with_fewer_steps(capsys):
    made = recipe("shakespeare_char")
    assert main(["train", "shakespeare_char", "--train.steps", str(made.train.steps // 2), "--help"]) == 0
    shown = capsys.readouterr().out
    for option, value in (("n-layer", made.model.n_layer), ("warmup-steps", made.train.warmup_steps // 2)):
        assert re.search(rf"{option} INT[^\n]*\n?[^\n]*\(default: {value}\)", shown), option


def test_help_comes_at_once_without_torch():
    began = time.perf_counter()
    code = "import sys; from tinylm.__main__ import main; "
    code += "main(['train', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.stdout.endswith("False\n")
    assert time.perf_counter() - began < 5  # a second of torch more would still be found by the line above


# --- a whole round trip


def test_training_prints_forecast_evaluations_a_sample_and_the_next_command(trained):
    folder, out = trained
    order = [
        "forecast: ",
        "step 5: validation loss",
        "step 10:",
        "step 11:",
        "took ",
        "a sample:",
        "next:",
    ]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
    following = out[places[-1] :].split("python -m tinylm sample ")[1].split(" --prompt")[0]
    assert (ROOT / following).resolve() == (folder / "tiny").resolve()


def test_the_record_says_what_was_typed(mine):
    record = read_record(mine / "tiny" / "record.jsonl")
    assert record.header["command"] == "python -m tinylm " + " ".join([*TRAIN, "--run", "tiny"])
    assert record.header["train"]["steps"] == 11
    assert record.header["model"]["n_embd"] == 22


def test_a_sample_continues_the_folded_prompt_and_a_seed_repeats_it(mine, capsys):
    typed = ["sample", "tiny", "--prompt", "The KING", "--max-new-tokens", "50"]
    texts = []
    for seed in ("3", "3", "4"):
        assert main([*typed, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the king")
    assert len(texts[0]) == len("the king") + 50 + 1


def test_without_a_seed_each_sample_is_another_and_temperature_zero_is_always_the_same(mine, capsys):
    def text(*options: str) -> str:
        assert main(["sample", str(mine / "tiny"), "--max-new-tokens", "60", *options]) == 0
        return capsys.readouterr().out

    assert text() != text()
    assert text("--temperature", "0") == text("--temperature", "0")


def test_the_evaluation_is_the_last_one_of_the_record(mine, capsys):
    assert main(["evaluate", "tiny"]) == 0
    last = read_record(mine / "tiny" / "record.jsonl").evaluations[-1]
    shown = capsys.readouterr().out
    assert f"validation loss {last['loss']:.4f} ± {last['standard_error']:.4f} nats per character" in shown
    assert f"{last['n_tokens']:,} characters of toyworld-plays (generated)" in shown


def test_a_missing_corpus_is_stood_in_for_when_that_is_asked_for(monkeypatch, capsys):
    from tinylm import runs

    monkeypatch.setattr(runs, "measure_speed", lambda model, **_: 1e6)
    typed = [
        *TRAIN,
        "--data.corpus",
        "tinyshakespeare",
        "--train.steps",
        "2",
        "--fallback",
        "--run",
        "stand-in",
    ]
    assert main(typed) == 0
    assert "using toyworld-plays instead" in capsys.readouterr().out
    assert checkpoints.open_checkpoint("stand-in").corpus == "toyworld-plays"


# --- what is refused: one sentence, exit code 2, nothing written

REFUSED = {
    "an unknown recipe": (["train", "shakespear"], "did you mean shakespeare_char"),
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
    "a missing checkpoint to evaluate": (["evaluate", "nothing"], "there is no checkpoint nothing"),
    "fetch without a corpus": (["fetch"], "name one corpus or give --all"),
    "fetch with both": (["fetch", "tinyshakespeare", "--all"], "name one corpus or give --all"),
    "fetch without a network": (["fetch", "tinyshakespeare"], "TINYLM_OFFLINE forbids the network"),
    "pack without a network": (["pack", "stick"], "TINYLM_OFFLINE forbids the network"),
}


def assert_one_sentence(captured: str, words: str) -> None:
    assert captured.startswith("tinylm: ")
    assert words in captured
    assert captured.count("\n") == 1
    assert "Traceback" not in captured


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


def test_an_existing_run_is_refused_and_left_as_it_was(mine, capsys):
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    assert main([*TRAIN, "--run", "tiny"]) == 2
    assert_one_sentence(capsys.readouterr().err, "the run tiny exists already: choose another --run name")
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_a_sample_with_bad_wishes_is_refused_in_one_sentence(mine, capsys):
    for options, words in (
        (["--prompt", "snow ☃"], "☃"),
        (["--prompt", ""], "the prompt has 0 tokens"),
        (["--temperature", "-1"], "temperature -1.0 is not a finite number"),
        (["--max-new-tokens", "-3"], "max_new_tokens -3 is below 0"),
    ):
        assert main(["sample", "tiny", *options]) == 2
        captured = capsys.readouterr()
        assert_one_sentence(captured.err, words)
        assert captured.out.strip() in ("", options[-1].strip())


@pytest.mark.parametrize("file", ["model.safetensors", "tinylm.json", "tokenizer.json"])
def test_an_altered_checkpoint_is_refused_in_one_sentence(mine, tmp_path, capsys, file):
    folder = tmp_path / "altered"
    folder.mkdir()
    for path in (mine / "tiny" / "checkpoint").iterdir():
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


@pytest.mark.parametrize(
    "typed, words",
    [
        (["sampel"], "sampel"),
        (["sample"], "CHECKPOINT"),
        (["sample", "x", "--temperature", "hot"], "could not convert string to float: 'hot'"),
        (["sample", "x", "--temprature", "1"], "--temperature"),
        ([*TRAIN, "--model.n-embed", "96"], "--model.n-embd"),
        ([*TRAIN, "--model.n-embd", "9.5"], "invalid literal for int"),
        ([*TRAIN, "--model.position", "none"], "learned"),
    ],
)
def test_a_wrong_command_option_or_type_is_named_shortly_with_exit_code_2(capsys, typed, words):
    assert main(typed) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") < 25
    assert "Traceback" not in captured.err


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("tinylm.machine.report", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["machine"])


def test_a_plain_value_error_is_a_bug_too(monkeypatch):
    def broken():
        raise ValueError("not ours")

    monkeypatch.setattr("tinylm.machine.report", broken)
    with pytest.raises(ValueError, match="not ours"):
        main(["machine"])


# --- the other commands only call their rooms


def test_machine_and_lab_call_their_rooms(monkeypatch, capsys):
    opened = []
    workbook = pytest.importorskip("tinylm.course.workbook")
    monkeypatch.setattr("tinylm.machine.report", lambda: "a machine")
    monkeypatch.setattr(workbook, "open_lab", lambda arguments: opened.append(arguments) or 7)
    assert main(["machine"]) == 0
    assert main(["lab"]) == main(["lab", "--no-browser", "--allow-root"]) == 7  # JupyterLab's own exit code
    assert capsys.readouterr().out == "a machine\n"
    assert opened == [[], ["--no-browser", "--allow-root"]]


def test_what_the_system_refuses_is_one_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["pack", str(tmp_path / "file" / "pack")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("tinylm: ") and said.count("\n") == 1 and str(tmp_path) not in said


def test_fetch_and_pack_report_the_files(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tinylm.text.corpora.fetch", lambda name: {"a.txt": tmp_path, "b.txt": tmp_path})
    monkeypatch.setattr("tinylm.text.corpora.pack", lambda folder: [folder / "x"])
    assert main(["fetch", "tinyshakespeare"]) == main(["fetch", "--all"]) == main(["pack", "stick"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("tinyshakespeare: a.txt, b.txt\n") == 2
    assert "1 file" in shown
    assert str(tmp_path) not in shown


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
    monkeypatch.setattr(checkpoints, "MINE", tmp_path)
    assert checkpoints.open_checkpoint("long").notes["step"] >= 5
    assert read_record(tmp_path / "long" / "record.jsonl").header["recipe"] == "shakespeare_char"
