"""Running notebooks: tests.authoring.execute, the second pass, and nbval with this course's plugin."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_notebook

from tests.authoring.execute import (
    ROOT,
    NotebookFailed,
    complaints_about_checks,
    execute,
    normalise,
    printed,
    run,
    with_solutions,
)
from tests.authoring.notebook_rules import complaints, read
from tests.authoring.notebook_sample import EXERCISE, code, good, stripped

FIGURE = 'print(TinyLMError.__name__)\ncurve({"a line": ([1, 2], [1.0, 2.0])}, title="A line that rises")'
SOURCES = {  # badly formatted, and each with something that a notebook can keep of its machine or its moment
    "print( len('abc') )": "3\n",
    "import matplotlib.pyplot as plt\nimport datetime\n_ = plt.plot([1, 2])\nplt.show()": "",
    "import ipywidgets\nipywidgets.IntSlider()": "",
    "from tqdm.auto import tqdm\nfor i in tqdm(range(2)): print(i)\nprint(datetime.MINYEAR)": "0\n1\n1\n",
}


def test_execute_leaves_a_notebook_that_keeps_the_rules(tmp_path):
    nb = good()
    stripped(nb)
    nb.metadata["widgets"] = {}
    nb.cells[2].source = nb.cells[2].source.replace(
        "torch\n", "torch\nfrom tinylm.course.charts import curve\n"
    )
    nb.cells[6].source = FIGURE
    path = tmp_path / "02_attention.ipynb"
    path.write_text(nbformat.writes(nb), encoding="utf-8")
    execute(path)
    assert complaints(read(path)) == {}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook that tests.authoring.execute has run."""
    path = tmp_path_factory.mktemp("notebooks") / "light.ipynb"
    path.write_text(
        nbformat.writes(new_notebook(cells=[code(source) for source in SOURCES])), encoding="utf-8"
    )
    execute(path)
    return path


def test_execute_stores_what_the_cells_print(executed):
    cells = nbformat.read(executed, as_version=4).cells
    assert [printed(cell) for cell in cells] == list(SOURCES.values())
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]


def test_executing_twice_changes_nothing(executed):
    before = executed.read_bytes()
    execute(executed)
    assert executed.read_bytes() == before


def test_nbval_accepts_what_execute_stored(executed):
    assert list(pytest_on(executed).values()) == ["PASSED"] * len(SOURCES)


def test_a_widget_that_draws_can_be_run_and_none_of_its_state_is_kept():
    nb = new_notebook(
        cells=[code("import ipywidgets\n\npaper = ipywidgets.Output()\nwith paper:\n    display(7)")]
    )
    run(nb)
    normalise(nb)
    assert nb.cells[0].outputs == [] and "widgets" not in nb.metadata


@pytest.mark.parametrize(
    ("source", "said"),
    [("1 / 0", "ZeroDivisionError"), ("import sys\n\n_ = sys.stderr.write('careful')", "wrote to stderr")],
)
def test_execute_writes_nothing_when_a_cell_fails_or_warns(tmp_path, source, said):
    path = tmp_path / "02_attention.ipynb"
    nb = good()
    nb.cells = nb.cells[:4]
    nb.cells[2].source = source
    path.write_text(nbformat.writes(nb), encoding="utf-8")
    with pytest.raises(NotebookFailed, match=f"(?s)cell 2 .*{said}"):
        execute(path)
    assert [cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells] == [None, [], [], None]


def test_the_kernel_is_this_interpreter_offline_at_the_small_scale(monkeypatch, tmp_path):
    other = tmp_path / "kernels" / "python3" / "kernel.json"  # somebody's own kernel of that name
    other.parent.mkdir(parents=True)
    other.write_text('{"argv": ["no_such_python"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("TINYLM_SCALE", "full")
    monkeypatch.setenv("TINYLM_DATA", "some_pack")
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = ("TINYLM_OFFLINE", "TINYLM_SCALE", "TINYLM_DATA", "MPLBACKEND")
    nb = new_notebook(cells=[code(f"import os, sys\nprint([sys.executable, *map(os.environ.get, {names})])")])
    run(nb)
    inline = "module://matplotlib_inline.backend_inline"
    assert printed(nb.cells[0]) == f"{[sys.executable, '1', None, 'some_pack', inline]}\n"


def test_the_solution_takes_the_place_of_the_stub_above_it_and_a_wrong_one_is_found():
    right, wrong = good(), good()
    wrong.cells[13].source = wrong.cells[13].source.replace("return n + 1", "return ...")
    for nb in (right, wrong):
        nb.cells = nb.cells[9:14]
    right, wrong = with_solutions(right), with_solutions(wrong)
    assert right.cells[1].source == "def plus_one(n):\n    return n + 1"
    for nb in (right, wrong):
        run(nb)
    assert complaints_about_checks(right) == []
    assert complaints_about_checks(wrong) == [f"cell 2 says '{EXERCISE}: not attempted yet'"]


def test_a_notebook_without_checks_has_nothing_correct():
    nb = good()
    nb.cells[11].outputs = []
    assert complaints_about_checks(nb) == ["cell 11 says ''"]


def pytest_on(path: Path, *options: str, **environ: str) -> dict[str, str]:
    """What pytest, as it is set up here, says of each code cell of the notebook at `path`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--rootdir={ROOT}",
    ]
    done = subprocess.run(
        [*command, "-q", "-rA", "--color=no", "-p", "no:cacheprovider", str(path), *options],
        cwd=ROOT,
        env=os.environ | {"TINYLM_CACHE": str(path.parent / "no_cache"), "PYTHONUTF8": "1"} | environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    verdicts = re.findall(r"^(PASSED|FAILED) .*::Cell (\d+)", done.stdout, re.MULTILINE)
    assert verdicts, done.stdout + done.stderr
    return {cell: verdict for verdict, cell in verdicts}


CELLS = {  # a cell, what it prints now, what is stored
    "the same": ("print('3 layers', 0.5)", "3 layers 0.5", "PASSED"),
    "noise": ("print(2.3456 * (1 + 6e-4))", "2.3456", "PASSED"),
    "another number": ("print(1.00)", "1.24", "FAILED"),
    "another whole number": ("print('4 layers')", "3 layers", "FAILED"),
    "another word": ("print('cat 0.5')", "dog 0.5", "FAILED"),
    "another text": (
        "print('vocabulary 65')",
        "vocabulary 61",
        "PASSED",
    ),  # tagged real-text, which is not here
    "not compared": ("print(1.00)", "1.24", "PASSED"),
    "where it runs": ("import os\n\nprint(os.path.basename(os.getcwd()))", "course", "PASSED"),
    "what it sees": ("print(*map(os.environ.get, ['TINYLM_OFFLINE', 'TINYLM_SCALE']))", "1 None", "PASSED"),
    "what came before": ("print(os.name == 'none')", "False", "PASSED"),
}


def test_nbval_compares_with_the_tolerance_and_real_text_only_where_it_is_at_hand(tmp_path):
    tags = {"another text": ["real-text"], "not compared": ["nbval-ignore-output"]}
    cells = [code(source, *tags.get(name, []), prints=stored) for name, (source, stored, _) in CELLS.items()]
    nb = new_notebook(cells=cells)
    normalise(nb)
    path = tmp_path / "course" / "02_attention.ipynb"
    path.parent.mkdir()
    path.write_text(nbformat.writes(nb), encoding="utf-8")
    verdicts = pytest_on(
        path, "-n2", TINYLM_DATA=str(tmp_path), TINYLM_SCALE="full"
    )  # and its cells stay together
    assert verdicts == {str(i): verdict for i, (_, _, verdict) in enumerate(CELLS.values())}
