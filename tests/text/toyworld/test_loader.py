"""The text files: that they ship, what they become, and how a mistake in one is answered."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tinylm.text.toyworld.loader import parse

ROOT = Path(__file__).parents[3]


def test_file_becomes_plots_with_scenes_words_and_labels():
    plots, labels = parse(
        "# a comment\nlist colour\nred @3 |\nblue\n\nlist bird\nowl @2 | [colour] owl | blue owl\n\n"
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
    assert last.tokens[0].choice.items() == [("Owl", 0.5), ("Red owl", 0.1875), ("Blue owl", 0.3125)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lists colour\nred", "'lists colour' of 1 lines is no list, scene or plot"),
        ("scene hero, she\nAnna", "argument 2 is shorter"),
        ("scene hero\nAnna: she", "argument 2 is longer"),
        ("list bird\n[colour] owl", r"\[colour\]"),
        ("scene hero\nAnn\n\nplot a, line 1\n{hero}\n\nplot a, line 2\n{thing}!", r"\{thing\}"),
    ],
)
def test_mistake_in_a_file_is_never_passed_over(text, sentence):
    with pytest.raises((ValueError, KeyError), match=sentence):
        parse(text)


def test_files_ship_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["tool"]["setuptools"]["package-data"]
    globs = [f"{package.replace('.', '/')}/{glob}" for package, own in declared.items() for glob in own]
    there = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tinylm").rglob("*.*")]
    others = {name for name in there if not name.endswith((".py", ".pyc")) and "/." not in name}
    assert "tinylm/text/toyworld/words.txt" in others
    assert not [name for name in others if not any(fnmatch(name, glob) for glob in globs)]
