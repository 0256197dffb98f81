"""Both worlds give every draw away, so their floor is exact; what their texts look like; the grader."""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest

from tests.support.ambiguity import ambiguities
from tests.support.corruption import corrupted, rivals
from tests.support.likelihood import log_prob
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import PLAYS, STORIES, spaced, unspaced

SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module", params=[PLAYS, STORIES], ids=["plays", "stories"])
def world(request):
    return request.param


@pytest.fixture(scope="module")
def texts(world):
    return world.texts(10_000, seed=11)


def test_every_draw_can_be_read_off_a_text(world):
    assert ambiguities(world) == []


def test_floor_never_changes_and_lies_where_it_is_worth_training(world):
    assert pytest.approx(0.2708482377366374, rel=1e-12) == PLAYS.floor
    assert 0.25 < world.floor < 0.6
    assert world.floor == world.entropy / world.mean_length


def test_texts_of_a_seed_never_change():
    """What was measured of them once stays true: a count of five neighbours stays 0.15 above the floor."""
    digests = [hashlib.sha256(w.joined(200_000, seed=7).encode()).hexdigest() for w in (PLAYS, STORIES)]
    assert digests == [
        "6bc1f332683f72056690a4a3469a7b95c82bb99f5eb1b42aa2175818b384287e",
        "07fabdfef912adcb5a59eec7eed9d4f2c3a09dde017503fd4895d57fbb60a602",
    ]


def test_joined_text_is_whole_texts_and_just_enough_of_them(world, texts):
    joined = world.joined(1_000_007, seed=11)
    *whole, rest = joined.split(world.separator)  # no text contains the separator
    assert rest == "" and whole == texts[: len(whole)]
    assert len(joined) - len(whole[-1] + world.separator) < 1_000_007 <= len(joined)
    assert set(joined) == set(SHAKESPEARE) if world is PLAYS else set(joined) < set(SHAKESPEARE + '"')


def test_grader_accepts_exactly_what_the_world_can_say_and_hardly_a_wrong_word(world, texts):
    rng, wrong = np.random.default_rng(5), rivals(world)
    one_word_wrong = [corrupted(text, wrong, rng) for text in texts[:3_000]]
    grades = [world.grade(text) for text in texts[:2_000]]
    assert all(grade.grammatical and grade.faithful for grade in grades)
    assert world.grade(texts[0] + world.separator) == grades[0]
    for text in one_word_wrong[:1_000] + [a + world.line_separator + b for a, b in pairwise(texts[:9])]:
        assert world.grade(text).faithful == (log_prob(world, text) > -math.inf)
    assert np.mean([world.grade(text).faithful for text in one_word_wrong]) <= 0.01


SCENE = [
    "Anna:\nDear Tessa! I lost my red drum by the sea.",
    "Tessa:\nBe calm! I saw it with a jolly cook.",
    "Anna:\nBring a long rope and dig by the sea!",
    "Tessa:\nSee, a wise crow brings your drum!",
]
LONG = "It cannot be a line of this world, because nobody in it would say so many words at once."


@pytest.mark.parametrize(
    ("number", "change", "is_grammatical", "why"),
    [
        (3, ("Anna", "Rosa"), True, "the hero was Anna, but line 3 speaks of Rosa"),
        (4, ("drum", "lamp"), True, "the object was drum, but line 4 speaks of lamp"),
        (2, ("saw it", "saw them"), False, "line 2 says 'them' where 'it' agrees"),
        (2, ("saw", "see"), False, "line 2 is not a line for this place: 'Tessa: Be calm! I see it with"),
        (3, (SCENE[2], LONG), False, f"line 3 is not a line for this place: '{LONG[:50]}"),
        (3, ("\n", "\n\n"), False, "there are 5 lines, but this plot has 4"),
        (1, ("lost", "cost"), False, "line 1 is not an opening of this world: 'Anna: Dear Tessa! I cost"),
    ],
)
def test_grader_says_why(number, change, is_grammatical, why):
    assert PLAYS.grade("\n\n".join(SCENE)).faithful
    lines = [line.replace(*change) if i == number else line for i, line in enumerate(SCENE, start=1)]
    grade = PLAYS.grade("\n\n".join(lines))
    assert (grade.grammatical, grade.faithful) == (is_grammatical, False)
    assert grade.why.startswith(why) and len(grade.why) < 150


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "a\n\nb\n", " a\n  b", "\n\na", STORIES.joined(5000, seed=3)]
)
def test_spaced_text_comes_back(text):
    assert unspaced(spaced(text)) == text


def test_name_is_one_id_wherever_it_stands_in_spaced_stories():
    stories = STORIES.texts(1500, seed=3)
    scenes = [scene for plot in STORIES.plots.options for v in plot.settled for scene in v.options]
    names = {scene[who] for scene in scenes for who in ("hero", "friend") if who in scene}

    def ids_of_names(texts):
        tokenizer = BPETokenizer.train(texts, 2048)
        told = {i for text in texts for i in tokenizer.encode(text).tolist()}
        return [word for i in told if (word := tokenizer.decode([i]).strip()) in names]

    once = ids_of_names(list(map(spaced, stories)))
    assert sorted(once) == sorted(names)  # each has one
    assert len(ids_of_names(stories)) > len(names)
