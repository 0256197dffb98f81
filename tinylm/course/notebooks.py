"""Notebooks: the learner works on copies in my_notebooks/, and the committed notebooks stay as given.

A copy counts as started when the source of any of its cells differs from what was copied; running it alone
does not count. Started copies are never touched. Solved ones have their own folder. See 00_start_here."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tinylm.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
MINE = ROOT / "my_notebooks"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GIVEN = "sources_given"  # a copy's metadata hold the hash of the sources that were given
# JupyterLab asks nobody about news and looks for none: a class may have no network
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def copy_notebooks(notebooks: Path = NOTEBOOKS, mine: Path = MINE, solved: bool = False) -> dict[str, str]:
    """Copy each notebook that the learner has not started, solutions put in if solved; print what was done.

    Returns {name: "new" | "newer version" | "unchanged" | "yours, left alone"}. Copies have no outputs, so
    that nothing is revealed before it is predicted. Raises DataError, before anything is copied, when there
    is none to copy or one of them is damaged."""
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
        with contextlib.suppress(Exception):  # what is no notebook, or not to be read, is not ours to repair
            copy, there = _read(mine / name)
            if there in (sources, copy["metadata"].get(GIVEN)):
                done[name] = "unchanged" if there == sources else "newer version"
        if done[name] in ("new", "newer version"):
            notebook.setdefault("metadata", {})[GIVEN] = sources
            for cell in notebook["cells"]:
                cell |= {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
            _write(mine / name, notebook)
        if not solved:
            print(f"{Path(name).stem}: {done[name]}")
    if solved:
        yours = ", ".join(Path(name).stem for name, what in done.items() if what.startswith("yours"))
        print(f"solutions put in, in {mine.parent.name}/{mine.name}; yours, left alone: {yours or 'none'}")
    return done


def put_solutions_in(notebook: dict[str, Any]) -> None:
    """Put each solution, one fence, into the nearest `exercise` cell above it; DataError if it has none."""
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
    """A notebook, and a hash of its cells' kinds and sources; outputs, counts and metadata do not matter."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if solved:
        put_solutions_in(notebook)
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return notebook, hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _write(path: Path, data: dict[str, Any]) -> None:
    """Write beside, then rename: a reader finds the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    beside.write_text(text, encoding="utf-8", newline="\n")
    os.replace(beside, path)


def open_lab(
    arguments: Sequence[str] = (), *, solved: bool = False, notebooks: Path = NOTEBOOKS, mine: Path = MINE
) -> int:
    """Copy the notebooks and open JupyterLab on the first one. Returns JupyterLab's exit code.

    arguments are handed to JupyterLab, e.g. ["--no-browser"]. Its log is cut down to the address and to
    errors. Ctrl-C twice ends it, and so does SIGTERM, which is handed on to it: nothing is left running.
    A signal that ended it counts as 128 + n."""
    folder = mine / "solved" if solved else mine
    page = (folder / min(copy_notebooks(notebooks, folder, solved))).relative_to(mine).as_posix()
    if getattr(os, "geteuid", lambda: -1)() == 0 and "--allow-root" not in arguments:
        # without the option JupyterLab would refuse; containers and cloud machines often have no other user
        print("running as root: what a notebook does, it may do to this whole machine", flush=True)
        arguments = [*arguments, "--allow-root"]
    settings = mine / ".lab" / "labconfig"
    settings.mkdir(parents=True, exist_ok=True)
    _write(settings / "default_setting_overrides.json", SETTINGS)
    first_in = {
        "JUPYTER_CONFIG_PATH": settings.parent,
        "PATH": Path(sys.executable).parent,  # `python` in JupyterLab's terminal is this one
        "PYTHONPATH": ROOT,  # kernels import the tinylm of this clone, whatever else is installed
    }
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}  # this Python's kernel before another's
    environment |= {"TINYLM_MINE": "data/mine/solved"} if solved else {}  # apart from the learner's
    for name, path in first_in.items():
        environment[name] = os.pathsep.join(filter(None, [str(path), os.environ.get(name)]))
    # -P: a file of the learner's called random.py must not be what JupyterLab imports
    command = [sys.executable, "-P", "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{page}"]
    pipe = {"stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    lab = subprocess.Popen([*command, *arguments], cwd=mine, env=environment, **pipe)
    log = threading.Thread(target=print_log, args=(lab.stderr,), daemon=True)
    log.start()
    # Ctrl-C reaches JupyterLab too, which asks whether to stop, and saves first
    answers = {signal.SIGTERM: lambda *_: lab.terminate(), signal.SIGINT: signal.SIG_IGN}
    before = {which: signal.signal(which, answer) for which, answer in answers.items()}
    try:
        code = lab.wait()
    finally:
        for which, answer in before.items():
            signal.signal(which, answer)
    log.join(timeout=1)  # a kernel that is still ending holds the pipe open
    return code if code >= 0 else 128 - code


def print_log(stream: IO[str]) -> None:
    """Of JupyterLab's log print the address, once, and errors; some twenty lines at the start are neither."""
    loud, address = True, ""  # what has no level, such as Python's own errors, is as loud as the line before
    with stream:
        for line in map(str.rstrip, stream):
            if mark := re.match(r"\[([DIWEC]) [^]]*\] ?(.*)", line):
                loud = mark[1] in "EC" and mark[2] != ""  # an empty one begins the addresses once more
            elif line.startswith("Traceback "):
                loud = True
            found = re.search(r"https?://\S+/lab\S*", line)
            # a closed output must not end this loop: JupyterLab would stand still before a full pipe
            with contextlib.suppress(OSError, ValueError):
                if found and not address:
                    address = found[0]
                    print(f"JupyterLab is open at {address}\nCtrl-C twice ends it.", flush=True)
                elif loud:
                    print(line, flush=True)
