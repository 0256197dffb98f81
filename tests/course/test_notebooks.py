"""Laws of the workbook: the learner's work is never lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.authoring.execute import ROOT
from tinylm.course import notebooks
from tinylm.course.notebooks import WorkbookError, prepare_workbook


def notebook(*sources, outputs=True):
    shown = [{"output_type": "stream", "name": "stdout", "text": "the answer\n"}] if outputs else []
    code = {"cell_type": "code", "metadata": {"tags": ["predict"]}, "outputs": shown, "execution_count": 7}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# Title ·"}]
    cells += [code | {"source": source.splitlines(True), "id": f"c{i}"} for i, source in enumerate(sources)]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def course(tmp_path):
    """A course of two notebooks: (its folder, the learner's folder, a function that prepares)."""
    given, mine = tmp_path / "notebooks", tmp_path / "my_notebooks"
    given.mkdir()
    put(given / "00_start_here.ipynb", notebook("1 + 1"))
    put(given / "01_characters.ipynb", notebook("x = ...\ny = 2", "print(x)"))
    return given, mine, lambda: prepare_workbook(given, mine, say=lambda line: None)


def put(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")


def take(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_first_time_every_notebook_is_copied_without_its_outputs(course, capsys):
    given, mine, _ = course
    done = prepare_workbook(given, mine)
    assert done == {"00_start_here.ipynb": "new", "01_characters.ipynb": "new"}
    assert capsys.readouterr().out == "00_start_here: new\n01_characters: new\n"
    copy, original = take(mine / "01_characters.ipynb"), take(given / "01_characters.ipynb")
    for a, b in zip(copy["cells"], original["cells"], strict=True):
        assert a["source"] == b["source"] and a["metadata"] == b["metadata"]
        assert a.get("outputs", []) == [] and a.get("execution_count") is None
    assert "the answer" not in (mine / "01_characters.ipynb").read_text(encoding="utf-8")


def test_the_given_notebooks_are_never_written(course):
    given, _, prepare = course
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in given.iterdir()}
    prepare()
    prepare()
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in given.iterdir()}


def test_a_second_time_nothing_is_written(course):
    _, mine, prepare = course
    prepare()
    before = (mine / "01_characters.ipynb").stat().st_mtime_ns
    assert set(prepare().values()) == {"unchanged"}
    assert (mine / "01_characters.ipynb").stat().st_mtime_ns == before


def test_a_started_notebook_is_left_alone_byte_for_byte_whatever_the_course_does(course):
    given, mine, prepare = course
    prepare()
    work = take(mine / "01_characters.ipynb")
    work["cells"][1]["source"] = "x = 'my answer'\ny = 2"
    put(mine / "01_characters.ipynb", work)
    before = (mine / "01_characters.ipynb").read_bytes()
    for version in ("x = ...\ny = 3", "z = 5"):
        put(given / "01_characters.ipynb", notebook(version))
        assert prepare()["01_characters.ipynb"] == "yours, left alone"
        assert (mine / "01_characters.ipynb").read_bytes() == before


def test_work_that_was_undone_counts_as_not_started(course):
    given, mine, prepare = course
    prepare()
    untouched = (mine / "01_characters.ipynb").read_bytes()
    put(mine / "01_characters.ipynb", notebook("x = 'my answer'"))
    put(given / "01_characters.ipynb", notebook("a newer version"))
    assert prepare()["01_characters.ipynb"] == "yours, left alone"
    (mine / "01_characters.ipynb").write_bytes(untouched)
    assert prepare()["01_characters.ipynb"] == "newer version"


def test_a_note_an_added_cell_and_a_deleted_cell_count_as_started(course):
    given, mine, prepare = course
    prepare()
    original = take(mine / "01_characters.ipynb")
    put(given / "01_characters.ipynb", notebook("a newer version"))
    noted = json.loads(json.dumps(original))
    noted["cells"][0]["source"] = "# Title ·\nmy note"
    added = original | {
        "cells": [*original["cells"], {"cell_type": "markdown", "source": "mine", "metadata": {}}]
    }
    deleted = original | {"cells": original["cells"][:-1]}
    for work in (noted, added, deleted):
        put(mine / "01_characters.ipynb", work)
        assert prepare()["01_characters.ipynb"] == "yours, left alone"
        assert take(mine / "01_characters.ipynb") == work


def test_a_notebook_that_was_only_run_gets_the_newer_version(course):
    given, mine, prepare = course
    prepare()
    put(mine / "01_characters.ipynb", notebook("x = ...\ny = 2", "print(x)", outputs=True))
    assert prepare()["01_characters.ipynb"] == "unchanged"
    put(given / "01_characters.ipynb", notebook("x = ...\ny = 3"))
    assert prepare()["01_characters.ipynb"] == "newer version"
    assert "".join(take(mine / "01_characters.ipynb")["cells"][1]["source"]) == "x = ...\ny = 3"
    assert prepare()["01_characters.ipynb"] == "unchanged"


def test_without_its_memory_a_copy_that_differs_is_the_learners(course):
    given, mine, prepare = course
    for damage in ("gone", "{not json", "[]"):
        put(given / "01_characters.ipynb", notebook("x = ...\ny = 2", "print(x)"))
        (mine / "01_characters.ipynb").unlink(missing_ok=True)
        prepare()
        memory = mine / notebooks.MEMORY
        memory.unlink() if damage == "gone" else memory.write_text(damage)
        put(given / "01_characters.ipynb", notebook("a newer version"))
        assert prepare()["01_characters.ipynb"] == "yours, left alone"


def test_a_copy_that_is_no_notebook_any_more_is_left_alone(course):
    given, mine, prepare = course
    prepare()
    for wreck in ("", "{half a note", '{"cells": 3}', "[]"):
        (mine / "01_characters.ipynb").write_text(wreck)
        put(given / "01_characters.ipynb", notebook("a newer version"))
        assert prepare()["01_characters.ipynb"] == "yours, left alone"
        assert (mine / "01_characters.ipynb").read_text() == wreck


def test_a_deleted_copy_comes_back_as_given_and_files_of_the_learners_stay(course):
    _, mine, prepare = course
    prepare()
    (mine / "01_characters.ipynb").unlink()
    (mine / "01_characters_second_try.ipynb").write_text("mine")
    assert prepare()["01_characters.ipynb"] == "new"
    assert (mine / "01_characters_second_try.ipynb").read_text() == "mine"


def test_a_crash_while_writing_leaves_the_old_copy_whole(course, monkeypatch):
    given, mine, prepare = course
    prepare()
    before = (mine / "01_characters.ipynb").read_bytes()
    put(given / "01_characters.ipynb", notebook("a newer version"))

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        prepare()
    assert (mine / "01_characters.ipynb").read_bytes() == before


def test_without_notebooks_one_sentence_says_what_to_do(tmp_path):
    with pytest.raises(WorkbookError, match="in a clone of the course"):
        prepare_workbook(tmp_path / "notebooks", tmp_path / "mine")


def test_the_lab_opens_the_first_page_in_the_learners_folder_with_this_interpreter(course, monkeypatch):
    given, mine, _ = course
    calls = []

    class Lab:
        def __init__(self, command, cwd, env):
            calls.append((command, cwd, env))
            self.interrupted = False

        def wait(self):
            if not self.interrupted:  # Ctrl-C: JupyterLab asks, we go on waiting
                self.interrupted = True
                raise KeyboardInterrupt
            return 3

    monkeypatch.setattr(notebooks.subprocess, "Popen", Lab)
    assert notebooks.open_lab(["--no-browser"], notebooks=given, mine=mine) == 3
    command, cwd, env = calls[0]
    assert command[0] == notebooks.sys.executable and command[1:3] == ["-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/00_start_here.ipynb" in command and command[-1] == "--no-browser"
    assert cwd == mine
    assert env["JUPYTER_PREFER_ENV_PATH"] == "1"
    assert env["PATH"].split(notebooks.os.pathsep)[0] == str(Path(notebooks.sys.executable).parent)
    assert take(mine / ".lab/labconfig/default_setting_overrides.json") == notebooks.QUIET


@pytest.mark.parametrize(
    "wreck", ["", "{half a note", '{"cells": 3}', '{"cells": [1]}', "[]", "[" * 100_000, "\xff"]
)
def test_a_given_notebook_that_is_none_is_refused_by_name_before_anything_is_copied(course, wreck):
    given, mine, prepare = course
    (given / "01_characters.ipynb").write_bytes(wreck.encode("latin-1"))
    with pytest.raises(
        WorkbookError, match=r"notebooks/01_characters\.ipynb is not a notebook .*git restore"
    ):
        prepare()
    assert not mine.exists()


def test_a_copy_that_cannot_be_read_is_left_alone(course):
    _, mine, prepare = course
    prepare()
    (mine / "01_characters.ipynb").write_text("[" * 100_000)
    (mine / "00_start_here.ipynb").unlink()
    (mine / "00_start_here.ipynb").mkdir()
    assert set(prepare().values()) == {"yours, left alone"}


LAB = """import os, time
with open("lab.pid", "w") as file:
    file.write(str(os.getpid()))
os.rename("lab.pid", "lab.started")
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_ending_the_lab_ends_jupyterlab_too(course):
    given, mine, prepare = course
    prepare()
    (mine / "jupyterlab.py").write_text(LAB)  # found first by `python -m jupyterlab` in that folder
    code = "import sys; from pathlib import Path; from tinylm.course import workbook; "
    code += f"sys.exit(notebooks.open_lab(notebooks=Path({str(given)!r}), mine=Path({str(mine)!r})))"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=ROOT)
    for _ in range(600):
        if (mine / "lab.started").exists():
            break
        time.sleep(0.1)
    lab = int((mine / "lab.started").read_text())
    parent.send_signal(signal.SIGTERM)
    try:
        assert parent.wait(timeout=30) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.kill(lab, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(lab, signal.SIGKILL)
