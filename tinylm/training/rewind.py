"""Rewind: a record is cut back to the checkpoint from which its run goes on.

So that each step and each evaluation stands in it once, however often the run was stopped. Knows the lines of
a record. Refuses to write new ones (records).
Taught in notebook 04_training."""

import json
from pathlib import Path

from tinylm.model.sealed import flush


def rewind(path: Path, step: int) -> int:
    """Cut from a record what came after so many finished steps, and its end; returns how many lines went.

    Logged steps count from 0, evaluations by finished steps. A line that a kill cut off goes too. The shorter
    record is written beside, flushed and renamed: a cut leaves the one or the other."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _belongs(line, step)]
    if len(kept) < len(lines):
        beside = path.with_name(f".{path.name}.partial")
        try:
            beside.write_text("".join(kept), encoding="utf-8")
            flush(beside)
            beside.replace(path)
            flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    return len(lines) - len(kept)


def _belongs(line: str, step: int) -> bool:
    try:
        content = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return False
    reached = {"header": True, "step": content.get("step", step) < step, "resumed": True}
    reached["evaluation"] = content.get("step", step + 1) <= step
    return reached.get(content.get("kind", ""), False)
