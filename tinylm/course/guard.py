"""Run a learner's code for a bounded time and with bounded output, so that the notebook stays usable.

Shown in 00_start_here."""

import contextlib
import io
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

CHARACTERS = 4_000  # of output: what a learner prints to look at something is far shorter


class TooLong(BaseException):
    """The code ran out of time. A learner's own `except Exception` does not catch it."""


class Bounded(io.TextIOBase):
    """A text stream that passes on the first characters, and counts the rest."""

    def __init__(self, stream: TextIO, most: int) -> None:
        self.stream, self.left, self.dropped = stream, most, 0

    def write(self, text: str) -> int:
        """Pass on as much of the text as there is room for."""
        self.stream.write(text[: self.left])
        self.dropped += max(0, len(text) - self.left)
        self.left = max(0, self.left - len(text))
        return len(text)


@contextlib.contextmanager
def guarded(seconds: float, *, characters: int = CHARACTERS) -> Iterator[None]:
    """Raise TooLong in the block after so many seconds, and let it print at most so many characters.

    The time is limited in the main thread of a system that has SIGALRM, which is where notebooks run, and not
    on Windows. A block inside another has a limit of its own, and the outer limit counts on afterwards."""

    def stop(*_: object) -> None:
        raise TooLong("it ran too long and was stopped")

    out = Bounded(sys.stdout, characters)
    can_stop = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, stop) if can_stop else None
    left = signal.setitimer(signal.ITIMER_REAL, seconds)[0] if can_stop else 0.0
    try:
        with contextlib.redirect_stdout(out):
            yield
    finally:
        if can_stop:
            signal.setitimer(signal.ITIMER_REAL, left)
            signal.signal(signal.SIGALRM, before)
        if out.dropped and characters:
            print(f"\n… your code printed {out.dropped:,} more characters: they are left out")
