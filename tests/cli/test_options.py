"""The options: what the help shows, in any terminal, and what an oddly written number means."""

import dataclasses
import re
import subprocess
import sys
import time

import pytest

from tests.support.command_line import ROOT
from tinylm.__main__ import main
from tinylm.cli.options import parse
from tinylm.model.config import ModelConfig
from tinylm.runs.recipes import DataConfig, recipe
from tinylm.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("nothing_at_hand")


@pytest.mark.parametrize(
    "name, config", [("model", ModelConfig), ("train", TrainConfig), ("data", DataConfig)]
)
def test_help_lists_every_setting_of_a_recipe_with_its_explanation(capsys, name, config):
    assert main(["train", "--help"]) == 0
    shown = " ".join(re.sub(r"[│─]", " ", capsys.readouterr().out).split())
    for field in dataclasses.fields(config):
        option = shown.rindex(f"--{name}.{field.name.replace('_', '-')}")
        assert re.search(r"\w{4,}.*\(default: ", shown[option + len(field.name) + 8 :][:300]), field.name


def test_help_shows_the_settings_of_the_recipe_and_the_warm_up_that_goes_with_fewer_steps(capsys):
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
    "typed",
    [["--train.steps", "3000", "--train.steps", "60"], ["--train.steps=6_0"], ["--train.steps", "+60"]],
)
def test_warm_up_follows_the_steps_however_they_are_written(typed):
    options = parse(["train", "shakespeare_char", *typed])
    assert (options.train.steps, options.train.warmup_steps) == (60, 60 * 100 // 2400)


def test_warm_up_that_is_typed_is_taken_as_it_is():
    options = parse(["train", "shakespeare_char", "--train.steps", "60", "--train.warmup-steps", "7"])
    assert (options.train.steps, options.train.warmup_steps) == (60, 7)


@pytest.mark.parametrize("columns", ["1", "5", "nonsense"])
def test_help_and_refusals_end_in_any_terminal(columns, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["train", "--help"]) == 0
    assert "--train.steps" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["sample", "x", "--temprature", "1"]) == 2
    assert "--temprature is not known here: did you mean --temperature?" in capsys.readouterr().err
