"""The smallest notebook that no rule complains of. Tests plant faults in it."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.authoring.execute import METADATA, normalise
from tests.authoring.notebook_rules import BREAK, SITTINGS, setup_cell

EXERCISE = "2.1 · add one"
IMPORTS = f"""\
import ipywidgets
import torch

from tinylm.course.slips import Exercise
from tinylm.errors import TinyLMError
from tinylm.text import corpora


class exercises:
    solution = "def plus_one(n):\\n    return n + 1"
    plus_one = Exercise("{EXERCISE}", solution, {{}}, cases=[(1,)], slips="")"""
SOLUTION = "```python\ndef plus_one(n):\n    return n + 1\n```"
TABLE = (
    "| idea | module | test |\n|---|---|---|\n| an error | `errors` | `test_the_smallest_notebook_is_well` |"
)
FIGURE = new_output(
    "display_data",
    {"image/png": "iVBORw0K", "text/plain": "figure"},
    metadata={"image/png": {"alt": "a line that rises"}},
)
WIDGET = new_output("display_data", {"text/plain": "HTML(value='')"})
STYLE = 'ipywidgets.HTML("<style>p {color: red}</style>")'


def md(source: str, *tags: str, slide: str = "skip") -> NotebookNode:
    """Make a Markdown cell."""
    return new_markdown_cell(source, metadata={"slideshow": {"slide_type": slide}, "tags": list(tags)})


def code(source: str, *tags: str, prints: str = "", shows: NotebookNode | None = None) -> NotebookNode:
    """Make a code cell that printed a line or showed something."""
    outputs = [new_output("stream", name="stdout", text=prints + "\n")] if prints else []
    return new_code_cell(
        source, metadata=md("", *tags).metadata, outputs=outputs + ([shows] if shows else [])
    )


def folded(summary: str, inside: str) -> str:
    """Return Markdown that a reader has to unfold."""
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>"


def good() -> NotebookNode:
    """Make a notebook that follows every rule, as tests.authoring.execute would leave it."""
    cells = [
        md("# 2 · Attention\n\n**Goal.** To look back.\n\nAbout 20 minutes.", slide="slide"),
        code(setup_cell(), "setup"),
        code(IMPORTS),
        md("How many?", "predict"),
        code(
            'mine = torch.ones(3)\ntorch.testing.assert_close(mine, torch.ones(3))\nprint("equal")',
            prints="equal",
        ),
        md("A figure, then the same as a widget. After 01_characters.", slide="subslide"),
        code(
            "print(TinyLMError.__name__, corpora.__name__)",
            prints="TinyLMError tinylm.text.corpora",
            shows=FIGURE,
        ),
        code(STYLE, "nbval-ignore-output", shows=WIDGET),
        code('assert mine.sum() == 3\nprint("three")', prints="three"),
        md(f"### {EXERCISE} · ●○○ · 3 min\n\n- takes a number\n- gives the next"),
        code("def plus_one(n):\n    return ...", "exercise"),
        code(
            "plus_one = exercises.plus_one(plus_one)",
            "check",
            prints=f"{EXERCISE}: not attempted yet (going on with tinylm's)",
        ),
        md(folded("Hint", "What comes after 1?")),
        md(folded("Solution", SOLUTION), "solution"),
        md(f"## Summary\n\n{TABLE}"),
    ]
    for number in range(13):
        source = "n = 0\n" * 5 + f"print({number})"
        cells += [md(f"## Here is {number}."), code(source, prints=str(number))]
    cells.insert(17, md(BREAK + SITTINGS.format(10, 10)))
    nb = new_notebook(cells=cells, metadata=METADATA)
    normalise(nb)
    return nb


def stripped(nb: NotebookNode) -> None:
    """Remove every output and every execution count."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
