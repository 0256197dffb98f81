"""Every notebook keeps the rules, and its solutions are right.

That a notebook runs and gives what is stored in it is nbval's to say: `pytest notebooks`.
"""

import re

import pytest

from tests.authoring.execute import NOTEBOOKS, ROOT, solve
from tests.authoring.notebook_rules import RULES, about, minutes, read

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def named(value: object) -> str:
    """How a notebook or a rule is called in a test's name."""
    return getattr(value, "stem", None) or getattr(value, "__name__", str(value))


@pytest.mark.parametrize("rule", RULES, ids=named)
@pytest.mark.parametrize("path", PATHS, ids=named)
def test_the_notebook_keeps_the_rule(path, rule):
    assert [*rule(read(path))] == []


def test_readme_says_the_minutes_of_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.findall(r"\]\(notebooks/(\w+)\.ipynb\).*? \| (\d+) \|", readme)
    assert said == [(path.stem, str(about(minutes(read(path).nb.cells)))) for path in PATHS]


def alone(path):
    """A second pass: for its :: xdist takes it for a scope of its own, for whichever core is free."""
    return f"{path.stem}::solved"


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=alone)
def test_the_solutions_are_correct(path):
    assert solve(path)
