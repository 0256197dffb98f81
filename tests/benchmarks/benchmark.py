"""What the benchmarks share: options, a record in data/mine, times taken in turns, and new processes.

A machine is never quiet. So the runs that are compared take turns, and we report the median of the ratios
within a turn, whose two sides met the same load. No benchmark fails on time.
"""

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder

ROOT = Path(__file__).resolve().parents[2]
UNKEPT = tempfile.TemporaryDirectory()  # scratch files, and figures that nobody asked to keep
sys.path.append(str(ROOT))  # for tests.support, wherever a script is started


def options(about: str, *, record: str | None = None, **known: tuple[Any, str]) -> argparse.Namespace:
    """Parse the command line. `known` gives each option's default, which also sets its type, and its help.

    `record` is the name of the record when none is typed; with None the figures are only printed."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    for name, (default, what) in known.items():
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            parser.add_argument(flag, action="store_true", help=what)
        elif isinstance(default, list):
            parser.add_argument(flag, default=default, help=what, nargs="+", type=type(default[0]))
        else:
            parser.add_argument(flag, default=default, help=what, type=type(default))
    what = "keep the figures in data/mine/NAME, for `make promote RUN=NAME`"
    parser.add_argument("--record", "--name", metavar="NAME", default=record, help=what)
    return parser.parse_args()


def command() -> str:
    """Return the command that repeats this run."""
    return shlex.join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def open_record(chosen: argparse.Namespace, *, what: str = "benchmark", **header: Any) -> RunRecord:
    """Begin the record of this run. Its header has the options, and `header` adds to them."""
    name = Path(sys.argv[0]).stem
    where = new_folder(chosen.record) if chosen.record else Path(UNKEPT.name, name)
    known = {key: value for key, value in vars(chosen).items() if key != "record"}
    known |= {"device": "cpu", "dtype": "float32", "threads": torch.get_num_threads()}
    load = round(os.getloadavg()[0], 2)  # before this run itself is what keeps the machine busy
    header = record_header(what, **{"name": name, "command": command(), "load": load} | known | header)
    return RunRecord(where / "record.jsonl", header)


def in_turns(
    runs: dict[str, Callable[[], Any]],
    rounds: int,
    *,
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run all of them in turns and return the seconds of each, turn by turn, after some turns to warm up.

    A run that returns a float has measured itself. Otherwise the clock's seconds are counted: give
    time.process_time for the CPU-seconds of all threads of this process."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-warm_up, rounds):
        for name, run in runs.items():
            began = clock()
            measured = run()
            taken = measured if isinstance(measured, float) else clock() - began
            if turn >= 0:
                times[name].append(taken)
    return times


def median_ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    """Return the median over the turns of the seconds of `a` over those of `b`."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def report(record: RunRecord, times: dict[str, list[float]], ratios: list[tuple[str, str]]) -> None:
    """Print and write the median of each, and the ratios of these pairs; then end the record."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, values in times.items():
        print(f"{name:36} {statistics.median(values) * 1e3:8.2f} ms (quickest {min(values) * 1e3:.2f})")
        record.write("measurement", name=name, median_seconds=statistics.median(values), seconds=values)
    for a, b in ratios:
        ratio = median_ratio(times, a, b)
        print(f"{a} / {b}: {ratio:.3f}")
        record.write("measurement", name=f"{a} / {b}", ratio=ratio)
    record.write("end")


@contextmanager
def new_process(**environment: str) -> Iterator[Executor]:
    """Open an executor with one process of its own, which starts with these environment variables.

    The process imports the script again, so what it is asked to call must be at the script's top level."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with mock.patch.dict(os.environ, environment):
            process.submit(int).result()  # the process starts at the first call
        yield process


def peak_memory() -> float:
    """Return the most memory that this process has had at once, in MiB; 0 where the system is not Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
