"""Every rule of a committed notebook: its form, and what makes it one of this course's.

python -m tests.authoring.notebook_rules 02_attention     what the rules say of it, without running it
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.authoring import notebook_course, notebook_exercises, notebook_form, notebook_names
from tests.authoring.execute import found
from tests.authoring.notebook import Notebook
from tests.authoring.notebook_course import setup_cell

__all__ = ["RULES", "Notebook", "complaints", "read", "setup_cell"]

Rule = Callable[[Notebook], list[str]]
RULES: tuple[Rule, ...] = (
    *notebook_form.RULES,
    *notebook_course.RULES,
    *notebook_exercises.RULES,
    *notebook_names.RULES,
)


def read(path: Path) -> Notebook:
    """The notebook at `path`, its text to the letter."""
    return Notebook(path.stem, path.read_bytes().decode("utf-8"))


def complaints(notebook: Notebook, rules: Sequence[Rule] = RULES) -> dict[str, list[str]]:
    """The complaints of every rule that has one, by the rule's name."""
    said = {rule.__name__: rule(notebook) for rule in rules}
    return {name: lines for name, lines in said.items() if lines}


def main() -> int:
    """Prints the complaints about the notebooks named on the command line; 1 when there is one."""
    every = {path.stem: complaints(read(path)) for path in found(sys.argv[1:])}
    for name, said in every.items():
        print(f"{name}: {'all is well' if not said else f'{sum(map(len, said.values()))} complaints'}")
        for rule, lines in said.items():
            print(*(f"    {rule}: {line}" for line in lines), sep="\n")
    return 1 if any(every.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
