"""Each rule is seen to fail: a fault planted in the smallest good notebook, and its rule alone complains."""

from collections.abc import Callable

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tests.authoring.execute import normalise
from tests.authoring.notebook import Notebook
from tests.authoring.notebook_form import ruff_agrees
from tests.authoring.notebook_rules import RULES, complaints
from tests.authoring.notebook_sample import EXERCISE, code, good, md, notebook, stripped


def test_the_smallest_notebook_is_well():
    assert complaints(notebook(good())) == {}


def says(output: NotebookNode) -> Callable[[NotebookNode], None]:
    """A fault: the third code cell has this output too."""
    return lambda nb: nb.cells[4].outputs.append(output)


def reads(position: int, source: str) -> Callable[[NotebookNode], None]:
    """A fault: the cell at `position` has this source, properly written."""

    def fault(nb: NotebookNode) -> None:
        nb.cells[position].source = source
        normalise(nb)

    return fault


def replaces(position: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    """A fault: `new` stands where `old` stood in the cell at `position`."""

    def fault(nb: NotebookNode) -> None:
        assert old in nb.cells[position].source
        reads(position, nb.cells[position].source.replace(old, new))(nb)

    return fault


def tagged(*tags: str, cells: slice) -> Callable[[NotebookNode], None]:
    """A fault: these code cells are tagged."""

    def fault(nb: NotebookNode) -> None:
        for cell in [cell for cell in nb.cells if cell.cell_type == "code"][cells]:
            cell.metadata["tags"] = list(tags)

    return fault


def without(*positions: int) -> Callable[[NotebookNode], None]:
    """A fault: the cells at these positions are missing."""

    def fault(nb: NotebookNode) -> None:
        nb.cells = [cell for i, cell in enumerate(nb.cells) if i not in positions]
        normalise(nb)

    return fault


def adds(*cells: NotebookNode) -> Callable[[NotebookNode], None]:
    """A fault: these cells stand at the end as well."""

    def fault(nb: NotebookNode) -> None:
        nb.cells += cells
        normalise(nb)

    return fault


def sets(path: str, value: object) -> Callable[[NotebookNode], None]:
    """A fault: what lies at a path like "cells 4 metadata collapsed" has this value."""

    def fault(nb: NotebookNode) -> None:
        *way, last = path.split()
        place = nb
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value

    return fault


def mostly_ignored(nb: NotebookNode) -> None:
    """A fault: cell after cell is not compared, and one assert at the end."""
    tagged("nbval-ignore-output", cells=slice(10, 20))(nb)
    reads(40, "assert 12 > 11\nprint(12)")(nb)


HOME = "/" + "home/ada/x"
SVG = new_output("display_data", {"image/svg+xml": "<svg/>", "text/plain": "figure"})
PLAIN = new_output("display_data", {"image/png": "iVBORw0K", "text/plain": "<Figure size 1x1 with 1 Axes>"})
VIEW = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
SLIDE = {"slideshow": {"slide_type": "slide"}}
FAULTS = {
    "a count out of order": ("ran_in_order", sets("cells 4 execution_count", 9)),
    "a count missing": ("ran_in_order", sets("cells 2 execution_count", None)),
    "a print without its output": ("prints_are_stored", sets("cells 16 outputs", [])),
    "an exception": ("no_errors", says(new_output("error", ename="ValueError", evalue="no", traceback=[]))),
    "a warning": ("no_stderr", says(new_output("stream", name="stderr", text="careful\n"))),
    "timing": ("only_known_metadata", sets("cells 4 metadata execution", {"iopub.status.busy": "then"})),
    "another kernel": ("only_known_metadata", sets("metadata kernelspec name", "conda-env")),
    "a Python version": ("only_known_metadata", sets("metadata language_info version", "3.11.2")),
    "widget state": ("only_known_metadata", sets("metadata widgets", {})),
    "a widget's id": ("only_known_metadata", says(new_output("display_data", VIEW))),
    "a random cell id": ("as_execute_writes_it", sets("cells 4 id", "a1b2c3")),
    "an unknown tag": ("known_tags", tagged("exersise", cells=slice(2, 3))),
    "a comment to nbval": ("known_tags", reads(2, "# NBVAL_IGNORE_OUTPUT\nimport ipywidgets\nimport torch\n\n"
                                                  "from tinylm.errors import TinyLMError")),
    "too little compared": ("enough_is_compared", mostly_ignored),
    "too little compared on toyworld": ("enough_is_compared", tagged("real-text", cells=slice(11, 23))),
    "ignored without an assert": ("what_is_ignored_is_asserted", reads(8, 'print("three")')),
    "too few cells": ("within_limits", without(39, 40)),
    "too many cells": ("within_limits", adds(*(md("Here.") for _ in range(30)))),
    "a long code cell": ("within_limits", reads(16, "\n".join(f"a{i} = {i}" for i in range(21)))),
    "a long class": ("within_limits", reads(16, "class A:\n" + "    a = 1\n" * 30)),
    "a long solution": ("within_limits", replaces(13, "    return", "    n += 0\n" * 19 + "    return")),
    "long prose": ("within_limits", reads(15, "word " * 121)),
    "a big file": ("within_limits", says(new_output("stream", name="stdout", text="x" * 300_000))),
    "a path in a source": ("no_trace_of_a_machine", reads(15, f"See {HOME}.")),
    "a path in an output": ("no_trace_of_a_machine", says(new_output("stream", name="stdout", text=HOME))),
    "a Windows path": ("no_trace_of_a_machine", reads(15, "See C:" + "\\Users\\ada.")),
    "an address": ("no_addresses", says(new_output("display_data", {"text/plain": "<A at 0x7f1122334455>"}))),
    "a magic": ("plain_python", reads(16, "%time x = 1")),
    "a shell command": ("plain_python", reads(16, "!ls")),
    "an SVG": ("no_svg", says(SVG)),
    "a figure for the seeing only": ("figures_have_alternative_text", says(PLAIN)),
    "unformatted code": ("ruff_agrees", reads(16, "x=1")),
    "an unused import": ("ruff_agrees", reads(16, "import os")),
    "no title": ("opens_with_its_goal", reads(0, "**Goal.** To look back. About 25 minutes.")),
    "no goal": ("opens_with_its_goal", reads(0, "# 2 · Attention\n\nAbout 25 minutes.")),
    "no minutes": ("opens_with_its_goal", reads(0, "# 2 · Attention\n\n**Goal.** To look back.")),
    "no setup cell": ("starts_with_the_setup_cell", sets("cells 1 metadata tags", [])),
    "another setup cell": ("starts_with_the_setup_cell", replaces(1, "--depth=1", "--depth=2")),
    "two setup cells": ("starts_with_the_setup_cell", tagged("setup", cells=slice(1, 2))),
    "nothing to predict": ("asks_before_it_tells", sets("cells 3 metadata tags", [])),
    "nothing bound": ("binds_to_the_library", replaces(4, "torch.testing.assert_close(mine,", "print(mine,")),
    "no widget": ("widgets_stand_beside_figures", sets("cells 7 outputs", [])),
    "no figure": ("widgets_stand_beside_figures", sets("cells 6 outputs", good().cells[6].outputs[:1])),
    "a cell that is no slide and no skip": ("has_slides", sets("cells 3 metadata", {"tags": ["predict"]})),
    "too many slides": ("has_slides", lambda nb: [cell.metadata.update(SLIDE) for cell in nb.cells[:21]]),
    "no slide": ("has_slides", lambda nb: [c.metadata.update(md("").metadata) for c in nb.cells[:6]]),
    "an exercise without a level": ("exercises_have_their_form", replaces(9, " · ●○○", "")),
    "a long contract": ("exercises_have_their_form", replaces(9, "- gives", "- b\n- c\n- gives")),
    "no contract": ("exercises_have_their_form", reads(9, f"### {EXERCISE} · ●○○ · 5 min")),
    "a heading and no stub": ("exercises_have_their_form", adds(md("### 2.2 · two · ●○○ · 5 min\n\n- a"))),
    "a check for nothing": ("exercises_have_their_form", adds(code("1 + 1", "check"))),
    "no check": ("exercises_have_their_form", sets("cells 11 metadata tags", ["real-text"])),
    "a check of another name": ("exercises_have_their_form", replaces(11, EXERCISE, "2.1 · add two")),
    "a stub that is solved": ("exercises_have_their_form", sets("cells 11 outputs 0 text", "correct\n")),
    "a hint in the open": ("exercises_have_their_form", reads(12, "Hint: what comes after 1?")),
    "a solution in the open": ("exercises_have_their_form", reads(13, "```python\nx = 1\n```")),
    "an untagged solution": ("exercises_have_their_form", sets("cells 13 metadata tags", [])),
    "two fences": ("exercises_have_their_form", replaces(13, "```\n\n<", "```\n\n```\nor\n```\n\n<")),
    "a wrong notebook's name": ("names_other_notebooks_right", reads(15, "After 01_letters.")),
    "a dead link": ("names_other_notebooks_right", reads(15, "[on](the_end.ipynb)")),
    "no table": ("ends_with_ideas_modules_tests", reads(14, "## Summary")),
    "a module that is not there": (
        "ends_with_ideas_modules_tests",
        replaces(14, "`errors`", "`model/magic`"),
    ),
    "a test that is not there": ("ends_with_ideas_modules_tests", replaces(14, "smallest", "largest")),
    "a row that names nothing": ("ends_with_ideas_modules_tests", replaces(14, "`errors`", "errors")),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_and_by_no_other(what):
    rule, fault = FAULTS[what]
    nb = good()
    fault(nb)
    quick = [r for r in RULES if r is not ruff_agrees or rule == "ruff_agrees"]  # ruff takes its time
    assert list(complaints(notebook(nb), quick)) == [rule]


def test_a_stripped_notebook_is_refused():
    nb = good()
    stripped(nb)
    assert {"ran_in_order", "prints_are_stored"} <= complaints(notebook(nb)).keys()


def test_a_semicolon_at_the_end_of_a_line_is_refused_and_one_in_a_string_is_not():
    nb = good()
    nb.cells[16].source = "x = 1;"
    assert "plain_python" in complaints(notebook(nb))
    nb.cells[16].source = 'css = """\ncolor: red;\n"""'
    assert "plain_python" not in complaints(notebook(nb))


def test_a_file_that_execute_would_write_differently_is_refused():
    text = notebook(good()).text
    assert list(complaints(Notebook("02_attention", text + "\n"))) == ["as_execute_writes_it"]


def test_a_notebook_that_is_not_in_the_design_is_refused():
    assert list(complaints(notebook(good(), "02_attention_again"))) == ["numbered_as_designed"]


def test_every_rule_has_a_planted_fault():
    assert {rule.__name__ for rule in RULES} == {rule for rule, _ in FAULTS.values()} | {
        "numbered_as_designed"
    }
