"""Interrupts: Ctrl-C is answered at once, but not in the middle of what must not be cut in two.

Taught in notebook 04_training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tinylm.training.ddp import SINGLE, World


class Interrupts:
    """While entered, Ctrl-C raises KeyboardInterrupt as ever, except that a `deferred` block ends first.

    A second Ctrl-C does not wait for the block. Where somebody else handles the signal, or outside the main
    thread, nothing is changed. Of several processes only rank 0 is asked: all stop after the same step."""

    def __init__(self, world: World = SINGLE) -> None:
        self._world = world
        self._deferring = world.size > 1
        self._pressed = False

    def __enter__(self) -> Interrupts:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """What is done in here is done to its end, unless Ctrl-C is pressed twice."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = self._world.size > 1
        if self._world.broadcast(self._pressed):
            self._pressed = False
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and not self._pressed:
            self._pressed = True
        else:
            self._pressed = False
            raise KeyboardInterrupt
