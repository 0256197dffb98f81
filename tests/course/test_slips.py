"""Laws of exercises as data: edits have a place, a right answer runs no slip, and slips are told apart."""

import pytest
import torch

from tests.course.exercises.marking import verdict
from tinylm.course.slips import Exercise, Lesson, edited
from tinylm.errors import TinyLMError

DOUBLE = """
def double(n):
    total = n  # (T,)
    total = total + n
    return total
"""


def lesson(**settings):
    """An exercise whose answer doubles a list's numbers, with three slips."""
    slips = """
    total + n -> total * n :: add, and do not multiply
    total = total + n ->  :: this is n once
    = while True: ⏎     pass :: never told
    """
    known = {"cases": [(2,), (5,), (torch.tensor([3.0, 4.0]),)], "slips": slips, "said": "for {0}"}
    return Exercise("2.1 · double", DOUBLE, {"torch": torch}, **known | settings)


def said(body, capsys, **settings):
    return verdict(lesson(**settings), f"def double(n):\n    {body}\n", capsys)


def test_edit_replaces_every_place_at_its_indentation_and_must_have_one():
    assert edited("a\n    b = a\n", "a -> c") == "c\n    b = c\n"
    assert edited("    b = a\n", "b = a -> if a: ⏎     b = 1") == "    if a:\n        b = 1\n"
    assert edited("    x = 1\n    y = 2\n", "x = 1 ⏎ y = 2 -> z = 3") == "    z = 3\n"
    assert edited("f(a, b)\n", "a -> c && b -> d") == "f(c, d)\n"
    assert edited("def f(x):\n    return x\n", "= y = 1 ⏎ return y") == "def f(x):\n    y = 1\n    return y\n"
    with pytest.raises(TinyLMError, match="`q` is not in the solution"):
        edited("a\n", "q -> c")


def test_right_answer_runs_no_slip(capsys):
    exercise = lesson()
    assert verdict(exercise, "def double(n):\n    return 2 * n\n", capsys).startswith("correct")
    assert "mistakes" not in vars(exercise)


def test_slips_that_agree_in_the_first_case_are_told_apart_by_the_others(capsys):
    assert "add, and do not multiply" in said("return n * n", capsys)
    assert "add, and do not multiply" not in said("return n + 2 if isinstance(n, int) else n", capsys)
    assert "this is n once" in said("return n", capsys)
    assert "for 2 (yours: 7, expected: 4)" in said("return 7 + 0 * n", capsys)


def test_answer_that_raises_as_a_slip_does_is_told_its_sentence_and_the_error(capsys):
    slips = "total + n -> [1, 2][n] :: n is no place in this list"
    told = said("return [0, 0][n]", capsys, slips=slips)
    assert "n is no place in this list (your code raised IndexError: list index out of range)" in told


def test_answer_that_changes_what_it_was_given_or_never_ends_or_floods_is_named(capsys):
    assert "that it was given" in said("n += n; return n", capsys, cases=[(torch.ones(2),)])
    assert "perhaps a loop never ends" in said("while True: pass", capsys, seconds=0.3)
    assert "correct" in said("[print('flood') for _ in range(9999)]; return n + n", capsys)
    assert "use `return` to end a function" in said("import sys; sys.exit(0)", capsys)


def test_blank_answer_goes_on_with_the_solution_and_a_wrong_one_too(capsys):
    exercise = lesson()
    for body in ("return ...", "return n", "pass"):
        space = {}
        exec(f"def double(n):\n    {body}\n", space)
        assert exercise(space["double"]) is exercise.given
    assert exercise(exercise.given) is exercise.given
    first, *_, again = capsys.readouterr().out.splitlines()
    assert "not attempted yet (going on with tinylm's)" in first and "tinylm's own answer now" in again


TWO_AND_FOUR = """
imports = "import math"
two = {title = "2.1 · two", solution = "def two(): return math.floor(2.5)", slips = ""}
four = {title = "2.2 · four", solution = "def four(): return 2 * two()", slips = ""}
"""


def test_later_solutions_use_what_earlier_ones_define(tmp_path):
    (tmp_path / "nb02.toml").write_text(TWO_AND_FOUR, encoding="utf-8")
    course = Lesson(tmp_path / "nb02.py")
    assert [course.exercise(name, cases=[()]).given() for name in ("two", "four")] == [2, 4]
