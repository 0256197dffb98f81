"""The pytest plugin that makes nbval this course's. pyproject.toml names it with `-p`, so that it is there
for `pytest`, for `python -m pytest` and for `pytest notebooks/02_attention.ipynb` alike.

Four things: floats are compared with a tolerance; a cell tagged `real-text` is compared only where the real
text is at hand; a kernel sees the same few variables everywhere; with `-n` a notebook's cells stay together.
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
    """Puts the two hooks into nbval, once, and has xdist hand out whole notebooks in the order below."""
    if getattr(config.option, "numprocesses", None):
        config.option.dist, config.option.loadscopereorder = "loadscope", False
    sanitize, setup, compare = IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs
    if hasattr(sanitize, "__wrapped__"):
        return

    @functools.wraps(sanitize)
    def tolerant(cell: IPyNbCell, text: str) -> str:
        """Every string that nbval compares goes through `sanitize`, and compares with the tolerance then."""
        text = sanitize(cell, text)
        return Tolerant(text) if isinstance(text, str) else text

    @functools.wraps(setup)
    def in_kernel_environment(file: IPyNbFile) -> None:
        """nbval starts a kernel here, with this process's environment: changed for that moment."""
        with patch.dict(os.environ, kernel_environment(os.environ), clear=True):
            setup(file)

    @functools.wraps(compare)
    def telling(cell: IPyNbCell, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
        """nbval names the kind of an output too many; what was written to stderr leads to its cause."""
        if equal := compare(cell, test, ref, skip_compare):
            return equal
        cell.comparison_traceback += [out["text"] for out in test if out.get("name") == "stderr"]
        return equal

    IPyNbCell.sanitize, IPyNbFile.setup, IPyNbCell.compare_outputs = tolerant, in_kernel_environment, telling


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cells whose output depends on which text was read are only run where the real text is not at hand.

    With xdist what takes long comes first: no core waits at the end for the other one's notebook."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not isinstance(item, IPyNbCell) and "end_to_end" not in item.nodeid)
    cells = [item for item in items if isinstance(item, IPyNbCell) and "real-text" in tags(item.cell)]
    if cells and not real_text_at_hand():
        for item in cells:
            item.options["check"] = False


def real_text_at_hand() -> bool:
    """Whether Tiny Shakespeare itself is here: in the pack or in the cache, not generated and not fetched."""
    from tinylm.text.corpora import locate

    return locate("tinyshakespeare") in ("pack", "cache")
