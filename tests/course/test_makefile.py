"""Laws of the set-up by make: nothing is done twice, a failure begins again, a moved clone is told so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a shell")
PYTHON = f"""#!/bin/sh
[ "$1" = -c ] && exec '{sys.executable}' -c "import sys; sys.version_info = ${{VERSION:-(3, 11, 0)}}; $2"
echo "$2" >> calls
case "$2" in
  venv) rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  pip) echo "pip unpacks in $TMPDIR" && [ -z "$FAIL" ] ;;
  tinylm) echo "the lab opens" ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A clone with our Makefile and a stand-in for Python, which notes what it is asked to run."""
    root = tmp_path / "my course"
    root.mkdir()
    shutil.copy(ROOT / "Makefile", root)
    (root / "requirements.txt").write_text("a\n")
    (root / "python").write_text(PYTHON)
    (root / "python").chmod(0o755)
    return root


def make(root, *words, **environment):
    """(exit code, what make said, the modules that Python was asked to run)"""
    (root / "calls").write_text("")
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "PYTHON=./python", *(words or ["lab"])]  # not a make below the one that runs the tests
    done = subprocess.run(command, cwd=root, env=mine | environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, (root / "calls").read_text().split()


def test_make_sets_up_once_and_only_installs_again_when_the_pins_changed(clone):
    code, said, called = make(clone)
    assert (code, called) == (0, ["venv", "pip", "tinylm"]) and said.startswith("Setting up .venv: some min")
    assert f"pip unpacks in {clone / '.venv'}\n" in said  # the system's folder may be too small
    assert make(clone) == (0, "the lab opens\n", ["tinylm"])
    later = (clone / ".venv" / "ready").stat().st_mtime + 9
    os.utime(clone / "requirements.txt", (later, later))
    assert make(clone)[2] == ["pip", "tinylm"]


def test_make_begins_a_set_up_again_that_failed_be_it_the_first_or_a_later_one(clone):
    for _ in range(2):
        code, said, called = make(clone, FAIL="1")
        assert code and called == ["venv", "pip"] and "same command begins again" in said
        assert make(clone)[2] == ["venv", "pip", "tinylm"]
        os.utime(clone / ".venv" / "ready", (0, 0))
        assert make(clone, FAIL="1")[2] == ["pip"]


def test_make_in_a_moved_clone_says_what_to_type_and_changes_nothing_before(clone):
    make(clone)
    place = clone.rename(clone.with_name("moved"))
    code, said, called = make(place)
    assert code and called == [] and f"moved or copied from {clone}: set it up again with make clean" in said
    assert make(place, "clean", "lab")[2] == ["venv", "pip", "tinylm"] and make(place)[2] == ["tinylm"]


def test_make_refuses_an_old_python_in_one_sentence_before_anything_is_made(clone):
    code, said, _ = make(clone, VERSION="(3, 9, 1)")
    assert code and "needs Python 3.11 or newer and this is 3.9: say for example" in said
    assert "Traceback" not in said and not (clone / ".venv").exists()
