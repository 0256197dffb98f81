"""The tables of data/RESULTS.md, made from the records of training runs: one table for what is comparable.

`promote` writes them."""

import re
import shlex
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tinylm.cli.options import parse
from tinylm.errors import RunError
from tinylm.runs.recipes import RECIPES, recipe
from tinylm.runs.records import Record

MARKS = re.compile(r"(<!-- results -->\n)(.*?)(<!-- /results -->)", re.DOTALL)
COLUMNS = "recipe, parameters, read, steps, tokens, time, machine, loss (nats), bits per byte"
# Settings that do not change the result, and one that another setting implies.
NOT_OF_THE_ROW = {"seed", "eval_every", "log_every", "vocab_size", "fallback"}
OF_THE_DAY = {"what", "command", "commit", "versions", "started", "seed", "forecast_seconds"}
NOTE = """\
Compare only rows of one table. Another text has another loss, and so has the same text in lower case. The
loss is that of the last weights, in nats. ± is the standard error, over the seeds or over the unit named
beside it. A single run has no ± if its record doesn't name that unit."""


def steps_done(record: Record) -> int:
    """Return how many optimiser steps the record shows as finished, or 0."""
    logged = [line["step"] + 1 for line in record.steps]  # steps count from 0, evaluations by finished steps
    return max([*logged, *(line["step"] for line in record.evaluations)], default=0)


def tokens_read(record: Record) -> int:
    """Return how many tokens were read: as the end says, or else up to the last step in the record."""
    known = record.end.get("tokens")
    return steps_done(record) * record.header["train"]["tokens_per_step"] if known is None else known


def data_read(header: dict[str, Any]) -> dict[str, Any]:
    """Return the run's DataConfig as a dictionary: corpus (as asked for), lowercase, train_share, ...

    Older records have it in their command only, which is parsed."""
    return header.get("reading") or asdict(parse(shlex.split(header["command"])[3:]).data)


def results_tables(records: list[Record]) -> str:
    """Return a Markdown table for each text and way of scoring it, a row for each training run, and a note.

    Runs that differ only in their seed share a row: mean loss ± the standard error over the seeds. The first
    cell of a row can be typed after `train`."""
    tables: dict[str, list[str]] = {}
    columns = COLUMNS.split(", ")
    for group in _by_seed([record for record in records if record.what == "training"]):
        lines = tables.setdefault(_caption(group[0]), [_line(columns), _line(["---"] * len(columns))])
        lines.append(_line(_row(group)))
    written = (caption + "\n\n" + "\n".join(lines) for caption, lines in tables.items())
    return "\n\n".join([*written, NOTE])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def with_tables(page: str, records: list[Record]) -> str:
    """Return the page with tables made from the records. Raises RunError if it has no marks."""
    if not MARKS.search(page):
        raise RunError(
            "data/RESULTS.md has no <!-- results --> ... <!-- /results --> to write the tables between"
        )
    return MARKS.sub(lambda found: f"{found[1]}{results_tables(records)}\n{found[3]}", page, count=1)


def _caption(record: Record) -> str:
    """Return what losses must share to be comparable: the text, the tokenizer, how much was scored."""
    read, last = data_read(record.header), record.evaluations[-1]
    tokenizer = read.get("tokenizer", "characters")
    unit = tokenizer if tokenizer == "characters" else f"{tokenizer} tokens"
    holds = record.header.get("holds", "whole")
    words = [f"**{record.header['data']}**" + ("" if holds == "whole" else f" (a {holds})")]
    words[0] += " in lower case" if read.get("lowercase") else ""
    words.append(f"{record.header['model']['vocab_size']:,} different {unit}")
    if scored := last.get("n_tokens"):
        words.append(f"{scored:,} scored")
    return ", ".join(words)


def _by_seed(records: list[Record]) -> list[list[Record]]:
    """Group the records that differ only in their seed, in their order."""
    groups: list[tuple[Any, list[Record]]] = []
    for record in records:
        header = {name: value for name, value in record.header.items() if name not in OF_THE_DAY}
        header["train"] = header["train"] | {"seed": None}
        key = header | {"read": data_read(record.header), "steps done": steps_done(record)}
        for other, group in groups:
            if other == key and all(alike.header["seed"] != record.header["seed"] for alike in group):
                group.append(record)
                break
        else:
            groups.append((key, [record]))
    return [group for _, group in groups]


def _what_to_type(header: dict[str, Any]) -> str:
    """Return the recipe and the options of this run, found by comparing its header with the recipe."""
    name = header["recipe"]
    if name not in RECIPES:  # of an earlier course
        return name
    own = recipe(name, header.get("scale"))
    parts = {
        "data": (asdict(own.data), data_read(header)),
        "model": (own.model.to_json(), header["model"]),
        "train": (own.train.to_json(), header["train"]),
    }
    options = [
        _option(f"--{part}.{field}".replace("_", "-"), value)
        for part, (usual, there) in parts.items()
        for field, value in there.items()
        if field in usual and field not in NOT_OF_THE_ROW and usual[field] != value
    ]
    at_scale = [] if own.scale == recipe(name).scale else [f"--scale {own.scale}"]
    return " ".join([name, *at_scale, *options])


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else name.replace(".", ".no-", 1)
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _row(group: list[Record]) -> tuple[str, ...]:
    header, machine = group[0].header, group[0].header["machine"]
    seconds = statistics.fmean(record.end["seconds"] for record in group)
    share = data_read(header).get("train_share", 1.0)
    workers, of = (header["threads"], "thread") if "threads" in header else (machine["cores"], "core")
    return (
        f"`{_what_to_type(header)}`",
        f"{header['parameters']:,}",
        "all" if share == 1 else f"its first {share:.0%}",
        f"{steps_done(group[0]):,}",
        f"{round(statistics.fmean(map(tokens_read, group))):,}",
        f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h",
        f"{machine['cpu']}, {workers} {of}{'s' * (workers != 1)}"
        if header["device"] == "cpu"
        else header["device"],
        *_loss([record.evaluations[-1] for record in group]),
    )


def _loss(last: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the loss with its error, if the record says what the error is, and the bits per byte."""
    losses, bits = [line["loss"] for line in last], [line.get("bits_per_byte") for line in last]
    error = ""
    if len(last) > 1:
        error = f" ± {statistics.stdev(losses) / len(last) ** 0.5:.4f} ({len(last)} seeds)"
    elif last[0].get("unit") and last[0].get("standard_error") is not None:
        error = f" ± {last[0]['standard_error']:.4f} ({last[0]['unit']})"
    if exact := [line["metrics"]["exact_match"] for line in last if line.get("metrics")]:
        error += f", {statistics.fmean(exact):.2%} exactly right"
    return f"{statistics.fmean(losses):.4f}{error}", "–" if None in bits else f"{statistics.fmean(bits):.3f}"
