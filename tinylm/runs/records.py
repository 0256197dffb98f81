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
import warnings
from collections.abc import Collection
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tinylm import device
from tinylm.errors import RunError
from tinylm.training.progress import TrainingState

KINDS = ("header", "step", "evaluation", "measurement", "resumed", "end")


def record_header(what: str, *, command: str, **more: Any) -> dict[str, Any]:
    """The first line of any record: what it is of, what to type for it, and on which machine and versions.

    `what` is "training" for a run of a recipe and another word for all else: "benchmark", "experiment",
    "robustness". `command` is what to type to have it again, and `more` whatever else a reader needs: name=,
    device=, dtype=, threads=. A training says recipe=, device=, dtype=, seed= and tokens= (how many the run
    will read), and for the table of results parameters=, data= (the corpus that was really read), reading=
    (the settings of the data), model= and train=."""
    return {
        "what": what,
        "command": command,
        "commit": commit(),
        "machine": device.hardware(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) or "unknown" for name in ("tinylm", "torch", "numpy")},
        },
        "started": datetime.now(UTC).date().isoformat(),
        **more,
    }


class RunRecord:
    """A record being written. It is a callback too: `with RunRecord(path, header) as record:
    train(..., callbacks=[record])` writes each logged step and each evaluation.

    Every line reaches the file at once; with None as its path it goes nowhere, for a benchmark that need not
    be kept. Raises RunError when the file exists."""

    def __init__(self, path: str | Path | None, header: dict[str, Any]) -> None:
        path = Path(os.devnull if path is None else path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = path.open("w" if path == Path(os.devnull) else "x", encoding="utf-8", newline="\n")
        except FileExistsError:
            raise RunError(
                f"{path.name} exists already and a record is written only once: "
                f"choose another name or move it away"
            ) from None
        self._begin("header", header)

    @classmethod
    def resumed(cls, path: str | Path, *, step: int, evaluated: Collection[int]) -> RunRecord:
        """Go on with a record from a checkpoint that was saved after `step` steps.

        What the checkpoint does not know is cut off, because it will be done again: each step and each
        evaluation stands in the record once. `evaluated` are the evaluations that it knows of, by finished
        steps: the one that is due at `step` itself may be in the record and not in the checkpoint. Lines are
        in the order of time, so that one truncation does it, and a kill leaves the longer or the shorter
        file."""
        record = cls.__new__(cls)
        record._file = open(path, "r+", encoding="utf-8", newline="\n")  # noqa: SIM115
        size = 0
        for line in Path(path).read_bytes().splitlines(keepends=True):
            if not _is_known(line, step, evaluated):
                break
            size += len(line)
        record._file.truncate(size)
        record._file.seek(size)
        record._begin("resumed", {"step": step})
        return record

    def __call__(self, state: TrainingState) -> None:
        """The callback: write down what has just happened, a logged step or an evaluation.

        An evaluation survives a power cut: the checkpoint that follows must not know of one that the record
        has lost."""
        progress, evaluation = state.progress, state.evaluation
        if evaluation is not None:
            numbers = (
                dataclasses.asdict(evaluation)
                if dataclasses.is_dataclass(evaluation)
                else {"loss": evaluation}
            )
            self.evaluation(step=progress.step, **numbers, seconds=progress.seconds)
        elif state.logged:
            numbers = dataclasses.asdict(state.result)
            self.step(**numbers.pop("metrics"), **numbers, seconds=progress.seconds)

    def step(self, **numbers: Any) -> None:
        """One logged optimiser step."""
        self._write("step", numbers)

    def evaluation(self, **numbers: Any) -> None:
        """One evaluation: step (finished ones), loss, standard_error, n_tokens, unit, ... It is synced."""
        self._write("evaluation", numbers)
        if self._file.name != os.devnull:
            os.fsync(self._file.fileno())

    def measurement(self, **numbers: Any) -> None:
        """Anything else that was measured: its name, and numbers that carry their unit in their name."""
        self._write("measurement", numbers)

    def close(self, **numbers: Any) -> None:
        """Write the end line (once) and close the file. A run says seconds=, tokens= read, interrupted=."""
        if not self._file.closed:
            self._write("end", numbers)
            self._file.close()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        self.abandon()

    def abandon(self) -> None:
        """Close the file without an end line, which a run that broke does not have."""
        self._file.close()

    def _begin(self, kind: str, numbers: dict[str, Any]) -> None:
        try:
            self._write(kind, numbers)
        except BaseException:  # a full disk: nobody has the record yet who could close it
            self._file.close()
            raise

    def _write(self, kind: str, numbers: dict[str, Any]) -> None:
        line = _finite({"kind": kind, **numbers})
        self._file.write(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()


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
    """Read a record. A last line that is cut off or odd is left out with a warning; anything else is refused.

    Raises RunError, naming the line."""
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no record {path.name}: a run writes one as record.jsonl in its folder")
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")  # a text in a line may hold other line ends
    by_kind: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    complete, ended = True, False
    for number, line in enumerate(lines, start=1):
        try:
            kind, content = _parse(line)
            by_kind[kind].append(content)
            ended = kind == "end"
        except ValueError:
            if number < len(lines) or number == 1:
                raise RunError(
                    f"line {number} of {len(lines)} in {path.name} is not a record's: restore the file"
                ) from None
            complete = False
            warnings.warn(
                f"the last line ({number}) of {path.name} is cut off: it was left out", stacklevel=2
            )
    if len(by_kind["header"]) != 1:
        raise RunError(f"{path.name} has {len(by_kind['header'])} headers instead of 1: restore the file")
    end = by_kind["end"][-1] if ended else None
    measured = by_kind["measurement"]
    return Record(by_kind["header"][0], by_kind["step"], by_kind["evaluation"], end, complete, measured)


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    """The kind of a line and what it says. Raises ValueError for what no record holds."""
    try:
        content = json.loads(line)
        kind = content.pop("kind")
        if kind not in KINDS or (
            kind in ("step", "evaluation", "resumed") and type(content["step"]) is not int
        ):
            raise ValueError(f"{kind!r} is no kind of line, or its step no number")
    except (
        AttributeError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:  # a number, a list, too deep a nest
        raise ValueError(str(error)) from error
    return kind, content


def _is_known(line: bytes, step: int, evaluated: Collection[int]) -> bool:
    """Whether a checkpoint saved after `step` steps knows of what this line says."""
    try:
        kind, content = _parse(line) if line.endswith(b"\n") else ("", {})
    except ValueError:
        return False
    if kind == "step":
        return content["step"] < step  # the first one is number 0
    return content["step"] in evaluated if kind == "evaluation" else kind in ("header", "resumed")


def commit() -> str:
    """The commit this code is from, marked when files have changed since; "unknown" outside a repository."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        asked = ["git", "-C", str(here.parent), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # installed inside another repository it is not its
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


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
