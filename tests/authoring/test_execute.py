"""Notebooks are executed, run with their solutions, and compared by nbval with this course's plugin."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from matplotlib.font_manager import FontManager
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from tests.authoring import execute as execution
from tests.authoring.execute import ROOT, NotebookFailed, as_text, execute, normalise, printed, run, solve
from tests.authoring.notebook_rules import complaints, read
from tests.authoring.notebook_sample import EXERCISE, code, good, stripped

pytestmark = pytest.mark.slow

FIGURE = 'print(TinyLMError.__name__)\ncurve({"a line": ([1, 2], [1.0, 2.0])}, title="A line that rises")'
SOURCES = {  # badly formatted; each could leave a trace of the machine or the time in the file
    "print( len('abc') )": "3\n",
    "import matplotlib.pyplot as plt\nimport datetime\n_ = plt.plot([1, 2])\nplt.show()": "",
    "import ipywidgets\nipywidgets.IntSlider()": "",
    "from tqdm.auto import tqdm\nfor i in tqdm(range(2)): print(i)\nprint(datetime.MINYEAR)": "0\n1\n1\n",
    "paper = ipywidgets.Output()\nwith paper: display(7)": "",  # a widget that draws
}


def written(nb: NotebookNode, path: Path) -> Path:
    """Write a notebook to `path`, and return the path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(as_text(nb), encoding="utf-8")
    return path


def test_execute_leaves_a_notebook_that_keeps_the_rules(tmp_path):
    nb = good()
    stripped(nb)
    nb.metadata["widgets"] = {}
    imported = "from tinylm.course.charts import curve\nfrom tinylm.course.slips"
    nb.cells[2].source = nb.cells[2].source.replace("from tinylm.course.slips", imported)
    nb.cells[6].source = f"assert corpora.__name__\n{FIGURE}"
    path = written(nb, tmp_path / "02_attention.ipynb")
    execute(path)
    assert complaints(read(path)) == {}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Execute a badly formatted notebook, and return its path."""
    *compared, drawing = SOURCES
    nb = new_notebook(cells=[*map(code, compared), code(drawing, "nbval-ignore-output")])
    path = written(nb, tmp_path_factory.mktemp("notebooks") / "light.ipynb")
    execute(path)
    return path


def test_execute_stores_what_the_cells_print_and_no_state_of_a_widget_and_twice_is_as_once(executed):
    nb = nbformat.read(executed, as_version=4)
    assert [printed(cell) for cell in nb.cells] == list(SOURCES.values())
    assert [cell.execution_count for cell in nb.cells] == [1, 2, 3, 4, 5]
    assert nb.cells[4].outputs == [] and "widgets" not in nb.metadata
    before = executed.read_bytes()
    execute(executed)
    assert executed.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [("1 / 0", "ZeroDivisionError"), ('import sys\n\n_ = sys.stderr.write("careful")', "wrote to stderr")],
)
def test_command_writes_nothing_and_fails_when_a_cell_fails_or_warns(
    tmp_path, monkeypatch, capsys, source, said
):
    nb = new_notebook(cells=[code("print(1)"), code(source)])
    path = written(nb, tmp_path / "02_attention.ipynb")
    before = path.read_bytes()
    monkeypatch.setattr(execution, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["execute", "02"])
    assert execution.main() == 1 and path.read_bytes() == before
    assert re.search(f"(?s)02_attention: FAILED: cell 1 .*{said}", capsys.readouterr().out)


def test_the_kernel_is_this_interpreter_whatever_kernels_a_person_has(monkeypatch, tmp_path):
    other = tmp_path / "kernels" / "python3" / "kernel.json"  # a person's own kernel of that name
    other.parent.mkdir(parents=True)
    other.write_text('{"argv": ["no_such_python"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    nb = new_notebook(cells=[code("import sys\nprint(sys.executable)")])
    run(nb)
    assert printed(nb.cells[0]) == f"{sys.executable}\n"


def test_the_solution_takes_the_place_of_the_stub_above_it_and_a_wrong_one_is_found(tmp_path):
    nb = good()
    nb.cells = [nb.cells[2], *nb.cells[9:14]]
    solve(written(nb, tmp_path / "right.ipynb"))
    nb.cells[5].source = nb.cells[5].source.replace("return n + 1", "return ...")
    with pytest.raises(NotebookFailed, match=f"^cell 3 says .{EXERCISE}: not attempted yet"):
        solve(written(nb, tmp_path / "wrong.ipynb"))


VARIABLES = "['TINYLM_OFFLINE', 'TINYLM_SCALE', 'MPLBACKEND']"
INLINE = "module://matplotlib_inline.backend_inline"
FONT = (
    "from matplotlib.font_manager import findfont\nprint(findfont('STIXGeneral').endswith('STIXGeneral.ttf'))"
)
CELLS = [  # a cell, its stored output, and the verdict
    (["import os\n\nprint('3 layers', 2.3456 * (1 + 6e-4))"], "3 layers 2.3456", "PASSED"),
    (["print('3 layers', 1.00)"], "3 layers 1.24", "FAILED"),
    (["import sys\nprint('cat', 'is not', file=sys.stderr)\nprint('cat 0.5')"], "dog 0.5", "FAILED"),
    (["print('vocabulary 65')", "real-text"], "vocabulary 61", "PASSED"),  # the real text is not here
    (["print(1.00)", "nbval-ignore-output"], "1.24", "PASSED"),
    (["print(os.path.basename(os.getcwd()))"], "course", "PASSED"),  # its cells stay together
    ([f"print(*map(os.environ.get, {VARIABLES}))"], f"1 None {INLINE}", "PASSED"),
    ([FONT], "True", "PASSED"),  # though the person's list of fonts is empty
]


def test_nbval_compares_with_the_tolerance_real_text_only_where_it_is_and_without_a_persons_settings(
    tmp_path, executed
):
    nb = new_notebook(cells=[code(*source, prints=stored) for source, stored, _ in CELLS])
    normalise(nb)
    path = written(nb, tmp_path / "course" / "02_attention.ipynb")
    fonts = {"__class__": "FontManager", "_version": FontManager.__version__, "ttflist": [], "afmlist": []}
    (tmp_path / f"fontlist-v{FontManager.__version__}.json").write_text(json.dumps(fonts), encoding="utf-8")
    where = [f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    there = {"TINYLM_CACHE": str(tmp_path / "no_cache"), "TINYLM_DATA": str(tmp_path), "PYTHONUTF8": "1"}
    there |= {"TINYLM_SCALE": "full", "MPLBACKEND": "agg", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *where, "-q", "-rA", "--color=no", str(path), str(executed)],
        cwd=ROOT,
        env=os.environ | there,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    verdicts = re.findall(r"^(PASSED|FAILED) .*::Cell (\d+)", done.stdout, re.MULTILINE)
    expected = [(verdict, str(i)) for i, (_, _, verdict) in enumerate(CELLS)]
    expected += [("PASSED", str(i)) for i in range(len(SOURCES))]
    assert sorted(verdicts) == sorted(expected), done.stdout + done.stderr
    assert "cat is not" in done.stdout  # a failure shows what the cell wrote to stderr
