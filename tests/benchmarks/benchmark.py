"""What the benchmarks share: their options, a record in data/mine, and times that are taken in turns.

A machine is never quiet. So what is compared runs in turns, and of the ratios within a turn, whose two sides
saw the same neighbours, the median counts. No benchmark fails on time.
"""

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder

ROOT = Path(__file__).resolve().parents[2]
UNKEPT = tempfile.TemporaryDirectory()  # for the figures that nobody asked to keep, until the end
sys.path.append(str(ROOT))  # for tests.support, from wherever one is called


def options(about: str, *, record: str | None = None, **known: tuple[Any, str]) -> argparse.Namespace:
    """What was typed: for each name in `known` its default, whose type it has, and what it is.

    `record` is the name under which the figures are kept when none is given; for None they are not."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    for name, (default, what) in known.items():
        kind = {"nargs": "+"} if isinstance(default, list) else {}
        kind["type"] = type(default[0]) if isinstance(default, list) else type(default)
        kind = {"action": "store_true"} if default is False else kind
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=what, **kind)
    what = "keep the figures in data/mine/NAME, for `make promote RUN=NAME`"
    parser.add_argument("--record", "--name", metavar="NAME", default=record, help=what)
    return parser.parse_args()


def command() -> str:
    """What to type to have it again."""
    return shlex.join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def open_record(chosen: argparse.Namespace, *, what: str = "benchmark", **header: Any) -> RunRecord:
    """The record in which the figures are kept, with the options and whatever else its header should say."""
    name = Path(sys.argv[0]).stem
    where = new_folder(chosen.record) if chosen.record else Path(UNKEPT.name, name)
    known = {key: value for key, value in vars(chosen).items() if key != "record"}
    known |= {"device": "cpu", "dtype": "float32", "threads": torch.get_num_threads()}
    load = round(os.getloadavg()[0], 2)  # before this run itself is what keeps the machine busy
    header = record_header(what, **{"name": name, "command": command(), "load": load} | known | header)
    return RunRecord(where / "record.jsonl", header)


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int, *, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each, turn by turn, after some turns to warm up: what it has measured, else all it took."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-warm_up, rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            measured = run()
            taken = measured if isinstance(measured, float) else time.perf_counter() - began
            if turn >= 0:
                times[name].append(taken)
    return times


def report(record: RunRecord, times: dict[str, list[float]], ratios: list[tuple[str, str]]) -> None:
    """Prints and keeps the median of each, and the ratios of these pairs; that is the end of the record."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, values in times.items():
        print(f"{name:36} {statistics.median(values) * 1e3:8.2f} ms (quickest {min(values) * 1e3:.2f})")
        record.write("measurement", name=name, median_seconds=statistics.median(values), seconds=values)
    for a, b in ratios:
        ratio = statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
        print(f"{a} / {b}: {ratio:.3f}")
        record.write("measurement", name=f"{a} / {b}", ratio=ratio)
    record.write("end")
