"""The pytest plugin that adapts nbval to this course. pyproject.toml loads it with `-p`.

It changes four things: floats are compared with a tolerance; a cell tagged `real-text` is compared only where
the real text is present; every kernel has the same environment; with `-n` a notebook's cells stay together.
"""

import functools
import os
from typing import Any
from unittest.mock import patch

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from tests.authoring.execute import tags
from tests.authoring.kernel import kernel_environment
from tests.authoring.tolerance import Tolerant


def pytest_configure(config: pytest.Config) -> None:
    """Patch nbval, once, and make xdist hand out whole notebooks in the order below."""
    if getattr(config.option, "numprocesses", None):
        config.option.dist, config.option.loadscopereorder = "loadscope", False
    sanitize, setup, compare = IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs
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
        """Add what the cell wrote to stderr to the message of a failure."""
        if equal := compare(cell, test, ref, skip_compare):
            return equal
        cell.comparison_traceback += [out["text"] for out in test if out.get("name") == "stderr"]
        return equal

    IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs = tolerant, in_kernel_environment, telling


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run cells tagged `real-text` without comparing them where the real text is missing.

    With xdist put the slow items first, so that no core waits at the end for a notebook on the other."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not isinstance(item, IPyNbCell) and "end_to_end" not in item.nodeid)
    cells = [item for item in items if isinstance(item, IPyNbCell) and "real-text" in tags(item.cell)]
    if cells and not real_text_at_hand():
        for item in cells:
            item.options["check"] = False


def real_text_at_hand() -> bool:
    """Return whether Tiny Shakespeare itself is in the pack or the cache."""
    from tinylm.text.corpora import locate

    return locate("tinyshakespeare") in ("pack", "cache")
