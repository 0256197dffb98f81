"""Toyworld: the floor is exact, context pays, and the grader lets no wrong word through. Both flavours."""

import json
import math
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from tests.support.corruption import corrupted, rivals
from tests.support.ngram import ngram_loss
from tinylm.text.toyworld.world import PLAYS, STORIES, plays, stories

N = 10_000


@pytest.fixture(scope="module", params=[PLAYS, STORIES], ids=["plays", "stories"])
def world(request):
    return request.param


@pytest.fixture(scope="module")
def texts(world):
    return world.texts(N, seed=11)


def error_of(values) -> float:
    return float(np.std(values) / math.sqrt(len(values)))


def test_the_mean_surprise_of_many_texts_is_the_entropy(world, texts):
    surprise = [-world.log_prob(text) for text in texts]
    assert abs(np.mean(surprise) - world.entropy) < 3 * error_of(surprise)
    assert error_of(surprise) < 0.001 * world.entropy  # a test that could fail


def test_the_mean_length_of_many_texts_is_the_expected_length(world, texts):
    lengths = [len(text + world.separator) for text in texts]
    assert abs(np.mean(lengths) - world.mean_length) < 3 * error_of(lengths)
    assert max(lengths) <= world.longest


def test_the_floor_lies_where_it_is_worth_training(world):
    assert 0.25 < world.floor < 0.6
    assert world.floor == world.entropy / world.mean_length


def test_a_five_gram_model_stays_well_above_the_floor(world):
    loss = ngram_loss(world.joined(1_000_000, seed=1), world.joined(100_000, seed=2), order=5)
    assert loss > world.floor + 0.15


def test_hiding_the_first_line_costs_what_it_told(world, texts):
    some = texts[:500]
    seen = np.array([world.log_prob_rest(text) for text in some])
    hidden = np.array([world.log_prob_rest(text, hide_first=True) for text in some])
    assert (seen > hidden).mean() > 0.99
    assert (seen - hidden).mean() > 5  # nats: the names alone are worth more
    whole = np.array([world.log_prob(text) for text in some])
    assert (seen > whole).all()
    assert (hidden > whole).all()


def test_what_is_hidden_is_not_looked_at(world, texts):
    between = world.grammar.line_separator
    for text in texts[:100]:
        rest = text.split(between, 1)[1]
        hidden = world.log_prob_rest(between.join(["who knows", rest]), hide_first=True)
        assert hidden == world.log_prob_rest(text, hide_first=True)
        assert world.log_prob_rest(between.join(["who knows", rest])) == -math.inf


def test_the_grader_accepts_every_text(world, texts):
    grades = [world.grade(text) for text in texts[:2_000]]
    assert all(grade.grammatical and grade.faithful for grade in grades)
    assert world.grade(texts[0] + world.separator) == grades[0]


def test_the_grader_rejects_a_single_wrong_word(world, texts):
    rng, wrong = np.random.default_rng(5), rivals(world)
    tries = [corrupted(text, wrong, rng) for text in texts[:3_000]]
    assert np.mean([world.grade(text).faithful for text in tries]) <= 0.01


@pytest.mark.parametrize(
    "right, wrong",
    [("Here is your ring", "Here is your boots"), ("Here is your ring", "Here are your ring")],
)
def test_a_line_that_no_scene_could_hold_is_not_grammatical(right, wrong):
    scene = next(text for text in PLAYS.stream(0) if right in text)
    assert PLAYS.grade(scene).grammatical
    assert not PLAYS.grade(scene.replace(right, wrong)).grammatical


def test_what_the_grader_accepts_is_what_the_world_can_say(world, texts):
    rng, wrong = np.random.default_rng(6), rivals(world)
    for text in texts[:1_000]:
        for said in (text, corrupted(text, wrong, rng)):
            assert world.grade(said).faithful == (world.log_prob(said) > -math.inf)


def test_no_text_contains_the_separator(world, texts):
    assert not any(world.separator in text + world.separator[:-1] for text in texts)
    joined = world.separator.join([*texts, ""])
    assert joined.split(world.separator)[:-1] == texts


def test_joined_text_is_whole_texts_and_just_enough_of_them(world):
    joined = world.joined(10_007, seed=3)
    *whole, rest = joined.split(world.separator)
    assert rest == ""
    assert whole == world.texts(len(whole), seed=3)
    assert len(joined) - len(whole[-1] + world.separator) < 10_007 <= len(joined)


def test_a_seed_says_the_same_in_every_process(world):
    code = "import json, sys; from tinylm.text.toyworld import world as t; "
    code += "print(json.dumps([t.PLAYS.texts(3, 13), t.STORIES.texts(3, 13)]))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert world.texts(3, 13) in json.loads(said)
    assert world.texts(3, 13) != world.texts(3, 14)


def test_the_streams_are_endless_and_seeded():
    assert list(islice(plays(17), 5)) == PLAYS.texts(5, 17)
    assert list(islice(stories(17), 5)) == STORIES.texts(5, 17)


def test_the_characters_are_those_that_are_written(world):
    assert set(world.joined(1_000_000, seed=4)) == set(world.characters)
    assert world.characters == "".join(sorted(world.characters))
