"""What runs the notebooks: its kernels see no settings of a person, what goes wrong is told, and a reply that
woke nobody is found all the same."""

import asyncio
import json
import subprocess
import sys
import time

import nbformat
import zmq
import zmq.asyncio
from jupyter_client.session import Session
from matplotlib.font_manager import FontManager
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.authoring.execute import ROOT
from tests.authoring.kernel import AttentiveChannel


async def ask():
    """What get_msg gives when a message is there and the first look at the socket misses it."""
    context = zmq.asyncio.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    poll, looks = right.poll, []

    async def poll_after_the_first(milliseconds=None):
        looks.append(milliseconds)
        if len(looks) > 1:
            return await poll(milliseconds)
        await asyncio.sleep(milliseconds / 1000)
        return 0

    try:
        left.bind("inproc://reply")
        right.connect("inproc://reply")
        right.poll = poll_after_the_first
        Session(key=b"").send(left, "execute_reply", {"status": "ok"})
        return await AttentiveChannel(right, Session(key=b"")).get_msg(timeout=None)
    finally:
        context.destroy(linger=0)


def test_a_reply_that_woke_nobody_is_found_within_a_second():
    began = time.monotonic()
    assert asyncio.run(ask())["msg_type"] == "execute_reply"
    assert time.monotonic() - began < 10


def compared(folder, monkeypatch, source, prints):
    """What pytest says of a notebook of one cell, run for someone whose list of fonts holds none."""
    fonts = folder / f"fontlist-v{FontManager.__version__}.json"
    none = {"__class__": "FontManager", "_version": FontManager.__version__, "ttflist": [], "afmlist": []}
    fonts.write_text(json.dumps(none), encoding="utf-8")
    monkeypatch.setenv("MPLCONFIGDIR", str(folder))
    cell = new_code_cell(
        source, execution_count=1, outputs=[new_output("stream", name="stdout", text=prints)]
    )
    nbformat.write(new_notebook(cells=[cell]), folder / "one.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "-p", "no:cacheprovider"]
    command.append(str(folder / "one.ipynb"))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_a_kernel_draws_with_the_fonts_that_are_here_whatever_a_person_has_listed(tmp_path, monkeypatch):
    drawn = """from matplotlib.font_manager import findfont
assert findfont("STIXGeneral").endswith("STIXGeneral.ttf")
print("found")"""
    assert "1 passed" in compared(tmp_path, monkeypatch, drawn, "found\n")


def test_what_a_cell_wrote_to_stderr_stands_in_the_failure(tmp_path, monkeypatch):
    wrote = "import sys\nprint('all is well')\nprint('it', 'is not', file=sys.stderr)"
    told = compared(tmp_path, monkeypatch, wrote, "all is well\n")
    assert "1 failed" in told and "it is not" in told
