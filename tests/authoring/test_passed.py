"""Notebooks under pytest: checks are tried with their solutions; what has passed is not run again in vain."""

import os
import subprocess
import sys

import pytest

from tests.authoring.execute import ROOT, as_text, execute
from tests.authoring.notebook_sample import good

pytestmark = pytest.mark.slow  # a kernel for each


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The smallest good notebook, executed."""
    path = tmp_path_factory.mktemp("course") / "02_attention.ipynb"
    path.write_text(as_text(good()), encoding="utf-8")
    execute(path)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def run(sample, tmp_path):
    """A function that runs a notebook like the sample, but for one edit, and returns what pytest says."""

    def run(old="", new="", *options):
        path = tmp_path / "02_attention.ipynb"
        path.write_text(sample.replace(old, new), encoding="utf-8")
        where = [
            f"--config-file={ROOT / 'pyproject.toml'}",
            f"--rootdir={ROOT}",
            f"-ocache_dir={tmp_path / 'c'}",
        ]
        command = [sys.executable, "-m", "pytest", "--color=no", *where, *options, str(path)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONUTF8": "1"}, capture_output=True)
        return done.returncode, done.stdout.decode("utf-8")

    return run


def test_wrong_solution_fails_at_its_check_though_the_notebook_as_given_passes(run):
    code, said = run('return n + 1\\n",', 'return n + 2\\n",')
    assert code == 1 and 'with its solution the check says "2.1 · add one: not yet: ' in said
    assert "1 failed" in said and run()[0] == 0


def test_notebook_that_passed_is_run_again_when_it_changed_or_when_asked(run):
    assert " passed" in run()[1]
    code, said = run()
    assert code == 0 and " passed" not in said and " deselected" in said
    assert " passed" in run("", "", "--all-notebooks")[1]
    assert " passed" in run("Here is 3.", "Here is three.")[1]


def test_notebook_that_failed_is_run_again(run):
    assert [run("print(3)", "print(4)")[0] for _ in range(2)] == [1, 1]
