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


def made(*losses, seed=7, steps=20, seconds=90.0, tokens=None, evaluation=None, **header):
    """The record of a run of `steps` steps with an evaluation for each loss, the last one at its end."""
    names = {"recipe": "tiny", "command": "python x.py", "device": "cpu", "dtype": "float32"}
    names |= {"parameters": 809_856, "data": "plays", "reading": {"corpus": "plays", "train_share": 1.0}}
    names |= {"train": {"tokens_per_step": PER_STEP, "seed": seed}}
    known = {} if tokens is None else {"tokens": tokens}
    at = [steps - 3 * i for i in reversed(range(len(losses)))]
    more = {"standard_error": 0.02} | (evaluation or {})
    return Record(
        header=record_header("training", **(names | header), seed=seed, tokens=20 * PER_STEP),
        steps=[{"step": step, "seconds": 3.0 * step} for step in range(0, steps, 10)],
        evaluations=[{"step": a, "loss": loss} | more for a, loss in zip(at, losses, strict=True)],
        end=None if seconds is None else {"seconds": seconds} | known,
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
    assert row[7:] == ["2.0000", "2.500"]
    assert other[7:] == ["3.0000", "–"]


def test_error_of_one_run_is_shown_only_with_what_it_was_taken_over():
    bare, named = rows(made(2.0), made(2.0, evaluation={"unit": "13 blocks of 8,580 tokens"}))
    assert bare[7] == "2.0000"
    assert named[7] == "2.0000 ± 0.0200 (13 blocks of 8,580 tokens)"


def test_runs_that_differ_in_their_seed_alone_share_a_row_with_mean_and_error_over_the_seeds():
    losses = (1.5, 1.7, 1.9)
    days = [
        {},
        {"commit": "abc", "started": "2027-01-01", "versions": {"torch": "9"}},
        {"forecast_seconds": 3.0},
    ]
    runs = [made(9.9, x, seed=n, seconds=60.0 * n, **days[n - 1]) for n, x in enumerate(losses, 1)]
    (row,) = rows(*runs)
    assert row[7] == f"{1.7:.4f} ± {statistics.stdev(losses) / math.sqrt(3):.4f} (3 seeds)"
    assert row[5] == "2.0 min"


@pytest.mark.parametrize(
    "other",
    [
        made(2.0, seed=8, recipe="other"),
        made(2.0, seed=8, reading={"corpus": "plays", "train_share": 0.1}),
        made(2.0, seed=8, something_new=1),
        made(2.0, seed=8, train={"tokens_per_step": PER_STEP, "seed": 8, "learning_rate": 1.0}),
        made(2.0, seed=8, machine={"cpu": "another", "cores": 5}),
        made(2.0, seed=8, steps=19),
        made(2.0, seed=7),
    ],
)
def test_runs_that_differ_in_more_or_not_even_in_the_seed_keep_their_own_rows(other):
    assert len(rows(made(2.0, seed=7), other)) == 2


def test_losses_that_do_not_compare_stand_in_tables_of_their_own():
    low = made(2.0, reading={"corpus": "plays", "lowercase": True}, model={"vocab_size": 39})
    part = made(2.0, evaluation={"n_tokens": 1111})
    captions = [caption for caption, _ in tables(made(2.0), low, made(2.1, data="tales"), part, made(2.2))]
    assert captions == [
        "**plays**",
        "**plays** in lower case, 39 different characters",
        "**tales**",
        "**plays**, 1,111 scored",
    ]


def test_row_says_what_part_was_read_and_with_how_many_threads():
    tenth = made(2.0, reading={"train_share": 0.1}, machine={"cpu": "Engine", "cores": 5}, threads=1)
    whole = made(2.0, machine={"cpu": "Engine", "cores": 5})
    assert [row[2] for row in rows(tenth, whole)] == ["its first 10%", "all"]
    assert [row[6] for row in rows(tenth, whole)] == ["Engine, 1 thread", "Engine, 5 cores"]


def test_options_of_a_row_are_what_differs_from_the_recipe():
    train = replace(OVERFIT.train, steps=1300, learning_rate=1e-2, seed=5, eval_every=3, log_every=3)
    header = {
        "recipe": "overfit",
        "model": replace(OVERFIT.model, vocab_size=41, dropout=0.2, bias=False).to_json(),
        "train": train.to_json(),
        "reading": asdict(replace(OVERFIT.data, train_share=1.0)),
    }
    ((_, ((typed, *_),)),) = tables(made(2.0, **header))
    options = (
        "data.train-share 1, model.no-bias, model.dropout 0.2, train.steps 1300, train.learning-rate 0.01"
    )
    assert set(typed.strip("`").split(" --")) == {"overfit", *options.split(", ")}


def test_record_from_before_the_header_held_the_data_says_it_by_its_command():
    typed = "python -m tinylm train overfit --data.train-share 0.5 --run x"
    header = {"recipe": "overfit", "model": OVERFIT.model.to_json(), "train": OVERFIT.train.to_json()}
    old, usual = (made(2.0, command=c, **header) for c in (typed, "python -m tinylm train overfit"))
    for record in (old, usual):
        del record.header["reading"]
    assert [row[2] for row in rows(old, usual)] == ["its first 50%", "its first 10%"]


def test_run_that_was_cut_off_has_a_row_with_what_it_did():
    (cells,) = rows(made(seconds=None))
    assert cells[3:6] == ["11", str(11 * PER_STEP), "0.5 min"] and cells[7:] == ["–", "–"]


def test_tokens_and_steps_are_those_that_were_really_done():
    assert tokens_read(made(2.0, steps=13)) == 13 * PER_STEP < made(2.0).header["tokens"]
    assert tokens_read(made(2.0, steps=13, tokens=999)) == 999  # the run knows best
    assert tokens_read(made(2.0, train={})) == 20 * PER_STEP  # nothing but the plan is known
    assert steps_done(made(steps=13)) == 11  # the last logged step is number 10, counted from 0
    assert steps_done(Record({}, [], [])) == 0


def test_only_training_runs_stand_in_the_tables():
    benchmark = Record({"what": "benchmark"}, [], [], {}, measurements=[{"name": "a", "seconds": 1.0}])
    assert rows(made(2.0), benchmark) == rows(made(2.0))


def test_tables_are_written_between_their_marks_and_nothing_else_changes():
    text = "# a\n<!-- results -->\nold\n<!-- /results -->\nb \\1\n"
    new = with_tables(text, [made(2.0)])
    assert new == text.replace("old", results_tables([made(2.0)]))
    assert with_tables(new, [made(2.0)]) == new
    with pytest.raises(RunError, match="<!-- results -->"):
        with_tables("# a", [made(2.0)])
