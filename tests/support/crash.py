"""Kills: a training is a real process that is given SIGKILL at seeded moments, resumed, and compared with one
that was left in peace. Three kills are a test (test_kills), twenty an experiment (benchmarks/twenty_kills).
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.command_line import CHARACTERS, ROOT, environment
from tinylm.storage.checkpoint import folder_of, load_newest, saved_steps

PATIENCE = 600  # seconds for one process: on a machine with other work, starting takes a while
FILES = ("model.safetensors", "training.safetensors")


def typed(name: str, steps: int, optimizer: str) -> list[str]:
    """A small training with dropout, that evaluates and saves every few milliseconds."""
    sizes = {"n-layer": 1, "n-head": 2, "n-embd": 22, "context-length": 31, "dropout": 0.1}
    train = {"steps": steps, "micro-batch-size": 3, "tokens-per-step": 2 * 3 * 31, "eval-every": 7}
    train |= {"optimizer": optimizer, "log-every": 1}
    options = [("--model." + k, v) for k, v in sizes.items()] + [
        ("--train." + k, v) for k, v in train.items()
    ]
    words = ["train", "shakespeare_char", "--run", name, "--data.corpus", "toyworld-plays"]
    return words + [str(part) for option in options for part in option]


def start(folder: Path, words: list[str]) -> subprocess.Popen:
    """`python -m tinylm` with these words, in a process of its own whose runs are kept in `folder`."""
    code = "import sys; from pathlib import Path; from tinylm.runs import paths; "
    code += f"paths.MINE = Path({str(folder)!r}); "
    code += f"from tinylm.text import corpora; corpora.GENERATED_CHARACTERS = {CHARACTERS}; "
    code += f"from tinylm.__main__ import main; sys.exit(main({words!r}))"
    surroundings = {**os.environ, **environment(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=output, stderr=output, cwd=ROOT, env=surroundings
        )


def whole(folder: Path, name: str, words: list[str]) -> dict[str, str]:
    """Train without a kill; the file_digests of what it leaves."""
    folder.mkdir(exist_ok=True)
    if code := start(folder, words).wait(PATIENCE):
        raise RuntimeError(f"exit code {code}: {(folder / 'output.txt').read_text()[-2000:]}")
    return file_digests(folder / name)


def killed(folder: Path, name: str, words: list[str], *, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """Train with so many kills on the way; yields what was found after each, then lets the run end.

    The moments are drawn beforehand: a number of steps, in the first three quarters, that the record must
    have reached, and up to 300 milliseconds more, in which there are steps, an evaluation and a save. Every
    second kill falls into a save: up to 30 milliseconds after its draft has appeared."""
    draw = random.Random(seed)
    steps = int(words[words.index("--train.steps") + 1])
    moments = sorted(draw.randrange(1, 3 * steps // 4) for _ in range(kills))
    for number, moment in enumerate(moments, start=1):
        started = time.time()
        process = start(folder, words if number == 1 else ["resume", name])
        record = folder / name / "record.jsonl"
        _until(process, lambda record=record, moment=moment: _last_step(record) >= moment)
        reached = _last_step(record)
        home = folder / name / "checkpoints"
        in_a_save = number % 2 == 0
        if in_a_save:
            _until(process, lambda home=home, started=started: _draft_since(home, started))
        delay = draw.uniform(0, 0.03 if in_a_save else 0.3)
        time.sleep(delay)
        process.kill()
        process.wait(PATIENCE)
        saved, passed_over = load_newest(home)
        yield {
            "number": number,
            "after_step": reached,
            "in_a_save": in_a_save,
            "milliseconds_more": round(1000 * delay, 1),
            "resumes_from_step": saved.progress.step,
            "damaged": len(passed_over),
            "half_written": sorted(p.name for p in home.glob(".step_*")),
            "record_cut_in_a_line": not record.read_bytes().endswith(b"\n"),
            "exit_code": process.returncode,
        }
    if code := start(folder, ["resume", name]).wait(PATIENCE):
        raise RuntimeError(f"exit code {code}: {(folder / 'output.txt').read_text()[-2000:]}")


def file_digests(run: Path) -> dict[str, str]:
    """The sha256 of the last checkpoint's tensors, and of all that the record says but for the clock."""
    last = run / "checkpoints" / folder_of(saved_steps(run / "checkpoints")[-1])
    found = {name: hashlib.sha256((last / name).read_bytes()).hexdigest() for name in FILES}
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text().splitlines()]
    clocks = ("seconds", "tokens_per_second")
    lines = [
        {k: v for k, v in x.items() if k not in clocks} for x in lines if x["kind"] in ("step", "evaluation")
    ]
    lines.sort(key=lambda line: (line["kind"], line["step"]))
    return found | {"record.jsonl": hashlib.sha256(json.dumps(lines).encode()).hexdigest()}


def _until(process: subprocess.Popen, happened: Callable[[], bool]) -> None:
    """Wait until something has happened, or the process has ended."""
    until = time.monotonic() + PATIENCE
    while not happened() and process.poll() is None:
        if time.monotonic() > until:
            raise RuntimeError(f"nothing happened in {PATIENCE} seconds")
        time.sleep(0.0005)


def _draft_since(home: Path, started: float) -> bool:
    """Whether a checkpoint is being written by a process that was started then."""
    try:
        return any(draft.stat().st_mtime > started for draft in home.glob(".step_*.partial"))
    except FileNotFoundError:  # it has just got its name
        return False


def _last_step(record: Path) -> int:
    if not record.exists():
        return -1
    found = [
        line for line in record.read_bytes().split(b"\n") if line.startswith(b'{"kind": "step", "step": ')
    ]
    return int(found[-1].split(b'"step": ')[1].split(b",")[0]) if found else -1
