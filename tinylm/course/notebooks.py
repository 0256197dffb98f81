"""Workbook: the learner works on copies in my_notebooks/, and the committed notebooks stay as given.

A copy counts as started when the source of any of its cells differs from what was copied; running it
alone does not count. Started copies are never touched. Refuses to know what is in a notebook.
Taught in notebook 00_start_here; used by `python -m tinylm lab`.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinylm.errors import TinyLMError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MINE = ROOT / "my_notebooks"
MEMORY = ".given.json"  # for each copy, the hash of the sources that were given
FIRST = "00_start_here.ipynb"
# what reading a file that is no notebook can end in
NO_NOTEBOOK = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
# JupyterLab asks nobody about news and looks for none: a class may have no network
QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


class WorkbookError(TinyLMError):
    """There are no notebooks to copy, or one of them is damaged."""


def prepare_workbook(notebooks: Path = NOTEBOOKS, mine: Path = MINE, *, say: Any = print) -> dict[str, str]:
    """Copy each notebook that the learner has not started; say in one line each what was done.

    Returns {name: "new" | "newer version" | "unchanged" | "yours, left alone"}. Copies have no outputs.
    Raises WorkbookError, before anything is copied, when there is none to copy or one of them is damaged.
    """
    given = sorted(notebooks.glob("[0-9][0-9]_*.ipynb")) if notebooks.is_dir() else []
    if not given:
        raise WorkbookError(f"there are no notebooks in {notebooks.name}/: run this in a clone of the course")
    read = [(path, _given(path)) for path in given]
    mine.mkdir(parents=True, exist_ok=True)
    memory = _remembered(mine / MEMORY)
    done = {}
    for path, notebook in read:
        verdict = _verdict(mine / path.name, _sources(notebook), memory.get(path.name))
        if verdict in ("new", "newer version"):
            _write(mine / path.name, json.dumps(_cleared(notebook), indent=1, ensure_ascii=False) + "\n")
        if verdict != "yours, left alone":
            memory[path.name] = _sources(notebook)
        done[path.name] = verdict
        say(f"{path.stem}: {verdict}")
    _write(mine / MEMORY, json.dumps(memory, indent=1, sort_keys=True) + "\n")
    return done


def open_lab(arguments: Sequence[str] = (), *, notebooks: Path = NOTEBOOKS, mine: Path = MINE) -> int:
    """Prepare the workbook and open JupyterLab on its first page. Returns JupyterLab's exit code.

    arguments are handed to JupyterLab, e.g. ["--no-browser", "--port=8890"]. Ctrl-C twice ends it, and so
    does SIGTERM, which is handed on to it: nothing is left running. A signal that ended it counts as 128 + n.
    """
    names = prepare_workbook(notebooks, mine)
    first = FIRST if FIRST in names else min(names)
    settings = mine / ".lab" / "labconfig"
    settings.mkdir(parents=True, exist_ok=True)
    _write(settings / "default_setting_overrides.json", json.dumps(QUIET) + "\n")
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{first}", *arguments]
    paths = [str(settings.parent), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    # JUPYTER_PREFER_ENV_PATH: this interpreter's kernel comes before one of the same name elsewhere
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
    # so that `python -m tinylm` means this interpreter in JupyterLab's terminal too
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    lab = subprocess.Popen(command, cwd=mine, env=environment)
    before = signal.signal(signal.SIGTERM, lambda *_: lab.terminate())
    try:
        while True:
            try:
                code = lab.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:  # JupyterLab got it too, asks whether to stop, and saves first
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def _given(path: Path) -> dict[str, Any]:
    """A notebook of the course. Raises WorkbookError with its name when it cannot be one."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        _sources(notebook)
        return notebook
    except NO_NOTEBOOK as error:
        raise WorkbookError(
            f"{path.parent.name}/{path.name} is not a notebook ({type(error).__name__}): "
            f"`git restore {path.parent.name}/{path.name}` brings it back"
        ) from error


def _verdict(copy: Path, given: str, remembered: str | None) -> str:
    """What to do with one copy, from the hashes of what is given now, was given, and is there."""
    if not copy.exists():
        return "new"
    try:
        there = _sources(json.loads(copy.read_text(encoding="utf-8")))
    except NO_NOTEBOOK:  # not one any more, or not to be read: not ours to mend
        return "yours, left alone"
    if there == given:
        return "unchanged"
    return "newer version" if there == remembered else "yours, left alone"


def _sources(notebook: dict[str, Any]) -> str:
    """A hash of the cells' kinds and sources; outputs, counts and metadata do not matter."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _cleared(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without outputs, so that nothing is revealed before it is predicted."""
    code = {"outputs": [], "execution_count": None}
    cells = [cell | code if cell["cell_type"] == "code" else cell for cell in notebook["cells"]]
    return notebook | {"cells": cells}


def _remembered(path: Path) -> dict[str, str]:
    try:
        memory = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # then a copy that differs counts as the learner's
    return memory if isinstance(memory, dict) else {}


def _write(path: Path, text: str) -> None:
    """Write beside, then rename: a reader finds the old file or the new one, never half of one."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(beside, 0o644)
    os.replace(beside, path)
