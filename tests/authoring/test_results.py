"""Results: README's table says what the records of training runs say, and nothing better."""

import math
import statistics

import pytest
from tinylm.training.results import results_table, steps_done, tokens_read, with_table

from tinylm.errors import RunError
from tinylm.runs.records import Record, run_header

PER_STEP = 77


def made(*losses, seed=7, steps=20, seconds=90.0, tokens=None, error=0.02, **header):
    """The record of a run of `steps` steps with an evaluation for each loss, the last one at its end."""
    names = {"recipe": "tiny", "command": "python -m tinylm train tiny", "device": "cpu", "dtype": "float32"}
    names |= {"parameters": 809_856, "data": "toyworld-plays"}
    names |= {"train": {"tokens_per_step": PER_STEP, "seed": seed}}
    known = {} if tokens is None else {"tokens": tokens}
    at = [steps - 3 * i for i in reversed(range(len(losses)))]
    return Record(
        header=run_header(**(names | header), seed=seed, tokens=20 * PER_STEP),
        steps=[{"step": step, "seconds": 3.0 * step} for step in range(0, steps, 10)],
        evaluations=[
            {"step": step, "loss": loss, "standard_error": error}
            for step, loss in zip(at, losses, strict=True)
        ],
        end=None if seconds is None else {"seconds": seconds} | known,
    )


def rows(*records):
    """The table's rows, each as a list of cells."""
    _, _, *lines = results_table(list(records)).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_takes_the_last_evaluation_not_the_best():
    row, other = rows(made(3.0, 2 * math.log(2)), made(1.0, 3.0))
    assert row[:6] == ["`tiny`", "809,856", "toyworld-plays", "20", f"{20 * PER_STEP:,}", "1.5 min"]
    assert row[7:] == ["1.3863 ± 0.0200", "2.000"]
    assert other[7] == "3.0000 ± 0.0200"


def test_a_run_that_was_cut_off_has_a_row_with_what_it_did():
    record = made(seconds=None)
    header, line, row = results_table([record]).splitlines()
    assert header.count("|") == line.count("|") == row.count("|")
    (cells,) = rows(record)
    assert cells[3:6] == ["11", str(11 * PER_STEP), "0.5 min"] and cells[7:] == ["–", "–"]


def test_tokens_are_those_that_were_really_read():
    assert tokens_read(made(2.0, steps=13)) == 13 * PER_STEP < made(2.0).header["tokens"]
    assert tokens_read(made(2.0, steps=13, tokens=999)) == 999  # the run knows best
    assert tokens_read(made(2.0, train={})) == 20 * PER_STEP  # nothing but the plan is known
    assert rows(made(2.0, steps=13))[0][3:5] == ["13", f"{13 * PER_STEP:,}"]


def test_the_steps_done_are_the_last_that_any_line_knows():
    assert steps_done(made(2.0, steps=13)) == 13
    assert steps_done(made(steps=13)) == 11  # the last logged step is number 10, counted from 0
    assert steps_done(Record({}, [], [])) == 0


def test_only_training_runs_stand_in_the_table():
    benchmark = Record({"what": "benchmark"}, [], [], {}, measurements=[{"name": "a", "seconds": 1.0}])
    assert rows(made(2.0), benchmark) == rows(made(2.0))


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("python -m tinylm train tiny --run mine", "tiny"),
        (
            "python -m tinylm train tiny --run mine --model.dropout 0.2 --train.seed 3",
            "tiny --model.dropout 0.2",
        ),
        ("python -m tinylm train tiny --train.seed=3 --train.steps=9 --run=mine", "tiny --train.steps=9"),
        ("python -m tinylm train tiny --train.eval-every 5 --train.log-every=7", "tiny"),
        ("python tests/benchmarks/ladder.py --run mine", "tiny"),
    ],
)
def test_a_row_says_what_to_type_without_the_runs_name_and_its_seed(typed, shown):
    assert rows(made(2.0, command=typed))[0][0] == f"`{shown}`"


def test_seeds_share_a_row_when_they_were_typed():
    first, second = (
        made(2.0, seed=n, command=f"python -m tinylm train tiny --train.seed {n}") for n in (1, 2)
    )
    assert len(rows(first, second)) == 1


def test_runs_that_differ_in_their_seed_alone_share_a_row_with_mean_and_error_over_the_seeds():
    losses = (1.5, 1.7, 1.9)
    runs = [made(9.9, loss, seed=seed, seconds=60.0 * seed) for seed, loss in enumerate(losses, 1)]
    (row,) = rows(*runs)
    assert row[7] == f"{1.7:.4f} ± {statistics.stdev(losses) / math.sqrt(3):.4f} (3 seeds)"
    assert row[5] == "2.0 min" and row[8] == f"{1.7 / math.log(2):.3f}"


@pytest.mark.parametrize(
    "other",
    [
        made(2.0, seed=8, recipe="other"),
        made(2.0, seed=8, data="other"),
        made(2.0, seed=8, reading={"train_share": 0.1}),
        made(2.0, seed=8, something_new=1),
        made(2.0, seed=8, model={"n_layer": 3}),
        made(2.0, seed=8, train={"tokens_per_step": PER_STEP, "seed": 8, "learning_rate": 1.0}),
        made(2.0, seed=8, machine={"cpu": "another", "cores": 5}),
        made(2.0, seed=8, steps=19),
        made(2.0, seed=8, command="python -m tinylm train tiny --data.train-share 0.5"),
        made(2.0, seed=7),
    ],
)
def test_runs_that_differ_in_more_or_not_even_in_the_seed_keep_their_own_rows(other):
    assert len(rows(made(2.0, seed=7), other)) == 2


def test_the_same_recipe_in_another_session_is_the_same_run_but_for_its_seed():
    names = {
        "command": "python -m tinylm train tiny --train.seed 8",
        "commit": "abc",
        "started": "2027-01-01",
    }
    names |= {"forecast_seconds": 3.0, "versions": {"torch": "9"}}
    assert len(rows(made(2.0, seed=7), made(2.1, seed=8, **names))) == 1


def test_the_row_says_which_part_of_the_text_was_read():
    whole, tenth = made(2.0, reading={"train_share": 1.0}), made(2.0, reading={"train_share": 0.1})
    assert [row[2] for row in rows(whole, tenth)] == ["toyworld-plays", "toyworld-plays, its first 10%"]


def test_the_table_is_written_between_its_marks_and_nothing_else_changes():
    text = "# a\n<!-- results -->\nold\n<!-- /results -->\nb \\1\n"
    new = with_table(text, [made(2.0)])
    assert new == text.replace("old", results_table([made(2.0)]))
    assert with_table(new, [made(2.0)]) == new


def test_without_its_marks_there_is_no_place_for_the_table():
    with pytest.raises(RunError, match="<!-- results -->"):
        with_table("# a", [made(2.0)])
