"""Laws of comparing a learner's answer with the right one."""

from collections import Counter

import numpy as np
import pytest
import torch

from tinylm.course.diff import difference, matches

EXACT = {"rtol": 1e-4, "atol": 1e-6}


def sentence_for(mine, expected):
    found = difference(mine, expected, **EXACT)
    return None if found is None else found.sentence


NAN, INF = float("nan"), float("inf")
NUMBERS = [
    torch.arange(15.0).view(3, 5),
    torch.ones(3, 5) > 0,
    torch.arange(7),
    np.linspace(0, 1, 11),
    3,
    2.5,
]
OTHERS = [
    True,
    [2, 3, 5],
    [[0.5, 0.25], [0.125, 0.125]],
    (2, 3),
    ["a", "b"],
    "to be",
    {"a": 2},
    [[1], [2, 3]],
]


@pytest.mark.parametrize("answer", [*NUMBERS, *OTHERS, torch.tensor([NAN, -INF, 1.0])])
def test_difference_of_anything_from_itself_is_none(answer):
    assert sentence_for(answer, answer) is None


@pytest.mark.parametrize("seed", range(20))
def test_difference_of_floats_agrees_with_torch_testing_assert_close(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(3, 5, generator=generator)
    b = a * (1 + 2e-4 * torch.rand(3, 5, generator=generator) * (seed % 2))
    try:
        torch.testing.assert_close(a.double(), b.double(), rtol=1e-4, atol=1e-6)
        close = True
    except AssertionError:
        close = False
    assert (sentence_for(a, b) is None) == close


def test_difference_of_whole_numbers_and_booleans_is_exact():
    assert sentence_for(torch.tensor([50256]), torch.tensor([50255])) is not None
    assert sentence_for(50256, 50255) == "yours: 50256, expected: 50255"
    assert sentence_for(torch.tensor([True, False]), torch.tensor([True, True])) is not None


def test_difference_ignores_gradients_float_widths_and_numbers_for_scalar_tensors():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert sentence_for(x, torch.tensor([1.0, 2.0])) is None
    for width in (torch.bfloat16, torch.float64):
        assert sentence_for(torch.tensor([1.0, 2.0], dtype=width), torch.tensor([1.0, 2.0])) is None
    assert sentence_for(2.5, torch.tensor(2.5)) is None
    assert sentence_for(torch.tensor(2.5), 2.5) is None
    assert sentence_for(Counter("aab"), {"a": 2, "b": 1}) is None


@pytest.mark.parametrize(
    "mine, expected, sentence",
    [
        (torch.zeros(3, 7), torch.zeros(3, 5), "your shape is (3, 7), (3, 5) is expected"),
        (torch.zeros(5, 3), torch.zeros(3, 5), "are two dimensions exchanged?"),
        (torch.zeros(3), torch.zeros(3, 1), "a dimension of size 1 is missing"),
        (torch.zeros(1, 3), torch.zeros(3), "a dimension of size 1 is in the way"),
        (torch.ones(3), torch.ones(3) > 0, "your dtype is float32, bool is expected"),
        (torch.ones(3), torch.ones(3).long(), "your dtype is float32, int64 is expected"),
        (torch.tensor([NAN, 1.0, NAN]), torch.ones(3), "your answer holds nan (2 of 3 values)"),
        (torch.tensor([INF, 1.0]), torch.ones(2), "your answer holds an infinity (1 of 2 values)"),
        (NAN, 1.0, "your answer holds nan"),
    ],
)
def test_difference_explains_shape_dtype_nan_and_infinity_with_both_sides(mine, expected, sentence):
    assert sentence_for(mine, expected).endswith(sentence)


def test_difference_shows_the_value_that_is_furthest_off():
    mine, right = torch.zeros(3, 5), torch.zeros(3, 5)
    mine[1, 2], mine[2, 4] = 0.25, -0.5
    assert sentence_for(mine, right) == "2 of 15 values differ, most at [2, 4]: yours -0.5, expected 0"


@pytest.mark.parametrize(
    "mine, expected, sentence",
    [
        ([1.0], torch.ones(1), "your answer is a list, a tensor is expected"),
        (torch.ones(1), "a", "your answer is a tensor, a string is expected"),
        (3, "a", "your answer is a whole number, a string is expected"),
        (len, 3, "your answer is a function (call it), a whole number is expected"),
        ("abc", [1, 2], "your answer is a string, a list is expected"),
        (["a"], ["a", "b"], "your answer has 1 items, 2 are expected"),
        ([[1], [2, 4]], [[1], [2, 3]], "at [1]: 1 of 2 value differs, most at [1]: yours 4, expected 3"),
        ("abd", "abc", "yours: 'abd', expected: 'abc'"),
    ],
)
def test_difference_in_type_is_named(mine, expected, sentence):
    assert sentence_for(mine, expected) == sentence


def test_matches_ignores_the_dtype_but_not_the_shape():
    assert matches(torch.ones(3), [True, True, True], **EXACT)
    assert matches("a", "a", **EXACT)
    assert not matches(torch.ones(3), torch.ones(3, 1), **EXACT)
    assert not matches("1", 1, **EXACT)


def tensors(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


RAGGED = (torch.zeros(2), torch.ones(3))


ZEROS = (torch.zeros(2), torch.zeros(3))
W = tensors(w=[1.0, 2.0])


@pytest.mark.parametrize(
    "mine, expected, sentence",
    [
        (W, tensors(w=[1.0, 2.5]), "at ['w']: 1 of 2 value differs, most at [1]: yours 2,"),
        (W, W | tensors(b=[0.0]), "your keys are ['w'], ['w', 'b'] are expected"),
        (RAGGED, ZEROS, "at [1]: 3 of 3 values"),
        ([torch.zeros(2)], RAGGED, "your answer is a list, a tuple is expected"),
        ((torch.zeros(2), "a"), RAGGED, "at [1]: your answer is a string, a tensor"),
        ((*RAGGED, torch.ones(2)), RAGGED, "your answer has 3 items, 2 are expected"),
        ({"a": [RAGGED]}, {"a": [ZEROS]}, "at ['a']: at [0]: at [1]: 3 of 3 values"),
        ({"a": 1}, tensors(a=[1.0]), "at ['a']: your answer is a whole number, a tensor is expected"),
        ([np.array(["a", None])], [np.array(["b", None])], "at [0]: at [0]: yours: 'a', expected: 'b'"),
        (3, W, "your answer is a whole number, a dictionary is expected"),
    ],
)
def test_difference_compares_tensors_inside_dictionaries_and_tuples_one_by_one(mine, expected, sentence):
    assert sentence_for(mine, expected).startswith(sentence)
    assert sentence_for(expected, expected) is None
    assert matches(expected, expected, **EXACT) and not matches(mine, expected, **EXACT)


def test_difference_tolerates_rounding_inside_dictionaries_and_tuples():
    near = torch.tensor([1.0, 2.0]) * (1 + 5e-5)
    assert sentence_for({"w": near}, tensors(w=[1.0, 2.0])) is None
    assert sentence_for((near, torch.ones(3)), (torch.tensor([1.0, 2.0]), torch.ones(3))) is None
    assert matches({"w": near}, tensors(w=[1.0, 2.0]), **EXACT)
