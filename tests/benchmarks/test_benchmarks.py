"""Every benchmark still runs: none of them may break in silence, and none fails on time."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tinylm.text.tokenizers import CharTokenizer
from tinylm.text.toyworld.world import PLAYS

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SMALLEST = {  # what takes more than some seconds is only asked for its --help
    "training_step": ["--rounds", "1", "--steps", "7"],
    "optimizer_step": ["--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--rounds", "1"],
}
COMMANDS = {
    str(path): SMALLEST.get(path.stem, ["--help"])
    for path in sorted(FOLDER.glob("*.py"))
    if "def main()" in path.read_text(encoding="utf-8") and path.stem != "test_benchmarks"
}
CODE = f"""
import runpy, sys
import tinylm  # this one; what else lies at the root is not at hand for a script
sys.path[:] = [{str(FOLDER)!r}, *(path for path in sys.path if path != {str(ROOT)!r})]
for path, words in {COMMANDS!r}.items():
    sys.argv = [path, *words]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code, path
"""


def test_benchmarks_run_at_their_smallest_from_anywhere(tmp_path, monkeypatch):
    assert len(COMMANDS) == 8
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "library train() / library step: " in done.stdout and "--peak-tflops" in done.stdout


@pytest.fixture
def benchmark(monkeypatch):
    """What a benchmark defines, by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    return lambda name: runpy.run_path(str(FOLDER / f"{name}.py"))


def test_last_rung_of_the_ladder_is_the_fast_recipe_and_a_part_left_out_is_the_baselines(benchmark):
    ladder = benchmark("fast_ladder")
    base, fast = ladder["BASE"], ladder["FAST"]
    kept = [rung for rung in ladder["ladder"]() if rung.kept]
    assert kept[0].recipe == base and kept[-1].recipe == fast
    less = {rung.name: rung.recipe.model for rung in ladder["without"]()}
    assert less["without token shift"].token_shift == base.model.token_shift != fast.model.token_shift


LETTERS = CharTokenizer.train(PLAYS.joined(300_000, seed=0))
SEPARATOR = LETTERS.encode(PLAYS.separator).tolist()


class Position(nn.Module):
    """The loss at position t is t nats; a text that does not begin with the separator is refused."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens[0, : len(SEPARATOR)].tolist() == SEPARATOR
        right = torch.cat((tokens[:, 1:], torch.tensor([SEPARATOR[-1:]])), dim=1)  # (1, T) what comes next
        chance = torch.exp(-torch.arange(1, tokens.size(1) + 1, dtype=torch.float64))[:, None]  # (T, 1)
        rest = ((1 - chance) / (LETTERS.vocab_size - 1)).log()
        return torch.where(nn.functional.one_hot(right, LETTERS.vocab_size) > 0, chance.log(), rest)


def test_each_text_is_read_from_its_own_start_and_scored_with_its_closing_separator(benchmark):
    texts = ["a", "Is it?", PLAYS.texts(1, 5)[0]]
    measured = benchmark("toyworld_floor")["evaluate_texts"](Position(), LETTERS, texts)
    before, lengths = len(SEPARATOR), [len(text) + len(SEPARATOR) for text in texts]
    sums = [sum(range(before, before + n)) for n in lengths]
    assert measured.n_tokens == sum(lengths) and measured.unit == "3 texts"
    assert measured.loss == pytest.approx(sum(sums) / sum(lengths)) and measured.standard_error > 0
