"""Laws of the exercise checks: one line, whatever the learner wrote, and what differs from the right one."""

import sys
from collections import Counter

import numpy as np
import pytest
import torch

from tests.course.exercises.marking import verdict as said_of
from tinylm.course import checks
from tinylm.course.differences import difference

NAME = "2.1 · mask the future"


def verdict(judge, source, capsys):
    """What is said of an answer that a cell defines, when it is judged so."""

    def marked(answer):
        with checks.Check(NAME) as check:
            check.answer = answer
            judge(check, answer)

    return said_of(marked, source, capsys)


MASK = torch.ones(5, 5).tril().bool()
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def mark(capsys):
    """Run one exercise; return what stands after its name. Exactly one line is allowed."""

    def run(judge):
        with checks.Check(NAME) as check:
            judge(check)
        out, err = capsys.readouterr()
        assert err == "" and out == f"{NAME}: {check.verdict}\n"
        assert "\n" not in check.verdict
        return check.verdict

    return run


BLANK = [
    lambda check: check.attempted(MASK, None),
    lambda check: check.that(..., "never reached"),
    lambda check: check.close(torch.softmax(..., -1), MASK),
    lambda check: exec("raise NotImplementedError"),
]


@pytest.mark.parametrize("judge", BLANK)
def test_check_calls_a_blank_stub_not_attempted_yet(mark, judge):
    assert mark(judge) == "not attempted yet"


@pytest.mark.parametrize("answer", [MASK, 0, "", []])
def test_check_calls_a_right_answer_correct_also_an_empty_one(mark, answer):
    assert mark(lambda check: check.close(answer, answer)) == "correct"


def test_check_that_asks_every_value_and_the_first_that_fails_ends_the_exercise(mark):
    def judge(check):
        check.that(MASK | ~MASK, "first")
        check.that(MASK, "second")
        check.that(False, "third")

    assert mark(judge) == "not yet: second"


ONES, PAIR = torch.ones(3), (torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize(
    "mine, right, words",
    [
        (MASK & MASK.T, MASK, "look again (10 of 25 values differ, most at [1, 0]: yours"),
        (ONES[:, None], ONES, "your shape is (3, 1), but it should be (3,)"),
        (1 + 4e-4, 1.0, "look again (yours: 1, expected: 1)"),
    ],
)
def test_check_says_what_differs_after_its_authors_diagnosis_where_values_differ(mark, mine, right, words):
    said = mark(lambda check: check.close(mine, right, "look again"))
    assert said.startswith(f"not yet: {words}")


def test_check_tolerates_what_its_author_allows(mark):
    assert mark(lambda check: check.close(1.01, 1.0, atol=0.1)) == "correct"
    assert mark(lambda check: check.close(1.2, 1.0, rtol=0.1)).startswith("not yet: ")


class Unreadable(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    "judge, words",
    [
        (lambda check: sys.exit(3), "sys.exit() ends the whole program: use `return`"),
        (lambda check: (_ for _ in ()).throw(Unreadable()), "raised Unreadable"),
        (lambda check: check.that(undefined, "x"), "was a cell above not run? (your"),  # noqa: F821
        (lambda check: exec("raise ValueError('x\\n' * 999)"), "raised ValueError: x x x"),
    ],
)
def test_check_reports_an_exception_of_the_learners_code_in_one_short_line(mark, judge, words):
    said = mark(judge)
    assert said.startswith("not yet: ") and "your code raised " in said and words in said and len(said) < 300


BEGINNERS = [  # what is written, and what a beginner is told of it
    ("return [1, 2][2]", "an index is one too far"),
    ("return torch.zeros(2)[2]", "an index is one too far"),
    ("return {[1]: 2}", "a list cannot be a key"),
    ("return [a for a, b in {10: 1, 20: 2}]", "is .items() or zip missing?"),
    ("return [a for a, b in {'abc': 1}]", ".items() gives pairs"),
    ("return {}['a'] + 1", "use .get(key, 0)"),
    ("return [2, 1].sort()[0]", "something is None here: list.sort()"),
    ("return [1, 2].mean()", "a list stands where a tensor"),
    ("return (2).exp()", "a number stands where a tensor"),
    ("return torch.exp(2.5)", "a number or a list stands where a tensor"),
    ("return 1 if torch.ones(2) else 0", "want one True or False"),
    ("return float(torch.ones(2))", "a tensor of several values"),
    ("return [0] * torch.ones(2)[0]", "a tensor stands where one integer"),
    ("x += 1; return x", "the name has no value yet"),
    ("return answer(n)", "your function calls itself for ever"),
    ("return torch.zeros(2).sum(dim=1)", "fewer dimensions than this `dim`"),
    ("return nn.ModuleList()(torch.ones(2))", "no method forward"),
    ("return F.cross_entropy(torch.tensor([1]), torch.ones(1, 2))", "numbers of this kind"),
    ("return (lambda: 1)(2)", "different numbers of arguments"),
    ("return torch.ones(2, 3) @ torch.ones(2, 3)", "the rows of the second"),
    ("return len(3)", "a single value stands where a list"),
]


@pytest.mark.parametrize("body, words", BEGINNERS)
def test_check_says_in_our_words_what_beginners_meet_first_and_quotes_python_too(body, words, capsys):
    said = verdict(lambda check, mine: check.close(mine(4), 4), f"def answer(n):\n    {body}\n", capsys)
    assert said.startswith("not yet: ") and words in said and "(your code raised " in said


def test_check_names_a_for_whose_variable_is_moved_by_hand(capsys):
    source = (
        "def answer(n):\n    k = 0\n    for i in range(n):\n        k += 1\n        i += 1\n    return k\n"
    )
    assert "inside `for i in` skips nothing" in verdict(
        lambda check, mine: check.close(mine(4), 2), source, capsys
    )


def test_check_quotes_the_learners_own_line(capsys):
    said = verdict(
        lambda check, area: check.close(area(2), 4), "def area(side):\n    return side / 0\n", capsys
    )
    assert said.endswith("ZeroDivisionError: division by zero, at `return side / 0`")


def test_exercise_does_not_swallow_the_stop_of_the_kernel():
    with pytest.raises(KeyboardInterrupt), checks.Check(NAME):
        raise KeyboardInterrupt


@pytest.mark.parametrize("seed", range(20))
def test_difference_of_floats_agrees_with_torch_allclose(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(3, dtype=torch.float64, generator=generator)
    b = a * (1 + 1.5e-4 * torch.rand(3, dtype=torch.float64, generator=generator))
    assert (difference(a, b) is None) == torch.allclose(a, b, rtol=1e-4, atol=1e-6)


GRADED = torch.tensor([1.0, 2.0], requires_grad=True)
RAGGED = (torch.zeros(2), torch.ones(3))


@pytest.mark.parametrize(
    "mine, expected",
    [
        (torch.tensor([NAN, -INF, 1.0]), torch.tensor([NAN, -INF, 1.0])),
        (GRADED.bfloat16(), GRADED.double()),
        (torch.tensor(2.5), 2.5),
        (Counter("aab"), {"a": 2, "b": 1}),
        ((GRADED * (1 + 5e-5), ONES), (GRADED, ONES)),
    ],
)
def test_difference_ignores_gradients_float_widths_rounding_and_numbers_for_scalar_tensors(mine, expected):
    assert difference(mine, expected) is None


@pytest.mark.parametrize(
    "mine, expected, sentence",
    [
        (torch.tensor([50256, 1]), torch.tensor([50255, 1]), "1 of 2 value differs, most at [0]: yours 50"),
        (torch.zeros(5, 3), torch.zeros(3, 5), "(5, 3), but it should be (3, 5): are two dimensions ex"),
        (torch.zeros(3), torch.zeros(3, 1), "a dimension of size 1 is missing"),
        (torch.zeros(1, 3), torch.zeros(3), "a dimension of size 1 is in the way"),
        (ONES, ONES.long(), "your dtype is float32, but it should be int64"),
        (torch.tensor([NAN, 1.0, NAN]), ONES, "your answer contains nan (2 of 3 values)"),
        (torch.tensor([INF, 1.0]), torch.ones(2), "your answer contains an infinity (1 of 2 values)"),
        (torch.tensor([2.0, 1.0]), torch.tensor([1.0, NAN]), "2 of 2 values differ, most at [1]: yours 1,"),
        ([1.0], torch.ones(1), "your answer is a list, but it should be a tensor"),
        (torch.tensor([0.0, 0.25, -0.5]), torch.zeros(3), "2 of 3 values differ, most at [2]: yours -0.5, "),
        (len, 3, "your answer is a function (call it), but it should be an integer"),
        ((*RAGGED, torch.ones(2)), RAGGED, "your answer has 3 items, but it should have 2"),
        ({"w": 1}, {"w": 1, "b": 2}, "your keys are ['w'], but they should be ['w', 'b']"),
        ({"a": [RAGGED]}, {"a": [PAIR]}, "at ['a']: at [0]: at [1]: 3 of 3 values differ"),
        ([np.array(["a", None])], [np.array(["b", None])], "at [0]: at [0]: yours: 'a', expected: 'b'"),
    ],
)
def test_difference_is_one_sentence_with_both_sides_and_the_place_inside_lists_and_dictionaries(
    mine, expected, sentence
):
    found, about_values = difference(mine, expected)
    assert sentence in found and about_values == ("differ" in found or "yours:" in found)
    assert difference(expected, expected) is None
