"""Toyworld's stories: their size and shape, and that what the first paragraph settles comes back."""

import re

import numpy as np
import pytest

from tinylm.text.toyworld.stories import BIRTHDAY, LOST, RESCUE
from tinylm.text.toyworld.world import STORIES

PLOTS = (LOST, BIRTHDAY, RESCUE)


def test_a_story_has_about_a_hundred_words():
    counts = [len(text.split()) for text in STORIES.texts(500, seed=1)]
    assert 80 < np.mean(counts) < 120
    assert min(counts) > 60


def test_every_paragraph_is_whole_sentences():
    for text in STORIES.texts(500, seed=2):
        for paragraph in text.split("\n"):
            assert re.fullmatch(r"[A-Z\"].*[.!?]\"?", paragraph), paragraph
            assert paragraph.count('"') % 2 == 0
            assert "  " not in paragraph
            assert not re.search(r"\ba [aeiou]", paragraph), paragraph
            assert not re.search(r"[.!?] [a-z]", re.sub(r'[.!?]" [a-z]', "", paragraph)), paragraph


def test_there_are_many_templates_and_words():
    assert sum(len(pool) for plot in PLOTS for pool in plot) >= 40
    assert len(set(re.findall(r"[a-z-]+", STORIES.joined(300_000, seed=3)))) > 500


@pytest.mark.parametrize("plot", PLOTS, ids=["lost", "birthday", "rescue"])
def test_every_story_comes_back_to_hero_toy_and_home(plot):
    always = [set.intersection(*(set(re.findall(r"\w+", t)) for t in pool)) for pool in plot[1:]]
    assert {"place", "toy"} <= set().union(*always)


def test_the_grader_knows_a_pronoun():
    text = next(t for t in STORIES.texts(50, seed=4) if " she " in t)
    grade = STORIES.grade(text.replace(" she ", " he ", 1))
    assert (grade.faithful, "he" in grade.why) == (False, True)
