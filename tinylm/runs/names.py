"""Names: what a person may call a run or a record, so that it is a file's name on every system.

Refuses to know where anything is kept, and every name that could lead elsewhere.
Taught in notebook 04_training."""

import re

from tinylm.errors import ConfigError

LONGEST = 100  # characters: most systems end at 255 bytes, and names get endings
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def validate_name(name: str, what: str) -> str:
    """The name itself. Raises ConfigError, which says that it cannot name `what` ("a run") and why."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name.endswith("."):
        shown = repr(name) if len(name) <= LONGEST else f"{name[:20]!r}..."
        raise ConfigError(f"{shown} cannot name {what}: use letters, digits, - and _, such as my-first-run")
    if len(name) > LONGEST:
        raise ConfigError(
            f"a name of {len(name)} characters ({name[:20]}...) cannot name {what}: use {LONGEST} or fewer"
        )
    if name.split(".")[0].lower() in DEVICES:
        raise ConfigError(f"{name} cannot name {what}, on Windows it is a device: use my-{name}")
    return name
