"""Results: what the records of training runs say, as the table that stands in README.

Knows records and Markdown. Refuses to know where records and README lie (promotion), and every record that is
not of a training run: benchmarks and experiments are quoted where they are discussed.
Taught in notebook 04_training."""

from __future__ import annotations

import re
import statistics
from typing import Any

from tinylm.errors import TinyLMError
from tinylm.model.losses import nats_to_bits
from tinylm.runs.records import Record

COLUMNS = (
    "recipe",
    "parameters",
    "data",
    "steps",
    "tokens",
    "time",
    "machine",
    "loss (nats)",
    "bits per character",
)
TYPED = re.compile(r"python -m tinylm train (?P<recipe_and_options>.+)")
# what a run is called, which seed of several, and how often it is looked at
NOT_OF_THE_ROW = re.compile(r" --(run|train\.(seed|eval-every|log-every))[ =]\S+")
# what differs between two runs of the same thing
OF_THE_DAY = {"what", "command", "commit", "versions", "started", "seed", "forecast_seconds"}
TABLE = re.compile(r"(<!-- results -->\n)(.*?)(<!-- /results -->)", re.DOTALL)


class RunError(TinyLMError):
    """There is no place for the table."""


def steps_done(record: Record) -> int:
    """Optimiser steps that the record knows to be finished; 0 when it has no line of any."""
    logged = [line["step"] + 1 for line in record.steps]  # steps count from 0, evaluations by finished steps
    return max([*logged, *(line["step"] for line in record.evaluations)], default=0)


def tokens_read(record: Record) -> int:
    """Tokens that the run really read, which are fewer than planned when it ended early.

    The end line says so; without one it is counted from the last step in the record, which is at most
    log_every steps short; a record that does not know its tokens per step has only the plan."""
    header, end = record.header, record.end or {}
    if end.get("tokens") is not None:
        return end["tokens"]
    per_step = header.get("train", {}).get("tokens_per_step")
    return header["tokens"] if per_step is None else steps_done(record) * per_step


def seconds_taken(record: Record) -> float:
    """Seconds that the run took; for one that was cut off, until its last logged step."""
    seen = [line.get("seconds") or 0.0 for line in record.steps]
    return (record.end or {}).get("seconds") or max(seen, default=0.0)


def results_table(records: list[Record]) -> str:
    """A Markdown table with a row for each training run; runs that differ in their seed alone share one.

    The loss is that of the last evaluation ± its standard error, never the best point of the curve; over
    several seeds it is their mean ± its standard error, and the cell says of how many. A recipe stands there
    with the options it was run with: the first cell can be typed after `train`."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(group) for group in _by_seed(records))]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def with_table(text: str, records: list[Record]) -> str:
    """README's text with the table as the records have it. Raises RunError when it has no marks."""
    if not TABLE.search(text):
        raise RunError("there is no <!-- results --> ... <!-- /results --> to write the table between")
    table = results_table(records)
    return TABLE.sub(lambda found: f"{found[1]}{table}\n{found[3]}", text, count=1)


def _by_seed(records: list[Record]) -> list[list[Record]]:
    """Training runs, those together that differ in their seed alone, in the order in which they came."""
    groups: list[tuple[Any, list[Record]]] = []
    for record in records:
        if record.what != "training":
            continue
        key, seed = _all_but_the_seed(record), record.header.get("seed")
        alike = [group for other, group in groups if other == key]
        free = [group for group in alike if all(r.header.get("seed") != seed for r in group)]
        if free:
            free[0].append(record)
        else:
            groups.append((key, [record]))
    return [group for _, group in groups]


def _all_but_the_seed(record: Record) -> tuple[Any, ...]:
    header = {name: value for name, value in record.header.items() if name not in OF_THE_DAY}
    train = {name: value for name, value in header.get("train", {}).items() if name != "seed"}
    return header | {"train": train}, steps_done(record), _recipe_and_options(record.header)


def _recipe_and_options(header: dict[str, Any]) -> str:
    """What to type after `train` for such a run: "overfit --model.dropout 0.2"; the name, if unknown."""
    typed = TYPED.fullmatch(header.get("command", ""))
    return NOT_OF_THE_ROW.sub("", typed["recipe_and_options"]) if typed else header["recipe"]


def _row(group: list[Record]) -> tuple[str, ...]:
    header, last = group[0].header, [record.evaluations[-1] for record in group if record.evaluations]
    seconds = statistics.fmean(map(seconds_taken, group))
    cores = header["machine"]["cores"]
    return (
        f"`{_recipe_and_options(header)}`",
        f"{header['parameters']:,}" if "parameters" in header else "–",
        _data(header),
        f"{steps_done(group[0]):,}",
        f"{round(statistics.fmean(map(tokens_read, group))):,}",
        f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h",
        f"{header['machine']['cpu']}, {cores} cores" if header["device"] == "cpu" else str(header["device"]),
        *(_loss(last) if len(last) == len(group) else ("–", "–")),
    )


def _data(header: dict[str, Any]) -> str:
    """The text that was read, and how much of its training part where that is not all of it."""
    share = header.get("reading", {}).get("train_share", 1.0)
    return f"{header.get('data', '–')}" + (f", its first {share:.0%}" if share < 1 else "")


def _loss(last: list[dict[str, Any]]) -> tuple[str, str]:
    """The loss with its error, and in bits per character, of one run or of several seeds."""
    if any(line["loss"] is None for line in last):
        return "–", "–"
    losses, error, seeds = [line["loss"] for line in last], last[0].get("standard_error"), ""
    if len(losses) > 1:
        error, seeds = statistics.stdev(losses) / len(losses) ** 0.5, f" ({len(losses)} seeds)"
    bits = statistics.fmean(line.get("bits_per_byte") or nats_to_bits(line["loss"]) for line in last)
    spread = f" ± {error:.4f}" if error is not None else ""
    return f"{statistics.fmean(losses):.4f}{spread}{seeds}", f"{bits:.3f}"
