"""Promotion: the record of a finished run is checked and kept in data/runs/, and README's table follows.

data/runs/ is written here and nowhere else; train writes to data/mine/ only. Refuses to change a record, to
replace one, and to keep one that says whose machine it was.
Taught in notebook 04_training."""

import getpass
import os
import re
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinylm.training.results import steps_done, with_table

from tinylm.errors import RunError, TinyLMError
from tinylm.runs import paths
from tinylm.runs.names import validate_name
from tinylm.runs.recipes import recipe
from tinylm.runs.records import Record, read_record

RUNS = paths.DATA / "runs"
README = paths.DATA.parent / "README.md"
NEEDED = ("command", "commit", "machine", "versions", "started")
OF_TRAINING = ("recipe", "device", "dtype", "seed", "tokens", "parameters", "data", "model", "train")
EVERYBODYS = {"localhost", "root", "user", "runner", "jovyan", "ubuntu", "admin", "tinylm"}
# /a/b but not nats/token nor https://a/b, C:\a, ~/a and ~ada/a, \\server\a
PATH = re.compile(r"(?<![\w.~/:-])/[\w.-]+/[\w.-]|\b[A-Za-z]:[\\/]|(?<!\w)~[\w-]*[\\/]|\\\\\w+\\")


class PromotionRefused(TinyLMError):
    """Not a record for the course: unfinished, of another text than it says, with a trace of a machine."""


def promote(run: str, *, name: str | None = None) -> tuple[Path, Record]:
    """Copy a run's record, byte for byte, to data/runs/NAME.jsonl, and write README's table again.

    `run` is a name in data/mine/ or a run's folder; NAME is that folder's where none is given. Returns the
    new file and what it says. Raises PromotionRefused, RunError or ConfigError, having written nothing."""
    source = _record_of(run)
    name = validate_name(source.resolve().parent.name if name is None else name, "a record")
    target = RUNS / f"{name}.jsonl"
    if target.exists():
        raise PromotionRefused(f"data/runs/{target.name} exists already: choose another --name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cut-off last line is refused below, in our own words
        record = read_record(source)
    _check(record, source.resolve().parent.name)
    readme = with_table(_readme(), _in_order(_kept() | {target.name: record}))
    RUNS.mkdir(parents=True, exist_ok=True)
    _write(target, source.read_bytes())
    try:
        _write(README, readme.encode())
    except BaseException:
        target.unlink()
        raise
    return target, record


def refresh() -> None:
    """Write README's table again, from the records in data/runs/."""
    _write(README, with_table(_readme(), _in_order(_kept())).encode())


def _record_of(run: str) -> Path:
    for folder in (Path(run), paths.MINE / run):
        if (folder / "record.jsonl").is_file():
            return folder / "record.jsonl"
    known = ", ".join(sorted(path.parent.name for path in paths.MINE.glob("*/record.jsonl")))
    raise RunError(f"there is no run {run} with a record in it (there is {known or 'none yet'})")


def _kept() -> dict[str, Record]:
    return {path.name: read_record(path) for path in RUNS.glob("*.jsonl")}


def _in_order(records: dict[str, Record]) -> list[Record]:
    return [record for _, record in sorted(records.items())]


def _readme() -> str:
    return README.read_text(encoding="utf-8")


def _check(record: Record, run: str) -> None:
    """Everything that a record must have before prose may quote it."""
    training = record.what == "training"
    if lacking := [n for n in (*NEEDED, *(OF_TRAINING if training else ())) if n not in record.header]:
        raise PromotionRefused(f"the record of {run} lacks {', '.join(lacking)} in its header: make it again")
    if record.end is None or not record.complete:
        raise PromotionRefused(f"the record of {run} has no end: let the run finish, or train it again")
    if traces := sorted({*_traces([record.header, record.steps, record.evaluations, record.measurements])}):
        raise PromotionRefused(f"the record of {run} says {traces[0]}: make it again without that")
    if training:
        _check_training(record, run)


def _check_training(record: Record, run: str) -> None:
    header, steps = record.header, steps_done(record)
    planned = header["train"].get("steps", steps)
    if record.end.get("interrupted"):
        raise PromotionRefused(
            f"the run {run} was ended by hand after {steps} of {planned} steps: let it finish, or train "
            f"it again with --train.steps {max(steps, 1)}"
        )
    last = record.evaluations[-1] if record.evaluations else {}
    if last.get("step") != steps or last.get("loss") is None:
        raise PromotionRefused(
            f"the run {run} has {steps} steps and its last evaluation is after {last.get('step', 0)}: "
            f"train it again, so that the loss is that of its last weights"
        )
    named = re.search(r"--data\.corpus[ =](\S+)", header["command"])
    asked = named[1] if named else recipe(header["recipe"]).data.corpus
    if header["data"] != asked:
        raise PromotionRefused(
            f"the run {run} read {header['data']} in place of {asked}: train it without --fallback, "
            f"or name the text with --data.corpus {header['data']}"
        )


def _traces(said: Any) -> Iterator[str]:
    """What in a record tells whose machine it was: a path, the host's name, the user's."""
    if isinstance(said, dict):
        said = list(said.values())
    if isinstance(said, list):
        for inner in said:
            yield from _traces(inner)
    elif isinstance(said, str):
        if PATH.search(said):
            yield f"a path ({said})"
        for kind, name in _own_names():
            if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said, re.IGNORECASE):
                yield f"the {kind}'s name ({said})"


def _own_names() -> Iterator[tuple[str, str]]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have none
        user = ""
    for kind, name in (("host", socket.gethostname()), ("user", user)):
        if len(name) > 2 and name not in EVERYBODYS:
            yield kind, name


def _write(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader finds the old file or the new one, never half of one."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
