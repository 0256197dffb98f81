"""What may be quoted of a run is kept, all else is refused; README's tables say what the kept records say."""

import getpass
import json
import math
import os
import socket
import statistics
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
OVERFIT = recipe("overfit")
README = "# a\n<!-- results -->\nold\n<!-- /results -->\nb \\1\n"


def made(*losses, seed=7, steps=20, seconds=90.0, evaluation=None, end=None, **header):
    """The record of a run of `steps` steps with an evaluation for each loss, the last one at its end."""
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


def tables(*records):
    """The tables: for each its caption and its rows, each a list of cells."""
    *parts, _ = results_tables(list(records)).split("\n\n")
    split = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in part.split("\n")] for part in parts
    ]
    return [(caption[0][0], rows[2:]) for caption, rows in zip(split[::2], split[1::2], strict=True)]


def rows(*records):
    """The rows of the one table there is."""
    ((_, rows),) = tables(*records)
    return rows


def test_loss_is_that_of_the_last_evaluation_not_the_best():
    row, other = rows(made(3.0, 2.0, evaluation={"bits_per_byte": 2.5}), made(1.0, 3.0))
    assert row[:6] == ["`tiny`", "809,856", "all", "20", f"{20 * PER_STEP:,}", "1.5 min"]
    assert row[7:] == ["2.0000", "2.500"] and other[7:] == ["3.0000", "–"]


def test_error_of_one_run_is_shown_only_with_what_it_was_taken_over():
    bare, named = rows(made(2.0), made(2.0, evaluation={"unit": "13 blocks of 8,580 tokens"}))
    assert bare[7] == "2.0000" and named[7] == "2.0000 ± 0.0200 (13 blocks of 8,580 tokens)"


def test_runs_that_differ_in_their_seed_alone_share_a_row_with_mean_and_error_over_the_seeds():
    losses, other_day = (
        (1.5, 1.7, 1.9),
        {"commit": "abc", "started": "2027-01-01", "versions": {"torch": "9"}},
    )
    days = [{}, other_day, {"forecast_seconds": 3.0}]
    runs = [made(9.9, x, seed=n, seconds=60.0 * n, **days[n - 1]) for n, x in enumerate(losses, 1)]
    (row,) = rows(*runs)
    assert row[7] == f"{1.7:.4f} ± {statistics.stdev(losses) / math.sqrt(3):.4f} (3 seeds)"
    assert row[5] == "2.0 min"


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": "other"},
        {"reading": {"corpus": "plays", "train_share": 0.1}},
        {"something_new": 1},
        {"train": {"tokens_per_step": PER_STEP, "seed": 8, "learning_rate": 1.0}},
        {"machine": {"cpu": "another", "cores": 5}},
        {"steps": 19},
        {"seed": 7},
    ],
)
def test_runs_that_differ_in_more_or_not_even_in_the_seed_keep_their_own_rows(other):
    assert len(rows(made(2.0, seed=7), made(2.0, **{"seed": 8} | other))) == 2


def test_losses_that_do_not_compare_stand_in_tables_of_their_own():
    low = made(2.0, reading={"corpus": "plays", "lowercase": True}, model={"vocab_size": 39})
    words = made(2.0, reading={"corpus": "plays", "tokenizer": "gpt2"}, model={"vocab_size": 50257})
    part = made(2.0, evaluation={"n_tokens": 1111})
    records = (made(2.0), low, words, made(2.1, data="tales"), part, made(2.2))
    assert [caption for caption, _ in tables(*records)] == [
        "**plays**, 65 different characters",
        "**plays** in lower case, 39 different characters",
        "**plays**, 50,257 different gpt2 tokens",
        "**tales**, 65 different characters",
        "**plays**, 65 different characters, 1,111 scored",
    ]


def test_row_says_what_part_was_read_and_where():
    tenth = made(2.0, reading={"train_share": 0.1}, machine={"cpu": "Engine", "cores": 5}, threads=1)
    whole = made(2.0, machine={"cpu": "Engine", "cores": 5}, seconds=6480.0)
    gpu = made(2.0, device="Accelerator")
    assert [row[2] for row in rows(tenth, whole)] == ["its first 10%", "all"]
    assert [row[5] for row in rows(tenth, whole)] == ["1.5 min", "1.8 h"]
    assert [row[6] for row in rows(tenth, whole, gpu)] == [
        "Engine, 1 thread",
        "Engine, 5 cores",
        "Accelerator",
    ]


def test_options_of_a_row_are_what_differs_from_the_recipe():
    train = replace(OVERFIT.train, steps=1300, learning_rate=1e-2, seed=5, eval_every=3, log_every=3)
    model = replace(OVERFIT.model, vocab_size=41, dropout=0.2, bias=False).to_json()
    reading = asdict(replace(OVERFIT.data, train_share=1.0))
    ((typed, *_),) = rows(made(2.0, recipe="overfit", model=model, train=train.to_json(), reading=reading))
    options = (
        "data.train-share 1, model.no-bias, model.dropout 0.2, train.steps 1300, train.learning-rate 0.01"
    )
    assert set(typed.strip("`").split(" --")) == {"overfit", *options.split(", ")}


def test_record_from_before_the_header_held_the_data_says_it_by_its_command():
    typed = "python -m tinylm train overfit"
    header = {"recipe": "overfit", "model": OVERFIT.model.to_json(), "train": OVERFIT.train.to_json()}
    old = [made(2.0, command=typed + more, **header) for more in (" --data.train-share 0.5 --run x", "")]
    for record in old:
        del record.header["reading"]
    assert [row[2] for row in rows(*old)] == ["its first 50%", "its first 10%"]


def test_tokens_and_steps_are_those_that_were_really_done():
    record = made(2.0, steps=13)
    assert tokens_read(record) == 13 * PER_STEP < record.header["tokens"]
    record.end["tokens"] = 999
    assert tokens_read(record) == 999  # the run knows best
    assert steps_done(made(steps=13)) == 11  # the last logged step is number 10, counted from 0
    assert steps_done(Record({}, [], [])) == 0


def test_tables_of_training_runs_are_written_between_their_marks_and_nothing_else_changes():
    benchmark = Record({"what": "benchmark"}, [], [], {}, measurements=[{"name": "a", "seconds": 1.0}])
    new = with_tables(README, [made(2.0), benchmark])
    assert new == README.replace("old", results_tables([made(2.0)]))
    assert with_tables(new, [made(2.0)]) == new


@pytest.fixture
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


def write(root, record, run="one"):
    """A run's record in data/mine."""
    kinds = {"header": [record.header], "step": record.steps, "evaluation": record.evaluations}
    kinds["end"] = [] if record.end is None else [record.end]
    lines = [json.dumps({"kind": kind, **line}) + "\n" for kind, lines in kinds.items() for line in lines]
    path = root / "mine" / run / "record.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def refused(root, words, run="one", **how):
    """promote refuses, says these words, and writes nothing."""
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(TinyLMError, match=words):
        promote(run, **how)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_record_of_a_finished_run_is_kept_byte_for_byte_and_the_readme_follows(course):
    source = write(course, made(2.0))
    path = promote("one")
    assert path == course / "runs" / "one.jsonl" and path.read_bytes() == source.read_bytes()
    assert (course / "README.md").read_text() == with_tables(README, [read_record(path)])


def test_run_is_found_by_its_folder_too_and_may_get_another_name(course):
    folder = write(course, made(2.0)).parent
    assert promote(str(folder), name="first").name == "first.jsonl"
    os.chdir(folder)
    assert promote(".").name == "one.jsonl"


def test_tables_hold_every_kept_record_in_the_order_of_their_names(course):
    records = {"b": made(2.25), "c": made(2.75), "a": made(2.5)}
    for run, record in records.items():
        write(course, record, run)
        promote(run)
    assert (course / "README.md").read_text() == with_tables(README, [records[run] for run in "abc"])


def test_command_keeps_a_run_or_refuses_in_one_sentence_or_only_writes_the_tables(
    course, monkeypatch, capsys
):
    write(course, made(2.0))
    monkeypatch.setattr(sys, "argv", ["promote", "one", "--name", "two"])
    assert main() == 0 and "data/runs/two.jsonl is kept" in capsys.readouterr().out
    assert main() == 2 and "exists already" in capsys.readouterr().err
    right = (course / "README.md").read_text()
    (course / "README.md").write_text(right.replace("2.0000", "1.9000"))
    monkeypatch.setattr(sys, "argv", ["promote"])
    assert main() == 0 and (course / "README.md").read_text() == right


def test_benchmark_is_kept_without_what_a_training_has(course):
    write(course, Record(record_header("benchmark", command="python x.py"), [], [], {}))
    assert promote("one").is_file()


REFUSED = {
    "no end": (replace(made(2.0), end=None), "has no end"),
    "ended by hand": (made(2.0, end={"interrupted": True}), "ended by hand after 20 of 20 steps"),
    "no evaluation": (made(), "11 steps and its last evaluation is after 0"),
    "an early evaluation": (
        replace(made(2.0), steps=[{"step": 20}]),
        "21 steps and its last evaluation is after 20",
    ),
    "a loss that is not one": (made(2.0, evaluation={"loss": None}), "its last evaluation"),
    "the stand-in": (made(2.0, data="toyworld-plays"), "read toyworld-plays in place of plays"),
    "a path": (made(2.0, command=f"x --run {os.sep.join(['', 'home', 'x'])}"), "says a path"),
    "a home": (made(2.0, command="x --run ~/x"), "says a path"),
    "a path of Windows": (made(2.0, command="x C:" + "\\Users\\x"), "says a path"),
    "a share": (made(2.0, device="\\\\server\\x"), "says a path"),
    "a host": (made(2.0, machine={"cpu": "Engine", "cores": 2}), "says the host's name"),
    "a user": (made(2.0, evaluation={"by": "ada"}), "says the user's name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_quoted_is_refused_in_one_sentence_and_nothing_is_written(course, what):
    record, words = REFUSED[what]
    write(course, record)
    refused(course, words)


@pytest.mark.parametrize("name", [*promotion.NEEDED, *promotion.OF_TRAINING])
def test_header_that_lacks_what_prose_needs_is_refused(course, name):
    record = made(2.0)
    del record.header[name]
    write(course, record)
    refused(course, f"lacks {name} in its header")


def test_record_that_is_cut_off_is_refused(course):
    path = write(course, made(2.0))
    path.write_bytes(path.read_bytes()[:-9])
    refused(course, "has no end")


def test_words_that_only_look_like_a_trace_are_no_trace(course, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "runner")
    words = "nats/token, nevada, bioengine, a runner, https://example.org/a/b, 3/4, ~0.1, a: b"
    write(course, made(2.0, about=words))
    assert promote("one")


def test_record_that_is_kept_is_never_replaced_and_no_name_leads_elsewhere(course):
    write(course, made(2.0))
    promote("one")
    write(course, made(1.0))
    refused(course, "exists already: choose another NAME")
    refused(course, "cannot name a record", name="../x")


def test_run_that_is_not_there_and_a_readme_without_marks_are_refused(course):
    refused(course, r"no run two with a record in it \(there is none yet", "two")
    write(course, made(2.0))
    refused(course, "there is one", "two")
    (course / "README.md").write_text("# tinylm\n")
    refused(course, "<!-- results -->")


def test_record_that_the_course_ships_would_be_promoted_again(course):
    write(course, made(2.0), "again").write_bytes((paths.DATA / "runs" / "overfit.jsonl").read_bytes())
    assert promote("again").is_file()
