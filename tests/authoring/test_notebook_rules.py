"""Each rule finds a fault planted in the smallest good notebook, and no other rule complains of it."""

import getpass
from collections.abc import Callable

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tests.authoring.execute import as_text, normalise
from tests.authoring.notebook_form import Notebook
from tests.authoring.notebook_rules import BREAK, LONG, RULES, SITTINGS, complaints
from tests.authoring.notebook_sample import FIGURE, good, md

Fault = Callable[[NotebookNode], None]


def complaining(nb: NotebookNode, *, name: str = "02_attention", end: str = "") -> list[str]:
    """Return the rules that complain of `nb`."""
    return [*complaints(Notebook(name, as_text(nb) + end))]


def test_the_smallest_notebook_is_well():
    assert complaints(Notebook("02_attention", as_text(good()))) == {}


def says(kind: str, *args: object, **said: object) -> Fault:
    """Return a fault: the third code cell has this output too."""
    return lambda nb: nb.cells[4].outputs.append(new_output(kind, *args, **said))


def adds(*cells: NotebookNode) -> Fault:
    """Return a fault: these cells are added at the end."""

    def fault(nb: NotebookNode) -> None:
        nb.cells += cells
        normalise(nb)

    return fault


def replaces(position: int, old: str, new: str) -> Fault:
    """Return a fault: `new` replaces `old`, or the whole source if `old` is empty."""

    def fault(nb: NotebookNode) -> None:
        source = nb.cells[position].source
        assert old in source
        nb.cells[position].source = source.replace(old or source, new)
        normalise(nb)

    return fault


def sets(path: str, value: object) -> Fault:
    """Return a fault: the value at a path like "cells 4 metadata collapsed" is changed."""

    def fault(nb: NotebookNode) -> None:
        *way, last = path.split()
        place = nb
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value

    return fault


def tagged(*tags: str, cells: range) -> Fault:
    """Return a fault: the code cells among these have these tags."""

    def fault(nb: NotebookNode) -> None:
        for i in cells:
            if nb.cells[i].cell_type == "code":
                nb.cells[i].metadata["tags"] = list(tags)
        normalise(nb)

    return fault


def stops_late(nb: NotebookNode) -> None:
    """A fault: the place to stop is just before the end."""
    del nb.cells[17]
    nb.cells.insert(39, md(BREAK + SITTINGS.format(20, 0)))
    normalise(nb)


SLIDE = {"slideshow": {"slide_type": "slide"}}
FAULTS = {
    "a stripped cell": ("outputs_are_stored", sets("cells 16 outputs", [])),
    "a warning": ("outputs_can_be_compared", says("stream", name="stderr", text="careful\n")),
    "a figure without a text": ("figures_have_alternative_text", says("display_data", FIGURE.data)),
    "a count out of order": ("as_execute_writes_it", sets("cells 4 execution_count", 9)),
    "widget state": ("as_execute_writes_it", sets("metadata widgets", {})),
    "an unknown tag": ("known_tags", tagged("exersise", cells=range(4, 5))),
    "a comment to nbval": ("known_tags", replaces(4, "mine =", "# NBVAL_IGNORE_OUTPUT\nmine =")),
    "too little compared on toyworld": ("enough_is_compared", tagged("real-text", cells=range(15, 41))),
    "ignored without an assert": ("what_is_ignored_is_asserted", replaces(8, "assert mine.sum() == 3\n", "")),
    "a long code cell": ("within_limits", replaces(16, "", "\n".join(f"a{i} = {i}" for i in range(21)))),
    "a long solution": ("within_limits", replaces(13, "    return", "    n += 0\n" * 19 + "    return")),
    "a big file": ("within_limits", says("stream", name="stdout", text="x" * 300_000)),
    "a user": ("no_name_of_a_user", replaces(15, "", "By ada.")),
    "a magic": ("plain_python", replaces(16, "", "%time x = 1")),
    "no title": ("opens_with_its_goal", replaces(0, "# 2 · Attention", "Attention")),
    "too few minutes": ("says_its_minutes", replaces(0, "20 minutes", "15 minutes")),
    "nowhere to stop": ("says_its_minutes", replaces(17, "Take a break", "Go on")),
    "a stop in a section": ("says_its_minutes", replaces(18, "## Here", "Here")),
    "a stop too late": ("says_its_minutes", stops_late),
    "a second stop": ("says_its_minutes", adds(md(BREAK + "Rest."))),
    "another second sitting": ("says_its_minutes", replaces(17, "second about 10", "second about 15")),
    "two setup cells": ("starts_with_the_setup_cell", tagged("setup", cells=range(2, 3))),
    "nothing to predict": ("predicts_and_binds", sets("cells 3 metadata tags", ["real-text"])),
    "nothing compared": ("predicts_and_binds", replaces(4, "torch.testing.assert_close(", "print(")),
    "a sentence that tells": ("predictions_cannot_be_read_off", replaces(4, '"equal"', f'"{"so " * 12}"')),
    "no widget": ("widgets_stand_beside_figures", sets("cells 7 outputs", [])),
    "no figure": ("widgets_stand_beside_figures", sets("cells 6 outputs", good().cells[6].outputs[:1])),
    "too many slides": ("has_slides", lambda nb: [cell.metadata.update(SLIDE) for cell in nb.cells[:21]]),
    "a long contract": ("exercises_have_their_form", replaces(9, "- gives", "- b\n- c\n- gives")),
    "a heading and no stub": ("exercises_have_their_form", adds(md("### 2.2 · two · ●○○ · 1 min\n\n- a"))),
    "no check": ("exercises_have_their_form", sets("cells 11 metadata tags", ["real-text"])),
    "a check that shows the answer": ("exercises_have_their_form", replaces(11, "(plus_one)", "(1 + 1)")),
    "a stub that is solved": ("exercises_have_their_form", sets("cells 11 outputs 0 text", "correct\n")),
    "a solution in the open": ("exercises_have_their_form", replaces(13, "", "```python\nx = 1\n```")),
    "a wrong notebook's name": ("notebooks_that_it_names_are_there", replaces(15, "", "After 01_letters.")),
    "a dead link": ("notebooks_that_it_names_are_there", replaces(15, "", "[on](the_end.ipynb)")),
    "a number from nowhere": ("numbers_have_a_source", replaces(15, "", "It took 9.99 seconds.")),
    "real text that was not read": ("real_text_was_loaded", sets("cells 4 metadata tags", ["real-text"])),
    "no table": ("ends_with_ideas_modules_tests", replaces(14, "", "## Summary")),
    "a missing test": ("ends_with_ideas_modules_tests", replaces(14, "smallest", "largest")),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_and_by_no_other(what, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    rule, fault = FAULTS[what]
    nb = good()
    fault(nb)
    assert complaining(nb) == [rule]


def test_every_rule_has_a_planted_fault():
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in FAULTS.values()}


def test_a_notebook_takes_no_longer_than_it_may(monkeypatch):
    monkeypatch.setitem(LONG, "02_attention", 15)
    assert complaining(good()) == ["says_its_minutes"]


def test_a_name_that_is_not_in_the_design_and_another_end_of_the_file_are_refused():
    assert complaining(good(), name="02_attention_again") == ["notebooks_that_it_names_are_there"]
    assert complaining(good(), end="\n") == ["as_execute_writes_it"]
