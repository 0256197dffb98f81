"""The signal is handed back as it was, and left alone where it is not ours; test_loop holds the rest."""

import signal
import threading

import pytest

from tinylm.training.ddp import SINGLE
from tinylm.training.interrupts import Interrupts


def handler():
    return signal.getsignal(signal.SIGINT)


def test_ctrl_c_twice_leaves_no_interrupt_over():
    interrupts = Interrupts(SINGLE)
    with interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        interrupts.check()


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])  # as under nohup
def test_signal_handler_is_handed_back_after_an_error_too_and_somebody_elses_stays(before):
    signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(ZeroDivisionError), Interrupts(SINGLE):
            assert (handler() is before) == (before is signal.SIG_IGN)
            raise ZeroDivisionError
        assert handler() is before
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_signal_handler_stays_outside_the_main_thread():
    seen = []

    def work():
        with Interrupts(SINGLE):
            seen.append(handler())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
