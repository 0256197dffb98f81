"""Templates: what a gap means, and that reading a sentence back finds every way to say it."""

from itertools import product

import numpy as np
import pytest

from tinylm.errors import DataError
from tinylm.text.toyworld.templates import Template, Variable, flattened, weighted

WORDS = {"colour": "red @3 | blue", "bird": "owl | [colour] owl", "tail": "s | "}
FIELDS = {"hero": ["Anna", "Tom"]}


def test_weights_become_probabilities():
    assert weighted("red @3 | blue") == {"red": 0.75, "blue": 0.25}
    assert weighted(["a | b", "c @3"]) == {"a | b": 0.25, "c": 0.75}


def test_a_list_inside_a_list_is_written_out():
    assert flattened("bird", WORDS) == {"owl": 0.5, "red owl": 0.375, "blue owl": 0.125}


def test_a_capital_gap_makes_a_capital():
    template = Template("[Colour] {Hero}", {"colour": "red"}, {"hero": ["tom"]})
    assert template.readings("Red Tom") == {(("hero", "tom"),): 1.0}
    assert not template.readings("red Tom")
    assert "".join(t.say({"hero": "tom"}, np.random.default_rng(0)) for t in template.tokens) == "Red Tom"


def test_reading_sums_over_all_ways_to_say_a_sentence():
    template = Template("a [colour] [bird] and a [bird]", WORDS, FIELDS)
    expected: dict[str, float] = {}
    lists = [flattened(name, WORDS).items() for name in ("colour", "bird", "bird")]
    for (a, p), (b, q), (c, r) in product(*lists):
        sentence = f"a {a} {b} and a {c}"
        expected[sentence] = expected.get(sentence, 0.0) + p * q * r
    assert len(expected) == 18
    for sentence, probability in expected.items():
        assert template.readings(sentence) == pytest.approx({(): probability}, abs=1e-15)


def test_two_ways_to_the_same_sentence_add_up():
    template = Template("[x][x]", {"x": "a | aa | aaa"}, {})
    assert template.readings("aaaa")[()] == pytest.approx(3 / 9)


def test_a_sentence_cut_short_or_run_on_is_not_read():
    template = Template("owl[tail]", WORDS, {})
    assert set(template.readings("owls")) == {()} == set(template.readings("owl"))
    assert not template.readings("ow")
    assert not template.readings("owlss")


def test_readings_tell_apart_what_is_mentioned():
    template = Template("{hero} saw {hero}", {}, FIELDS)
    assert template.readings("Tom saw Anna") == {(("hero", "Tom"), ("hero", "Anna")): 1.0}


def test_masks_know_which_values_a_mention_fits():
    variable = Variable([{"n": "Anna", "she": "she"}, {"n": "Tom", "she": "he"}, {"n": "Eve", "she": "she"}])
    assert variable.masks["she", "she"] == 0b101
    assert variable.probability(0b101) == pytest.approx(2 / 3)
    assert Variable(variable.values, weights=[1, 2, 1]).probability(0b010) == pytest.approx(0.5)


def test_an_unknown_gap_is_refused_by_name():
    with pytest.raises(DataError, match=r"\[fish\]"):
        Template("a [fish]", WORDS, FIELDS)
    with pytest.raises(DataError, match=r"\{colour\}"):
        Template("a {colour}", WORDS, FIELDS)
