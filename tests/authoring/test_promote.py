"""What may be quoted is kept; all else is refused in one sentence and nothing is written."""

import getpass
import json
import os
import socket
import sys

import pytest

from tests.authoring import promote as promotion
from tests.authoring.promote import main, promote
from tests.authoring.results import results_tables
from tinylm.errors import TinyLMError
from tinylm.runs import paths
from tinylm.runs.recipes import recipe
from tinylm.runs.records import read_record, record_header

README = "# tinylm\n\n<!-- results -->\nold\n<!-- /results -->\n\nbelow\n"
RECIPE = recipe("shakespeare_char")
COMMAND = "python -m tinylm train shakespeare_char --train.steps 5"
NAMES = {"recipe": "shakespeare_char", "command": COMMAND, "device": "cpu", "dtype": "float32", "seed": 3}
HEADER = record_header("training", **NAMES) | {
    "tokens": 5 * 77,
    "parameters": 809_857,
    "data": "tinyshakespeare",
    "reading": {"corpus": "tinyshakespeare"},
    "model": RECIPE.model.to_json(),
    "train": RECIPE.train.to_json() | {"steps": 5, "warmup_steps": 0},
}
STEPS = [{"step": 0, "loss": 4.0, "seconds": 0.1}, {"step": 4, "loss": 3.0, "seconds": 9.0}]
EVALUATIONS = [{"step": 3, "loss": 2.0}, {"step": 5, "loss": 2.5}]
END = {"seconds": 60.0, "tokens": 5 * 77, "interrupted": False}


@pytest.fixture(autouse=True)
def course(monkeypatch, tmp_path):
    """No record, no run, and a README whose tables are old; on ada's machine, which is called engine."""
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    monkeypatch.setattr(promotion, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(promotion, "README", tmp_path / "README.md")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "engine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def write(root, run="one", *, steps=STEPS, evaluations=EVALUATIONS, end=END, without=(), **header):
    """A run's record in data/mine."""
    kept = {name: value for name, value in (HEADER | header).items() if name not in without}
    lines = [{"kind": "header", **kept}]
    lines += [{"kind": "step", **line} for line in steps]
    lines += [{"kind": "evaluation", **line} for line in evaluations]
    lines += [] if end is None else [{"kind": "end", **end}]
    path = root / "mine" / run / "record.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def refused(root, words, run="one", **how):
    """promote refuses, says these words, and writes nothing."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(TinyLMError, match=words):
        promote(run, **how)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_record_of_a_finished_run_is_kept_byte_for_byte_and_the_readme_follows(course):
    source = write(course)
    path = promote("one")
    assert path == course / "runs" / "one.jsonl" and path.read_bytes() == source.read_bytes()
    assert (course / "README.md").read_text() == README.replace("old", results_tables([read_record(path)]))


def test_run_is_found_by_its_folder_too_and_may_get_another_name(course):
    folder = write(course).parent
    assert promote(str(folder), name="first").name == "first.jsonl"
    os.chdir(folder)
    assert promote(".").name == "one.jsonl"


def test_tables_hold_every_kept_record_in_the_order_of_their_names(course):
    for run, loss in (("b", 2.25), ("c", 2.75), ("a", 2.5)):
        write(course, run, evaluations=[{"step": 5, "loss": loss}])
        promote(run)
    lines = (course / "README.md").read_text().splitlines()
    losses = [line.split("|")[8].strip() for line in lines if "shakespeare_char" in line]
    assert losses == ["2.5000", "2.2500", "2.7500"]


def test_command_keeps_a_run_or_refuses_in_one_sentence_or_only_writes_the_tables(
    course, monkeypatch, capsys
):
    write(course)
    monkeypatch.setattr(sys, "argv", ["promote", "one", "--name", "two"])
    assert main() == 0 and "data/runs/two.jsonl is kept" in capsys.readouterr().out
    assert main() == 2 and "exists already" in capsys.readouterr().err
    right = (course / "README.md").read_text()
    (course / "README.md").write_text(right.replace("2.5000", "2.4000"))
    monkeypatch.setattr(sys, "argv", ["promote"])
    assert main() == 0 and (course / "README.md").read_text() == right


def test_benchmark_is_kept_without_what_a_training_has_and_stands_in_no_table(course):
    write(course, what="benchmark", without=promotion.OF_TRAINING, steps=[], evaluations=[], end={})
    assert promote("one").is_file()
    assert (course / "README.md").read_text() == README.replace("old", results_tables([]))


REFUSED = {
    "no end": ({"end": None}, "has no end"),
    "ended by hand": ({"end": END | {"interrupted": True}}, "ended by hand after 5 of 5 steps"),
    "no evaluation": ({"evaluations": []}, "5 steps and its last evaluation is after 0"),
    "an early evaluation": ({"evaluations": EVALUATIONS[:1]}, "5 steps and its last evaluation is after 3"),
    "a loss that is not one": ({"evaluations": [{"step": 5, "loss": None}]}, "its last evaluation"),
    "the stand-in": ({"data": "toyworld-plays"}, "read toyworld-plays in place of tinyshakespeare"),
    "a path": ({"command": f"{COMMAND} --run {os.sep.join(['', 'home', 'x'])}"}, "says a path"),
    "a home": ({"command": f"{COMMAND} --run ~/x"}, "says a path"),
    "a path of Windows": ({"command": COMMAND + " C:" + "\\Users\\x"}, "says a path"),
    "a share": ({"device": "\\\\server\\x"}, "says a path"),
    "a host": ({"machine": {"cpu": "Engine", "cores": 2}}, "says the host's name"),
    "a user": ({"steps": [STEPS[0], STEPS[1] | {"by": "ada"}]}, "says the user's name"),
} | {
    f"no {name}": ({"without": [name]}, f"lacks {name} in its header")
    for name in (*promotion.NEEDED, *promotion.OF_TRAINING)
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_quoted_is_refused_in_one_sentence_and_nothing_is_written(course, what):
    changes, words = REFUSED[what]
    write(course, **changes)
    refused(course, words)


def test_record_that_is_cut_off_is_refused(course):
    path = write(course)
    path.write_bytes(path.read_bytes()[:-9])
    refused(course, "has no end")


def test_words_that_only_look_like_a_trace_are_no_trace(course, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "runner")
    words = "nats/token, nevada, bioengine, a runner, https://example.org/a/b, 3/4, ~0.1, a: b"
    write(course, about=words)
    assert promote("one")


def test_record_that_is_kept_is_never_replaced_and_no_name_leads_elsewhere(course):
    write(course)
    promote("one")
    write(course, evaluations=[{"step": 5, "loss": 1.0}])
    refused(course, "exists already: choose another NAME")
    refused(course, "cannot name a record", name="../x")


def test_run_that_is_not_there_is_named_with_those_that_are(course):
    refused(course, r"no run two with a record in it \(there is none yet", "two")
    write(course)
    refused(course, "there is one", "two")


def test_readme_without_marks_is_refused_before_anything_is_written(course):
    write(course)
    (course / "README.md").write_text("# tinylm\n")
    refused(course, "<!-- results -->")


def test_record_that_the_course_ships_would_be_promoted_again(course):
    shipped = paths.DATA / "runs" / "shakespeare_char.jsonl"
    path = course / "mine" / "again" / "record.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(shipped.read_bytes())
    assert promote("again").read_bytes() == shipped.read_bytes()
