"""Toyworld: a small world to train on, whose entropy is known exactly and whose texts can be graded.

Taught in notebooks 00_start_here and 01_characters. Two flavours: PLAYS (short scenes in Tiny Shakespeare's
65 characters) and STORIES (about a hundred words each). Both are seeded and endless. Their words are in the
.txt files beside this one, and the exact entropy is computed in `entropy`."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from tinylm.errors import short
from tinylm.text.toyworld.entropy import text_entropy, text_length
from tinylm.text.toyworld.grammar import Choice, Plot
from tinylm.text.toyworld.loader import load


class Grade(NamedTuple):
    """What the grader says about a text."""

    grammatical: bool  # every line is a line of this world, in its place
    faithful: bool  # grammatical, and every later line agrees with the first about who and what
    why: str  # the reason, in one sentence


@dataclass(frozen=True)
class World:
    """A flavour of toyworld: texts with their exact entropy and grade.

    A text comes without its separator. In joined text the separator follows each text, and no text contains
    it. Entropy and length are those of a text with its separator."""

    plots: Choice[Plot]
    labels: dict[str, str]  # field -> what the grader calls it; a field without one is a word that agrees
    line_separator: str
    separator: str

    def stream(self, seed: int) -> Iterator[str]:
        """Yield texts without end. The same seed gives the same texts."""
        rng = np.random.default_rng(seed)
        while True:
            plot = self.plots.draw(rng)
            scene = {f: word for variable in plot.settled for f, word in variable.draw(rng).items()}
            yield self.line_separator.join(pool.draw(rng).write(scene, rng) for pool in plot.lines)

    def texts(self, n: int, seed: int) -> list[str]:
        """Return the first n texts of a seed."""
        return list(islice(self.stream(seed), n))

    def joined(self, n_characters: int, seed: int) -> str:
        """Join whole texts, each followed by the separator: the fewest that have n_characters or more."""
        stream, text = self.stream(seed), io.StringIO()
        while text.tell() < n_characters:
            text.write(next(stream) + self.separator)
        return text.getvalue()

    @cached_property
    def entropy(self) -> float:
        """The exact entropy of a text, nats per text: see the module `entropy`."""
        return text_entropy(self.plots)

    @cached_property
    def mean_length(self) -> float:
        """The exact expected length of a text, characters per text, separator included."""
        return text_length(self.plots, self.line_separator) + len(self.separator)

    @property
    def floor(self) -> float:
        """The lowest expected loss that any model can have on this world, nats per character."""
        return self.entropy / self.mean_length

    def grade(self, text: str) -> Grade:
        """Decide by parsing whether this world can have made the text, and say why not. This is exact.

        The text may end with the separator."""
        lines = text.removesuffix(self.separator).split(self.line_separator)
        shown = [short(line.replace("\n", " ")) for line in lines]
        plot = next((plot for plot in self.plots.options if plot.reading(0, lines[0]) is not None), None)
        if plot is None:
            return Grade(False, False, f"line 1 is not an opening of this world: {shown[0]}")
        if len(lines) != len(plot.lines):
            return Grade(False, False, f"there are {len(lines)} lines, but this plot has {len(plot.lines)}")
        readings = [plot.reading(i, line) for i, line in enumerate(lines)]
        for number, reading in enumerate(readings, start=1):
            if reading is None or plot.scene(reading) is None:  # in no scene at all
                return Grade(False, False, f"line {number} is not a line for this place: {shown[number - 1]}")
        scene = plot.scene(readings[0])
        for number, recalled in enumerate(readings, start=1):
            for field, word in recalled:
                if word != scene[field] and field in self.labels:
                    said = f"the {self.labels[field]} was {scene[field]}, but line {number} speaks of {word}"
                    return Grade(True, False, said)
                if word != scene[field]:
                    return Grade(False, False, f"line {number} says {word!r} where {scene[field]!r} agrees")
        return Grade(True, True, "every line is grammatical and keeps to what the first line settled")


LINE_BEGIN, LINE_SPACE = re.compile("^(?=.)", re.MULTILINE), re.compile("^ ", re.MULTILINE)
PLAYS = World(*load("words.txt", "plays.txt"), line_separator="\n\n", separator="\n\n\n")
STORIES = World(*load("words.txt", "stories.txt"), line_separator="\n", separator="\n\n")


def spaced(text: str) -> str:
    """Return the text with a space before each line that is not empty.

    GPT-2's tokenizer keeps a space with the word after it, so " Luke" and a "Luke" that begins a line are two
    ids. Without this, a model that repeats a name would have to learn for each name which two ids it has."""
    return LINE_BEGIN.sub(" ", text)


def unspaced(text: str) -> str:
    """Return the text without the space that `spaced` puts before each line."""
    return LINE_SPACE.sub("", text)
