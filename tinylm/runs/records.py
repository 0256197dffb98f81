"""Records: what is measured is written down, line by line, so that every number in prose can be looked up.

One header, then a line for each step, evaluation or measurement, then one end. A record is written once: an
existing file is refused, a cut-off last line is survived. Knows JSON lines and plain numbers. Refuses to know
models and tables (results), and never writes a host name, a user or a path.
Taught in notebook 04_training."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tinylm.errors import RunError

KINDS = ("header", "step", "evaluation", "measurement", "resumed", "end")


def record_header(what: str, *, command: str, **more: Any) -> dict[str, Any]:
    """The first line of any record: what it is of, what to type for it, and on which machine and versions.

    `what` is "training" for a run of a recipe (run_header) and another word for all else: "benchmark",
    "experiment", "robustness". `command` is what to type to have it again, and `more` whatever else a reader
    needs: name=, device=, dtype=, threads=."""
    from tinylm.device import hardware  # here, since a record is also read where torch is not needed

    return {
        "what": what,
        "command": command,
        "commit": commit(),
        "machine": hardware(),
        "versions": {
            "python": platform.python_version(),
            **{n: _version(n) for n in ("tinylm", "torch", "numpy")},
        },
        "started": datetime.now(UTC).date().isoformat(),
        **more,
    }


def run_header(
    *, recipe: str, command: str, device: str, dtype: str, seed: int, tokens: int, **more: Any
) -> dict[str, Any]:
    """The first line of a training run's record: record_header("training", ...) with what such a run has.

    `tokens` is how many the run will read. Results also reads parameters=, data= (the corpus that was really
    read), reading= (how), model= and train=."""
    named = {"recipe": recipe, "device": device, "dtype": dtype, "seed": seed, "tokens": tokens}
    return record_header("training", command=command, **named, **more)


class RunRecord:
    """A record being written: `with RunRecord(path, run_header(...)) as record: train(..., record=record)`.

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
    def reopened(cls, path: str | Path, *, step: int) -> RunRecord:
        """Go on with a record that has been rewound to `step` finished steps; a "resumed" line says so."""
        record = cls.__new__(cls)
        record._file = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115
        record._begin("resumed", {"step": step})
        return record

    def step(self, **numbers: Any) -> None:
        """One logged optimiser step."""
        self._write("step", numbers)

    def evaluation(self, **numbers: Any) -> None:
        """One evaluation: step (finished ones), loss, standard_error, n_tokens, ... It survives a power cut:
        the checkpoint that follows must not know of one that the record has lost."""
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
        self._file.close()  # a run that broke has no end line

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


def read_record(path: str | Path) -> Record:
    """Read a record. A cut-off last line is left out with a warning; anything else wrong is refused."""
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no record {path.name}: a run writes one as record.jsonl in its folder")
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")  # a text in a line may hold other line ends
    by_kind: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    complete = True
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            by_kind[content.pop("kind")].append(content)
        except (ValueError, AttributeError, KeyError, TypeError):
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
    end = by_kind["end"][-1] if by_kind["end"] else None
    measured = by_kind["measurement"]
    return Record(by_kind["header"][0], by_kind["step"], by_kind["evaluation"], end, complete, measured)


def commit() -> str:
    """The commit this code is from, marked when files have changed since; "unknown" outside a repository."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here.parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", here.name
        )  # a package installed inside another repository is not its
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _finite(value: Any) -> Any:
    """JSON has no nan and no infinity: null stands for both, however deep they lie."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
