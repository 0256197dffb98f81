"""Laws of the set-up: nothing is done twice, a failure begins again, a moved clone is told so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = """import os, sys
print("Collecting a")
with open("pip.txt", "a") as file:
    print(*sys.argv[1:], file=file)
sys.exit("ERROR: no network" if os.environ.get("FAIL") else 0)
"""


def make(root, interpreter=sys.executable, **environment):
    """What make runs in this clone, with a pip that only notes that it was called."""
    environment = os.environ | {"PYTHONPATH": str(root / "fake")} | environment
    command = [interpreter, "-m", "tinylm.course.install"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def inside(root):
    return root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"


def calls(root):
    return (root / "pip.txt").read_text().count("-r requirements.txt")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A small clone that was set up. Each test leaves it set up, at its place."""
    root = tmp_path_factory.mktemp("clones") / "my course"
    for name in ("tinylm/__init__.py", "tinylm/course/__init__.py", "tinylm/course/install.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "fake").mkdir()
    (root / "fake" / "pip.py").write_text(PIP)
    (root / "requirements.txt").write_text("a\n")
    done = make(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Setting up .venv") and "Collecting" not in done.stdout
    return root


def test_install_does_nothing_when_all_is_ready_and_pip_again_when_the_pins_changed(clone):
    before = calls(clone)
    for interpreter in (inside(clone), sys.executable):
        done = make(clone, interpreter)
        assert (done.returncode, done.stdout, done.stderr, calls(clone)) == (0, "", "", before)
    (clone / "requirements.txt").write_text("a\nb\n")
    assert "Setting up .venv" in make(clone, inside(clone)).stdout
    assert make(clone, inside(clone)).stdout == "" and calls(clone) == before + 1


def test_install_that_failed_says_why_and_begins_again(clone):
    (clone / "requirements.txt").write_text("a\nc\n")
    done = make(clone, inside(clone), FAIL="1")
    assert done.returncode == 1 and "ERROR: no network" in done.stderr and "begins it again" in done.stdout
    assert not (clone / ".venv" / "ready").exists()
    assert make(clone).returncode == 0 and make(clone).stdout == ""


def test_install_in_a_moved_clone_says_what_to_type_and_changes_nothing(clone, tmp_path):
    place = clone.rename(tmp_path / "course2")
    before = (place / ".venv" / "ready").read_bytes(), calls(place)
    for interpreter in (inside(place), sys.executable):
        done = make(place, interpreter)
        assert done.returncode == 1 and f"moved or copied from {clone}: delete .venv" in done.stdout
    assert ((place / ".venv" / "ready").read_bytes(), calls(place)) == before
    place.rename(clone)
