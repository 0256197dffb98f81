"""The grader: it accepts every text, says why it rejects one, and lets no wrong word through. Both worlds."""

import math

import numpy as np
import pytest

from tests.support.corruption import corrupted, rivals
from tinylm.text.toyworld.world import PLAYS, STORIES


@pytest.fixture(scope="module", params=[PLAYS, STORIES], ids=["plays", "stories"])
def world(request):
    return request.param


@pytest.fixture(scope="module")
def texts(world):
    return world.texts(3_000, seed=11)


@pytest.fixture(scope="module")
def one_word_wrong(world, texts):
    rng, wrong = np.random.default_rng(5), rivals(world)
    return [corrupted(text, wrong, rng) for text in texts]


def test_grader_accepts_every_text(world, texts):
    grades = [world.grade(text) for text in texts[:2_000]]
    assert all(grade.grammatical and grade.faithful for grade in grades)
    assert world.grade(texts[0] + world.separator) == grades[0]


def test_grader_rejects_a_single_wrong_word(world, one_word_wrong):
    assert np.mean([world.grade(text).faithful for text in one_word_wrong]) <= 0.01


def test_grader_accepts_exactly_what_the_world_can_say(world, texts, one_word_wrong):
    for text in texts[:1_000] + one_word_wrong[:1_000]:
        assert world.grade(text).faithful == (world.log_prob(text) > -math.inf)


def test_grader_says_why():
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


def test_grader_knows_a_pronoun():
    text = next(text for text in STORIES.stream(seed=4) if " she " in text)
    grade = STORIES.grade(text.replace(" she ", " he ", 1))
    assert (grade.faithful, "he" in grade.why) == (False, True)


@pytest.mark.parametrize(
    "right, wrong",
    [("Here is your ring", "Here is your boots"), ("Here is your ring", "Here are your ring")],
)
def test_a_line_that_no_scene_could_hold_is_not_grammatical(right, wrong):
    scene = next(text for text in PLAYS.stream(seed=0) if right in text)
    assert PLAYS.grade(scene).grammatical
    assert not PLAYS.grade(scene.replace(right, wrong)).grammatical
