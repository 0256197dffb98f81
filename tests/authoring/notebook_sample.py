"""The smallest notebook that no rule complains of, made by hand: the ground on which faults are planted."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes

from tests.authoring.execute import METADATA, normalise
from tests.authoring.notebook import Notebook
from tests.authoring.notebook_course import setup_cell

NAME = "02_attention"
EXERCISE = "2.1 · add one"
SOLUTION = "```python\ndef plus_one(n):\n    return n + 1\n```"


def md(source: str, *tags: str, slide: str = "skip") -> NotebookNode:
    """A markdown cell."""
    return new_markdown_cell(source, metadata=metadata(tags, slide))


def code(
    source: str, *tags: str, slide: str = "skip", prints: str = "", shows: dict | None = None
) -> NotebookNode:
    """A code cell that printed a line, or showed something."""
    outputs = [new_output("stream", name="stdout", text=prints + "\n")] if prints else []
    if shows:
        alt = {"image/png": {"alt": "a line that rises"}} if "image/png" in shows else {}
        outputs.append(new_output("display_data", shows, metadata=alt))
    return new_code_cell(source, metadata=metadata(tags, slide), outputs=outputs)


def metadata(tags: tuple[str, ...], slide: str) -> dict:
    """A cell's slide type and its tags."""
    return {"slideshow": {"slide_type": slide}} | ({"tags": list(tags)} if tags else {})


def folded(summary: str, inside: str) -> str:
    """Markdown that a reader has to open."""
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>"


def good() -> NotebookNode:
    """A notebook as it should be, as if tests.authoring.execute had run it."""
    table = "| idea | module | test |\n|---|---|---|\n"
    table += "| an error | `errors` | `test_the_smallest_notebook_is_well` |"
    cells = [
        md("# 2 · Attention\n\n**Goal.** To look back.\n\nAbout 25 minutes.", slide="slide"),
        code(setup_cell(), "setup"),
        code("import ipywidgets\nimport torch\n\nfrom tinylm.errors import TinyLMError"),
        md("How many?", "predict"),
        code(
            'mine = torch.ones(3)\ntorch.testing.assert_close(mine, torch.ones(3))\nprint("equal")',
            prints="equal",
        ),
        md("A figure, then the same as a widget. After 01_characters.", slide="subslide"),
        code(
            "print(TinyLMError.__name__)",
            prints="TinyLMError",
            shows={"image/png": "iVBORw0K", "text/plain": "figure"},
        ),
        code("ipywidgets.IntSlider()", "nbval-ignore-output", shows={"text/plain": "IntSlider(value=0)"}),
        code('assert mine.sum() == 3\nprint("three")', prints="three"),
        md(f"### {EXERCISE} · ●○○ · 5 min\n\n- takes a number\n- gives the next"),
        code("def plus_one(n):\n    return ...", "exercise"),
        code(
            f'answer = plus_one(1)\nverdict = "not attempted yet" if answer is ... else "correct"\n'
            f'print("{EXERCISE}" + ": " + verdict)',
            "check",
            prints=f"{EXERCISE}: not attempted yet",
        ),
        md(folded("Hint", "What comes after 1?")),
        md(folded("Solution", SOLUTION), "solution"),
        md(f"## Summary\n\n{table}"),
    ]
    for number in range(13):
        cells += [md(f"Here is {number}."), code(f"print({number})", prints=str(number))]
    nb = new_notebook(cells=cells, metadata=METADATA)
    normalise(nb)
    return nb


def notebook(nb: NotebookNode, name: str = NAME) -> Notebook:
    """`nb` as it would lie on disk."""
    return Notebook(name, writes(nb).rstrip("\n") + "\n")


def stripped(nb: NotebookNode) -> None:
    """Takes every output and every count away."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
