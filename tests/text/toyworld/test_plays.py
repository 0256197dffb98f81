"""Toyworld's plays: Tiny Shakespeare's alphabet, its layout, and a small version counted by hand."""

import math
import re
from itertools import product

import numpy as np
import pytest

from tinylm.text.toyworld.entropy import entropy
from tinylm.text.toyworld.grammar import Grammar
from tinylm.text.toyworld.plays import CAST, DAY, GIVEN, GUEST, INVITED, LOST, PET, PLACE, PLAY_WORDS
from tinylm.text.toyworld.templates import Variable, flattened
from tinylm.text.toyworld.words import things
from tinylm.text.toyworld.world import PLAYS

SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PLOTS = (LOST, GIVEN, INVITED)


def test_the_characters_are_tiny_shakespeares_sixty_five():
    assert PLAYS.characters == SHAKESPEARE
    assert set(PLAYS.joined(200_000, seed=0)) == set(SHAKESPEARE)


def test_no_scene_is_longer_than_250_characters():
    assert PLAYS.longest <= 250


def test_a_scene_is_a_dialogue_of_two_in_shakespeares_layout():
    speech = re.compile(r"([A-Z][a-z]+):\n([^\n]+[.!?])")
    for text in PLAYS.texts(500, seed=1):
        speakers = [speech.fullmatch(line)[1] for line in text.split("\n\n")]
        assert speakers == [speakers[0], speakers[1]] * 2
        assert speakers[0] != speakers[1]


def test_there_are_many_templates_and_words():
    assert sum(len(pool) for plot in PLOTS for pool in plot) >= 40
    assert len(set(re.findall(r"\w[\w'-]*", PLAYS.joined(300_000, seed=2)))) > 300


@pytest.mark.parametrize("plot", PLOTS, ids=["lost", "given", "invited"])
def test_everything_that_the_opening_settles_comes_back(plot):
    opening = set(re.findall(r"\{(\w+)\}", plot[0][0])) & {
        "hero",
        "friend",
        "thing",
        "guest",
        "pet",
        "day",
        "place",
    }
    always = [set.intersection(*(set(re.findall(r"\w+", t.lower())) for t in pool)) for pool in plot[1:]]
    assert opening <= set().union(*always)


def test_the_grader_says_why():
    first, second, third, last = (
        "Anna:\nDear Tessa! I lost my red drum by the sea.",
        "Tessa:\nBe calm! I saw it with a jolly cook.",
        "Anna:\nBring a long rope and dig by the sea!",
        "Tessa:\nSee, a wise crow brings your drum!",
    )

    def grade(*lines):
        return PLAYS.grade("\n\n".join(lines))

    assert grade(first, second, third, last).faithful
    wrong_hero = grade(first, second, third.replace("Anna", "Rosa"), last)
    assert (wrong_hero.grammatical, wrong_hero.faithful) == (True, False)
    assert wrong_hero.why == "the hero was Anna, but line 3 speaks of Rosa"
    wrong_object = grade(first, second, third, last.replace("drum", "lamp"))
    assert wrong_object.why == "the object was drum, but line 4 speaks of lamp"
    disagreement = grade(first, second.replace("saw it", "saw them"), third, last)
    assert not disagreement.grammatical
    assert disagreement.why == "line 2 says 'them' where 'it' agrees"
    misspelt = grade(first, second.replace("saw", "see"), third, last)
    assert not misspelt.grammatical
    assert misspelt.why.startswith("line 2 is not a line for this place")
    assert "there are 3 lines" in grade(first, second, third).why
    assert "not an opening" in grade(second, first, third, last).why


def cut_down():
    """The plays themselves, with two values, two templates and two words where there were many."""
    two = [Variable(v.values[:: len(v.values) - 1]) for v in (CAST, things(), GUEST, PET, DAY, PLACE)]
    words = {name: " | ".join(source.split("|")[:2]) for name, source in PLAY_WORDS.items()}
    plots = [(1 + i, [pool[-2:] for pool in plot]) for i, plot in enumerate((LOST, INVITED))]
    return two, words, plots


def test_the_entropy_of_cut_down_plays_is_that_of_all_their_texts():
    variables, words, plots = cut_down()
    grammar = Grammar(
        variables=variables, words=words, plots=plots, line_separator="\n\n", separator="\n\n\n"
    )
    gap, probabilities, surprises = re.compile(r"\{(\w+)\}|\[(\w+)\]"), [], []
    for weight, pools in plots:
        named = {f.lower() for t in pools[0] for f in re.findall(r"\{(\w+)\}", t)}
        settled = [v for v in variables if named & set(v.fields)]
        for values in product(*(v.values for v in settled)):
            scene = {field: word for value in values for field, word in value.items()}
            per_line = []
            for pool in pools:
                said: dict[str, float] = {}
                for template in pool:
                    fills = [
                        [(word_for(m, scene, words), 1.0)] if m[1] else list(filled(m[2], words))
                        for m in gap.finditer(template)
                    ]
                    pieces = gap.split(template)[::3]
                    for chosen in product(*fills):
                        line = pieces[0] + "".join(
                            w + p for (w, _), p in zip(chosen, pieces[1:], strict=True)
                        )
                        p = math.prod(q for _, q in chosen) / len(pool)
                        said[line] = said.get(line, 0.0) + p
                per_line.append(np.array(list(said.values())))
            joint = per_line[0]
            for line in per_line[1:]:
                joint = np.multiply.outer(joint, line).ravel()
            joint = joint * weight / 3 / math.prod(len(v.values) for v in settled)
            probabilities.append(joint.sum())
            surprises.append(-(joint * np.log(joint)).sum())
    assert math.fsum(probabilities) == pytest.approx(1, abs=1e-12)
    assert entropy(grammar) == pytest.approx(math.fsum(surprises), rel=1e-12)


def word_for(gap, scene, words):
    word = scene[gap[1][0].lower() + gap[1][1:]]
    return word[0].upper() + word[1:] if gap[1][0].isupper() else word


def filled(name, words):
    for word, probability in flattened(name[0].lower() + name[1:], words).items():
        yield (word[0].upper() + word[1:] if name[0].isupper() else word), probability
