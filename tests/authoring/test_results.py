"""README's tables say what the records of training runs say, and nothing better."""

import math
import statistics
from dataclasses import asdict, replace

import pytest

from tests.authoring.results import results_tables, steps_done, tokens_read, with_tables
from tinylm.errors import RunError
from tinylm.runs.recipes import recipe
from tinylm.runs.records import Record, record_header

PER_STEP = 77
OVERFIT = recipe("overfit")


def made(*losses, seed=7, steps=20, seconds=90.0, evaluation=None, **header):
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
        end={"seconds": seconds},
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
    text = "# a\n<!-- results -->\nold\n<!-- /results -->\nb \\1\n"
    benchmark = Record({"what": "benchmark"}, [], [], {}, measurements=[{"name": "a", "seconds": 1.0}])
    new = with_tables(text, [made(2.0), benchmark])
    assert new == text.replace("old", results_tables([made(2.0)]))
    assert with_tables(new, [made(2.0)]) == new
    with pytest.raises(RunError, match="<!-- results -->"):
        with_tables("# a", [made(2.0)])
