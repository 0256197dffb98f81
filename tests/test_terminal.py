"""Progress bars are for those who watch: a terminal and a notebook, never a log file."""

import io
import sys

import pytest

from tinylm.terminal import shows_bars


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bars_are_shown_in_a_terminal_and_not_in_a_file(monkeypatch, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert shows_bars() == is_terminal
