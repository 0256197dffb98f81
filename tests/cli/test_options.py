"""The options: what the help shows, in any terminal, and how what cannot work is refused."""

import re
import subprocess
import sys
import time

import pytest

from tests.support.command_line import ROOT, TRAIN, assert_one_sentence
from tinylm.__main__ import main
from tinylm.cli.options import COMMANDS, parse
from tinylm.runs.recipes import RECIPES, recipe

pytestmark = pytest.mark.usefixtures("nothing_at_hand")
SMALL = "train shakespeare_char"
TINY = " ".join(TRAIN)


def test_help_of_the_program_is_printed_by_the_program_alone_too(capsys):
    assert main([]) == main(["--help"]) == 0
    alone, asked = capsys.readouterr().out.split("tinylm, a course")[1:]
    assert asked == alone and all(f" {name} " in alone for name in [*COMMANDS, *RECIPES])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_of_a_command(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help-all"]) == 0
    shown = " ".join(re.sub(r"[│─]", " ", capsys.readouterr().out).split())
    # where tyro finds neither a comment nor a docstring, nothing or the name stands before the default
    bare = re.findall(r"(?:[A-Z]|\b[a-z_]+|\}|-[\w.-]+) \((?:required|default: [^)]*)\)", shown)
    assert bare == [], shown


def test_help_shows_the_settings_of_the_recipe_and_the_warm_up_that_goes_with_fewer_steps(
    capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    made = recipe("shakespeare_char")
    assert main(["train", "shakespeare_char", "--train.steps", str(made.train.steps // 2), "--help-all"]) == 0
    shown = capsys.readouterr().out
    for option, value in (("n-layer", made.model.n_layer), ("warmup-steps", made.train.warmup_steps // 2)):
        assert re.search(rf"{option} INT[^\n]*\n?[^\n]*\(default: {value}\)", shown), option


def test_help_of_train_shows_ten_options_and_the_command_that_lists_all_of_them(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    options = []
    for typed in ("--help", "--help-all"):
        assert main(["train", "toyworld_stories", typed]) == 0
        shown = capsys.readouterr().out
        options.append([line.split()[0] for line in shown.splitlines() if re.match(r". --[a-z]", line)])
        assert "--train.steps INT" in shown and "(default: 2400)" in shown
    assert len(options[0]) == 10 and {*options[0]} < {*options[1]}
    assert main(["train", "-h"]) == 0
    assert f"10 of {len(options[1])} options. python -m tinylm train --help-all" in capsys.readouterr().out


def test_help_comes_at_once_without_torch():
    began = time.perf_counter()
    code = "import sys; from tinylm.__main__ import main; "
    code += "main(['train', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.stdout.endswith("False\n")
    assert time.perf_counter() - began < 5  # a second of torch more would still be found by the line above


@pytest.mark.parametrize("steps", ["--train.steps 3000 --train.steps 60", "--train.steps=6_0"])
@pytest.mark.parametrize("warmup, expected", [("", 60 * 100 // 2400), (" --train.warmup-steps 7", 7)])
def test_warm_up_follows_the_steps_however_they_are_written_unless_it_is_typed(steps, warmup, expected):
    options = parse(f"{SMALL} {steps}{warmup}".split())
    assert (options.train.steps, options.train.warmup_steps) == (60, expected)


@pytest.mark.parametrize("typed", ["--scale small", "--scale=full --scale=small"])
def test_scale_sets_what_is_not_typed_and_the_warm_up_follows_its_own_steps(typed):
    own = recipe("tinystories_51m", "small")
    asked = parse(f"train tinystories_51m {typed} --train.steps 20 --model.n-embd 64".split())
    assert (asked.scale, asked.data, asked.train.schedule) == ("small", own.data, own.train.schedule)
    assert (asked.model.n_layer, asked.model.n_embd) == (own.model.n_layer, 64)
    assert asked.train.warmup_steps == own.train.warmup_steps * 20 // own.train.steps
    assert parse(["train", "tinystories_51m"]).scale == "full"
    more = parse(["train", "shakespeare_char", "--train.steps", "9999"]).train  # it is never lengthened
    assert more.warmup_steps == recipe("shakespeare_char").train.warmup_steps


def test_help_and_refusals_end_in_any_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1")
    assert (main(["train", "--help"]), main(["sample", "x", "--temprature", "1"])) == (0, 2)
    shown = capsys.readouterr()
    assert "--train.steps" in shown.out and "--temprature" in shown.err


REFUSED = {  # what is typed, and some words of the sentence
    "sampel": "there is no command sampel: did you mean sample?",
    "zzzz": "there is no command zzzz: choose one of card, doctor",
    "sample x the king --seed 3": 'the text to continue is an option: --prompt "the king"',
    f"{SMALL} --train.steps {'9' * 400}": "steps is a number of more than 80 digits",
    "train": "name a recipe first",
    SMALL: "tinyshakespeare is not here",
    "train shakespeare_cha": "did you mean shakespeare_char",
    f"{SMALL} --data.corpus no/such.txt": "there is no file 'no/such.txt'",
    f"{TINY} --model.n-head 3": "tinylm: n_embd 22 is not a multiple of n_head 3",
    f"{TINY} --model.vocab-size 7": "vocab_size cannot be chosen",
    f"{TINY} --run ../x": "cannot name a run",
    "card nosuch": "there is no record of nosuch: choose one of addition",
    "evaluate no\nthing": r"there is no checkpoint 'no\nthing'",
    "import ../no/such here": "there is no folder '../no/such', and no such model from the Hub (HFValidation",
    "import . here": "there is no checkpoint at .: config.json is missing",
    "fetch": "name one corpus or give --all",
    "fetch tinyshakespeare": "TINYLM_OFFLINE forbids the network",
    "sample x --max-new-tokens 0": "max_new_tokens is 0: it must be at least 1",
    "sample x --stop ": "stop is ('',): give",
}


@pytest.mark.parametrize("typed", REFUSED, ids=lambda typed: typed.replace(TINY, "tiny")[:60])
def test_command_that_cannot_work_is_refused_in_one_sentence_and_nothing_is_written(typed, capsys, tmp_path):
    assert main(typed.split(" ")) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err, REFUSED[typed])
    assert captured.out == "" and len(captured.err) < 400
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "typed, words",
    [
        (f"{SMALL} --train.stepz 3", ["--train.stepz, 3", "Perhaps you meant", "--train.steps INT"]),
        ("evaluate x --items q", ["Error parsing --items", "'q'"]),
        ("card", ["Missing from python -m tinylm card", "RUN", "The name of your run"]),
    ],
)
def test_option_that_is_none_is_refused_in_a_box_that_says_what_may_be_meant_and_where_the_help_is(
    typed, words, capsys
):
    assert main(typed.split()) == 2
    captured = capsys.readouterr()
    assert all(word in captured.err for word in [*words, f"python -m tinylm {typed.split()[0]} --help"])
    assert captured.out == "" and "NoneType" not in captured.err and captured.err.count("\n") < 15
