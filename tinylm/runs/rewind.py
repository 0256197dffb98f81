"""Rewind: a record is cut back to the checkpoint from which its run goes on.

So that each step and each evaluation stands in it once, however often the run was stopped. Knows the lines of
a record. Refuses to write new ones (records).
Taught in notebook 04_training."""

import json
from collections.abc import Collection
from pathlib import Path

from tinylm.storage.atomic import flush


def has_ended(path: Path) -> bool:
    """Whether the record's last line says that its run came to its end, and was not interrupted."""
    last = path.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2]
    try:
        return b'"kind": "end"' in last and not json.loads(last).get("interrupted")
    except ValueError:  # altered: nobody knows how it ended
        return False


def rewind(path: Path, step: int, evaluated: Collection[int]) -> int:
    """Cut from a record what a checkpoint does not know, and its end; returns how many lines went.

    The checkpoint was saved after `step` steps and knows the evaluations after `evaluated` ones: the one that
    is due at `step` itself may be in the record and not in it. A line that a kill cut off goes too. The
    shorter record is written beside, flushed and renamed: a cut leaves the one or the other."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _belongs(line, step, evaluated)]
    if len(kept) < len(lines):
        beside = path.with_name(f".{path.name}.partial")
        try:
            beside.write_text(b"".join(kept).decode(), encoding="utf-8", newline="\n")
            flush(beside)
            beside.replace(path)
            flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    return len(lines) - len(kept)


def _belongs(line: bytes, step: int, evaluated: Collection[int]) -> bool:
    try:
        content = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return False
    kind, number = content.get("kind"), content.get("step", -1)
    if kind == "step":
        return number < step  # the first one is number 0
    return number in evaluated if kind == "evaluation" else kind in ("header", "resumed")
