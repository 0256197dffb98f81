"""Interrupts: Ctrl-C and SIGTERM end a run, but not in the middle of what must not be cut in two.

SIGTERM is what Slurm sends some time before it kills, and torchrun when another process has ended.
Taught in notebook 04_training."""

import signal
import threading

from tinylm.training.ddp import SINGLE, World, told_to_end

OURS = {signal.SIGINT: (signal.default_int_handler,), signal.SIGTERM: (signal.SIG_DFL, told_to_end)}


class Interrupts:
    """While entered, Ctrl-C or SIGTERM waits for the next `check`, unless it comes twice or `at_once` is set.

    Where somebody else handles the signal, or outside the main thread, nothing is changed. Several processes
    stop after the same step, whichever of them was asked, and never before: torchrun hands each signal on to
    those who have had it already."""

    def __init__(self, world: World) -> None:
        self.world, self.at_once, self.pressed = world, False, False
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            now = {number: signal.getsignal(number) for number in OURS}
            self._before = {number: handler for number, handler in now.items() if handler in OURS[number]}
            for number in self._before:
                signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C was pressed since the last time."""
        pressed, self.pressed = self.pressed, False
        if self.world.any(pressed):
            raise KeyboardInterrupt

    def _on_signal(self, *_: object) -> None:
        if (self.pressed or self.at_once) and self.world is SINGLE:
            self.pressed = False
            raise KeyboardInterrupt
        self.pressed = True
