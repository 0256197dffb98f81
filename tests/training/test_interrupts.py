"""Ctrl-C waits for what must not be cut in two, once; and the signal is handed back as it was."""

import signal
import threading

import pytest

from tinylm.training.interrupts import Interrupts


def press():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_outside_a_deferred_block_raises_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.deferred():
            done.append("deferred")
        press()
        done.append("after")
    assert done == ["deferred"]


def test_ctrl_c_waits_for_the_end_of_a_deferred_block():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.deferred():
            press()
            done.append("deferred")
        done.append("after")
    assert done == ["deferred"]


def test_ctrl_c_pressed_twice_does_not_wait_and_the_next_block_defers_again():
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.deferred():
            press()
            press()
            done.append("cut")
        with interrupts.deferred():
            done.append("no interrupt is left over")
        with pytest.raises(KeyboardInterrupt), interrupts.deferred():
            press()
            done.append("deferred")
    assert done == ["no interrupt is left over", "deferred"]


def test_error_in_a_deferred_block_comes_first():
    with Interrupts() as interrupts, pytest.raises(KeyError), interrupts.deferred():
        press()
        raise KeyError


def test_signal_handler_is_handed_back():
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ZeroDivisionError), Interrupts():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def elsewhere():
    """Somebody else handles Ctrl-C, as under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ignored_signal_stays_ignored(elsewhere):
    with Interrupts() as interrupts, interrupts.deferred():
        press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_signal_handler_stays_outside_the_main_thread():
    seen = []

    def work():
        with Interrupts() as interrupts, interrupts.deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
