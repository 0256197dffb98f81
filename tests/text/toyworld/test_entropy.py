"""Grammar entropy: the closed form against every text written out, and its proofs against planted faults."""

import math

import pytest

from tests.text.toyworld.test_grammar import CAST, CLEAR, DOUBLE, THING, WORDS, brute_force, grammar
from tinylm.errors import DataError
from tinylm.text.toyworld import entropy as grammar_entropy
from tinylm.text.toyworld.entropy import coincide, entropy, longest, mean_length
from tinylm.text.toyworld.templates import Template

FIELDS = {"hero": ["Anna", "Tom", "Eve"], "she": ["she", "he"], "is": ["is", "are"]}


@pytest.mark.parametrize("plots", [CLEAR, DOUBLE], ids=["clear", "ambiguous"])
def test_the_entropy_is_that_of_all_texts_written_out(plots):
    texts = brute_force(plots)
    expected = -math.fsum(p * math.log(p) for p in texts.values())
    assert entropy(grammar(plots)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("plots", [CLEAR, DOUBLE], ids=["clear", "ambiguous"])
def test_the_mean_length_is_that_of_all_texts_written_out(plots):
    texts = brute_force(plots)
    expected = math.fsum(p * len(text + "\n\n") for text, p in texts.items())
    assert mean_length(grammar(plots)) == pytest.approx(expected, abs=1e-12)
    assert longest(grammar(plots)) >= max(len(text + "\n\n") for text in texts)


def test_counting_derivations_instead_of_sentences_would_be_too_much(monkeypatch):
    texts = brute_force(DOUBLE)
    expected = -math.fsum(p * math.log(p) for p in texts.values())
    monkeypatch.setattr(grammar_entropy, "coincide", lambda one, other: False)
    assert entropy(grammar(DOUBLE)) > expected + 0.1


def made(source, **lists):
    return Template(source, WORDS | lists, FIELDS)


@pytest.mark.parametrize(
    "one, other",
    [
        ("a [look] hat", "a red hat"),
        ("[look] red", "red [look]"),
        ("{hero} sings", "Tom sings"),
        ("[x][x]", "aaaa"),
        ("[x]b[x]", "aab[x]"),
    ],
)
def test_templates_that_share_a_sentence_are_found(one, other):
    pair = made(one, x="a | aa"), made(other, x="a | aa")
    assert coincide(*pair)
    assert coincide(*reversed(pair))


@pytest.mark.parametrize(
    "one, other",
    [("a [look] hat", "a blue hat"), ("[x][x]", "aaaaa"), ("{hero} ran", "{she} ran"), ("a", "ab")],
)
def test_templates_that_share_none_are_told_apart(one, other):
    pair = made(one, x="a | aa"), made(other, x="a | aa")
    assert not coincide(*pair)
    assert not coincide(*reversed(pair))


def test_a_template_with_two_ways_to_one_sentence_is_found():
    twofold, single = made("[x][x]", x="a | aa"), made("[x]b[x]", x="a | aa")
    assert coincide(twofold, twofold)
    assert not coincide(single, single)


def refused(plots, match, **more):
    with pytest.raises(DataError, match=match):
        entropy(grammar(plots, **more))


def test_an_opening_that_hides_the_scene_is_refused():
    refused([(1, [["{she} waits."], ["{hero}!"]])], "2 of 3 values")


def test_openings_of_two_plots_that_can_be_the_same_are_refused():
    refused([(1, [["{hero} waits."], ["Yes."]]), (1, [["{hero} [does]."], ["No."]])], "same line")


def test_a_separator_inside_a_line_is_refused():
    blank = {"line_separator": "\n\n", "separator": "\n\n\n"}
    refused([(1, [["{hero} waits.\n"], ["Yes."]])], "separator", **blank)  # ends as a separator begins
    refused([(1, [["{hero} waits."], ["\nYes."]])], "separator", **blank)  # begins as one ends
    refused([(1, [["{hero} waits."], ["No.\n\nYes."]])], "separator", **blank)
    assert entropy(grammar([(1, [["{hero}:\nI wait."], ["Yes."]])], **blank)) > 0
    refused([(1, [["{hero}; waits."], ["Yes."]])], "separator", line_separator="; ")


def test_an_ambiguous_template_too_large_to_write_out_is_refused(monkeypatch):
    monkeypatch.setattr(grammar_entropy, "MOST_SENTENCES", 5)
    refused(DOUBLE, "reword")


def test_the_variables_of_the_cut_down_grammar_are_uneven():
    assert len(set(THING.probabilities)) == 2  # or a lost weight would go unseen
    assert len(CAST.values) == 3
