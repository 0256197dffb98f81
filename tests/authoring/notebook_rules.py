"""Rules for a notebook of this course: opening, proof, widget, slides, exercises, names."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from nbformat import NotebookNode

from tests.authoring.execute import NOTEBOOKS, ROOT, printed, tags
from tests.authoring.notebook_form import RULES, Notebook, count_words, rule
from tests.authoring.numbers import numbers_have_a_source  # noqa: F401 (it is one of RULES)
from tinylm.course.notebooks import FENCE

NAMES = re.findall(
    r"\d\d_\w+",
    """00_start_here 01_characters 02_attention 03_transformer 04_training 05_sampling 06_custom_losses
    07_tokenizers 08_tinystories 09_precision 10_speed 11_ddp 12_gpt2 13_evaluation 14_modern_blocks
    15_optimizers 16_mixture_of_experts 17_data_mixtures 18_chat 19_share_your_model 20_bug_museum
    21_scaling_laws 22_rewards 23_looking_inside""",
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SLIDES, BULLETS, TOLD, MINUTES = 20, 3, 11, 120
# Words and lines of code a minute, and minutes of an exercise for each minute of its heading. Two readers
# gave their minutes for nine notebooks: 02 90, 03 100, 09 111, 10 105, 11 121, 13 111; and 07 145, 08 165,
# 12 180. They needed 1.8 and 2.2 times the minutes of the headings, hence 2. The first read 8 lines a minute.
# Only WORDS is fitted: with 90 the formula's nine have the readers' sum. It differs from the first reader by
# +35, +29, +13, +19, +3, +14, from the second by -20, -38, -55: it is for someone between the two. Fits of
# two or three free constants predict a notebook that was left out worse than the mean of the others does.
WORDS, LINES, EXERCISE = 90, 8, 2
BREAK = "**Take a break here: everything you made is kept.** "
SITTINGS = "This first sitting takes about {} minutes, the second about {}."
# Most are longer than MINUTES. They are cut in a later change, so a number here only falls.
NOW = 130, 125, 130, 130, 130, 130, 120, 130, 125, 120, 125, 120, 120
LONG = dict(zip(NAMES[1:14], NOW, strict=True))
WIDGET = re.compile(r"(interactive|\w*Box|\w*Slider|Tab|Accordion|Output|Dropdown|Text|ToggleButtons|HTML)\(")
HEADING = re.compile(r"^### (?P<name>\d+\.\d+ · [^·\n]+?) · (?P<level>●○○|●●○|●●●) · \d+ min$", re.MULTILINE)
FOLDED = re.compile(r"<details>\s*<summary>.*?</summary>.*</details>", re.DOTALL)
TABLE = re.compile(r"^\| *idea *\| *module *\| *test *\|\n\|[-:| ]+\|\n((?:\|.*\n?)+)", re.I | re.M)
# always there
ON_COLAB = "huggingface_hub ipython ipywidgets jupyter matplotlib numpy pillow requests torch tqdm urllib3"
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
    """Return the source that the first code cell of every notebook must have."""
    names = sorted(re.split(r"[<>=~! ]", line)[0] for line in PYPROJECT["dependencies"])
    packages = ", ".join(f'"{name}"' for name in names if name not in ON_COLAB.split())
    return SETUP_CELL.format(repository=PYPROJECT["urls"]["Repository"], packages=packages)


@rule
def opens_with_its_goal(notebook: Notebook) -> Iterator[str]:
    """The first cell has a title and the goal."""
    first = notebook.nb.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell does not begin with a title"
    if not re.search(r"\bgoal\b", first.source, re.IGNORECASE):
        yield "the first cell does not say the goal"


@rule
def says_its_minutes(notebook: Notebook) -> Iterator[str]:
    """The title says the minutes, and one cell at the border of two sections is the place to stop: each
    sitting is a third of the whole or more, and that cell says how long both are."""
    cells, total = notebook.nb.cells, about(minutes(notebook.nb.cells))
    if f"About {total} minutes." not in cells[0].source:
        yield f'the first cell does not say "About {total} minutes."'
    if total > (most := LONG.get(notebook.name, MINUTES)):
        yield f"it takes {total} minutes: {most} at most"
    stops = [i for i, cell in notebook.prose if cell.source.startswith(BREAK)]
    if len(stops) != 1 or not cells[stops[0] + 1].source.startswith("## "):
        yield f"the cells {stops} are places to stop: there must be one, before the heading of a section"
        return
    first = minutes(cells[: stops[0]])
    if not total / 3 <= first <= total * 2 / 3:
        yield f"cell {stops[0]} stops after {first:.0f} of {total} minutes, and not near the middle"
    if (said := SITTINGS.format(about(first), total - about(first))) not in cells[stops[0]].source:
        yield f"cell {stops[0]} does not say {said!r}"


def minutes(cells: list[NotebookNode]) -> float:
    """Return the minutes that a reader needs for these cells: for prose, code, exercises, and one for each
    prediction."""
    shown = [cell for cell in cells if not cell.source.startswith("<details>")]
    prose = [cell.source for cell in shown if cell.cell_type == "markdown"]
    tagged = [cell for cell in shown if cell.cell_type == "code"]
    code = [cell.source for cell in tagged if not {"setup", "exercise", "check"} & {*tags(cell)}]
    lines = sum(1 for source in code for line in source.splitlines() if line.strip())
    words = sum(map(count_words, prose))
    exercises = sum(int(n) for source in prose for n in re.findall(r"^### .* · (\d+) min$", source, re.M))
    predictions = sum("predict" in tags(cell) for cell in cells)
    return words / WORDS + lines / LINES + exercises * EXERCISE + predictions


def about(n: float) -> int:
    """Round to five minutes."""
    return 5 * round(n / 5)


@rule
def starts_with_the_setup_cell(notebook: Notebook) -> Iterator[str]:
    """The first code cell, and no other, is exactly the setup cell."""
    setups = [i for i, cell in notebook.code if "setup" in tags(cell)]
    first, cell = notebook.code[0]
    if setups != [first]:
        yield f"the cells {setups} are tagged setup; only the first code cell, {first}, must be"
    elif cell.source != setup_cell():
        yield f"cell {first} differs from the setup cell in tests/authoring/notebook_rules.py"


@rule
def predicts_and_binds(notebook: Notebook) -> Iterator[str]:
    """The reader predicts something, and what was built by hand is proved equal to tinylm's version."""
    if not any("predict" in tags(cell) for _, cell in notebook.cells):
        yield "no cell is tagged predict"
    sources = [cell.source for _, cell in notebook.code if "exercise" not in tags(cell)]
    if not any("assert_close(" in source for source in sources):
        yield "no cell compares with assert_close"
    if not any(re.search(r"^\s*from tinylm\.(?!course)", source, re.MULTILINE) for source in sources):
        yield "nothing of tinylm is imported to compare with"


@rule
def predictions_cannot_be_read_off(notebook: Notebook) -> Iterator[str]:
    """The code after a prediction prints numbers. No assert and no long text in it (an alternative text, for
    example) gives the answer away."""
    for (_, before), (i, cell) in pairwise(notebook.cells):
        if "predict" not in tags(before) or cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        named = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        docstrings = {ast.get_docstring(node, clean=False) for node in named}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert):
                yield f"cell {i} follows a prediction and asserts its answer"
            text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and len(text.split()) > TOLD and text not in docstrings:
                yield f"cell {i} follows a prediction and says {text!r}"


@rule
def widgets_stand_beside_figures(notebook: Notebook) -> Iterator[str]:
    """There is a widget, and each has a static figure in its own code cell or the one before or after."""
    shown = [[output.get("data", {}) for output in cell.outputs] for _, cell in notebook.code]
    figures = [any("image/png" in data for data in cell) for cell in shown]
    widgets = [any(WIDGET.match(data.get("text/plain", "")) for data in cell) for cell in shown]
    if not any(widgets):
        yield "there is no widget"
    for k, (i, _) in enumerate(notebook.code):
        if widgets[k] and not any(figures[max(0, k - 1) : k + 2]):
            yield f"the widget in cell {i} has no static figure beside it"


@rule
def has_slides(notebook: Notebook) -> Iterator[str]:
    """Every cell has a slide type, and a lecture has at most 20 slides."""
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for _, cell in notebook.cells]
    for i, kind in enumerate(kinds):
        if not kind:
            yield f"cell {i} has no slide type: use skip if it is no slide"
    if not 1 <= (slides := kinds.count("slide") + kinds.count("subslide")) <= SLIDES:
        yield f"{slides} slides: there must be 1 to {SLIDES}"


@rule
def exercises_have_their_form(notebook: Notebook) -> Iterator[str]:
    """An exercise is a heading with a contract, a stub, a check, a folded hint and a folded solution."""
    cells, known = notebook.nb.cells, set()
    stubs = [i for i, cell in notebook.cells if "exercise" in tags(cell)]
    if not stubs:
        yield "there is no exercise"
    for i in stubs:
        yield from (f"exercise in cell {i}: {complaint}" for complaint in _exercise(cells, i))
        known.update(range(i - 1, i + 4))
    for i, cell in notebook.cells:
        if HEADING.search(cell.source) and i + 1 not in stubs and i not in stubs:
            yield f"cell {i} is the heading of an exercise, and no exercise cell follows"
        if {"check", "solution"} & {*tags(cell)} and i not in known:
            yield f"cell {i} is tagged {tags(cell)[0]} and belongs to no exercise"


def _exercise(cells: list[NotebookNode], i: int) -> Iterator[str]:
    """Yield what is wrong with the exercise whose stub is cell i."""
    above, check, hint, solution = (
        cells[j] if 0 <= j < len(cells) else None for j in (i - 1, *range(i + 1, i + 4))
    )
    heading = above and above.cell_type == "markdown" and HEADING.search(above.source)
    if not heading:
        yield 'the cell above has no heading like "### 3.1 · mask the future · ●●○ · 5 min"'
        return
    bullets = len(re.findall(r"^[-*] ", above.source, re.MULTILINE))
    if not 1 <= bullets <= BULLETS:
        yield f"its contract has {bullets} bullets: there must be 1 to {BULLETS}"
    if check is None or "check" not in tags(check):
        yield "no check cell follows it"
        return
    if not re.fullmatch(r"(\w+) = exercises\.\1\(\1\)", check.source):
        yield "its check is not one line like `mask = exercises.mask(mask)`"
    if not printed(check).startswith(f"{heading['name']}: not attempted yet"):
        yield f'its check should print "{heading["name"]}: not attempted yet" and printed {printed(check)!r}'
    if not _folded(hint) or "hint" not in hint.source.lower() or tags(hint):
        yield "no folded hint follows the check"
    if not _folded(solution) or "solution" not in tags(solution):
        yield "no folded cell tagged solution follows the hint"
    elif len(FENCE.findall(solution.source)) != 1 or solution.source.count("```") != 2:
        yield "its solution is not exactly one python fence"


def _folded(cell: NotebookNode | None) -> bool:
    return cell is not None and cell.cell_type == "markdown" and FOLDED.search(cell.source) is not None


@rule
def notebooks_that_it_names_are_there(notebook: Notebook) -> Iterator[str]:
    """Its own name and every name of a notebook in its text are the course's, and links lead to files."""
    if notebook.name not in NAMES:
        yield f"{notebook.name} is not the name of a notebook of the course"
    for i, cell in notebook.cells:
        for name in re.findall(r"\b\d\d_[a-z][a-z_]*[a-z]\b", cell.source):
            if name not in NAMES:
                yield f"cell {i} names {name}, which is not a notebook of the course"
        for link in re.findall(r"\]\(([^)#]+\.ipynb)[^)]*\)", cell.source):
            if not (NOTEBOOKS / link).exists() and "://" not in link:
                yield f"cell {i} links to {link}, which does not exist"


@rule
def real_text_was_loaded(notebook: Notebook) -> Iterator[str]:
    """A cell tagged real-text, which toyworld does not compare, loads a text or comes after one that does."""
    loads = [i for i, cell in notebook.code if re.search(r"\bcorpora\.", cell.source)]
    for i, cell in notebook.code:
        if "real-text" in tags(cell) and not (loads and loads[0] <= i):
            yield f"cell {i} is tagged real-text and no cell before it loads a text"


@rule
def ends_with_ideas_modules_tests(notebook: Notebook) -> Iterator[str]:
    """A table idea → module → test names modules and tests that exist."""
    tables = [(i, m[1]) for i, cell in notebook.prose if (m := TABLE.search(cell.source))]
    if not tables:
        yield "there is no table | idea | module | test |"
    for i, row in ((i, row) for i, rows in tables for row in rows.strip().splitlines()):
        named = re.fullmatch(r"\|[^|]+\| `([^`|]+)` \| `([^`|]+)` \|", row)
        if not named:
            yield f"cell {i}: the row {row!r} is not | an idea | `floor/module` | `test_name` |"
            continue
        if not (ROOT / "tinylm" / f"{named[1]}.py").is_file():
            yield f"cell {i}: there is no module {named[1]}"
        if named[2] not in _tests():
            yield f"cell {i}: there is no test {named[2]}"


@cache
def _tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)}


def read(path: Path) -> Notebook:
    """Read a notebook and keep the exact text of its file."""
    return Notebook(path.stem, path.read_bytes().decode("utf-8"))


def complaints(notebook: Notebook) -> dict[str, list[str]]:
    """Return the complaints of every rule that has any, by the rule's name."""
    return {rule.__name__: lines for rule in RULES if (lines := [*rule(notebook)])}
