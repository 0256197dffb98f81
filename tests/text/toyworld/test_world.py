"""Toyworld: both worlds give every draw away, so their floor is exact; and what their texts look like."""

import hashlib
import json
import math
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.support.ambiguity import ambiguities
from tests.support.ngram import ngram_loss
from tinylm.text.toyworld.world import PLAYS, STORIES

N = 10_000
SHAKESPEARE = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RECORD = Path(__file__).parents[3] / "data" / "runs" / "toyworld_two_minutes.jsonl"


@pytest.fixture(scope="module", params=[PLAYS, STORIES], ids=["plays", "stories"])
def world(request):
    return request.param


@pytest.fixture(scope="module")
def texts(world):
    return world.texts(N, seed=11)


def error_of(values) -> float:
    return float(np.std(values) / math.sqrt(len(values)))


def test_every_draw_can_be_read_off_a_text(world):
    assert ambiguities(world) == []


def test_entropy_is_the_mean_surprise_of_many_texts(world, texts):
    surprise = [-world.log_prob(text) for text in texts]
    assert abs(np.mean(surprise) - world.entropy) < 3 * error_of(surprise)
    assert error_of(surprise) < 0.001 * world.entropy  # a test that could fail


def test_mean_length_is_that_of_many_texts(world, texts):
    lengths = [len(text + world.separator) for text in texts]
    assert abs(np.mean(lengths) - world.mean_length) < 3 * error_of(lengths)


def test_floor_lies_where_it_is_worth_training(world):
    assert 0.25 < world.floor < 0.6
    assert world.floor == world.entropy / world.mean_length


def test_floor_is_the_one_in_the_records():
    measurements = [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
    (floor,) = [line["floor"] for line in measurements if "floor" in line]
    assert pytest.approx(floor, rel=1e-12) == PLAYS.floor


def test_texts_of_a_seed_never_change():
    digests = [hashlib.sha256(w.joined(200_000, seed=7).encode()).hexdigest() for w in (PLAYS, STORIES)]
    assert digests == [
        "6bc1f332683f72056690a4a3469a7b95c82bb99f5eb1b42aa2175818b384287e",
        "07fabdfef912adcb5a59eec7eed9d4f2c3a09dde017503fd4895d57fbb60a602",
    ]


def test_texts_of_a_seed_are_the_same_in_every_process(world):
    code = "import json, sys; from tinylm.text.toyworld import world as t; "
    code += "print(json.dumps([t.PLAYS.texts(3, 13), t.STORIES.texts(3, 13)]))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert world.texts(3, 13) in json.loads(said)
    assert world.texts(3, 13) != world.texts(3, 14)
    assert world.texts(5, 13) == list(islice(world.stream(13), 5))


def test_a_five_gram_model_stays_well_above_the_floor(world):
    loss = ngram_loss(world.joined(1_000_000, seed=1), world.joined(100_000, seed=2), order=5)
    assert loss > world.floor + 0.15


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


def test_characters_are_those_that_are_written(world):
    assert set(world.joined(1_000_000, seed=4)) == set(world.characters)
    assert world.characters == "".join(sorted(world.characters))


def test_characters_of_plays_are_tiny_shakespeares_sixty_five():
    assert PLAYS.characters == SHAKESPEARE


def test_no_play_is_longer_than_250_characters():
    longest = [
        sum(max(sum(token.lengths[-1] for token in t.tokens) for t in pool.options) for pool in plot.lines)
        + len(PLAYS.line_separator) * (len(plot.lines) - 1)
        for plot in PLAYS.plots.options
    ]
    assert max(longest) + len(PLAYS.separator) <= 250


def test_a_play_is_a_dialogue_of_two_in_shakespeares_layout():
    speech = re.compile(r"([A-Z][a-z]+):\n([^\n]+[.!?])")
    for text in PLAYS.texts(500, seed=1):
        speakers = [speech.fullmatch(line)[1] for line in text.split("\n\n")]
        assert speakers == [speakers[0], speakers[1]] * 2
        assert speakers[0] != speakers[1]


def test_a_story_has_about_a_hundred_words():
    counts = [len(text.split()) for text in STORIES.texts(500, seed=1)]
    assert 80 < np.mean(counts) < 120
    assert min(counts) > 60


def test_a_paragraph_of_a_story_is_whole_sentences():
    for text in STORIES.texts(500, seed=2):
        for paragraph in text.split("\n"):
            assert re.fullmatch(r"[A-Z\"].*[.!?]\"?", paragraph), paragraph
            assert paragraph.count('"') % 2 == 0
            assert "  " not in paragraph
            assert not re.search(r"\ba [aeiou]", paragraph), paragraph
            assert not re.search(r"[.!?] [a-z]", re.sub(r'[.!?]" [a-z]', "", paragraph)), paragraph


def test_worlds_have_many_templates_and_words(world):
    assert sum(len(pool.options) for plot in world.plots.options for pool in plot.lines) >= 40
    words = set(re.findall(r"\w[\w'-]*", world.joined(300_000, seed=2)))
    assert len(words) > (300 if world is PLAYS else 500)


def test_what_the_first_line_settles_comes_back_and_is_worth_telling(world):
    """A model that looks back to the first line gains its scene: more than 5 nats a text."""
    comes_back = (
        {"toy", "place"} if world is STORIES else {"hero", "friend", "thing", "guest", "pet", "day", "place"}
    )
    for plot in world.plots.options:
        recalled = [[{token.field for token in t.tokens} for t in pool.options] for pool in plot.lines]
        always = set().union(*(set.intersection(*pool) for pool in recalled[1:]))
        assert set.union(*recalled[0]) & comes_back <= always
        assert sum(v.entropy for v in plot.settled if v.options[0].keys() & always) > 5
