"""The pytest plugin that adapts nbval to this course. pyproject.toml loads it with `-p`.

It compares floats with a tolerance, and pictures by what they show from afar. A cell tagged `real-text` is
compared only where the real text is present. Every kernel has the same environment. With `-n` a notebook's
cells stay together.
Each check is first tried with its exercise's solution, in the same kernel. A notebook that has passed here is
not run again while nothing that it depends on has changed (`--all-notebooks` runs it all the same).
"""

import functools
import os
import re
from typing import Any
from unittest.mock import patch

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tests.authoring import passed
from tests.authoring.execute import NOTEBOOKS, RIGHT, tags
from tests.authoring.kernel import kernel_environment
from tests.authoring.tolerance import Tolerant
from tinylm.course.notebooks import FENCE

UNCHANGED = pytest.StashKey[bool]()  # whether some notebooks are not run again
# A solution may draw random numbers. What the notebook draws afterwards must not depend on that.
# A solution that is tried is not kept: no later notebook may find it.
TRY = """\
import random as _random, numpy as _numpy, torch as _torch, unittest.mock as _mock
_drawn = _random.getstate(), _numpy.random.get_state(), _torch.get_rng_state()
{solution}
with _mock.patch("tinylm.course.slips.keep", return_value=""):
    {check}
_random.setstate(_drawn[0]), _numpy.random.set_state(_drawn[1]), _torch.set_rng_state(_drawn[2])
{stub}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that ignores what passed before."""
    told = "run every notebook, also those of which nothing has changed since they passed here"
    parser.addoption("--all-notebooks", action="store_true", help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Patch nbval, once, and make xdist hand out whole notebooks in the order below."""
    if getattr(config.option, "numprocesses", None):
        config.option.dist, config.option.loadscopereorder = "loadscope", False
    sanitize, setup, compare = IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs
    runtest, teardown = IPyNbCell.runtest, IPyNbFile.teardown
    if hasattr(sanitize, "__wrapped__"):
        return

    @functools.wraps(sanitize)
    def tolerant(cell: IPyNbCell, text: str) -> str:
        """Wrap every string that nbval compares, so that it is compared with the tolerance."""
        text = sanitize(cell, text)
        return Tolerant(text) if isinstance(text, str) else text

    @functools.wraps(setup)
    def in_kernel_environment(file: IPyNbFile) -> None:
        """Change this process's environment while nbval starts a kernel with it."""
        with patch.dict(os.environ, kernel_environment(os.environ), clear=True):
            setup(file)

    @functools.wraps(compare)
    def telling(cell: IPyNbCell, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
        """Compare pictures too, and add what the cell wrote to stderr to the message of a failure."""
        skip = skip_compare or tuple(key for key in cell.parent.skip_compare if key != "image/png")
        if equal := compare(cell, test, ref, skip):
            return equal
        cell.comparison_traceback += [out["text"] for out in test if out.get("name") == "stderr"]
        return equal

    @functools.wraps(runtest)
    def with_solution_tried(cell: IPyNbCell) -> None:
        """Try a check's solution before the cell runs, and count the cells that passed."""
        if "check" in tags(cell.cell):
            try_solution(cell)
        runtest(cell)
        cell.parent.cells_passed = getattr(cell.parent, "cells_passed", 0) + 1

    @functools.wraps(teardown)
    def noting(file: IPyNbFile) -> None:
        """Note what a notebook depends on, if all of its cells passed."""
        if getattr(file, "cells_passed", 0) == sum(cell.cell_type == "code" for cell in file.nb.cells):
            passed.note(file.config, file.path, asked(file, passed.MODULES).split())
        teardown(file)

    IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs = tolerant, in_kernel_environment, telling
    IPyNbCell.runtest, IPyNbFile.teardown = with_solution_tried, noting


def asked(file: IPyNbFile, source: str) -> str:
    """Run source in the notebook's kernel and return what it prints, errors included."""
    identity, out = file.kernel.execute_cell_input(source, allow_stdin=False), []
    file.kernel.await_reply(identity, timeout=file.config.option.nbval_cell_timeout)
    while True:
        message = file.get_kernel_message(timeout=10)
        content, kind = message["content"], message["msg_type"]
        if message["parent_header"].get("msg_id") != identity:
            continue
        if kind == "status" and content["execution_state"] == "idle":
            return "".join(out)
        out.append(content.get("text", "") if kind == "stream" else content.get("evalue", ""))


def try_solution(cell: IPyNbCell) -> None:
    """Raise the cell's error unless the check calls the folded solution correct in this kernel.

    The stub is put back afterwards, so the notebook goes on as given."""
    cells = cell.parent.nb.cells
    place = next(i for i, other in enumerate(cells) if other is cell.cell)
    stub = next(other for other in cells[place::-1] if "exercise" in tags(other))
    fold = next(other for other in cells[place:] if "solution" in tags(other))
    tried = TRY.format(solution=FENCE.findall(fold.source)[0], check=cell.cell.source, stub=stub.source)
    if not re.fullmatch(RIGHT, said := asked(cell.parent, tried).strip()):
        cell.raise_cell_error(f"with its solution the check says {said!r}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run cells tagged `real-text` without comparing them where the real text is missing.

    With xdist put the slow items first, so that no core waits at the end for a notebook on the other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not isinstance(item, IPyNbCell) and "end_to_end" not in item.nodeid)
    cells = [item for item in items if isinstance(item, IPyNbCell) and "real-text" in tags(item.cell)]
    if cells and not real_text_at_hand():
        for item in cells:
            item.options["check"] = False
    if not config.option.all_notebooks:
        paths = {item.path for item in items if isinstance(item, IPyNbCell)}
        same = {path for path in paths if passed.is_unchanged(config, path)}
        config.stash[UNCHANGED] = bool(same)
        config.hook.pytest_deselected(items=[item for item in items if item.path in same])
        items[:] = [item for item in items if item.path not in same]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Call a run of unchanged notebooks alone a success, and not "no tests collected"."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(UNCHANGED, False):
        session.exitstatus = pytest.ExitCode.OK


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which notebooks are not run again."""
    if config.option.all_notebooks:
        return []
    names = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")) if passed.is_unchanged(config, path)]
    told = (
        "nothing has changed since these notebooks passed here, so they are not run again (--all-notebooks)"
    )
    return [f"{told}: {', '.join(names)}"] if names else []


def real_text_at_hand() -> bool:
    """Return whether Tiny Shakespeare itself is in the pack or the cache."""
    from tinylm.text.corpora import locate

    return locate("tinyshakespeare") in ("pack", "cache")
