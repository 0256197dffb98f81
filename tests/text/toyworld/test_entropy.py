"""Entropy: the closed form against every text written out, and why texts must give their draws away."""

import math

import pytest

from tests.support.ambiguity import ambiguities
from tests.text.toyworld.test_grammar import CLEAR, DOUBLE, brute_force, small_world


def test_entropy_is_that_of_all_texts_written_out():
    expected = -math.fsum(p * math.log(p) for p in brute_force(CLEAR).values())
    assert small_world(CLEAR).entropy == pytest.approx(expected, abs=1e-12)


def test_mean_length_is_that_of_all_texts_written_out():
    expected = math.fsum(p * len(text + "\n\n") for text, p in brute_force(CLEAR).items())
    assert small_world(CLEAR).mean_length == pytest.approx(expected, abs=1e-12)


def test_entropy_is_too_much_where_a_text_hides_its_draws():
    expected = -math.fsum(p * math.log(p) for p in brute_force(DOUBLE).values())
    assert small_world(DOUBLE).entropy > expected + 0.1
    assert ambiguities(small_world(DOUBLE))
    assert not ambiguities(small_world(CLEAR))


@pytest.mark.parametrize(
    "fault, plots",
    [
        ("tells 2 of 3", [[["{she} waits."], ["No."]], [["{hero}!"], ["No."]]]),
        ("same sentence", [[["{hero} is red."], ["Yes."]], [["{hero} is [colour]."], ["No."]]]),
        ("separator", [[["{hero} waits.\\n"], ["Yes."]]]),  # ends as a separator begins
        ("separator", [[["{hero} waits."], ["\\nYes."]]]),  # begins as one ends
        ("separator", [[["{hero} waits."], ["No.\\n\\nYes."]]]),
    ],
)
def test_ambiguity_of_each_kind_is_found(fault, plots):
    (found,) = ambiguities(small_world(plots, "\n\n", "\n\n\n"))
    assert fault in found


def test_a_separator_of_other_letters_is_found():
    plots = [[["{hero}; waits."], ["Yes."]]]
    assert ambiguities(small_world(plots, "; ", "\n"))
    assert not ambiguities(small_world(plots, "\n", "\n\n"))
