"""Grammar: probabilities against a brute force that shares no code with it."""

import math
import re
from itertools import product

import numpy as np
import pytest

from tinylm.errors import DataError
from tinylm.text.toyworld.grammar import Grammar
from tinylm.text.toyworld.templates import Variable

GAP = re.compile(r"[\[{]\w+[\]}]")

CAST = Variable([{"hero": "Anna", "she": "she"}, {"hero": "Tom", "she": "he"}, {"hero": "Eve", "she": "she"}])
THING = Variable([{"thing": "hat", "is": "is"}, {"thing": "boots", "is": "are"}], weights=[2, 3])
WORDS = {"colour": "red | blue @2", "look": "big | red | big red", "does": "sings | waits"}
CLEAR = [
    (1, [["{hero} has [colour] {thing}.", "A [colour] {thing} for {hero}. @2"], ["{she} sings.", "[look]!"]]),
    (2, [["{hero} waits."], ["{hero} is [look]?", "No."], ["Yes, {she} said."]]),
]
# "red big hat", "red red hat" and, by two templates and many ways, "big red big hat":
DOUBLE = [
    (
        1,
        [
            ["{hero} has {thing}."],
            ["[look] {thing} {is} [look] [look].", "[look] {thing} {is} red [look]. @2"],
        ],
    ),
    (
        2,
        [
            ["{hero} waits."],
            [
                "{she} is [look][look]",
                "{she} is bigred",
                "[look] [look] [look]",
                "{hero} and {hero}",
                "{hero} and Tom",
            ],
        ],
    ),
]


def choices(source):
    entries = [re.match(r"(.*?)(?: ?@(\d+))?$", entry.strip(" "), re.S).groups() for entry in source]
    total = sum(float(weight or 1) for _, weight in entries)
    return [(word, float(weight or 1) / total) for word, weight in entries]


def expand(template, scene):
    """Every derivation of a template, by string replacement: (sentence, probability)."""
    gap = GAP.search(template)
    if not gap:
        yield template, 1.0
    else:
        name = gap[0][1:-1]
        fills = [(scene[name], 1.0)] if gap[0][0] == "{" else choices(WORDS[name].split("|"))
        for fill, p in fills:
            for rest, q in expand(template[gap.end() :], scene):
                yield template[: gap.start()] + fill + rest, p * q


def brute_force(plots, first=0):
    """Every text and its probability: the sum over plots, scenes and derivations, one by one."""
    texts: dict[str, float] = {}
    total = sum(weight for weight, _ in plots)
    for weight, pools in plots:
        for a, b in product(*(zip(v.values, v.probabilities, strict=True) for v in (CAST, THING))):
            lines = [
                [(s, p * q) for template, p in choices(pool) for s, q in expand(template, a[0] | b[0])]
                for pool in pools[first:]
            ]
            for said in product(*lines):
                text = "\n".join(s for s, _ in said)
                p = weight / total * a[1] * b[1] * math.prod(q for _, q in said)
                texts[text] = texts.get(text, 0.0) + p
    return texts


def grammar(plots, **more):
    settings = {"line_separator": "\n", "separator": "\n\n"} | more
    return Grammar(variables=[CAST, THING], words=WORDS, plots=plots, **settings)


@pytest.mark.parametrize("plots", [CLEAR, DOUBLE], ids=["clear", "ambiguous"])
def test_the_probability_of_every_text_is_its_sum_over_all_derivations(plots):
    made, texts = grammar(plots), brute_force(plots)
    assert math.fsum(texts.values()) == pytest.approx(1, abs=1e-12)
    for text, probability in texts.items():
        assert made.log_prob(made.split(text)) == pytest.approx(math.log(probability), abs=1e-12)


@pytest.mark.parametrize("plots", [CLEAR, DOUBLE], ids=["clear", "ambiguous"])
def test_the_later_lines_are_weighed_over_every_scene_that_could_have_been(plots):
    made = grammar(plots)
    by_count: dict[int, float] = {}
    for rest, probability in brute_force(plots, first=1).items():
        count = rest.count("\n") + 2
        by_count[count] = by_count.get(count, 0.0) + probability
        assert made.log_prob(made.split(rest), first=1) == pytest.approx(math.log(probability), abs=1e-12)
    assert math.fsum(by_count.values()) == pytest.approx(1, abs=1e-12)


def test_samples_come_as_often_as_their_probability_says():
    made, texts = grammar(CLEAR), brute_force(CLEAR)
    rng, n = np.random.default_rng(7), 20_000
    counts: dict[str, int] = {}
    for _ in range(n):
        text = made.sample(rng)
        counts[text] = counts.get(text, 0) + 1
    assert set(counts) <= set(texts)
    chi_squared = sum((counts.get(t, 0) - n * p) ** 2 / (n * p) for t, p in texts.items())
    freedom = len(texts) - 1
    assert abs(chi_squared - freedom) < 4 * math.sqrt(2 * freedom)


def test_the_same_seed_says_the_same():
    made = grammar(CLEAR)
    first, again = ([made.sample(rng) for _ in range(5)] for rng in map(np.random.default_rng, (3, 3)))
    assert first == again


def test_the_impossible_has_probability_zero():
    made = grammar(CLEAR)
    wrong_pronoun, too_long, nonsense = (
        "Tom has red hat.\nshe sings.",
        "Tom has red hat.\nhe sings.\nYes.",
        "Tom",
    )
    for text in (wrong_pronoun, too_long, nonsense, ""):
        assert made.log_prob(made.split(text)) == -math.inf
    assert made.log_prob(made.split("Tom has red hat.\nhe sings.")) > -math.inf


def test_a_line_may_not_recall_what_no_opening_settles():
    with pytest.raises(DataError, match="thing"):
        grammar([(1, [["{hero} waits."], ["{thing}!"]])])
