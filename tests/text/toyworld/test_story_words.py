"""Toyworld's story words: children with their pronouns, and names that are told apart."""

from tinylm.text.toyworld.story_words import ANIMAL, FRIEND, HERO, PLACE, TOY


def test_a_girl_is_she_and_a_boy_is_he():
    pairs = {(value["girl"], value["he"], value["him"], value["his"]) for value in HERO.values}
    assert pairs == {("girl", "she", "her", "her"), ("boy", "he", "him", "his")}


def test_no_child_is_called_like_an_animal():
    assert not {v["hero"] for v in HERO.values} & {v["friend"] for v in FRIEND.values}
    assert not {v["animal"] for v in ANIMAL.values} & {v["toy"] for v in TOY.values}


def test_every_value_is_told_apart_by_its_first_field():
    for variable in (HERO, FRIEND, ANIMAL, TOY, PLACE):
        first = [next(iter(value.values())) for value in variable.values]
        assert len(set(first)) == len(first)
