"""Interrupts: Ctrl-C ends a run, but not in the middle of what must not be cut in two.

Taught in notebook 04_training."""

import signal
import threading

from tinylm.training.ddp import World


class Interrupts:
    """While entered, Ctrl-C waits for the next `check`, unless it is pressed twice or `at_once` is set.

    Where somebody else handles the signal, or outside the main thread, nothing is changed. Of several
    processes only rank 0 is asked, and always waits: all stop after the same step."""

    def __init__(self, world: World) -> None:
        self.world, self.at_once, self.pressed = world, False, False

    def __enter__(self) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C was pressed since the last time."""
        pressed, self.pressed = self.pressed, False
        if self.world.broadcast(pressed):
            raise KeyboardInterrupt

    def _on_signal(self, *_: object) -> None:
        if self.pressed or (self.at_once and self.world.size == 1):
            self.pressed = False
            raise KeyboardInterrupt
        self.pressed = True
