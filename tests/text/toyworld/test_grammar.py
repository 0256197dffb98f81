"""Grammar: entropy, length and samples against the probability of every text; what is ambiguous."""

import math
from collections import Counter

import pytest

from tests.support.ambiguity import ambiguities
from tests.support.likelihood import log_prob
from tinylm.text.toyworld.loader import parse
from tinylm.text.toyworld.world import World

CAST = [{"hero": "Anna", "she": "she"}, {"hero": "Tom", "she": "he"}, {"hero": "Eve", "she": "she"}]
THING = [{"thing": "hat", "is": "is"}, {"thing": "boots", "is": "are"}]
WORDS = {"colour": "red | blue @2", "look": "big | red | big red", "wears": "[colour] @3 | a [colour] hat"}
WORDS["more"] = "red | red red"
CLEAR = [
    [["{hero} has [colour] {thing}.", "A [colour] {thing} for {hero}."], ["{She} sings.", "[look]!"]],
    [["{hero} waits."], ["{hero} is [look]?", "No.", "[Wears]."], ["Yes, {she} said."]],
]


def written(plots):
    """A grammar in the format of the text files."""
    scenes = {"hero, she": CAST, "thing, is": THING}
    blocks = [f"list {name}\n{words}" for name, words in WORDS.items()]
    for head, values in scenes.items():
        blocks.append("\n".join([f"scene {head}", *(": ".join(value.values()) for value in values)]))
    for number, pools in enumerate(plots):
        blocks += ["\n".join([f"plot {number}, line", *pool]) for pool in pools]
    return "\n\n".join(blocks)


def small_world(plots, line_separator="\n", separator="\n\n"):
    return World(*parse(written(plots)), line_separator, separator)


def test_entropy_and_length_are_those_of_all_texts_and_each_comes_as_often_as_its_probability_says():
    n, world = 20_000, small_world(CLEAR)
    counts = Counter(world.texts(n, seed=7))
    texts = {text: math.exp(log_prob(world, text)) for text in counts}
    assert math.fsum(texts.values()) == pytest.approx(1, abs=1e-12)  # so these are all texts
    entropy = -math.fsum(p * math.log(p) for p in texts.values())
    assert world.entropy == pytest.approx(entropy, abs=1e-12)
    mean_length = math.fsum(p * len(text + "\n\n") for text, p in texts.items())
    assert world.mean_length == pytest.approx(mean_length, abs=1e-12)
    chi_squared = sum((counts[t] - n * p) ** 2 / (n * p) for t, p in texts.items())
    freedom = len(texts) - 1
    assert abs(chi_squared - freedom) < 4 * math.sqrt(2 * freedom)


PLAY = ["\n\n", "\n\n\n"]


@pytest.mark.parametrize(
    ("fault", "plots", "separators"),
    [
        ("tells 2 of 3", [[["{she} waits."], ["No."]], [["{hero}!"], ["No."]]], PLAY),
        ("same sentence", [[["{hero} is red."], ["Yes."]], [["{hero} is [colour]."], ["No."]]], PLAY),
        ("same sentence", [[["{hero} waits."], ["[look] [more]"]]], PLAY),  # one sentence in two ways
        ("separator", [[["{hero} waits.\\n"], ["Yes."]]], PLAY),  # ends as a separator begins
        ("separator", [[["{hero} waits."], ["No.\\n\\nYes."]]], PLAY),
        ("separator", [[["{hero}; waits."], ["Yes."]]], ["; ", "\n"]),
    ],
)
def test_ambiguity_of_each_kind_is_found(fault, plots, separators):
    (found,) = ambiguities(small_world(plots, *separators))
    assert fault in found
    assert not ambiguities(small_world(CLEAR, *separators))
