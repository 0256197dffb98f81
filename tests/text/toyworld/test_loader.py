"""The text files: that they ship, what their words must be like, and how a mistake in one is answered."""

import re
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest

from tinylm.errors import DataError
from tinylm.text.toyworld.loader import parse
from tinylm.text.toyworld.world import PLAYS, STORIES

ROOT = Path(__file__).parents[3]
FILES = {
    name: files("tinylm.text.toyworld").joinpath(name).read_text(encoding="utf-8")
    for name in ("words.txt", "plays.txt", "stories.txt")
}
AFTER_A = ("quality", "size", "temper", "worker", "beast", "tool", "box")


def word_lists(text):
    blocks = re.findall(r"^list (\w+)\n((?:.+\n)+)", text, re.MULTILINE)
    return {name: [entry.split("@")[0].strip() for entry in words.split("|")] for name, words in blocks}


def test_a_file_becomes_plots_with_scenes_words_and_labels():
    plots, labels = parse(
        "# a comment\nlist colour\nred @3 |\nblue\n\nlist bird\nowl | [colour] owl\n\n"
        "scene hero, friend\ntwo of Eve | Tom | Ann\n\nscene thing (object), is\nhat | cap: is\nkeys: are\n\n"
        "plot one, line 1\n{hero}:\\nMy {thing} {is} for {friend}.\n\nplot one, line 2\n[Bird]!"
    )
    ((plot,), opening, last) = plots.options, *(pool.options[0] for pool in plots.options[0].lines)
    assert labels == {"thing": "object"}
    assert [list(v.options[0]) for v in plot.settled] == [["hero", "friend"], ["thing", "is"]]
    assert [tuple(value.values()) for value in plot.settled[0].options] == [
        (one, other) for one in ("Ann", "Eve", "Tom") for other in ("Ann", "Eve", "Tom") if one != other
    ]
    assert [tuple(v.values()) for v in plot.settled[1].options] == [
        ("hat", "is"),
        ("cap", "is"),
        ("keys", "are"),
    ]
    assert opening.tokens[1].choice.items() == [(":\nMy ", 1.0)]
    assert last.tokens[0].choice.items() == [("Owl", 0.5), ("Red owl", 0.375), ("Blue owl", 0.125)]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("lists colour\nred", "'lists colour' of 1 lines is no list, scene or plot"),
        ("list colour\nred\nblue", "'list colour' of 2 lines"),
        ("scene hero, she\nAnna", "2 fields"),
        ("scene hero\nAnna: she", "2 words"),
        ("list bird\n[colour] owl", r"\[colour\]"),
        ("list bird\nan owl for {hero}", r"\{hero\}"),
    ],
)
def test_a_mistake_in_a_file_is_answered_with_a_sentence(text, sentence):
    with pytest.raises(DataError, match=sentence):
        parse(text)


def test_files_ship_with_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    globs = [f"{package.replace('.', '/')}/{glob}" for package, own in declared.items() for glob in own]
    there = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tinylm").rglob("*.*")]
    others = {name for name in there if not name.endswith((".py", ".pyc")) and "/." not in name}
    assert {f"tinylm/text/toyworld/{name}" for name in FILES} <= others
    assert not [name for name in others if not any(fnmatch(name, glob) for glob in globs)]


def test_each_name_has_a_capital_letter_of_its_own():
    names = word_lists(FILES["words.txt"])
    assert "".join(sorted(name[0] for name in names["women"] + names["men"])) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("name", AFTER_A)
def test_whatever_can_follow_a_begins_with_a_consonant(name):
    assert not [word for word in word_lists(FILES["words.txt"])[name] if word[0] in "aeiou"]


@pytest.mark.parametrize("name", FILES)
def test_no_list_holds_a_word_twice_or_in_two_forms(name):
    for head, entries in word_lists(FILES[name]).items():
        assert len(entries) == len(set(entries)), head
        forms = {entry + ending for entry in entries for ending in ("s", "ed", "d", "ing")}
        assert not forms & set(entries), head


def test_every_list_is_used():
    used = {gap.lower() for gap in re.findall(r"\[(\w+)\]", "".join(FILES.values()))}
    assert {head for text in FILES.values() for head in word_lists(text)} == used


def values(world, field):
    return [v for plot in world.plots.options for var in plot.settled for v in var.options if field in v]


@pytest.mark.parametrize("world, field", [(PLAYS, "thing"), (STORIES, "toy")], ids=["plays", "stories"])
def test_one_thing_is_and_many_things_are(world, field):
    for value in values(world, field):
        forms = tuple(value[form] for form in ("is", "was", "it", "that", "a"))
        plural = value[field].endswith("s")
        assert forms == (
            ("are", "were", "them", "those", "some") if plural else ("is", "was", "it", "that", "a")
        )


def test_a_girl_is_she_and_a_boy_is_he():
    people = {tuple(value[f] for f in ("girl", "he", "him", "his")) for value in values(STORIES, "girl")}
    assert people == {("girl", "she", "her", "her"), ("boy", "he", "him", "his")}


def test_no_child_is_called_like_an_animal_and_no_animal_like_a_toy():
    for one, other in (("hero", "friend"), ("animal", "toy")):
        assert not {v[one] for v in values(STORIES, one)} & {v[other] for v in values(STORIES, other)}
