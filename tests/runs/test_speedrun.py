"""Speedrun: what counts as an entry, what it is measured by, and what is refused in one sentence."""

import multiprocessing
import re

import pytest

from tinylm.__main__ import main
from tinylm.errors import RunError
from tinylm.inference.evaluate import evaluate
from tinylm.runs import paths, speedrun
from tinylm.runs.records import read_record
from tinylm.text.dataset import load_dataset

GOAL = 2.7  # which pairs of characters reach, and single characters do not
PAIRS = '''
"""Counts pairs of characters."""
import torch
from torch import nn

class Pairs(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        pairs = torch.as_tensor(tokens.astype("int64")).unfold(0, 2, 1)
        counts = torch.zeros(V := int(tokens.max()) + 1, V)
        counts.index_put_((pairs[:, 0], pairs[:, 1]), torch.tensor(1.0), accumulate=True)
        self.table = nn.Parameter((counts + 0.1).log())

    def forward(self, tokens):
        return self.table[tokens]

def train(tokens, seed, show):
    show(Pairs(tokens), 64)
'''.lstrip()
ENDING = "    show(Pairs(tokens), 64)\n"


@pytest.fixture(scope="module")
def plays():
    return load_dataset("toyworld-plays")


@pytest.fixture
def attempt(plays, tmp_path, monkeypatch):
    """Run PAIRS with this in place of its last line, and other text of its own."""
    if "forkserver" in multiprocessing.get_all_start_methods():  # the same, without importing torch each time
        multiprocessing.set_forkserver_preload(["tinylm.runs.speedrun"])
        monkeypatch.setattr(speedrun, "METHOD", "forkserver")

    def run(ending=ENDING, *, source=PAIRS, **limits):
        entry = tmp_path / "mine.py"
        entry.write_text(source.replace(ENDING, ending), encoding="utf-8")
        return speedrun.attempt(entry, 1, plays, **({"goal": GOAL, "clock": 60} | limits))

    return run


def refusal(attempt, *args, **more):
    with pytest.raises(RunError) as caught:
        attempt(*args, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_entry_is_measured_by_evaluate_on_all_of_the_validation_text(attempt, plays):
    space = {}
    exec(PAIRS, space)
    model = space["Pairs"](plays.train)
    model.config = type("Config", (), {"context_length": 64})
    found = attempt()
    assert found["loss"] == pytest.approx(evaluate(model, plays.validation).loss, rel=1e-6)
    assert found["parameters"] == model.table.numel() and 0 < found["cpu_seconds"] < 60


def test_attempt_ends_at_the_first_model_that_reaches_the_goal_and_measuring_takes_no_time(attempt):
    show = "show(Pairs(tokens), 64)"
    busy = "    end = time.process_time() + 0.5\n    while time.process_time() < end: pass\n"
    late = "    import time\n    model = Pairs(tokens)\n    model.table.data *= 0\n"
    late += "    for _ in range(5): show(model, 64)\n" + busy + f"    {show}\n    raise AssertionError\n"
    found = attempt(late)
    assert 0.5 <= found["cpu_seconds"] < 2  # six models are measured, five of them above the goal


def test_entry_has_the_seed_and_one_thread(attempt):
    said = refusal(attempt, "    import torch\n    raise ValueError(f'{seed}, {torch.get_num_threads()}')\n")
    assert said.endswith("ValueError: '1, 1'")


REFUSED = {
    "a model above the goal": (
        "    model = Pairs(tokens)\n    model.table.data *= 0\n    show(model, 64)\n",
        r"it ended at a loss of \d\.\d{4}, above 2\.7: train it longer",
    ),
    "no model": ("    pass\n", r"it ended at a loss of inf, above 2\.7"),
    "an error": ("    tokens[0].nothing\n", r"it stopped in line 17: AttributeError: .*nothing"),
    "no train": ("    pass\n\ndel train\n", r"it stopped: AttributeError: .*'train'"),
    "another file": (
        "    open('validation.txt')\n",
        r"it stopped in line 17: RunError: .validation\.txt is opened: an entry learns from its tokens",
    ),
    "the course's own reader": (
        "    from tinylm.text.dataset import load_dataset\n    load_dataset('tinyshakespeare')\n",
        r"it stopped in line 18: RunError: .* is opened: an entry learns from its tokens",
    ),
    "a program": (
        "    import subprocess\n    subprocess.run(['true'])\n",
        r"subprocess\.Popen is called: an entry starts no program",
    ),
    "a network": (
        "    import socket\n    socket.create_connection(('127.0.0.1', 9))\n",
        r"socket\.connect is called: an entry starts no program and uses no network",
    ),
    "a class that pickle cannot find": (
        "    class Local(Pairs): pass\n    show(Local(tokens), 64)\n",
        r"it stopped in line 18: .*Local",
    ),
    "a process that ends": ("    import os\n    os._exit(7)\n", r"its process ended with exit code 7"),
    "logits of another shape": (
        "    model = Pairs(tokens)\n    model.table.data = model.table[:, :5]\n    show(model, 64)\n",
        r"its logits are \(2, 64, 5\) for tokens \(2, 64\): return \(2, 64, 65\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_entry_is_refused_in_one_sentence(attempt, what):
    ending, words = REFUSED[what]
    assert re.search(words, refusal(attempt, ending))


@pytest.mark.parametrize(
    "line",
    [
        "return 20 * nn.functional.one_hot(tokens.roll(-1, 1), len(self.table)).float()",
        "return self.table[tokens] + self.table[tokens].mean(0)",
    ],
)
def test_entry_that_sees_what_it_predicts_is_refused(attempt, line):
    cheat = PAIRS.replace("return self.table[tokens]", line)
    assert "its logits depend on later tokens or on other rows" in refusal(attempt, source=cheat)


def test_dropout_is_no_look_at_other_rows(attempt):
    dropped = "return nn.functional.dropout(self.table[tokens], 0.5, self.training)"
    assert attempt(source=PAIRS.replace("return self.table[tokens]", dropped))["loss"] < GOAL


def test_model_that_cannot_be_measured_is_refused(attempt):
    broken = PAIRS.replace("return self.table[tokens]", "return self.table[tokens[: len(tokens) - 2]]")
    assert "its logits are (0, 64, 65)" in refusal(attempt, source=broken)
    broken = PAIRS.replace("return self.table[tokens]", "return self.table[tokens + 64]")
    assert "its model cannot be measured: IndexError" in refusal(attempt, source=broken)


def test_entry_past_the_clock_is_refused_whether_it_shows_a_model_or_not(attempt, monkeypatch):
    slow = "    import time\n    end = time.process_time() + 1.2\n    while time.process_time() < end: pass\n"
    assert "it ran past 1 CPU-seconds at a loss of inf" in refusal(attempt, slow + ENDING, clock=1)
    asleep = "    import time\n    time.sleep(600)\n"
    monkeypatch.setattr(speedrun, "PATIENCE", 0.1)
    assert "it ran past 1 CPU-seconds" in refusal(attempt, asleep, clock=1)


def result(seconds=1.0, parameters=800_000):
    return {"cpu_seconds": seconds, "loss": 1.59, "parameters": parameters}


def test_leaderboard_ranks_by_the_median_in_two_tracks_and_says_why_others_are_refused():
    found = {
        "steady": [result(50.0), result(51.0), result(52.0)],
        "lucky": [result(20.0), result(60.0), result(61.0)],
        "large": [result(10.0, parameters=9_000_000)],
        "late": [result(9.0), {"refused": "it ran past the clock"}],
    }
    lines = [{"name": name, "about": f"Is {name}."} | line for name, those in found.items() for line in those]
    board = speedrun.leaderboard(lines).splitlines()
    assert [line.split()[1] for line in board if line.startswith("  ")] == [
        *("steady", "lucky"),
        *("large", "steady", "lucky"),
        "late",
    ]
    assert [line for line in board if not line.startswith("  ")][1:] == ["anything goes", "refused"]
    assert board[1].endswith("51.0 ± 0.7 CPU-seconds, 800,000 parameters. Is steady.")
    assert board[-1].endswith("late         refused: it ran past the clock")


@pytest.fixture
def small_race(plays, monkeypatch, tmp_path):
    monkeypatch.setattr(speedrun, "read_dataset", lambda data: plays)
    monkeypatch.setattr(speedrun, "attempt", lambda entry, seed, dataset: result(seed + 0.5))
    monkeypatch.setattr(paths, "MINE", tmp_path)
    return tmp_path


def test_race_runs_each_entry_with_each_seed_and_keeps_a_record(small_race, capsys):
    assert main(["speedrun", "baseline", "fast", "--seeds", "3", "5"]) == 0
    printed = capsys.readouterr().out
    record = read_record(small_race / "speedrun-1" / "record.jsonl")
    assert [(at["name"], at["seed"], at["cpu_seconds"]) for at in record.measurements] == [
        (name, seed, seed + 0.5) for seed in (3, 5) for name in ("baseline", "fast")
    ]
    assert {at["about"] for at in record.measurements} == {
        entry.read_text(encoding="utf-8").split('"')[3]
        for entry in map(speedrun.ENTRIES.get, ("baseline", "fast"))
    }
    assert speedrun.leaderboard(record.measurements) in printed
    assert (
        record.has_ended and record.header["command"] == "python -m tinylm speedrun baseline fast --seeds 3 5"
    )
    assert re.search(r"  [12]  baseline +4\.5 ± 1\.3 CPU-seconds, ", printed)


def test_refused_entry_runs_no_more_seeds(small_race, monkeypatch):
    def refuse(*_):
        raise RunError("it opens a file")

    monkeypatch.setattr(speedrun, "attempt", refuse)
    board = speedrun.race([], (1, 2, 3))
    assert len(read_record(small_race / "speedrun-1" / "record.jsonl").measurements) == 2
    assert board.count("refused: it opens a file") == len(speedrun.ENTRIES) == 2


def test_unknown_entry_is_refused_with_the_nearest_name_and_two_of_one_name(small_race):
    with pytest.raises(RunError, match=r"there is no entry 'fsat': did you mean fast\?"):
        speedrun.race(["fsat"], (1,))
    with pytest.raises(RunError, match="3 entries have 2 names: give each file a name of its own"):
        speedrun.race(["fast", "baseline", "fast"], (1,))
    assert not list(small_race.iterdir())


@pytest.mark.parametrize("name", speedrun.ENTRIES)
def test_own_entry_shows_a_model_of_the_equal_track_with_its_seed(name, plays, monkeypatch):
    space, shown = {}, []
    shorter = lambda recipe, **settings: changed(recipe, **settings | {"steps": 2, "warmup_steps": 1})  # noqa: E731
    changed = speedrun.changed
    monkeypatch.setattr(speedrun, "changed", shorter)
    exec(speedrun.ENTRIES[name].read_text(encoding="utf-8"), space)
    for seed in (1, 2, 1):
        space["train"](plays.train[:20_000], seed, lambda model, T: shown.append((model, T)))
    weights = [[p.detach() for p in model.parameters()] for model, T in shown]
    same = [all(a.equal(b) for a, b in zip(weights[0], other, strict=True)) for other in weights[-2:]]
    assert same == [False, True]
