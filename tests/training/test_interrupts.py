"""Ctrl-C waits for what must not be cut in two, once; and the signal is handed back as it was."""

import signal
import threading

import pytest

from tinylm.training.interrupts import Interrupts


def press():
    signal.raise_signal(signal.SIGINT)


def test_outside_a_held_block_ctrl_c_is_heard_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.held():
            done.append("held")
        press()
        done.append("after")
    assert done == ["held"]


def test_a_held_block_ends_before_ctrl_c_is_heard():
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.held():
            press()
            done.append("held")
        done.append("after")
    assert done == ["held"]


def test_a_second_ctrl_c_does_not_wait_and_the_block_after_it_is_held_again():
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            press()
            press()
            done.append("cut")
        with interrupts.held():
            done.append("no interrupt is left over")
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            press()
            done.append("held")
    assert done == ["no interrupt is left over", "held"]


def test_an_error_in_a_held_block_comes_first():
    with Interrupts() as interrupts, pytest.raises(KeyError), interrupts.held():
        press()
        raise KeyError


def test_the_signal_is_handed_back():
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


def test_who_ignores_ctrl_c_goes_on_ignoring_it(elsewhere):
    with Interrupts() as interrupts, interrupts.held():
        press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_changed():
    seen = []

    def work():
        with Interrupts() as interrupts, interrupts.held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
