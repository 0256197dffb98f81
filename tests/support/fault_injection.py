"""Faults: every call that touches the disk is counted, and the n-th one goes wrong.

`refused`: the disk says no, once, as a full one does. `cut`: the power is gone, nothing happens any more.
What a broken write had got done by then stays: half a file, half a line.
"""

import os
import shutil
from pathlib import Path

from tinylm.runs.records import RunRecord

CALLS = (
    (RunRecord, "write"),
    *((Path, name) for name in ("write_text", "write_bytes", "mkdir", "rename", "replace", "unlink")),
    (os, "fsync"),
    (shutil, "rmtree"),
)


class PowerCut(BaseException):
    """Not an error that code could catch and tidy up after."""


class Faults:
    """Patches every call in CALLS; the one with number `at` (from 0) goes wrong."""

    def __init__(self, monkeypatch, at: int, kind: str) -> None:
        self.left, self.kind, self.hit = at, kind, None
        for owner, name in CALLS:
            monkeypatch.setattr(owner, name, self._counted(owner, name, getattr(owner, name)))

    def _counted(self, owner, name, real):
        def call(*arguments, **options):
            self.left -= 1
            if self.left >= 0 or (self.hit is not None and self.kind == "refused"):
                return real(*arguments, **options)
            if self.hit is None:
                self.hit = f"{owner.__name__}.{name}"
                _half(name, arguments)
            if self.kind == "cut":
                raise PowerCut
            if options.get("ignore_errors"):
                return None
            raise OSError(28, "No space left on device")

        return call


def _half(name: str, arguments: tuple) -> None:
    """What a write leaves behind that was broken off."""
    if name in ("write_text", "write_bytes"):
        content = arguments[1].encode() if name == "write_text" else arguments[1]
        with arguments[0].open("wb") as file:
            file.write(content[: len(content) // 2])
    elif name == "write":
        with arguments[0].path.open("a", newline="\n") as file:
            file.write('{"kind": "')  # as every line begins
