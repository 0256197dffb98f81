"""Rules for the form of a committed notebook, whatever it teaches."""

import ast
import re
from collections.abc import Callable, Iterator

import nbformat

from tests.authoring.execute import as_text, normalise, tags
from tests.authoring.traces import own_names
from tinylm.course.notebooks import FENCE

TAGS = {"setup", "predict", "exercise", "check", "solution", "real-text", "nbval-ignore-output", "nbval-skip"}
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}
CODE_LINES, CLASS_LINES, BYTES = 20, 30, 300_000


class Notebook:
    """A notebook as the rules see it: its name, the text of its file, its cells by their positions."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text, self.nb = name, text, nbformat.reads(text, as_version=4)
        self.cells = list(enumerate(self.nb.cells))
        self.code = [(i, cell) for i, cell in self.cells if cell.cell_type == "code"]
        self.prose = [(i, cell) for i, cell in self.cells if cell.cell_type == "markdown"]
        self.outputs = [(i, output) for i, cell in self.code for output in cell.outputs]


Rule = Callable[[Notebook], Iterator[str]]
RULES: list[Rule] = []  # in every file of rules


def rule(complaints: Rule) -> Rule:
    """Register a generator of complaints as a rule: a good notebook gives it nothing to yield."""
    RULES.append(complaints)
    return complaints


@rule
def outputs_are_stored(notebook: Notebook) -> Iterator[str]:
    """A cell that prints at its top level has an output. nbval passes a notebook without outputs."""
    if not any(output.output_type != "error" for _, output in notebook.outputs):
        yield "no cell has an output"
    for i, cell in notebook.code:
        if re.search(r"^print\(", cell.source, re.MULTILINE) and not cell.outputs:
            yield f"cell {i} prints and has no output"


@rule
def outputs_can_be_compared(notebook: Notebook) -> Iterator[str]:
    """No output is an exception or a warning. (What differs at every run fails in nbval.)"""
    for i, output in notebook.outputs:
        if output.output_type == "error" or output.get("name") == "stderr":
            yield f"cell {i} ended in an exception or wrote to stderr"


@rule
def figures_have_alternative_text(notebook: Notebook) -> Iterator[str]:
    """Every picture has a text that says what it shows (tinylm.course.charts.show adds it)."""
    for i, output in notebook.outputs:
        alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
        if "image/png" in output.get("data", {}) and len(alt.split()) < 3:
            yield f"cell {i} shows a figure without alternative text"


@rule
def as_execute_writes_it(notebook: Notebook) -> Iterator[str]:
    """The file is what tests.authoring.execute writes: cells numbered from top to bottom, with its ids and
    metadata, without timing, state of widgets or versions."""
    written = nbformat.reads(notebook.text, as_version=4)
    normalise(written)
    if notebook.text != as_text(written):
        yield "the file differs from what tests.authoring.execute writes: execute the notebook again"


@rule
def known_tags(notebook: Notebook) -> Iterator[str]:
    """Tags come from a closed set, and only tags tell nbval what to do."""
    for i, cell in notebook.cells:
        yield from (f"cell {i} has the unknown tag {tag}" for tag in tags(cell) if tag not in TAGS)
    for i, cell in notebook.code:
        if re.search(r"#.*\b(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"cell {i} has a comment for nbval: use a tag"


@rule
def enough_is_compared(notebook: Notebook) -> Iterator[str]:
    """At most a third of the code cells are not compared on the real text, at most half on toyworld."""
    total = len(notebook.code)
    never = sum(1 for _, cell in notebook.code if UNCOMPARED & {*tags(cell)})
    toyworld = sum(1 for _, cell in notebook.code if (UNCOMPARED | {"real-text"}) & {*tags(cell)})
    if 3 * never > total:
        yield f"{never} of {total} code cells are never compared: at most a third may be"
    if 2 * toyworld > total:
        yield f"{toyworld} of {total} code cells are not compared on toyworld: at most half may be"


@rule
def what_is_ignored_is_asserted(notebook: Notebook) -> Iterator[str]:
    """After cells that are not compared comes a compared cell that asserts something and prints."""
    after = None  # the next cell that is compared
    for i, cell in reversed(notebook.code):
        if not UNCOMPARED & {*tags(cell)}:
            after = cell
        elif after is None or not re.search(r"^ *assert", after.source, re.MULTILINE) or not after.outputs:
            yield f"cell {i} is not compared, and no compared cell after it asserts and prints"


@rule
def within_limits(notebook: Notebook) -> Iterator[str]:
    """Code that fits on a screen, and a file that a browser opens. Prose is as long as its idea needs."""
    fences = [(i, fence) for i, cell in notebook.prose for fence in FENCE.findall(cell.source)]
    for i, source in [(i, cell.source) for i, cell in notebook.code] + fences:
        limit = CLASS_LINES if re.search(r"^class ", source, re.MULTILINE) else CODE_LINES
        if (lines := len(source.rstrip().splitlines())) > limit:
            yield f"cell {i} has {lines} lines of code: {limit} at most"
    if (size := len(notebook.text.encode())) > BYTES:
        yield f"{size / 1000:.0f} KB: {BYTES / 1000:.0f} at most"


def count_words(markdown: str) -> int:
    """Words of prose: code, formulas, tables, tags and the addresses of links do not count."""
    for pattern in (r"(?s)```.*?```", r"(?s)\$\$.*?\$\$", r"(?m)^\s*\|.*$", r"<[^>]*>", r"\]\([^)]*\)"):
        markdown = re.sub(pattern, " ", markdown)
    return sum(1 for word in markdown.split() if re.search(r"\w", word))


@rule
def no_name_of_a_user(notebook: Notebook) -> Iterator[str]:
    """No user name appears in source or output. (That no file has a path is tests/test_house.py's rule.)"""
    user = own_names().get("user")
    if user and user.search(re.sub(r'"image/png": ".*"', "", notebook.text)):
        yield "the notebook contains the name of the user who ran it"


@rule
def plain_python(notebook: Notebook) -> Iterator[str]:
    """No magics and no shell commands: a shell command that fails would pass."""
    for i, cell in notebook.code:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"cell {i} is not plain Python: {error.msg} in line {error.lineno}"
