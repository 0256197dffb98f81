"""The form of an exercise: five cells in a row: heading with contract, stub, check, hint, solution."""

import re

from nbformat import NotebookNode

from tests.authoring.execute import FENCE, printed, tags
from tests.authoring.notebook import Notebook

BULLETS = 3
HEADING = re.compile(r"^### (?P<name>\d+\.\d+ · [^·\n]+?) · (?P<level>●○○|●●○|●●●) · \d+ min$", re.MULTILINE)


def exercises_have_their_form(notebook: Notebook) -> list[str]:
    """Heading with a contract, stub, check, folded hint, folded solution: in this order, nothing left out."""
    cells, complaints, known = notebook.nb.cells, [], set()
    for i, cell in enumerate(cells):
        if "exercise" in tags(cell):
            parts = [j for j in range(max(0, i - 1), min(i + 4, len(cells)))]
            complaints += [f"exercise in cell {i}: {text}" for text in _exercise(cells, i)]
            known.update(parts)
        elif HEADING.search(cell.source) and not (i + 1 < len(cells) and "exercise" in tags(cells[i + 1])):
            complaints.append(f"cell {i} is the heading of an exercise, and no exercise cell follows")
    for i, cell in enumerate(cells):
        if {"check", "solution"} & {*tags(cell)} and i not in known:
            complaints.append(f"cell {i} is tagged {tags(cell)[0]} and belongs to no exercise")
    if not known:
        complaints.append("there is no exercise")
    return complaints


def _exercise(cells: list[NotebookNode], i: int) -> list[str]:
    """What is wrong with the exercise whose stub is cell i."""
    heading = HEADING.search(cells[i - 1].source) if i and cells[i - 1].cell_type == "markdown" else None
    if heading is None:
        return ['the cell above has no heading like "### 3.1 · mask the future · ●●○ · 5 min"']
    complaints, name = [], heading["name"]
    bullets = len(re.findall(r"^[-*] ", cells[i - 1].source, re.MULTILINE))
    if not 1 <= bullets <= BULLETS:
        complaints.append(f"its contract has {bullets} bullets: one to {BULLETS}")
    rest = [*cells[i + 1 : i + 4], *[None] * 3][:3]
    check, hint, solution = rest
    if check is None or "check" not in tags(check):
        return [*complaints, "no check cell follows it"]
    if f'"{name}"' not in check.source:
        complaints.append(f'its check does not name "{name}"')
    if printed(check) != f"{name}: not attempted yet\n":
        complaints.append(
            f'its check should print "{name}: not attempted yet" and printed {printed(check)!r}'
        )
    if hint is None or not _folded(hint) or "hint" not in hint.source.lower() or tags(hint):
        complaints.append("no folded hint follows the check")
    if solution is None or not _folded(solution) or "solution" not in tags(solution):
        complaints.append("no folded cell tagged solution follows the hint")
    elif (fences := len(FENCE.findall(solution.source))) != 1 or solution.source.count("```") != 2:
        complaints.append(f"its solution has {fences} python fences, not exactly one")
    return complaints


def _folded(cell: NotebookNode) -> bool:
    markup = re.search(r"<details>\s*<summary>.*?</summary>.*</details>", cell.source, re.DOTALL)
    return cell.cell_type == "markdown" and markup is not None


RULES = (exercises_have_their_form,)
