"""The text files: that they ship, what their words must be like, and how a mistake in one is answered."""

import re
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest

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


def test_file_becomes_plots_with_scenes_words_and_labels():
    plots, labels = parse(
        "# a comment\nlist colour\nred @3 |\nblue\n\nlist bird\nowl | [colour] owl\n\n"
        "scene hero, friend\ntwo of Eve | Tom | Ann\n\nscene thing (object), is\nhat | cap: is\nkeys: are\n\n"
        "plot one, line 1\n{hero}:\\nMy {thing} {is} for {friend}.\n\nplot one, line 2\n[Bird]!"
    )
    ((plot,), opening, last) = plots.options, *(pool.options[0] for pool in plots.options[0].lines)
    assert labels == {"thing": "object"}
    hero, thing = ([tuple(value.items()) for value in variable.options] for variable in plot.settled)
    names = ("Ann", "Eve", "Tom")
    assert hero == [(("hero", one), ("friend", two)) for one in names for two in names if one != two]
    agreeing = [("hat", "is"), ("cap", "is"), ("keys", "are")]
    assert thing == [(("thing", word), ("is", form)) for word, form in agreeing]
    assert opening.tokens[1].choice.items() == [(":\nMy ", 1.0)]
    assert last.tokens[0].choice.items() == [("Owl", 0.5), ("Red owl", 0.375), ("Blue owl", 0.125)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lists colour\nred", "'lists colour' of 1 lines is no list, scene or plot"),
        ("list colour\nred\nblue", "'list colour' of 2 lines"),
        ("scene hero, she\nAnna", "argument 2 is shorter"),
        ("scene hero\nAnna: she", "argument 2 is longer"),
        ("list bird\n[colour] owl", r"\[colour\]"),
        ("plot a, line 1\na [fish]", r"\[fish\]"),
        ("scene hero\nAnn\n\nplot a, line 1\n{hero}\n\nplot a, line 2\n{thing}!", r"\{thing\}"),
        ("scene a\nx\n\nscene b\ny\n\nplot p, line 1\n{a}\n\nplot p, line 2\n{b}", r"\{b\}"),  # not settled
    ],
)
def test_mistake_in_a_file_is_never_passed_over(text, sentence):
    with pytest.raises((ValueError, KeyError), match=sentence):
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


def test_lists_hold_no_word_twice_or_in_two_forms_and_each_is_used():
    used = {gap.lower() for gap in re.findall(r"\[(\w+)\]", "".join(FILES.values()))}
    assert {head for text in FILES.values() for head in word_lists(text)} == used
    for text in FILES.values():
        for head, entries in word_lists(text).items():
            assert len(entries) == len(set(entries)), head
            forms = {entry + ending for entry in entries for ending in ("s", "ed", "d", "ing")}
            assert not forms & set(entries), head


def test_words_that_follow_a_begin_with_a_consonant_and_each_name_has_a_capital_of_its_own():
    lists = word_lists(FILES["words.txt"])
    assert not [word for name in AFTER_A for word in lists[name] if word[0] in "aeiou"]
    initials = sorted(name[0] for name in lists["women"] + lists["men"])
    assert "".join(initials) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def values(world, field):
    return [v for plot in world.plots.options for var in plot.settled for v in var.options if field in v]


@pytest.mark.parametrize(("world", "field"), [(PLAYS, "thing"), (STORIES, "toy")], ids=["plays", "stories"])
def test_one_thing_is_and_many_things_are(world, field):
    for value in values(world, field):
        many = value[field].endswith("s")
        expected = ("are", "were", "them", "those", "some") if many else ("is", "was", "it", "that", "a")
        assert tuple(value[form] for form in ("is", "was", "it", "that", "a")) == expected


def test_people_animals_and_toys_are_told_apart():
    people = {tuple(value[f] for f in ("girl", "he", "him", "his")) for value in values(STORIES, "girl")}
    assert people == {("girl", "she", "her", "her"), ("boy", "he", "him", "his")}
    for one, other in (("hero", "friend"), ("animal", "toy")):
        assert not {v[one] for v in values(STORIES, one)} & {v[other] for v in values(STORIES, other)}
