"""Laws of the exercise checks: one line, whatever the learner wrote."""

import linecache

import pytest
import torch

from tinylm.course import checks
from tinylm.errors import TinyLMError

NAME = "2.1 · mask the future"
MASK = torch.ones(5, 5).tril().bool()


def mark(capsys, judge):
    """Run one exercise; return what stands after its name. Exactly one line is allowed."""
    with checks.exercise(NAME) as check:
        judge(check)
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1 and out.startswith(f"{NAME}: ")
    verdict = out.removeprefix(f"{NAME}: ").rstrip("\n")
    assert verdict == check.verdict
    return verdict


def test_check_calls_a_right_answer_correct(capsys):
    assert mark(capsys, lambda check: check.close(MASK.clone(), MASK)) == "correct"
    assert mark(capsys, lambda check: check.that(MASK, "all")) != "correct"
    assert mark(capsys, lambda check: check.that(MASK | ~MASK, "all")) == "correct"


BLANK = [
    lambda check: check.attempted(...),
    lambda check: check.attempted(MASK, None),
    lambda check: check.close(..., MASK),
    lambda check: check.that(..., "never reached"),
    lambda check: check.close(torch.softmax(..., -1), MASK),
    lambda check: check.close(... + 1, 2),
    lambda check: check.close((...).shape, (2,)),
    lambda check: exec("raise NotImplementedError"),
    lambda check: check.close((lambda length: ...)(5), MASK),
]


@pytest.mark.parametrize("judge", BLANK)
def test_check_calls_a_blank_stub_not_attempted_yet(capsys, judge):
    assert mark(capsys, judge) == "not attempted yet"


@pytest.mark.parametrize("answer", [0, "", [], torch.zeros(3), False])
def test_check_takes_an_empty_answer_for_an_answer(capsys, answer):
    assert mark(capsys, lambda check: check.close(answer, answer)) == "correct"


def verdict_of(capsys, *arguments, **usual):
    return mark(capsys, lambda check: check.close(*arguments, **usual)).removeprefix("not yet: ")


def test_check_names_a_usual_mistake_in_its_own_words(capsys):
    usual = {"that is where one may NOT look": ~MASK, "is it upside down?": MASK.T}
    answers = {
        "is it upside down?": MASK.T,
        "that is where one may NOT look": ~MASK,
        "your dtype is float32, bool is expected": MASK.float(),
        "your shape is (5, 4), (5, 5) is expected": MASK[:, :4],
        "look again (10 of 25 values differ, most at ": MASK & MASK.T,
    }
    for sentence, mine in answers.items():
        assert verdict_of(capsys, mine, MASK, "look again", usual=usual).startswith(sentence)


def test_check_recognises_a_usual_mistake_that_gives_nan_or_another_shape(capsys):
    nan, column = torch.full((3,), float("nan")), torch.ones(3, 1)
    usual = {"all scores of a row are masked": nan, "keepdim is missing": column}
    assert verdict_of(capsys, nan, torch.ones(3), usual=usual) == "all scores of a row are masked"
    assert verdict_of(capsys, column, torch.ones(3), usual=usual) == "keepdim is missing"
    assert verdict_of(capsys, nan, torch.ones(3)) == "your answer holds nan (3 of 3 values)"


def test_check_calls_a_right_answer_correct_even_where_a_usual_mistake_gives_the_same(capsys):
    assert mark(capsys, lambda check: check.close(2, 2, usual={"did you add?": 2})) == "correct"


def test_check_reports_an_exception_of_the_learners_code_in_one_line(capsys):
    assert mark(capsys, lambda check: check.close(1 / 0, 1)).startswith(
        "not yet: your code raised ZeroDivisionError: division by zero"
    )
    verdict = mark(capsys, lambda check: check.close(torch.ones(3, 5) @ torch.ones(3, 5), 1))
    assert verdict.startswith("not yet: your code raised RuntimeError: ") and "mat1 and mat2" in verdict
    verdict = mark(capsys, lambda check: check.that(undefined_name, "x"))  # noqa: F821
    assert verdict.endswith(
        "NameError: name 'undefined_name' is not defined (run the cells above, from the top)"
    )


def test_check_cuts_a_long_message_of_many_lines_to_one(capsys):
    verdict = mark(capsys, lambda check: exec("raise ValueError('x\\n' * 999)"))
    assert len(verdict) < 300 and "…" in verdict


def test_check_quotes_the_learners_own_line(capsys):
    source = "def area(side):\n    return side / 0\n"
    cell = "ipykernel_7/1234.py"
    linecache.cache[cell] = (len(source), None, source.splitlines(True), cell)
    namespace = {}
    exec(compile(source, cell, "exec"), namespace)
    try:
        verdict = mark(capsys, lambda check: check.close(namespace["area"](2), 4))
    finally:
        del linecache.cache[cell]
    assert verdict.endswith("ZeroDivisionError: division by zero, at `return side / 0`")


def test_check_that_fails_first_ends_the_exercise(capsys):
    def judge(check):
        check.that(True, "first")
        check.that(False, "second")
        check.that(False, "third")

    assert mark(capsys, judge) == "not yet: second"


def test_exercise_that_checks_nothing_is_the_authors_mistake():
    with pytest.raises(TinyLMError, match="checks nothing"), checks.exercise(NAME) as check:
        check.attempted(3)


def test_exercise_does_not_swallow_the_stop_of_the_kernel():
    with pytest.raises(KeyboardInterrupt), checks.exercise(NAME):
        raise KeyboardInterrupt
