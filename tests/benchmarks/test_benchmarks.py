"""Every benchmark still runs, at its smallest: none of them may break in silence, and none fails on time."""

import importlib
import sys
from pathlib import Path

import pytest

SMALLEST = {  # what takes more than some seconds is only asked for its --help
    "generation": ["--help"],
    "training_step": ["--rounds", "1", "--steps", "7"],
    "optimizer_step": ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--rounds", "1"],
}
STEMS = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
NAMES = [stem for stem in STEMS if not stem.startswith("test_")]


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_runs_at_its_smallest(name, monkeypatch, capsys):
    typed = SMALLEST.get(name, ["--help"])
    module = importlib.import_module(f"tests.benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *typed])
    if typed == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            module.main()
    else:
        module.main()
    assert capsys.readouterr().out
