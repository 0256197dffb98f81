"""Grammar: probability and entropy against a brute force that shares no code with it; what is ambiguous."""

import math
import re
from collections import Counter
from itertools import product

import pytest

from tests.support.ambiguity import ambiguities
from tests.support.likelihood import log_prob
from tinylm.text.toyworld.loader import parse
from tinylm.text.toyworld.world import World

GAP = re.compile(r"[\[{]\w+[\]}]")

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


def choices(words):
    entries = [
        re.match(r"(.*?)(?: ?@(\d+))?$", entry.strip(" "), re.S).groups() for entry in words.split("|")
    ]
    total = sum(float(weight or 1) for _, weight in entries)
    return [(word, float(weight or 1) / total) for word, weight in entries]


def expand(template, scene):
    """Every derivation of a template, by string replacement: (sentence, probability)."""
    gap = GAP.search(template)
    if not gap:
        yield template, 1.0
    else:
        name = gap[0][1:-1].lower()
        entries = [(scene[name], 1.0)] if gap[0][0] == "{" else choices(WORDS[name])
        fills = [(fill, p * q) for entry, p in entries for fill, q in expand(entry, scene)]
        for (fill, p), (rest, q) in product(fills, list(expand(template[gap.end() :], scene))):
            fill = fill if gap[0].islower() else fill[0].upper() + fill[1:]
            yield template[: gap.start()] + fill + rest, p * q


def brute_force(plots):
    """Every text and its probability: the sum over plots, scenes and derivations, one by one."""
    texts: dict[str, float] = {}
    for pools in plots:
        for person, thing in product(CAST, THING):
            lines = [
                [(s, p / len(pool)) for t in pool for s, p in expand(t, person | thing)] for pool in pools
            ]
            for said in product(*lines):
                text = "\n".join(s for s, _ in said)
                p = math.prod(q for _, q in said) / len(plots) / len(CAST) / len(THING)
                texts[text] = texts.get(text, 0.0) + p
    return texts


@pytest.fixture(scope="module")
def texts():
    return brute_force(CLEAR)


def test_probability_entropy_and_length_are_those_of_all_texts_written_out(texts):
    world = small_world(CLEAR)
    assert math.fsum(texts.values()) == pytest.approx(1, abs=1e-12)
    for text, probability in texts.items():
        assert log_prob(world, text) == pytest.approx(math.log(probability), abs=1e-12)
    for impossible in ("She sings.", "He sings.\nYes.", "He sings", ""):
        assert f"Tom has red hat.\n{impossible}" not in texts
        assert log_prob(world, f"Tom has red hat.\n{impossible}") == -math.inf
    entropy = -math.fsum(p * math.log(p) for p in texts.values())
    assert world.entropy == pytest.approx(entropy, abs=1e-12)
    mean_length = math.fsum(p * len(text + "\n\n") for text, p in texts.items())
    assert world.mean_length == pytest.approx(mean_length, abs=1e-12)


def test_samples_come_as_often_as_their_probability_says(texts):
    n = 20_000
    counts = Counter(small_world(CLEAR).texts(n, seed=7))
    assert set(counts) <= set(texts)
    chi_squared = sum((counts[t] - n * p) ** 2 / (n * p) for t, p in texts.items())
    freedom = len(texts) - 1
    assert abs(chi_squared - freedom) < 4 * math.sqrt(2 * freedom)


PLAY = ["\n\n", "\n\n\n"]


@pytest.mark.parametrize(
    ("fault", "plots", "separators"),
    [
        ("tells 2 of 3", [[["{she} waits."], ["No."]], [["{hero}!"], ["No."]]], PLAY),
        ("same sentence", [[["{hero} is red."], ["Yes."]], [["{hero} is [colour]."], ["No."]]], PLAY),
        ("same sentence", [[["{hero} waits."], ["So [look] red!", "So red [look]!"]]], PLAY),
        ("same sentence", [[["{hero} waits."], ["[look] [more]"]]], PLAY),  # one sentence in two ways
        ("separator", [[["{hero} waits.\\n"], ["Yes."]]], PLAY),  # ends as a separator begins
        ("separator", [[["{hero} waits."], ["\\nYes."]]], PLAY),  # begins as one ends
        ("separator", [[["{hero} waits."], ["No.\\n\\nYes."]]], PLAY),
        ("separator", [[["{hero}; waits."], ["Yes."]]], ["; ", "\n"]),
    ],
)
def test_ambiguity_of_each_kind_is_found(fault, plots, separators):
    (found,) = ambiguities(small_world(plots, *separators))
    assert fault in found
    assert not ambiguities(small_world(CLEAR, *separators))
