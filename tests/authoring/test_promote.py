"""A finished run's record is copied, any other is refused, and data/RESULTS.md follows the records."""

import getpass
import json
import os
import socket
import sys
from dataclasses import asdict, replace

import pytest

from tests.authoring import promote as promotion
from tests.authoring.promote import main, promote
from tests.authoring.results import results_tables, steps_done, tokens_read, with_tables
from tinylm.errors import TinyLMError
from tinylm.runs import paths
from tinylm.runs.recipes import recipe
from tinylm.runs.records import Record, read_record, record_header

PER_STEP = 77
RESULTS = "# a\n<!-- results -->\nold\n<!-- /results -->\nb \\1\n"


def made(*losses, seed=7, steps=20, seconds=90.0, evaluation=None, end=None, **header):
    """Make the record of a run of `steps` steps with an evaluation for each loss, the last at its end."""
    names = {"recipe": "tiny", "command": "python x.py", "device": "cpu", "dtype": "float32"}
    names |= {"parameters": 809_856, "data": "plays", "reading": {"corpus": "plays", "train_share": 1.0}}
    names |= {"train": {"tokens_per_step": PER_STEP, "seed": seed}, "model": {"vocab_size": 65}}
    at = [steps - 3 * i for i in reversed(range(len(losses)))]
    more = {"standard_error": 0.02} | (evaluation or {})
    return Record(
        header=record_header("training", **(names | header), seed=seed, tokens=20 * PER_STEP),
        steps=[{"step": step, "seconds": 3.0 * step} for step in range(0, steps, 10)],
        evaluations=[{"step": a, "loss": loss} | more for a, loss in zip(at, losses, strict=True)],
        end={"seconds": seconds} | (end or {}),
    )


@pytest.mark.parametrize(
    "other",
    [
        {"reading": {"corpus": "plays", "train_share": 0.1}},
        {"train": {"tokens_per_step": PER_STEP, "seed": 8, "learning_rate": 1.0}},
        {"machine": {"cpu": "another", "cores": 5}},
        {"seed": 7},
    ],
)
def test_runs_that_differ_in_more_or_not_even_in_the_seed_keep_their_own_rows(other):
    for more, rows in ((other, 2), ({}, 1)):
        two = [made(2.0, seed=7), made(2.0, **{"seed": 8} | more)]
        assert results_tables(two).count("\n| `") == rows


def test_tokens_and_steps_are_those_that_were_really_done():
    record = made(2.0, steps=13)
    assert tokens_read(record) == 13 * PER_STEP < record.header["tokens"]
    record.end["tokens"] = 999
    assert tokens_read(record) == 999  # the run knows best
    assert steps_done(made(steps=13)) == 11  # the last logged step is number 10, counted from 0
    assert steps_done(Record({}, [], [])) == 0


def test_tables_of_training_runs_are_written_between_their_marks_and_nothing_else_changes():
    benchmark = Record({"what": "benchmark"}, [], [], {}, measurements=[{"name": "a", "seconds": 1.0}])
    new = with_tables(RESULTS, [made(2.0), benchmark])
    assert new == RESULTS.replace("old", results_tables([made(2.0)]))
    assert with_tables(new, [made(2.0)]) == new


def test_part_of_a_text_and_the_scale_of_a_recipe_are_said():
    small = recipe("tinystories_51m", "small")
    parts = {"model": small.model.to_json(), "train": small.train.to_json(), "reading": asdict(small.data)}
    names = {"recipe": small.name, "scale": "small", "data": "tinystories", "holds": "part"}
    tables = results_tables([made(2.0, **names, **parts)])
    assert tables.startswith("**tinystories** (a part), 4,096 different bpe-4096 tokens")
    assert "| `tinystories_51m --scale small` |" in tables


@pytest.fixture
def course(monkeypatch, tmp_path):
    """Provide no record, no run and a page with old tables; the host is called engine, the user ada."""
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    monkeypatch.setattr(promotion, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(promotion, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "engine")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RESULTS.md").write_text(RESULTS)
    return tmp_path


def write(root, record, run="one"):
    """Write a run's record to data/mine."""
    kinds = {"header": [record.header], "step": record.steps, "evaluation": record.evaluations}
    kinds["end"] = [] if record.end is None else [record.end]
    lines = [json.dumps({"kind": kind, **line}) + "\n" for kind, lines in kinds.items() for line in lines]
    path = root / "mine" / run / "record.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def refused(root, words, run="one", **how):
    """Assert that promote refuses with these words and writes nothing."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(TinyLMError, match=words):
        promote(run, **how)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_command_keeps_a_run_byte_for_byte_or_refuses_in_one_sentence_or_only_writes_the_tables(
    course, monkeypatch, capsys
):
    source, kept = write(course, made(2.0)), course / "runs" / "two.jsonl"
    monkeypatch.setattr(sys, "argv", ["promote", "one", "--name", "two"])
    assert main() == 0 and "data/runs/two.jsonl and data/RESULTS.md are" in capsys.readouterr().out
    assert kept.read_bytes() == source.read_bytes()
    right = (course / "RESULTS.md").read_text()
    assert right == with_tables(RESULTS, [read_record(kept)])
    assert main() == 2 and "exists already" in capsys.readouterr().err
    (course / "RESULTS.md").write_text(right.replace("2.0000", "1.9000"))
    monkeypatch.setattr(sys, "argv", ["promote"])
    assert main() == 0 and (course / "RESULTS.md").read_text() == right


HOME = os.sep.join(["", "home", "x"])
EARLY = replace(made(2.0), steps=[{"step": 20}])
REFUSED = {
    "no header": (replace(made(2.0), header={"what": "training"}), "has no command, commit, .* seed, .* in"),
    "no end": (replace(made(2.0), end=None), "has no end"),
    "ended by hand": (made(2.0, end={"interrupted": True}), "stopped by hand after 20 of 20 steps"),
    "no evaluation": (made(), "11 steps and its last evaluation is after step 0"),
    "an early evaluation": (EARLY, "21 steps and its last evaluation is after step 20"),
    "the stand-in": (made(2.0, data="toyworld-plays"), "read toyworld-plays instead of plays"),
    "a path": (made(2.0, command=f"x --run {HOME}"), "contains a path"),
    "a path of Windows": (made(2.0, command="x C:" + "\\Users\\x"), "contains a path"),
    "a host": (made(2.0, machine={"cpu": "Engine", "cores": 2}), "contains the host's name"),
    "a user": (made(2.0, evaluation={"by": "ada"}), "contains the user's name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_record_that_may_not_be_quoted_is_refused_and_nothing_is_written(course, what):
    record, words = REFUSED[what]
    write(course, record)
    refused(course, words)


def test_words_that_only_look_like_a_path_or_a_name_pass(course, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "runner")
    words = "nats/token, nevada, bioengine, a runner, https://example.org/a/b, 3/4, ~0.1, a: b"
    write(course, made(2.0, about=words))
    assert promote("one")


def test_committed_record_is_never_replaced_and_a_missing_run_a_bad_name_or_missing_marks_are_refused(course):
    refused(course, r"has no run two with a record \(it has none", "two")
    write(course, made(2.0))
    refused(course, "it has one", "two")
    refused(course, "cannot name a record", name="../x")
    promote("one")
    write(course, made(1.0))
    refused(course, "exists already: choose another NAME")
    (course / "RESULTS.md").write_text("# tinylm\n")
    refused(course, "<!-- results -->", name="three")
