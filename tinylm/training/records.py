"""Records: a run writes down what it did, line by line, so that every number in prose can be looked up.

Knows JSON lines and plain numbers. Refuses to know models and plots, and never writes a host name, a
user or a path. A record is written once: an existing file is refused, a cut-off last line is survived.
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

from tinylm.errors import TinyLMError
from tinylm.training import hardware
from tinylm.training.losses import nats_to_bits

KINDS = ("header", "step", "evaluation", "end", "resumed")


class RecordError(TinyLMError):
    """A record that exists already, is missing, or is not one."""


def run_header(
    *, recipe: str, command: str, device: str, dtype: str, seed: int, tokens: int, **more: Any
) -> dict[str, Any]:
    """The first line of a record. `command` is what to type ("python -m tinylm train shakespeare_char"),
    `tokens` how many the run will read. results_table also reads parameters=, data= and tokenizer=."""
    return {
        "recipe": recipe,
        "commit": commit(),
        "command": command,
        "machine": hardware.describe(),
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "tokens": tokens,
        "versions": {
            "python": platform.python_version(),
            **{n: _version(n) for n in ("tinylm", "torch", "numpy")},
        },
        "started": datetime.now(UTC).date().isoformat(),
        **more,
    }


class RunRecord:
    """A record being written: `with RunRecord(path, run_header(...)) as record: train(..., record=record)`.

    Every line reaches the file at once. Raises RecordError when the file exists."""

    def __init__(self, path: str | Path, header: dict[str, Any]) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise RecordError(
                f"{path.name} exists already and a record is written only once: "
                f"choose another name or move it away"
            ) from None
        self._write("header", header)

    @classmethod
    def reopened(cls, path: str | Path, *, step: int) -> RunRecord:
        """Go on with a record that has been rewound to `step` finished steps; a "resumed" line says so."""
        record = cls.__new__(cls)
        record._file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        record._write("resumed", {"step": step})
        return record

    def step(self, **numbers: Any) -> None:
        """One logged optimiser step."""
        self._write("step", numbers)

    def evaluation(self, **numbers: Any) -> None:
        """One evaluation: step (finished ones), loss, standard_error, n_tokens, ... It survives a power cut:
        the checkpoint that follows must not know of one that the record has lost."""
        self._write("evaluation", numbers)
        os.fsync(self._file.fileno())

    def close(self, **numbers: Any) -> None:
        """Write the end line (once) and close the file."""
        if not self._file.closed:
            self._write("end", numbers)
            self._file.close()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        self._file.close()  # a run that broke has no end line

    def _write(self, kind: str, numbers: dict[str, Any]) -> None:
        finite = {key: _finite(value) for key, value in numbers.items()}
        self._file.write(json.dumps({"kind": kind, **finite}, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()


@dataclasses.dataclass(frozen=True)
class Record:
    """A record read back. `end` is None when the run was cut off, `complete` False when a line was."""

    header: dict[str, Any]
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    end: dict[str, Any] | None = None
    complete: bool = True


def read_record(path: str | Path) -> Record:
    """Read a record. A cut-off last line is left out with a warning; anything else wrong is refused."""
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"there is no record {path.name}: a run writes one as record.jsonl in its folder")
    lines = path.read_text(encoding="utf-8").splitlines()
    by_kind: dict[str, list[dict[str, Any]]] = {
        "header": [],
        "step": [],
        "evaluation": [],
        "end": [],
        "resumed": [],
    }
    complete = True
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            by_kind[content.pop("kind")].append(content)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            if number < len(lines) or number == 1:
                raise RecordError(
                    f"line {number} of {len(lines)} in {path.name} is not a record's: restore the file"
                ) from None
            complete = False
            warnings.warn(
                f"the last line ({number}) of {path.name} is cut off: it was left out", stacklevel=2
            )
    if len(by_kind["header"]) != 1:
        raise RecordError(f"{path.name} has {len(by_kind['header'])} headers instead of 1: restore the file")
    end = by_kind["end"][-1] if by_kind["end"] else None
    return Record(by_kind["header"][0], by_kind["step"], by_kind["evaluation"], end, complete)


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
    """JSON has no nan and no infinity: null stands for both."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def results_table(records: list[Record]) -> str:
    """A Markdown table, one row for each record: README's measured results.

    The loss is that of the last evaluation ± its standard error, never the best point of the curve."""
    columns = (
        "recipe",
        "parameters",
        "data",
        "steps",
        "tokens",
        "time",
        "machine",
        "loss (nats)",
        "bits per character",
    )
    rows = [columns, ("---",) * len(columns), *(_row(record) for record in records)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(record: Record) -> tuple[str, ...]:
    header, last = record.header, record.evaluations[-1] if record.evaluations else {}
    cores = header["machine"]["cores"]
    seconds = (record.end or {}).get("seconds") or max(
        [line.get("seconds") or 0 for line in record.steps], default=0
    )
    error = last.get("standard_error")
    bits = last.get("bits_per_byte") or (nats_to_bits(last["loss"]) if last.get("loss") is not None else None)
    return (
        f"`{header['recipe']}`",
        f"{header['parameters']:,}" if "parameters" in header else "–",
        str(header.get("data", "–")),
        f"{last.get('step', '–'):,}" if last else "–",
        f"{header['tokens']:,}",
        f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h",
        f"{header['machine']['cpu']}, {cores} cores" if header["device"] == "cpu" else str(header["device"]),
        f"{last['loss']:.4f}" + (f" ± {error:.4f}" if error is not None else "") if last else "–",
        f"{bits:.3f}" if bits is not None else "–",
    )
