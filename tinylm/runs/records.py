"""Records: what is measured is written down line by line, so that every number in prose can be looked up.

A record has one header, then a line for each logged step, evaluation or measurement, then one end. It is
written once: an existing file is refused. A last line that a crash cut off is left out when the record is
read. It never holds a host name, a user or a path.
Taught in notebook 04_training."""

import hashlib
import json
import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from tinylm import device
from tinylm.errors import RunError
from tinylm.runs.paths import IN_REPOSITORY, REPOSITORY
from tinylm.training.state import TrainingState

KINDS = ("header", "step", "evaluation", "measurement", "resumed", "end")


def record_header(what: str, *, command: str, **more: Any) -> dict[str, Any]:
    """Return the first line of a record: what it is of, the command, the machine and the versions.

    `what` is "training" for a run of a recipe and another word for anything else, such as "benchmark".
    `command` is what to type to repeat it, `more` what else a reader needs."""
    return {
        "what": what,
        "command": command,
        "commit": commit(),
        "machine": device.hardware(),
        "versions": versions("tinylm", "torch", "numpy"),
        "started": datetime.now(UTC).date().isoformat(),
        **more,
    }


class RunRecord:
    """A record that is being written: `on_event` is a callback, and each line reaches the file at once.

    Raises FileExistsError if there is one already: a record is never overwritten."""

    def __init__(self, path: str | Path, header: dict[str, Any]) -> None:
        self.path = Path(path)
        self._rewind: tuple[int, int] | None = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(exist_ok=False)
        self.write("header", **header)

    @classmethod
    def resumed(cls, path: str | Path, sha256: str, step: int) -> Self:
        """Continue a record from a checkpoint of that step, which was saved when the record had that sha256.

        Later lines will be written again, so they are cut off, but not before the first of them: until then a
        resume may be refused, and a refusal changes nothing. Raises RunError unless every line up to the
        checkpoint is there as it was."""
        record, known = cls.__new__(cls), hashlib.sha256()
        record.path, size = Path(path), 0
        for line in record.path.read_bytes().splitlines(keepends=True):
            known.update(line)
            size += len(line)
            if known.hexdigest() == sha256:
                record._rewind = size, step
                return record
        changed = f"{record.path.name} is not as it was at step {step}, where the checkpoint is"
        raise RunError(f"{changed}: restore the file")

    def sha256(self) -> str:
        """Return the sha256 of all that has been written so far, without what the next line will cut off."""
        size = None if self._rewind is None else self._rewind[0]
        return hashlib.sha256(self.path.read_bytes()[:size]).hexdigest()

    def on_event(self, state: TrainingState) -> None:
        """Write down what has just happened: a logged step or an evaluation. The loop calls this."""
        progress, evaluation = state.progress, state.evaluation
        if evaluation is not None:
            numbers = asdict(evaluation) if is_dataclass(evaluation) else {"loss": evaluation}
            numbers = {name: value for name, value in numbers.items() if value != {}}
            self.write("evaluation", step=progress.step, **numbers, seconds=progress.seconds)
        elif state.logged:
            numbers = {k: v for k, v in asdict(state.result).items() if v != {} and v is not False}
            self.write("step", **numbers, seconds=progress.seconds)

    def write(self, kind: str, **numbers: Any) -> None:
        """Write one line: a logged "step", an "evaluation" (its step counts the finished ones), a
        "measurement" of anything else (its name, and numbers with their unit in their name), or the "end"."""
        if self._rewind is not None:  # the first line since a resume: those that follow are written again
            (size, step), self._rewind = self._rewind, None
            os.truncate(self.path, size)
            self.write("resumed", step=step)
        line = json.dumps({"kind": kind, **numbers})
        line = json.loads(line, parse_constant=lambda _: None)  # JSON has null, but no nan and no infinity
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Record:
    """A record that was read. `end` is None if the record was cut off, or is still being written."""

    header: dict[str, Any]
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    end: dict[str, Any] | None = None
    measurements: list[dict[str, Any]] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What it is a record of: "training", also if the header does not say, or another word."""
        return str(self.header.get("what", "training"))

    @property
    def has_ended(self) -> bool:
        """Whether the run came to its end and was not interrupted."""
        return self.end is not None and not self.end.get("interrupted")


def read_record(path: str | Path) -> Record:
    """Read a record, except a last line that was cut off. Raises RunError for any other line that is odd."""
    path, found = Path(path), {kind: [] for kind in KINDS}
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            said = json.loads(line)
            found[last := said.pop("kind")].append(said)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            odd = f"line {number} of {len(lines)} in {path.name} is not a record's"
            raise RunError(f"{odd}: restore the file") from error
    if (n := len(found["header"])) != 1:
        raise RunError(f"{path.name} has {n} headers instead of 1: restore the file")
    header, end = found["header"][0], said if last == "end" else None
    known = [line.get("step", 0) for line in found["step"] + found["evaluation"]]
    if not isinstance(header.get("train", {}), dict) or not all(isinstance(step, int) for step in known):
        raise RunError(f"{path.name} has odd settings or steps that are no integers: restore the file")
    return Record(header, found["step"], found["evaluation"], end, found["measurement"])


def commit() -> str:
    """Return the commit of this code, marked if files have changed since; "unknown" outside a repository."""
    asked = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty= with changes"]
    with suppress(OSError, subprocess.SubprocessError):
        if IN_REPOSITORY:  # a package installed inside another repository is not of its commit
            found = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, check=True, timeout=10)
            return found.stdout.decode().strip()
    return "unknown"


def versions(*packages: str) -> dict[str, str]:
    """Return the version of Python, and of each of these packages that is installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
