"""Tests of tinylm.cli.options: what the help shows, and what is said about a word that fits no option."""

import dataclasses
import re
import subprocess
import sys
import time

import pytest

from tests.support.command_line import ROOT, TRAIN
from tinylm.__main__ import main
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import DataConfig, recipe
from tinylm.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


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
