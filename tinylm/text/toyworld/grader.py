"""The grader: is a text one that a grammar could have made, and if not, why not? Exact, by reading it back.

Taught in notebook 00_start_here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinylm.text.toyworld.grammar import Choice, Plot


@dataclass(frozen=True)
class Grade:
    """What the grader says of a text.

    grammatical: every line is a line of this world, in its place.
    faithful: grammatical, and every later line agrees with the first about who and what.
    why: the reason, in one sentence."""

    grammatical: bool
    faithful: bool
    why: str


def grade(plots: Choice[Plot], labels: Mapping[str, str], lines: Sequence[str]) -> Grade:
    """The grade of a text's lines. labels: what to call a field; those without one are words that agree."""
    plot = next((plot for plot in plots.options if plot.reading(0, lines[0])), None)
    if plot is None:
        return Grade(False, False, f"line 1 is not an opening of this world: {_shown(lines[0])}")
    if len(lines) != len(plot.lines):
        return Grade(False, False, f"there are {len(lines)} lines, but this plot has {len(plot.lines)}")
    readings = [plot.reading(i, line) for i, line in enumerate(lines)]
    for number, (line, reading) in enumerate(zip(lines, readings, strict=True), start=1):
        if reading is None or plot.scene(reading.recalled) is None:  # in no scene at all
            return Grade(False, False, f"line {number} is not a line for this place: {_shown(line)}")
    scene = plot.scene(readings[0].recalled)
    for number, reading in enumerate(readings, start=1):
        for field, word in reading.recalled:
            if word != scene[field]:
                label = labels.get(field)
                if label is None:
                    return Grade(False, False, f"line {number} says {word!r} where {scene[field]!r} agrees")
                return Grade(
                    True, False, f"the {label} was {scene[field]}, but line {number} speaks of {word}"
                )
    return Grade(True, True, "every line is grammatical and keeps to what the first line settled")


def _shown(line: str) -> str:
    line = line.replace("\n", " ")
    return repr(line if len(line) <= 60 else line[:57] + "...")
