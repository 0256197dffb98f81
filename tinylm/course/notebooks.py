"""Notebooks: copy them into my_notebooks/, where the learner works, and open JupyterLab on the copies.

A copy counts as started when the source of any of its cells differs from what was copied. Running a cell
does not count. A started copy is never touched. Copies with solutions have a folder of their own.
Used in notebook 00_start_here."""

import contextlib
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinylm.errors import DataError
from tinylm.text.download import write_json

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MINE = ROOT / "my_notebooks"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GIVEN = "sources_given"  # a copy's metadata hold the hash of the sources that were given
# Holds labconfig/default_setting_overrides.json: JupyterLab neither asks whether it may fetch news nor looks
# for updates, since a class may have no network.
LAB_SETTINGS = Path(__file__).parent


def copy_notebooks(notebooks: Path = NOTEBOOKS, mine: Path = MINE, solved: bool = False) -> dict[str, str]:
    """Copy each notebook that the learner has not started, solved if asked, and print what was done.

    Returns {name: "new" | "newer version" | "unchanged" | "yours, left alone"}. Copies have no outputs, since
    those would give away what the learner is asked to predict. Raises DataError, before anything is copied,
    when there is no notebook or one of them is damaged."""
    given = {}
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        try:
            given[path.name] = _read(path, solved)
        except Exception as error:
            name, kind = f"{path.parent.name}/{path.name}", type(error).__name__
            sentence = f"{name} is not a notebook ({kind}): `git restore {name}` brings it back"
            raise DataError(sentence) from error
    if not given:
        raise DataError(f"there are no notebooks in {notebooks.name}/: run this in a clone of the course")
    mine.mkdir(parents=True, exist_ok=True)
    done = {}
    for name, (notebook, sources) in given.items():
        done[name] = "yours, left alone" if (mine / name).exists() else "new"
        with contextlib.suppress(Exception):  # the learner's file is damaged, and not ours to repair
            copy, there = _read(mine / name)
            if there in (sources, copy["metadata"].get(GIVEN)):
                done[name] = "unchanged" if there == sources else "newer version"
        if done[name] in ("new", "newer version"):
            notebook.setdefault("metadata", {})[GIVEN] = sources
            for cell in notebook["cells"]:
                cell |= {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
            write_json(mine / name, notebook)
        if not solved:
            print(f"{Path(name).stem}: {done[name]}")
    if solved:
        yours = ", ".join(Path(name).stem for name, what in done.items() if what.startswith("yours"))
        print(f"solutions put in, in {mine.parent.name}/{mine.name}; yours, left alone: {yours or 'none'}")
    return done


def put_solutions_in(notebook: dict[str, Any]) -> None:
    """Put each solution, one fence, into the nearest `exercise` cell above it; DataError without one."""
    exercise = None
    for position, cell in enumerate(notebook["cells"]):
        tags = cell["metadata"].get("tags", [])
        exercise = cell if "exercise" in tags else exercise
        if "solution" in tags:
            fences = FENCE.findall("".join(cell["source"]))
            if exercise is None or len(fences) != 1:
                raise DataError(f"cell {position}: a solution wants an exercise above it and one fence")
            exercise["source"], exercise = fences[0].rstrip(), None


def _read(path: Path, solved: bool = False) -> tuple[dict[str, Any], str]:
    """Return a notebook, and a hash of its cells' types and sources, without outputs, counts and metadata."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if solved:
        put_solutions_in(notebook)
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return notebook, hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def open_lab(
    arguments: Sequence[str] = (), *, solved: bool = False, notebooks: Path = NOTEBOOKS, mine: Path = MINE
) -> int:
    """Copy the notebooks, and run JupyterLab in this process, opened on the first one, until it is ended.

    arguments are handed to JupyterLab, for example ["--no-browser"]. Of its log only the address and errors
    are shown. Ctrl-C twice ends it, and so does SIGTERM: it saves, and stops its kernels. Returns 0; if
    JupyterLab cannot start it raises SystemExit."""
    folder = mine / "solved" if solved else mine
    page = (folder / min(copy_notebooks(notebooks, folder, solved))).relative_to(mine).as_posix()
    first_in = {
        "JUPYTER_CONFIG_PATH": LAB_SETTINGS,
        "PATH": Path(sys.executable).parent,  # `python` in JupyterLab's terminal is this one
        "PYTHONPATH": ROOT,  # kernels import the tinylm of this clone, whatever else is installed
    }
    for name, path in first_in.items():
        os.environ[name] = os.pathsep.join(filter(None, [str(path), os.environ.get(name)]))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this Python's kernel before another's
    if solved:
        os.environ["TINYLM_MINE"] = "data/mine/solved"  # keep apart what the learner trained
    os.chdir(mine)
    print("JupyterLab is starting. Ctrl-C twice ends it", flush=True)
    # imported here: it takes a second and nothing else needs it; it comes with jupyter
    labapp = importlib.import_module("jupyterlab.labapp")
    # many containers have no user but root, whom JupyterLab refuses without the option
    fixed = [f"--LabApp.default_url=/lab/tree/{page}", "--log-level=ERROR", "--allow-root"]
    labapp.LabApp.launch_instance([*fixed, *arguments])
    return 0
