"""README's tables of results, from the records of training runs: what compares stands in one table."""

import re
import shlex
import statistics
from dataclasses import asdict
from typing import Any

from tinylm.cli.options import parse
from tinylm.errors import RunError
from tinylm.runs.recipes import RECIPES, recipe
from tinylm.runs.records import Record
from tinylm.training.config import TrainConfig

MARKS = re.compile(r"(<!-- results -->\n)(.*?)(<!-- /results -->)", re.DOTALL)
COLUMNS = (
    "recipe",
    "parameters",
    "read",
    "steps",
    "tokens",
    "time",
    "machine",
    "loss (nats)",
    "bits per byte",
)
NOT_OF_THE_ROW = {
    "seed",
    "eval_every",
    "log_every",
    "vocab_size",
    "fallback",
}  # how often one looks, and whose luck
OF_THE_DAY = {"what", "command", "commit", "versions", "started", "seed", "forecast_seconds"}
NOTE = """\
Only rows of one table compare: another text, or the same in lower case, has other losses. A loss is that
of the last weights, in nats. ± is the standard error over the seeds, or over what stands beside it; a single
run without ± has a record that does not say over what its error was taken."""


def steps_done(record: Record) -> int:
    """Optimiser steps that the record knows to be finished; 0 when it has no line of any."""
    logged = [line["step"] + 1 for line in record.steps]  # steps count from 0, evaluations by finished steps
    return max([*logged, *(line["step"] for line in record.evaluations)], default=0)


def tokens_read(record: Record) -> int:
    """Tokens that were really read: as the end says, else up to the last logged step, else as planned."""
    if (known := (record.end or {}).get("tokens")) is not None:
        return known
    per_step = record.header.get("train", {}).get("tokens_per_step")
    return record.header["tokens"] if per_step is None else steps_done(record) * per_step


def data_read(header: dict[str, Any]) -> dict[str, Any]:
    """The run's DataConfig as a dictionary: corpus (as asked for), lowercase, train_share, ...

    Older records say it by their command, which the command line's own parser reads."""
    words = shlex.split(header["command"])
    if "reading" in header:
        return header["reading"]
    if words[:4] == ["python", "-m", "tinylm", "train"]:
        return asdict(parse(words[3:]).data)
    return asdict(recipe(header["recipe"]).data)


def results_tables(records: list[Record]) -> str:
    """A Markdown table for each text and way of scoring it, a row for each training run, and what ± means.

    Runs that differ in their seed alone share a row: mean loss ± the standard error over the seeds. The first
    cell can be typed after `train`."""
    tables: dict[str, list[list[Record]]] = {}
    for group in _by_seed([record for record in records if record.what == "training"]):
        tables.setdefault(_caption(group[0]), []).append(group)
    written = []
    for caption, groups in tables.items():
        rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_row, groups)]
        written.append(f"{caption}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows))
    return "\n\n".join([*written, NOTE])


def with_tables(readme: str, records: list[Record]) -> str:
    """README's text with the tables as the records have them. Raises RunError when it has no marks."""
    if not MARKS.search(readme):
        raise RunError("README.md has no <!-- results --> ... <!-- /results --> to write the tables between")
    tables = results_tables(records)
    return MARKS.sub(lambda found: f"{found[1]}{tables}\n{found[3]}", readme, count=1)


def _caption(record: Record) -> str:
    """What makes losses comparable: the text, how it became tokens, and how much of it was scored."""
    header, last = record.header, record.evaluations[-1] if record.evaluations else {}
    read = data_read(header)
    unit = (
        "characters" if read.get("tokenizer", "characters") == "characters" else f"{read['tokenizer']} tokens"
    )
    words = [f"**{header['data']}**" + (" in lower case" if read.get("lowercase") else "")]
    if size := header.get("model", {}).get("vocab_size"):
        words.append(f"{size:,} different {unit}")
    if scored := last.get("n_tokens"):
        words.append(f"{scored:,} scored")
    return ", ".join(words)


def _by_seed(records: list[Record]) -> list[list[Record]]:
    """Records that differ in their seed alone together, in the order in which they came."""
    groups: list[tuple[Any, list[Record]]] = []
    for record in records:
        header = {name: value for name, value in record.header.items() if name not in OF_THE_DAY}
        train = {name: value for name, value in header.get("train", {}).items() if name != "seed"}
        key = header | {"train": train, "read": data_read(record.header), "steps done": steps_done(record)}
        seed = record.header.get("seed")
        alike = (group for other, group in groups if other == key)
        group = next((group for group in alike if all(r.header.get("seed") != seed for r in group)), None)
        if group is None:
            groups.append((key, [record]))
        else:
            group.append(record)
    return [group for _, group in groups]


def _what_to_type(header: dict[str, Any]) -> str:
    """The recipe and the options that make it this run, found by comparing the header with the recipe."""
    name = header["recipe"]
    if name not in RECIPES:
        return name
    own = recipe(name)
    renamed = {TrainConfig.RENAMED.get(name, name): value for name, value in header["train"].items()}
    parts = {
        "data": (asdict(own.data), data_read(header)),
        "model": (own.model.to_json(), header["model"]),
        "train": (own.train.to_json(), renamed),
    }
    options = [
        _option(f"--{part}.{field}".replace("_", "-"), value)
        for part, (usual, there) in parts.items()
        for field, value in there.items()
        if field in usual and field not in NOT_OF_THE_ROW and usual[field] != value
    ]
    return " ".join([name, *options])


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else name.replace(".", ".no-", 1)
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _row(group: list[Record]) -> tuple[str, ...]:
    header, machine = group[0].header, group[0].header["machine"]
    ended = [(record.end or {}).get("seconds") for record in group]
    seconds = statistics.fmean(s or r.steps[-1]["seconds"] for s, r in zip(ended, group, strict=True))
    share = data_read(header).get("train_share", 1.0)
    workers = (header["threads"], "thread") if "threads" in header else (machine["cores"], "core")
    count = f"{workers[0]} {workers[1]}" + ("s" if workers[0] != 1 else "")
    return (
        f"`{_what_to_type(header)}`",
        f"{header['parameters']:,}" if "parameters" in header else "–",
        "all" if share == 1 else f"its first {share:.0%}",
        f"{steps_done(group[0]):,}",
        f"{round(statistics.fmean(map(tokens_read, group))):,}",
        f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h",
        f"{machine['cpu']}, {count}" if header["device"] == "cpu" else str(header["device"]),
        *_loss([record.evaluations[-1] for record in group if record.evaluations], len(group)),
    )


def _loss(last: list[dict[str, Any]], runs: int) -> tuple[str, str]:
    """The loss with an error whose meaning is known, and in bits per byte where the record says so."""
    if len(last) < runs or any(line["loss"] is None for line in last):
        return "–", "–"
    losses, bits = [line["loss"] for line in last], [line.get("bits_per_byte") for line in last]
    error = ""
    if runs > 1:
        error = f" ± {statistics.stdev(losses) / runs**0.5:.4f} ({runs} seeds)"
    elif last[0].get("unit") and last[0].get("standard_error") is not None:
        error = f" ± {last[0]['standard_error']:.4f} ({last[0]['unit']})"
    return f"{statistics.fmean(losses):.4f}{error}", "–" if None in bits else f"{statistics.fmean(bits):.3f}"
