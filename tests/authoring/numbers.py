"""The rule for numbers in prose: each is shown by its notebook, or numbers.toml says where it comes from.

It reads numbers with a decimal point, with a comma between thousands, and percentages. A number is shown if
a number in the notebook's code or outputs rounds to it."""

import math
import re
import tomllib
from collections.abc import Iterator

from tests.authoring.execute import ROOT
from tests.authoring.glossary import read_aloud
from tests.authoring.notebook_form import Notebook, rule
from tinylm.runs.records import read_record

SAID = re.compile(r"(?<![\w.,:^-])(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\d+(?=%))(?!\d|\.\d|:)%?")
SHOWN = re.compile(r"(?<![\w.])\d+(?:[,_]\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
GIVEN = tomllib.loads((ROOT / "tests/authoring/numbers.toml").read_text(encoding="utf-8"))


def loss(record: str, run: str | None = None) -> float:
    """Return the last loss of the record data/runs/RECORD.jsonl, or that of one of its runs."""
    read = read_record(ROOT / "data/runs" / f"{record}.jsonl")
    lines = read.evaluations if run is None else [line for line in read.measurements if line["name"] == run]
    return lines[-1]["loss"]


@rule
def numbers_have_a_source(notebook: Notebook) -> Iterator[str]:
    """A measured number in prose is in the code or the outputs, or numbers.toml has its formula or source."""
    texts = [cell.source for _, cell in notebook.code]
    for _, output in notebook.outputs:
        texts.append(output.get("text", ""))
        texts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    shown = [float(re.sub("[,_]", "", number)) for text in texts for number in SHOWN.findall(text)]
    given, known = GIVEN.get(notebook.name, {}), vars(math) | {"loss": loss}
    exercise = rf"(?m)^#.*$|arXiv:[\d., ]+|(?<![\d.]){int(notebook.name[:2])}\.\d+(?!\d)"
    for i, cell in notebook.prose:
        for number in SAID.findall(re.sub(exercise, "", read_aloud(cell.source))):
            source = given.get(number)
            if source is None and not any(rounds_to(value, number) for value in shown):
                yield f"cell {i} says {number}, which no cell shows: write its source into numbers.toml"
            if source and not source.startswith("given: ") and not rounds_to(eval(source, known), number):
                yield f"cell {i} says {number}, and {source} is not {number}"


def rounds_to(value: float, number: str) -> bool:
    """Return whether a value, or a hundred times it for a percentage, is this number after rounding."""
    digits = number.rstrip("%").replace(",", "")
    half = 0.5001 * 10.0 ** -len(digits.partition(".")[2])
    values = (value, 100 * value) if number.endswith("%") else (value,)
    return any(abs(one - float(digits)) <= half for one in values)
