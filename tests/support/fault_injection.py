"""Faults: every call that touches the disk is counted, and the n-th one goes wrong.

`refused`: the disk says no, once, as a full one does. `cut`: the power is gone, nothing happens any more.
What a broken write had got done by then stays: half a file, half a line.
"""

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError

from tinylm.runs.records import RunRecord
from tinylm.storage import weights

CALLS = (
    (weights, "save_file"),
    (RunRecord, "_write"),
    (Path, "write_text"),
    (Path, "mkdir"),
    (Path, "chmod"),
    (Path, "rename"),
    (Path, "replace"),
    (Path, "unlink"),
    (os, "fsync"),
    (shutil, "rmtree"),
)

FULL = "No space left on device"


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
            if name == "save_file":  # what safetensors makes of it
                raise SafetensorError(f"Error while serializing: I/O error: {FULL} (os error 28)")
            raise OSError(28, FULL)

        return call


def _half(name: str, arguments: tuple) -> None:
    """What a write leaves behind that was broken off."""
    if name == "save_file":
        Path(arguments[1]).write_bytes(b"half a file")
    elif name == "write_text":
        arguments[0].write_bytes(arguments[1].encode()[: len(arguments[1]) // 2])
    elif name == "_write":
        arguments[0]._file.write('{"kind": "step", "st')
        arguments[0]._file.flush()
