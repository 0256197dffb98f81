"""Interrupts: Ctrl-C and SIGTERM end a run, but never in the middle of an update or of a checkpoint.

SIGTERM is what Slurm sends some time before it kills, and torchrun when another process has ended.
Taught in notebook 04_training."""

import signal
import threading

from tinylm.training.ddp import SINGLE, World, told_to_end

OURS = {signal.SIGINT: (signal.default_int_handler,), signal.SIGTERM: (signal.SIG_DFL, told_to_end)}


class Interrupts:
    """A context in which Ctrl-C and SIGTERM wait for the next `check`, unless they come twice.

    A signal that somebody else handles is left alone, and so are all signals outside the main thread. Several
    processes stop after the same step, whichever of them got the signal, and never before: torchrun hands
    each signal on to processes that have had it already, so a second one means nothing."""

    def __init__(self, world: World) -> None:
        self.world, self.pressed = world, False
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
        """Raise KeyboardInterrupt on every process if Ctrl-C was pressed on any since the last check."""
        pressed, self.pressed = self.pressed, False
        if self.world.any(pressed):
            raise KeyboardInterrupt

    def _on_signal(self, *_: object) -> None:
        if self.pressed and self.world is SINGLE:
            self.pressed = False
            raise KeyboardInterrupt
        self.pressed = True
