"""Run notebooks in place and write them in the one form that is committed.

    python -m tests.authoring.execute                  every notebook, in order
    python -m tests.authoring.execute 02_attention     one, by name (or by a part of it)

The kernel is the interpreter that runs this, whatever kernelspecs the machine has. The texts are those of
TINYLM_DATA. A notebook is written only if every cell ran and wrote nothing to stderr.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME

from tests.authoring import pictures
from tests.authoring.kernel import ThisInterpreter, kernel_environment
from tinylm.course.notebooks import put_solutions_in
from tinylm.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
CELL_TIMEOUT = 900  # seconds, as for nbval in pyproject.toml: a busy machine is no error
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(Exception):
    """A notebook failed. The message names the cell and shows its source."""


def tags(cell: NotebookNode) -> list[str]:
    """Return the cell's tags, in order."""
    return list(cell.metadata.get("tags", []))


def printed(cell: NotebookNode) -> str:
    """Return everything that a code cell wrote to stdout."""
    outputs = cell.get("outputs", [])
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


def found(names: list[str]) -> list[Path]:
    """Return the notebooks whose name contains one of `names`, in order; all if `names` is empty."""
    every = sorted(NOTEBOOKS.glob("*.ipynb"))
    chosen = [path for path in every if not names or any(Path(name).stem in path.stem for name in names)]
    if not chosen:
        raise SystemExit(f"no notebook is called {' or '.join(names) or 'anything'}")
    return chosen


def run(nb: NotebookNode, *, cwd: Path = NOTEBOOKS, mine: str = "given") -> None:
    """Execute `nb` in memory, and store the outputs in it. Raises NotebookFailed, which shows the cell."""
    reached: list[int] = []
    client = NotebookClient(
        nb,
        kernel_name=CURRENT_ENV_KERNEL_NAME,
        kernel_manager_class=ThisInterpreter,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        store_widget_state=True,  # a widget that draws needs it while it runs; normalise takes it out again
        coalesce_streams=True,
        resources={"metadata": {"path": str(cwd)}},
        on_cell_start=lambda cell, cell_index: reached.append(cell_index),
    )
    try:
        environment = kernel_environment(os.environ, mine)
        client.execute(env=environment, stderr=subprocess.DEVNULL)  # the kernel's own log
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        position = reached[-1]
        trace = re.sub(r"\x1b\[[0-9;]*m", "", getattr(error, "traceback", str(error)))
        raise NotebookFailed(f"cell {position} failed\n\n{nb.cells[position].source}\n\n{trace}") from None


RIGHT = r".+: correct( \(going on with yours\))?"  # what a check says of a right answer


def normalise(nb: NotebookNode) -> None:
    """Remove from `nb` what no reader and no test needs: timing, the state of widgets, versions."""
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell, name in zip(nb.cells, cell_ids(nb), strict=True):
        cell.id = name
        kept = {key: cell.metadata[key] for key in ("slideshow", "tags") if cell.metadata.get(key)}
        if "setup" in tags(cell):  # nobody needs to read it, except on Colab
            kept["jupyter"] = {"source_hidden": True}
        cell.metadata = nbformat.from_dict(kept)
        cell.pop("attachments", None)
        cell.source = cell.source.rstrip()
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if "data" in output:
                output.data.pop(WIDGET_VIEW, None)  # the model's id is random and its state is not kept


def cell_ids(nb: NotebookNode) -> list[str]:
    """Return an id for each cell: its heading and a number. A new cell renames only those of its section."""
    names: list[str] = []
    section, number = "top", 0
    for cell in nb.cells:
        heading = re.match(r"#+ +(.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            section, number = re.sub(r"[^a-z0-9]+", "-", heading[1].lower()).strip("-")[:48] or "section", 0
        number += 1
        while f"{section}-{number}" in names:
            number += 1
        names.append(f"{section}-{number}")
    return names


def as_text(nb: NotebookNode) -> str:
    """Return the text of the notebook's file."""
    return nbformat.writes(nb).rstrip("\n") + "\n"


def ruff(path: Path) -> None:
    """Sort the imports and format with ruff. Raises NotebookFailed if ruff then still complains."""
    for what in (["check", "--select=I", "--fix"], ["format"], ["check"]):
        quietly = ["--quiet", f"--config={ROOT / 'pyproject.toml'}", str(path)]
        command = [sys.executable, "-m", "ruff", *what, *quietly]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise NotebookFailed(f"ruff {what[0]}:\n{done.stdout}{done.stderr}")


def execute(path: Path) -> None:
    """Format, run, check and write the notebook at `path`."""
    ruff(path)
    nb = nbformat.read(path, as_version=4)
    run(nb, cwd=path.parent)
    normalise(nb)
    for position, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise NotebookFailed(f"cell {position} wrote to stderr\n\n{cell.source}\n\n{output.text}")
    beside = path.with_suffix(".partial")
    beside.write_text(as_text(nb), encoding="utf-8", newline="\n")
    os.replace(beside, path)
    if path.parent == ROOT / "notebooks":
        pictures.write()


def solve(path: Path) -> int:
    """Run the notebook at `path` with the solutions put in. Return how many checks say "correct".

    Raises NotebookFailed if a check does not say "correct", and DataError as put_solutions_in does."""
    nb = nbformat.read(path, as_version=4)
    put_solutions_in(nb)
    run(nb, cwd=path.parent, mine="solved")
    checks = [(i, printed(cell).strip()) for i, cell in enumerate(nb.cells) if "check" in tags(cell)]
    if wrong := [f"cell {i} says {said!r}" for i, said in checks if not re.fullmatch(RIGHT, said)]:
        raise NotebookFailed("\n".join(wrong))
    return len(checks)


def main() -> int:
    """Run the notebooks named on the command line. Return 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.authoring.execute", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", help="notebooks, by name or a part of it; all when none is given")
    failures = 0
    for path in found(parser.parse_args().names):
        try:
            execute(path)
            print(f"{path.stem} is written", flush=True)
        except (NotebookFailed, DataError) as failure:
            failures += 1
            print(f"{path.stem}: FAILED: {failure}\n", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
