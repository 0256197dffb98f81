"""Laws of the guard: what a learner's code does, the notebook goes on."""

import signal
import time

import pytest

from tinylm.course.guard import CHARACTERS, TooLong, guarded

needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no SIGALRM")


@needs_alarm
def test_endless_loop_is_stopped_even_where_it_catches_every_exception():
    began = time.perf_counter()
    with pytest.raises(TooLong), guarded(0.2):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue
    assert time.perf_counter() - began < 5


@needs_alarm
def test_inner_guard_leaves_the_outer_limit_and_both_leave_no_timer_behind():
    with pytest.raises(TooLong), guarded(0.3):
        with guarded(60):
            pass
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_flood_of_output_is_cut_and_counted_and_a_little_is_shown_whole(capsys):
    with guarded(60):
        print("x" * 3)
    assert capsys.readouterr().out == "xxx\n"
    with guarded(60):
        for _ in range(50_000):
            print("flood")
    out = capsys.readouterr().out
    assert len(out) < CHARACTERS + 100 and f"printed {300_000 - CHARACTERS:,} more characters" in out


def test_output_of_slips_is_not_shown_at_all(capsys):
    with guarded(60, characters=0):
        print("a slip prints")
    assert capsys.readouterr().out == ""
