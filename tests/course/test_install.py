"""Laws of the set-up: a clone runs its own code wherever it is put; what was cut short begins again."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = """import os, pathlib, site, sys
print("Collecting a\\n  Downloading a.whl (3 MB)\\nInstalling collected packages: a, b, c")
print("ERROR: no network" if os.environ.get("FAIL") else "WARNING: a wheel is odd")
pathlib.Path(site.getsitepackages()[0], "__editable__.tinylm.pth").write_text(os.getcwd())
with open("pip.txt", "a") as file:
    print(*sys.argv[1:], file=file)
sys.exit(3 if os.environ.get("FAIL") else 0)
"""


def python(root):
    return root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"


def make(root, interpreter=sys.executable, **environment):
    """What make runs in this clone, with a pip that only notes that it was called."""
    environment = os.environ | {"PYTHONPATH": str(root / "fake")} | environment
    command = [interpreter, "-m", "tinylm.course.install"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small clone that was set up."""
    root = tmp_path_factory.mktemp("clones") / "my course"
    for name in ("tinylm/__init__.py", "tinylm/course/__init__.py", "tinylm/course/install.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "fake").mkdir()
    (root / "fake" / "pip.py").write_text(PIP)
    (root / "pyproject.toml").write_text('[project]\nname = "tinylm"\n')
    (root / "requirements.txt").write_text("a\n")
    done = make(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Setting up .venv" in done.stdout and "WARNING" not in done.stdout
    return root


@pytest.fixture
def clone(built, tmp_path):
    """A copy of it, as `cp -r` makes one, that is told it is the original."""
    root = tmp_path / "course"
    shutil.copytree(built, root, symlinks=True)
    assert "moved or copied" in make(root, python(root)).stdout
    return root


def imported(root):
    """The clone whose tinylm the clone's interpreter imports, started elsewhere."""
    command = [python(root), "-I", "-c", "import tinylm; print(tinylm.__file__)"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()).parents[1]


def calls(root):
    return (root / "pip.txt").read_text().count("\n")


def test_install_of_a_clone_that_is_set_up_does_nothing(built):
    done = make(built, python(built))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls(built) == 1 and imported(built) == built


@pytest.mark.parametrize("put", [partial(shutil.copytree, symlinks=True), Path.rename])
def test_install_sets_a_moved_or_copied_clone_to_its_own_code_without_pip(clone, tmp_path, put):
    place = tmp_path / "course2"
    put(clone, place)
    assert not clone.exists() or imported(place) == clone  # the defect: another clone's code
    done = make(place, python(place))
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert f"moved or copied from {clone}" in done.stdout and imported(place) == place
    script = (python(place).parent / "pip").read_text()
    assert f"{python(place)}" in script and f"{clone}{os.sep}" not in script
    assert make(place, python(place)).stdout == ""
    # cut short before it was noted: what is set to the new place stays so, whatever its name begins with
    ready = place / ".venv" / "ready"
    ready.write_text(ready.read_text().replace(str(place), str(clone)))
    assert "moved or copied" in make(place, python(place)).stdout
    assert imported(place) == place and calls(place) == 1
    assert not clone.exists() or imported(clone) == clone


def test_install_runs_again_when_the_requirements_changed_and_only_then(clone):
    (clone / "pyproject.toml").write_text('[project]\nname = "tinylm"\n[tool.ruff]\nline-length = 7\n')
    assert make(clone, python(clone)).stdout == ""
    (clone / "requirements.txt").write_text("a\nb\n")
    assert "Setting up .venv" in make(clone, python(clone)).stdout
    assert calls(clone) == 2
    assert make(clone, python(clone)).stdout == ""


def test_install_that_failed_says_why_and_begins_again(clone):
    (clone / "requirements.txt").write_text("a\nb\n")
    done = make(clone, python(clone), FAIL="1")
    assert done.returncode == 3 and "ERROR: no network" in done.stdout and "begins it again" in done.stdout
    assert not (clone / ".venv" / "ready").exists()
    assert make(clone).returncode == 0
    assert imported(clone) == clone


def test_install_of_a_venv_that_does_not_find_the_package_runs_again(clone):
    for path in (clone / ".venv").glob("[Ll]ib/**/__editable__*"):
        path.unlink()
    ready = clone / ".venv" / "ready"
    ready.write_text(ready.read_text().replace(str(clone), "/elsewhere"))
    assert "Setting up .venv" in make(clone, python(clone)).stdout
    assert imported(clone) == clone
