"""Addition: every line is a right sum in its style, no pair of numbers is there twice, marks are exact."""

import pytest

from tinylm.text import corpora
from tinylm.text.addition import LINE, grade, texts, write_sum
from tinylm.text.dataset import load_dataset

STYLES = ["padded", "reversed", "unpadded"]


def numbers(line, style):
    """a, b and c of a line, read by Python's own int and not by the grader."""
    question, c = line.strip().split("=")
    a, b = map(int, question.split("+"))
    return a, b, int(c[::-1] if style == "reversed" else c)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("digits", [1, 2, 3])
def test_sums_are_right_in_every_style_and_lines_are_of_one_length(style, digits):
    train, validation = texts(211, style, digits)
    lines = (train + validation).splitlines(keepends=True)
    assert {len(line) for line in lines} == {3 * digits + 4}
    assert all(a + b == c for a, b, c in (numbers(line, style) for line in lines))
    assert all(grade(line, style) == (1, 1) for line in lines)
    assert grade(train, style) == (train.count("\n"),) * 2
    assert grade(write_sum(7, 45), style) == (style != "reversed", 1)  # which is read from its last digit
    assert {len(str(a)) for a, _, _ in (numbers(line, style) for line in lines)} == {*range(1, digits + 1)}


def test_no_pair_of_numbers_is_there_twice_in_either_order():
    train, validation = texts(10**6, digits=2, held_out=0.2)
    pairs = [frozenset(numbers(line, "padded")[:2]) for line in (train + validation).splitlines()]
    assert len(pairs) == len(set(pairs)) == 100 * 101 / 2  # as many as there are
    assert validation.count("\n") == len(pairs) // 5
    orders = [a < b for a, b, _ in (numbers(line, "padded") for line in train.splitlines()) if a != b]
    assert 0.4 < sum(orders) / len(orders) < 0.6


def test_every_style_holds_the_same_sums_and_a_seed_chooses_them():
    first, *others = ([numbers(x, s) for x in "".join(texts(97, s)).splitlines()] for s in STYLES)
    assert all(other == first for other in others)
    assert texts(97, seed=2) != texts(97) == texts(97)


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("007+045=0052", True),
        ("7+45=52   ", True),
        ("007+045=0053", False),
        ("007+045", False),
        ("007+045=0052+", False),
        ("-07+045=0038", False),
        ("", False),
    ],
)
def test_grader_takes_a_sum_with_the_right_result_and_nothing_else(line, right):
    assert grade(line) == ((right, 1) if line else (0, 0))
    assert grade(f"{line}\n\n{line}\n") == ((2 * right, 2) if line else (0, 0))


@pytest.mark.parametrize("style", STYLES)
def test_corpora_of_sums_are_cut_between_lines(style):
    name = "addition" if style == "padded" else f"addition-{style}"
    text, data = corpora.load(name), load_dataset(name, rows="lines")
    assert data.line == LINE and (text.source, data.name) == ("generated", name)
    for part, ids in ((text.train, data.train), (text.validation, data.validation)):
        assert data.tokenizer.decode(ids) == part and len(part) % LINE == 0
        assert grade(part, style) == (len(part) // LINE,) * 2
