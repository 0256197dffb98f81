"""The form of a committed notebook: what a program can say of any notebook, whatever it teaches.

Each rule is a function from a Notebook to a list of complaints, empty when all is well.
"""

import ast
import getpass
import io
import re
import subprocess
import sys
import tokenize
from itertools import pairwise

import nbformat

from tests.authoring.execute import FENCE, METADATA, ROOT, WIDGET_VIEW, cell_ids, tags
from tests.authoring.notebook import MACHINE_PATH, Notebook, output_texts

TAGS = {"setup", "predict", "exercise", "check", "solution", "real-text", "nbval-ignore-output", "nbval-skip"}
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}
CELLS, CODE_LINES, CLASS_LINES, WORDS, BYTES = (40, 70), 20, 30, 120, 300_000
EVERYONE = {"root", "user", "runner", "jovyan", "ubuntu", "admin", "tinylm"}  # names that are nobody's


def ran_in_order(notebook: Notebook) -> list[str]:
    """Executed from top to bottom, and its outputs kept: a stripped notebook passes nbval in silence."""
    counts = [cell.execution_count for _, cell in notebook.code]
    complaints = []
    if counts != list(range(1, len(counts) + 1)):
        complaints.append(f"the execution counts are {counts}, not 1 to {len(counts)}")
    if not any(output.output_type != "error" for _, output in notebook.outputs):
        complaints.append("no cell has an output")
    return complaints


def prints_are_stored(notebook: Notebook) -> list[str]:
    """A cell that prints at its top level has an output."""
    return [
        f"cell {i} prints and has no output"
        for i, cell in notebook.code
        if re.search(r"^print\(", cell.source, re.MULTILINE) and not cell.outputs
    ]


def no_errors(notebook: Notebook) -> list[str]:
    """No stored output is an exception."""
    return [f"cell {i} ended in {o.ename}" for i, o in notebook.outputs if o.output_type == "error"]


def no_stderr(notebook: Notebook) -> list[str]:
    """Nothing went to stderr: a warning is a failure."""
    return [f"cell {i} wrote to stderr" for i, o in notebook.outputs if o.get("name") == "stderr"]


def only_known_metadata(notebook: Notebook) -> list[str]:
    """Python 3 kernel, slides and tags; no timing, no widget state, no version of anything."""
    nb, complaints = notebook.nb, []
    if (nb.nbformat, nb.nbformat_minor) != (4, 5):
        complaints.append(f"the format is {nb.nbformat}.{nb.nbformat_minor}, not 4.5")
    if nb.metadata != METADATA:
        complaints.append(f"the notebook's metadata is {dict(nb.metadata)}, not {METADATA}")
    for i, cell in notebook.cells:
        if unknown := set(cell.metadata) - {"slideshow", "tags"}:
            complaints.append(f"cell {i} has the metadata {', '.join(sorted(unknown))}")
    widgets = [i for i, output in notebook.outputs if WIDGET_VIEW in output.get("data", {})]
    return complaints + [f"cell {i} holds a widget's id" for i in widgets]


def as_execute_writes_it(notebook: Notebook) -> list[str]:
    """Ids and text are those that tests.authoring.execute gives: a change makes a small difference."""
    complaints = []
    if [cell.id for _, cell in notebook.cells] != cell_ids(notebook.nb):
        complaints.append("the cell ids are not those of tests.authoring.execute")
    if notebook.text != nbformat.writes(notebook.nb).rstrip("\n") + "\n":
        complaints.append("the file is not written as tests.authoring.execute writes it")
    return complaints


def known_tags(notebook: Notebook) -> list[str]:
    """Tags come from a closed set, and nothing else tells nbval what to do."""
    unknown = [(i, tag) for i, cell in notebook.cells for tag in tags(cell) if tag not in TAGS]
    complaints = [f"cell {i} has the tag {tag}" for i, tag in unknown]
    hidden = [i for i, cell in notebook.code if re.search(r"#.*\b(NBVAL|PYTEST_VALIDATE)_", cell.source)]
    return complaints + [f"cell {i} speaks to nbval in a comment: use a tag" for i in hidden]


def enough_is_compared(notebook: Notebook) -> list[str]:
    """At most a third of the code cells goes uncompared on the real text, at most half on toyworld."""
    total = len(notebook.code)
    never = sum(1 for _, cell in notebook.code if UNCOMPARED & {*tags(cell)})
    toyworld = sum(1 for _, cell in notebook.code if (UNCOMPARED | {"real-text"}) & {*tags(cell)})
    complaints = []
    if 3 * never > total:
        complaints.append(f"{never} of {total} code cells are never compared: a third at most")
    if 2 * toyworld > total:
        complaints.append(f"{toyworld} of {total} code cells are not compared on toyworld: half at most")
    return complaints


def what_is_ignored_is_asserted(notebook: Notebook) -> list[str]:
    """After cells that are not compared comes one that is, that asserts, and that prints a stable line."""
    complaints, cells = [], [cell for _, cell in notebook.code]
    for place, (i, cell) in enumerate(notebook.code):
        if not UNCOMPARED & {*tags(cell)}:
            continue
        after = next((later for later in cells[place + 1 :] if not UNCOMPARED & {*tags(later)}), None)
        if after is None or not re.search(r"^ *assert", after.source, re.MULTILINE) or not after.outputs:
            complaints.append(f"cell {i} is not compared, and no compared cell after it asserts and prints")
    return complaints


def within_limits(notebook: Notebook) -> list[str]:
    """Few and small cells: a reader's attention is what a course spends."""
    complaints, n = [], len(notebook.cells)
    if not CELLS[0] <= n <= CELLS[1]:
        complaints.append(f"{n} cells: between {CELLS[0]} and {CELLS[1]}")
    codes = [(i, cell.source) for i, cell in notebook.code]
    codes += [(i, fence) for i, cell in notebook.prose for fence in FENCE.findall(cell.source)]
    for i, source in codes:
        limit = CLASS_LINES if re.search(r"^class ", source, re.MULTILINE) else CODE_LINES
        if (lines := len(source.rstrip().splitlines())) > limit:
            complaints.append(f"cell {i} has {lines} lines of code: {limit} at most")
    for i, cell in notebook.prose:
        if (words := count_words(cell.source)) > WORDS:
            complaints.append(f"cell {i} has {words} words: {WORDS} at most")
    if (size := len(notebook.text.encode())) > BYTES:
        complaints.append(f"{size / 1000:.0f} KB: {BYTES / 1000:.0f} at most")
    return complaints


def count_words(markdown: str) -> int:
    """Words of prose: code, formulas, tables, tags and the addresses of links do not count."""
    for pattern in (r"```.*?```", r"\$\$.*?\$\$", r"(?m)^\s*\|.*$", r"<[^>]*>", r"\]\([^)]*\)"):
        markdown = re.sub(pattern, " ", markdown, flags=re.DOTALL if "(?m)" not in pattern else 0)
    return sum(1 for word in markdown.split() if re.search(r"\w", word))


def no_trace_of_a_machine(notebook: Notebook) -> list[str]:
    """No absolute path and no user's name, in source or output."""
    texts = [(i, cell.source) for i, cell in notebook.cells]
    texts += [(i, text) for i, output in notebook.outputs for text in output_texts(output)]
    complaints = [f"cell {i} holds the path {m[0]}…" for i, text in texts if (m := MACHINE_PATH.search(text))]
    user = getpass.getuser()
    if len(user) > 2 and user.lower() not in EVERYONE:
        named = [i for i, text in texts if re.search(rf"\b{re.escape(user)}\b", text)]
        complaints += [f"cell {i} holds the name of the user who ran it" for i in named]
    return complaints


def no_addresses(notebook: Notebook) -> list[str]:
    """No `<object at 0x7f…>`: it differs at every run."""
    texts = [(i, text) for i, output in notebook.outputs for text in output_texts(output)]
    shown = [i for i, text in texts if re.search(r"\b0x[0-9a-f]{8,}", text)]
    return [f"cell {i} shows an object's address" for i in shown]


def plain_python(notebook: Notebook) -> list[str]:
    """No magics and no shell commands (a failing one passes), and no `;` at the end of a line."""
    complaints = []
    for i, cell in notebook.code:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            complaints.append(f"cell {i} is not plain Python: {error.msg} in line {error.lineno}")
            continue
        tokens = list(tokenize.generate_tokens(io.StringIO(cell.source).readline))
        ends = (tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER)
        if any(a.string == ";" and a.type == tokenize.OP and b.type in ends for a, b in pairwise(tokens)):
            complaints.append(f"cell {i} has a line that ends with a semicolon, which silences nothing")
    return complaints


def no_svg(notebook: Notebook) -> list[str]:
    """No SVG: it carries a date."""
    return [f"cell {i} shows an SVG" for i, o in notebook.outputs if "image/svg+xml" in o.get("data", {})]


def figures_have_alternative_text(notebook: Notebook) -> list[str]:
    """Every picture says in words what there is to see (tinylm.course.charts.show gives it)."""
    pictures = [(i, o) for i, o in notebook.outputs if "image/png" in o.get("data", {})]
    return [
        f"cell {i} shows a figure without alternative text"
        for i, output in pictures
        if len(output.metadata.get("image/png", {}).get("alt", "").split()) < 3
    ]


def ruff_agrees(notebook: Notebook) -> list[str]:
    """ruff check and ruff format have nothing to say."""
    file = f"--stdin-filename=notebooks/{notebook.name}.ipynb"
    complaints = []
    for command in (["check", "--output-format=concise", "--quiet"], ["format", "--diff", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, file, "-"],
            input=notebook.text.encode(),
            cwd=ROOT,
            capture_output=True,
        )
        if done.returncode:
            complaints.append(f"ruff {command[0]}: {(done.stdout + done.stderr).decode().strip()}")
    return complaints


RULES = (
    ran_in_order,
    prints_are_stored,
    no_errors,
    no_stderr,
    only_known_metadata,
    as_execute_writes_it,
    known_tags,
    enough_is_compared,
    what_is_ignored_is_asserted,
    within_limits,
    no_trace_of_a_machine,
    no_addresses,
    plain_python,
    no_svg,
    figures_have_alternative_text,
    ruff_agrees,
)
