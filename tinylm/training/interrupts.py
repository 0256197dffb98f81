"""Interrupts: Ctrl-C is heard at once, but not in the middle of what must not be cut in two.

Knows one signal. Refuses to know what is being protected (loop).
Taught in notebook 04_training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """While entered, Ctrl-C raises KeyboardInterrupt as ever, except that a `held` block ends first.

    A second Ctrl-C does not wait for the block. Where somebody else handles the signal, or outside the main
    thread, nothing is changed."""

    def __init__(self) -> None:
        self._holding = self._heard = self._ours = False

    def __enter__(self) -> Interrupts:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)
            self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._ours = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done in here is done to its end, unless Ctrl-C is pressed twice."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._heard:
            self._heard = False
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._holding and not self._heard:
            self._heard = True
        else:
            self._heard = False
            raise KeyboardInterrupt
