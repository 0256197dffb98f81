"""Laws of the learner's notebooks: work is never lost, and JupyterLab opens on it with this clone's code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import run_kernel
from jupyterlab.labapp import LabApp

from tinylm.course import checks, notebooks
from tinylm.course.notebooks import copy_notebooks
from tinylm.errors import DataError


def markdown(tag, source):
    return {"cell_type": "markdown", "metadata": {"tags": [tag]}, "source": source.splitlines(True)}


def notebook(*sources):
    shown = [{"output_type": "stream", "name": "stdout", "text": "the answer\n"}]
    code = {"cell_type": "code", "metadata": {"tags": ["predict"]}, "outputs": shown, "execution_count": 7}
    cells = [markdown("title", "# Title ·")]
    cells += [code | {"source": source.splitlines(True), "id": f"c{i}"} for i, source in enumerate(sources)]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def course(tmp_path):
    """A course of two notebooks: (its folder, the learner's folder, a function that copies)."""
    given, mine = tmp_path / "notebooks", tmp_path / "my_notebooks"
    given.mkdir()
    put(given / "00_start_here.ipynb", notebook("1 + 1"))
    put(given / NAME, notebook("x = ...\ny = 2", "print(x)"))
    return given, mine, lambda: copy_notebooks(given, mine)


NAME = "01_characters.ipynb"
NEWER = notebook("x = ...\ny = 3")


def put(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")


def take(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_copy_is_made_of_every_notebook_without_its_outputs_and_a_second_time_nothing_is_written(
    course, capsys
):
    given, mine, copy = course
    before = [path.read_bytes() for path in given.iterdir()]
    assert copy() == {"00_start_here.ipynb": "new", NAME: "new"}
    assert capsys.readouterr().out == "00_start_here: new\n01_characters: new\n"
    for a, b in zip(take(mine / NAME)["cells"], take(given / NAME)["cells"], strict=True):
        assert a["source"] == b["source"] and a["metadata"] == b["metadata"]
        assert a.get("outputs", []) == [] and a.get("execution_count") is None
    assert [path.read_bytes() for path in given.iterdir()] == before
    written = [path.stat() for path in mine.iterdir()]
    assert {*copy().values()} == {"unchanged"} and [path.stat() for path in mine.iterdir()] == written
    (mine / NAME).rename(mine / "01_characters_second_try.ipynb")  # a file of the learner's own
    assert copy() == {"00_start_here.ipynb": "unchanged", NAME: "new"} and len([*mine.iterdir()]) == 3


STARTED = {
    "an answer": lambda work: work["cells"][1].update(source="x = 1"),
    "an added cell": lambda work: work["cells"].append({"cell_type": "markdown", "source": "mine"}),
    "the hash is lost": lambda work: work["metadata"].clear(),
    "half a file": lambda work: "{half a note",
}


@pytest.mark.parametrize("how", STARTED)
def test_copy_that_was_started_is_left_alone_byte_for_byte_whatever_the_course_does(course, how):
    given, mine, copy = course
    copy()
    work = take(mine / NAME)
    put(mine / NAME, STARTED[how](work) or work)
    before = (mine / NAME).read_bytes()
    put(given / NAME, NEWER)
    assert copy()[NAME] == "yours, left alone"
    assert (mine / NAME).read_bytes() == before


def test_copy_that_was_only_run_gets_the_newer_version_and_a_crash_leaves_the_old_one(course, monkeypatch):
    given, mine, copy = course
    copy()
    work = take(mine / NAME)
    work["cells"][1] |= {"outputs": [{"output_type": "stream", "text": "2"}], "execution_count": 3}
    put(mine / NAME, work)
    assert copy()[NAME] == "unchanged"
    for source in ("x = ...\ny = 3", "z = 5"):
        put(given / NAME, notebook(source))
        assert copy()[NAME] == "newer version"
        assert "".join(take(mine / NAME)["cells"][1]["source"]) == source
    put(given / NAME, NEWER)
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copy()
    assert "".join(take(mine / NAME)["cells"][1]["source"]) == source


@pytest.mark.parametrize("wreck", ["", '{"cells": [1]}', "\xff"])
def test_given_notebook_that_is_none_is_refused_by_name_before_anything_is_copied(course, wreck):
    given, mine, copy = course
    (given / NAME).write_bytes(wreck.encode("latin-1"))
    with pytest.raises(DataError, match=r"notebooks/01_characters\.ipynb is not a notebook .*git restore"):
        copy()
    with pytest.raises(DataError, match="no notebooks in nowhere/: run this in a clone of the course"):
        copy_notebooks(given / "nowhere", mine)
    assert not mine.exists()


STUB, ANSWER = "def half(x):\n    ...", "def half(x):\n    return x / 2"


@pytest.fixture
def exercise(course):
    """The notebook 01 of the course, with an exercise and its solution; its cells after that."""
    given, _, _ = course
    work = notebook("import math", STUB, "half = exercises.half(half)")
    work["cells"][2]["metadata"] = {"tags": ["exercise"]}
    folded = f"<details><summary>Solution</summary>\n\n```python\n{ANSWER}\n```\n</details>"
    work["cells"].append(markdown("solution", folded))
    put(given / NAME, work)
    return work["cells"]


def test_solved_copy_has_each_solution_in_its_exercise_and_nothing_else_is_changed(course, exercise, capsys):
    given, mine, _ = course
    copy_notebooks(given, mine / "solved", solved=True)
    assert capsys.readouterr().out == "solutions put in, in my_notebooks/solved; yours, left alone: none\n"
    sources = ["".join(cell["source"]) for cell in take(mine / "solved" / NAME)["cells"]]
    assert sources == [ANSWER if "".join(c["source"]) == STUB else "".join(c["source"]) for c in exercise]
    assert take(given / NAME)["cells"] == exercise


def test_solved_copies_and_the_learners_own_know_nothing_of_each_other(course, exercise, capsys):
    given, mine, copy = course
    copy()
    work = take(mine / NAME)
    work["cells"][2]["source"] = "def half(x):\n    return x // 2"
    put(mine / NAME, work)
    before = [path.read_bytes() for path in sorted(mine.glob("*.ipynb"))]
    solved = [copy_notebooks(given, mine / "solved", solved=True) for _ in range(2)]
    assert [{*done.values()} for done in solved] == [{"new"}, {"unchanged"}]
    assert [path.read_bytes() for path in sorted(mine.glob("*.ipynb"))] == before
    put(mine / "solved" / NAME, work)
    copy_notebooks(given, mine / "solved", solved=True)
    assert "in my_notebooks/solved; yours, left alone: 01_characters\n" in capsys.readouterr().out


@pytest.fixture
def lab(course, monkeypatch):
    """A function that opens a JupyterLab which only notes its arguments, its folder and its environment."""
    given, mine, _ = course
    monkeypatch.chdir(given.parent)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.delenv("TINYLM_MINE", raising=False)
    started = []
    monkeypatch.setattr(
        LabApp, "launch_instance", lambda argv: started.append((argv, Path.cwd(), os.environ))
    )

    def opened(*arguments, **how):
        assert notebooks.open_lab(arguments, notebooks=given, mine=mine, **how) == 0
        return started.pop()

    return opened


def test_lab_opens_the_first_notebook_with_this_interpreter_and_this_clones_package(course, lab):
    arguments, folder, environment = lab("--no-browser")
    assert arguments[0] == "--LabApp.default_url=/lab/tree/00_start_here.ipynb" and folder == course[1]
    assert arguments[-2:] == ["--allow-root", "--no-browser"] and "TINYLM_MINE" not in environment
    first = {name: value.split(os.pathsep)[0] for name, value in environment.items() if value}
    assert first["PATH"] == os.path.dirname(sys.executable) and first["PYTHONPATH"] == str(notebooks.ROOT)
    assert first["JUPYTER_PREFER_ENV_PATH"] == "1"
    assert (Path(first["JUPYTER_CONFIG_PATH"]) / "labconfig" / "default_setting_overrides.json").exists()


@pytest.mark.slow
def test_learners_own_json_beside_the_notebooks_is_not_taken_for_the_standard_librarys(course, lab):
    """IPython looks in a notebook's folder after the standard library, and JupyterLab does not look there."""
    given, mine, _ = course
    mine.mkdir()
    for name in ("json", "random", "tempfile", "statistics"):
        (mine / f"{name}.py").write_text(f"raise SystemExit('my own {name} was imported')")
    _, folder, environment = lab()
    code, said = "import json, random, statistics, tinylm.course.checks as c; print(c.__file__)", []
    with run_kernel(cwd=folder, env=environment, extra_arguments=["--log-level=ERROR"]) as kernel:
        kernel.execute_interactive(
            code, timeout=60, output_hook=lambda answer: said.append(answer["content"])
        )
    assert [content["text"].strip() for content in said if "text" in content] == [checks.__file__]
    asks = f"notebooks.open_lab(['--version'], notebooks=Path({str(given)!r}), mine=Path({str(mine)!r}))"
    lines = f"import sys; sys.path[0] = {str(notebooks.ROOT)!r}"  # as python -m does, from the clone
    starts = ["-c", f"{lines}; from pathlib import Path; from tinylm.course import notebooks; {asks}"]
    typed = ["-m", "tinylm", "doctor", "nosuch"]  # in JupyterLab's terminal
    for command, cwd, code in ((starts, notebooks.ROOT, 0), (typed, mine, 2)):
        done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True)
        assert done.returncode == code and b"my own" not in done.stderr, done.stderr


def test_lab_with_solutions_opens_on_the_solved_copy_and_keeps_what_it_trains_apart(course, lab):
    arguments, folder, environment = lab(solved=True)
    assert arguments[0] == "--LabApp.default_url=/lab/tree/solved/00_start_here.ipynb" and folder == course[1]
    assert (folder / "solved" / "00_start_here.ipynb").exists()
    assert environment["TINYLM_MINE"] == "data/mine/solved"
