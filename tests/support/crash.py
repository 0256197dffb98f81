"""Kills: a training is a real process that is given SIGKILL at seeded moments, resumed, and compared with one
that was left in peace. Three kills are a test (test_kills), twenty an experiment (benchmarks/twenty_kills).
"""

import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.command_line import TRAIN, process
from tests.support.tiny_run import the_end
from tinylm.storage.checkpoint import load_newest

RESUME = ["resume", "killed"]
PATIENCE = 600  # seconds for one process: on a machine with other work, starting takes a while


def typed(steps: int, optimizer: str) -> list[str]:
    """A small training with dropout, that evaluates and saves every few milliseconds."""
    often = ["--train.tokens-per-step", "186", "--train.eval-every", "7", "--train.log-every", "1"]
    words = [*TRAIN, "--run", "killed", "--model.dropout", "0.1", *often]
    return [*words, "--train.optimizer", optimizer, "--train.steps", str(steps)]


def start(folder: Path, words: list[str]) -> subprocess.Popen:
    """`python -m tinylm` with these words, in a process of its own whose runs are kept in `folder`."""
    folder.mkdir(exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        return process(folder, words, output)


def finish(folder: Path, words: list[str]) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The same, to its end; returns what the run leaves: its last checkpoint's tensors and its record."""
    if code := start(folder, words).wait(PATIENCE):
        raise RuntimeError(f"exit code {code}: {(folder / 'output.txt').read_text()[-2000:]}")
    return the_end(folder / "killed")


def killed(folder: Path, words: list[str], *, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """Train with so many kills on the way; yields what was found after each. Then "resume" can finish it.

    The moments are drawn beforehand: a number of steps, in the first three quarters, that the record must
    have reached, and up to 300 milliseconds more, in which there are steps, an evaluation and a save. Every
    second kill falls into a save: up to 30 milliseconds after its draft has appeared."""
    draw, steps = random.Random(seed), int(words[-1])
    home, record = folder / "killed" / "checkpoints", folder / "killed" / "record.jsonl"
    moments = sorted(draw.randrange(1, 3 * steps // 4) for _ in range(kills))
    for number, moment in enumerate(moments, start=1):
        started = time.time()
        running = start(folder, words if number == 1 else RESUME)
        until(lambda moment=moment: last_step(record) >= moment, runs(running))
        reached, in_a_save = last_step(record), number % 2 == 0
        if in_a_save:
            until(lambda started=started: _draft_since(home, started), runs(running))
        time.sleep(draw.uniform(0, 0.03 if in_a_save else 0.3))
        running.kill()
        running.wait(PATIENCE)
        saved, passed_over = load_newest(home)
        yield {
            "number": number,
            "after_step": reached,
            "in_a_save": in_a_save,
            "resumes_from_step": saved.progress.step,
            "damaged": len(passed_over),
            "exit_code": running.returncode,
        }


def runs(process: subprocess.Popen) -> Callable[[], bool]:
    """Whether it still runs, to be asked again and again."""
    return lambda: process.poll() is None


def until(happened: Callable[[], bool], is_running: Callable[[], bool]) -> None:
    """Wait until something has happened, or what it is waited for has ended."""
    end = time.monotonic() + PATIENCE
    while not happened() and is_running():
        if time.monotonic() > end:
            raise RuntimeError(f"nothing happened in {PATIENCE} seconds")
        time.sleep(0.0005)


def _draft_since(home: Path, started: float) -> bool:
    """Whether a checkpoint is being written by a process that was started then."""
    try:
        return any(draft.stat().st_mtime > started for draft in home.glob(".step_*.partial"))
    except FileNotFoundError:  # it has just got its name
        return False


def last_step(record: Path) -> int:
    """The last step that a run has recorded; -1 before the first."""
    said = record.read_bytes() if record.exists() else b""
    return max(map(int, re.findall(rb'^{"kind": "step", "step": (\d+),', said, re.MULTILINE)), default=-1)
