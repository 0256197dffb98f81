"""Toyworld's words: articles, agreement, and one form of a word in each list."""

import pytest

from tinylm.text.toyworld.plays import PLAY_WORDS
from tinylm.text.toyworld.story_words import STORY_WORDS
from tinylm.text.toyworld.templates import weighted
from tinylm.text.toyworld.words import NAMES, WORDS, things

AFTER_A = ("quality", "size", "temper", "worker", "beast", "tool", "box")


def test_each_name_has_a_capital_letter_of_its_own():
    assert "".join(name[0] for name in NAMES) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("name", AFTER_A)
def test_whatever_can_follow_a_begins_with_a_consonant(name):
    assert not [word for word in weighted(WORDS[name]) if word[0] in "aeiou"]


@pytest.mark.parametrize("words", [WORDS, PLAY_WORDS, STORY_WORDS], ids=["shared", "plays", "stories"])
def test_no_list_holds_a_word_twice_or_in_two_forms(words):
    for name, source in words.items():
        entries = [entry.split("@")[0].strip() for entry in source.split("|")]
        assert len(entries) == len(set(entries)), name
        forms = {entry + ending for entry in entries for ending in ("s", "ed", "d", "ing")}
        assert not forms & set(entries), name


def test_one_thing_is_and_many_things_are():
    for value in things().values:
        plural = value["thing"].endswith("s")
        assert (value["is"], value["it"], value["a"]) == (
            ("are", "them", "some") if plural else ("is", "it", "a")
        )
