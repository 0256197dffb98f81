"""Records: what is measured is written down, line by line, so that every number in prose can be looked up.

One header, then a line for each step, evaluation or measurement, then one end. A record is written once: an
existing file is refused, a cut-off last line is survived. It never holds a host name, a user or a path.
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import subprocess
from collections.abc import Collection
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tinylm import device
from tinylm.errors import RunError
from tinylm.runs.paths import IN_REPOSITORY, REPOSITORY
from tinylm.training.progress import TrainingState

KINDS = ("header", "step", "evaluation", "measurement", "resumed", "end")


def record_header(what: str, *, command: str, **more: Any) -> dict[str, Any]:
    """The first line of any record: what it is of, what to type for it, and on which machine and versions.

    `what` is "training" for a run of a recipe and another word for all else: "benchmark", "experiment",
    "robustness". `command` is what to type to have it again, and `more` whatever else a reader needs. A
    training says what the table of results needs: run.py has the list."""
    packages = {name: version(name) or "unknown" for name in ("tinylm", "torch", "numpy")}
    return {
        "what": what,
        "command": command,
        "commit": commit(),
        "machine": device.hardware(),
        "versions": {"python": platform.python_version(), **packages},
        "started": datetime.now(UTC).date().isoformat(),
        **more,
    }


class RunRecord:
    """A record being written. It is a callback too: `with RunRecord(path, header) as record:
    train(..., callbacks=[record])` writes each logged step and each evaluation.

    Every line reaches the file at once; with None as its path it goes nowhere, for a benchmark that need not
    be kept. Raises RunError when the file exists."""

    _has_ended = False

    def __init__(self, path: str | Path | None, header: dict[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._path.touch(exist_ok=False)
            except FileExistsError:
                raise RunError(
                    f"{self._path.name} exists already and a record is written only once: "
                    f"choose another name or move it away"
                ) from None
        self.write("header", **header)

    @classmethod
    def resumed(cls, path: str | Path, *, step: int, evaluated: Collection[int]) -> RunRecord:
        """Go on with a record from a checkpoint that was saved after `step` steps.

        What the checkpoint does not know is cut off, because it will be done again: each step and each
        evaluation stands in the record once. `evaluated` are the evaluations that it knows of, by finished
        steps: the one that is due at `step` itself may be in the record and not in the checkpoint. Lines are
        in the order of time, so that one truncation does it, and a kill leaves the longer or the shorter
        file."""
        size = 0
        for length, kind, said in _lines(Path(path)):
            is_known = kind in ("header", "resumed")
            if kind == "step":
                is_known = said["step"] < step  # the first one is number 0
            elif kind == "evaluation":
                is_known = said["step"] in evaluated
            if not is_known:
                break
            size += length
        os.truncate(path, size)
        record = cls.__new__(cls)
        record._path = Path(path)
        record.write("resumed", step=step)
        return record

    def __call__(self, state: TrainingState) -> None:
        """The callback: write down what has just happened, a logged step or an evaluation."""
        progress, evaluation = state.progress, state.evaluation
        if evaluation is not None:
            is_plain = not dataclasses.is_dataclass(evaluation)
            numbers = {"loss": evaluation} if is_plain else dataclasses.asdict(evaluation)
            self.write("evaluation", step=progress.step, **numbers, seconds=progress.seconds)
        elif state.logged:
            numbers = dataclasses.asdict(state.result)
            metrics = {"metrics": found} if (found := numbers.pop("metrics")) else {}
            self.write("step", **numbers, **metrics, seconds=progress.seconds)

    def write(self, kind: str, **numbers: Any) -> None:
        """One line: a logged "step", an "evaluation" (step= are the finished ones), or a "measurement" of
        anything else: its name, and numbers that carry their unit in their name.

        An evaluation survives a power cut: the checkpoint that follows must not know of one that the record
        has lost."""
        line = json.dumps(_finite({"kind": kind, **numbers}), allow_nan=False, ensure_ascii=False)
        if self._path is None:
            return
        with self._path.open("r+", encoding="utf-8", newline="\n") as file:  # one that is gone stays away
            file.seek(0, os.SEEK_END)
            file.write(line + "\n")
            if kind == "evaluation":
                file.flush()
                os.fsync(file.fileno())

    def close(self, **numbers: Any) -> None:
        """Write the end line (once). A run says seconds=, tokens= read, interrupted=."""
        if not self._has_ended:
            self.write("end", **numbers)
            self._has_ended = True

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:  # a run that broke has no end line
            self.close()


@dataclasses.dataclass(frozen=True)
class Record:
    """A record read back. `end` is None when it was cut off, `complete` False when its last line was."""

    header: dict[str, Any]
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    end: dict[str, Any] | None = None
    complete: bool = True
    measurements: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def what(self) -> str:
        """What it is a record of: "training" (also where the header does not say) or another word."""
        return str(self.header.get("what", "training"))

    @property
    def has_ended(self) -> bool:
        """Whether the run came to its end, and was not interrupted."""
        return self.end is not None and not self.end.get("interrupted")


def read_record(path: str | Path) -> Record:
    """Read a record. A last line that is cut off is left out; anything else that is odd is refused.

    Raises RunError, naming the line."""
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no record {path.name}: a run writes one as record.jsonl in its folder")
    lines = [(kind, said) for _, kind, said in _lines(path)]
    header, step, evaluation, measurement, _, end = ([x for k, x in lines if k == kind] for kind in KINDS)
    if len(header) != 1:
        raise RunError(f"{path.name} has {len(header)} headers instead of 1: restore the file")
    last = lines[-1][0]
    return Record(header[0], step, evaluation, end[-1] if last == "end" else None, last != "cut", measurement)


def _lines(path: Path) -> list[tuple[int, str, dict[str, Any]]]:
    """Each line's length in bytes, its kind and what it says. "cut" is the kind of a last one cut off."""
    found: list[tuple[int, str, dict[str, Any]]] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            said = json.loads(line)
            kind = said.pop("kind")
            if kind not in KINDS or not line.endswith(b"\n"):
                raise ValueError(kind)
        except (AttributeError, KeyError, TypeError, ValueError):
            if number < len(lines):
                raise RunError(
                    f"line {number} of {len(lines)} in {path.name} is not a record's: restore the file"
                ) from None
            kind, said = "cut", {}
        found.append((len(line), kind, said))
    return found


def commit() -> str:
    """The commit this code is from, marked when files have changed since; "unknown" outside a repository."""
    words = ["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty= with changes"]
    asked = ["git", "-C", str(REPOSITORY), *words]
    try:  # installed inside another repository, it is not that one's
        done = IN_REPOSITORY and subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() if done else "unknown"


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity: null stands for both, however deep they lie."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
