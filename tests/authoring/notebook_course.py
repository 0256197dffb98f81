"""What makes a notebook one of this course's: its opening, its proof, its widget, its slides.

Each rule is a function from a Notebook to a list of complaints, empty when all is well.
"""

import re
import tomllib

from tests.authoring.execute import ROOT, tags
from tests.authoring.notebook import Notebook

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PYPROJECT["project"]["urls"]["Repository"]
SLIDES = 20
WIDGET = re.compile(r"(interactive|\w*Box|\w*Slider|Tab|Accordion|Output|Dropdown|Text|ToggleButtons|HTML)\(")
ON_COLAB = {
    "ipython",
    "ipywidgets",
    "jupyter",
    "matplotlib",
    "numpy",
    "pillow",
    "requests",
    "torch",
}
ON_COLAB |= {"tqdm", "urllib3"}  # always there
SETUP_CELL = """\
# On Colab this fetches the course. Anywhere else it does nothing.
import importlib.util
import subprocess
import sys
from pathlib import Path

if "google.colab" in sys.modules:
    address, folder = "{repository}", Path("course")
    if not folder.exists():
        subprocess.run(["git", "clone", "--depth=1", address, str(folder)], check=True)
    sys.path.insert(0, str(folder.resolve()))
    needed = ({packages})
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *missing], check=True)"""


def setup_cell() -> str:
    """The first code cell of every notebook, to the letter."""
    names = sorted(re.split(r"[<>=~! ]", line)[0] for line in PYPROJECT["project"]["dependencies"])
    packages = ", ".join(f'"{name}"' for name in names if name not in ON_COLAB)
    return SETUP_CELL.format(repository=REPOSITORY, packages=packages)


def opens_with_its_goal(notebook: Notebook) -> list[str]:
    """The first cell: a title, the goal in one sentence, the minutes."""
    kind, source = notebook.nb.cells[0].cell_type, notebook.nb.cells[0].source
    complaints = []
    if kind != "markdown" or not source.startswith("# "):
        complaints.append("the first cell is not a title")
    if not re.search(r"\bgoal\b", source, re.IGNORECASE):
        complaints.append("the first cell does not say the goal")
    if not re.search(r"\bAbout \d+ minutes\b", source):
        complaints.append('the first cell does not say "About 25 minutes"')
    return complaints


def starts_with_the_setup_cell(notebook: Notebook) -> list[str]:
    """The first code cell, and no other, is the setup cell, to the letter."""
    setups = [i for i, cell in notebook.code if "setup" in tags(cell)]
    first, cell = notebook.code[0]
    if setups != [first]:
        return [f"the cells {setups} are tagged setup, and the first code cell is {first}"]
    wrong = cell.source != setup_cell()
    return [f"cell {first} is not the setup cell of tests/notebook_course.py"] if wrong else []


def asks_before_it_tells(notebook: Notebook) -> list[str]:
    """At least one cell asks the reader to predict."""
    return [] if any("predict" in tags(cell) for _, cell in notebook.cells) else ["no cell is tagged predict"]


def binds_to_the_library(notebook: Notebook) -> list[str]:
    """What was built by hand is proved equal to the library's: assert_close, and the library is imported."""
    sources = [cell.source for _, cell in notebook.code if "exercise" not in tags(cell)]
    complaints = []
    if not any("assert_close(" in source for source in sources):
        complaints.append("no cell binds with assert_close")
    if not any(re.search(r"^\s*from tinylm\.(?!course)", source, re.MULTILINE) for source in sources):
        complaints.append("nothing of tinylm is imported to be bound to")
    return complaints


def widgets_stand_beside_figures(notebook: Notebook) -> list[str]:
    """At least one widget, and a static figure in the code cell before or after each, or in its own."""
    cells, complaints = [cell.outputs for _, cell in notebook.code], []
    figures = [any("image/png" in o.get("data", {}) for o in outputs) for outputs in cells]
    widgets = [
        any(WIDGET.match(o.get("data", {}).get("text/plain", "")) for o in outputs) for outputs in cells
    ]
    if not any(widgets):
        complaints.append("there is no widget")
    for k, (i, _) in enumerate(notebook.code):
        if widgets[k] and not any(figures[max(0, k - 1) : k + 2]):
            complaints.append(f"no static figure stands beside the widget in cell {i}")
    return complaints


def has_slides(notebook: Notebook) -> list[str]:
    """Every cell says what it is on a wall, and a lecture has at most 20 slides."""
    kinds = [(i, cell.metadata.get("slideshow", {}).get("slide_type")) for i, cell in notebook.cells]
    unmarked = [i for i, kind in kinds if not kind]
    complaints = [f"cell {i} does not say whether it is a slide (skip, if not)" for i in unmarked]
    slides = sum(1 for _, kind in kinds if kind in ("slide", "subslide"))
    if not 1 <= slides <= SLIDES:
        complaints.append(f"{slides} slides: one to {SLIDES}")
    return complaints


RULES = (
    opens_with_its_goal,
    starts_with_the_setup_cell,
    asks_before_it_tells,
    binds_to_the_library,
    widgets_stand_beside_figures,
    has_slides,
)
