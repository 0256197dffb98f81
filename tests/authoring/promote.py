"""Copy the record of a finished run to data/runs/ and write the tables of data/RESULTS.md again.

    make promote RUN=shakespeare_char-1 NAME=shakespeare_char   data/runs/NAME.jsonl (the run's name)
    make promote                                                only the tables

Only this program writes to data/runs/; `train` writes to data/mine/. A committed record is never changed or
replaced. A record that contains a path, a user name or a host name is refused."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.authoring.results import data_read, steps_done, with_tables
from tests.authoring.traces import PATH, own_names
from tinylm.errors import RunError, TinyLMError
from tinylm.runs import paths
from tinylm.runs.paths import validate_name
from tinylm.runs.records import Record, read_record

RUNS = paths.DATA / "runs"
RESULTS = paths.DATA / "RESULTS.md"
NEEDED = ("command", "commit", "machine", "versions", "started")
OF_TRAINING = ("recipe", "device", "dtype", "seed", "tokens", "parameters", "data", "model", "train")


def promote(run: str, *, name: str | None = None) -> Path:
    """Copy a run's record, byte for byte, to data/runs/NAME.jsonl, and write the tables again.

    `run` is a name in data/mine/ or a run's folder. Returns the new file. Raises TinyLMError and writes
    nothing if the record is not finished, if the run read another text than was asked for, or if the record
    contains a path, the user's name or the host's name."""
    source = next((p for p in (Path(run), paths.MINE / run) if (p / "record.jsonl").is_file()), None)
    if source is None:
        known = ", ".join(sorted(path.parent.name for path in paths.MINE.glob("*/record.jsonl")))
        raise RunError(f"data/mine/ has no run {run} with a record (it has {known or 'none'})")
    name = validate_name(source.resolve().name if name is None else name, "a record")
    target = RUNS / f"{name}.jsonl"
    if target.exists():
        raise RunError(f"data/runs/{target.name} exists already: choose another NAME")
    record = read_record(source / "record.jsonl")
    _check(record, source.resolve().name)
    page = _results({target.name: record})
    RUNS.mkdir(parents=True, exist_ok=True)
    target.write_bytes((source / "record.jsonl").read_bytes())
    RESULTS.write_bytes(page)
    return target


def _results(new: dict[str, Record]) -> bytes:
    """Return data/RESULTS.md with its tables made from the committed records and the new ones."""
    records = {path.name: read_record(path) for path in RUNS.glob("*.jsonl")} | new
    return with_tables(
        RESULTS.read_text(encoding="utf-8"), [records[name] for name in sorted(records)]
    ).encode()


def _check(record: Record, run: str) -> None:
    """Raise RunError if the record lacks anything that prose needs to quote it."""
    training = record.what == "training"
    if lacking := [n for n in (*NEEDED, *(OF_TRAINING if training else ())) if n not in record.header]:
        raise RunError(f"the record of {run} has no {', '.join(lacking)} in its header: make it again")
    if record.end is None:
        raise RunError(f"the record of {run} has no end: let the run finish, or train it again")
    said = [record.header, record.steps, record.evaluations, record.measurements]
    if traces := sorted({*_traces(said)}):
        raise RunError(f"the record of {run} contains {traces[0]}: make it again without that")
    if not training:
        return
    header, steps = record.header, steps_done(record)
    if record.end.get("interrupted"):
        planned = header["train"].get("steps", steps)
        raise RunError(f"the run {run} was stopped by hand after {steps} of {planned} steps: let it finish")
    last = record.evaluations[-1] if record.evaluations else {}
    if last.get("step") != steps or last.get("loss") is None:
        raise RunError(
            f"the run {run} has {steps} steps and its last evaluation is after step {last.get('step', 0)}: "
            f"train it again, and evaluate its last weights"
        )
    if header["data"] != (asked := data_read(header)["corpus"]):
        raise RunError(
            f"the run {run} read {header['data']} instead of {asked}: train it without --fallback, "
            f"or name the text with --data.corpus {header['data']}"
        )


def _traces(said: Any) -> Iterator[str]:
    """Yield each path, host name and user name in a record."""
    if isinstance(said, dict | list):
        for inner in said.values() if isinstance(said, dict) else said:
            yield from _traces(inner)
    elif isinstance(said, str):
        if PATH.search(said):
            yield f"a path ({said})"
        yield from (f"the {of}'s name ({said})" for of, name in own_names().items() if name.search(said))


def main() -> int:
    """Promote the run named on the command line, or only write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.authoring.promote", description=__doc__.split("\n")[0]
    )
    parser.add_argument("run", nargs="?", help="a run in data/mine/, or its folder; none: only the tables")
    parser.add_argument("--name", help="of the record in data/runs/ (default: the run's)")
    options = parser.parse_args()
    try:
        if options.run:
            print(f"data/runs/{promote(options.run, name=options.name).name} and data/RESULTS.md are written")
        else:
            RESULTS.write_bytes(_results({}))
    except TinyLMError as error:
        print(f"promote: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
