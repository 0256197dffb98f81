"""Toyworld: a small world to train on, whose entropy is known exactly and whose texts can be graded.

Taught in notebooks 00_start_here and 01_characters. Two flavours: PLAYS (little scenes in Tiny Shakespeare's
65 characters) and STORIES (about a hundred words). Seeded and endless. What they say stands in plays.txt,
stories.txt and words.txt beside this file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from tinylm.text.toyworld import entropy, grader, loader
from tinylm.text.toyworld.grammar import Choice, Plot


@dataclass(frozen=True)
class World:
    """A flavour of toyworld: texts with their exact probability, entropy and grade.

    A text is held without its separator; in joined text the separator follows each text, and no text
    contains it. Probabilities and lengths count text and separator together."""

    plots: Choice[Plot]
    labels: dict[str, str]  # field -> what the grader calls it
    line_separator: str
    separator: str

    def stream(self, seed: int) -> Iterator[str]:
        """Texts without end. The same seed gives the same texts."""
        rng = np.random.default_rng(seed)
        while True:
            plot = self.plots.draw(rng)
            scene = {f: word for variable in plot.settled for f, word in variable.draw(rng).items()}
            yield self.line_separator.join(pool.draw(rng).write(scene, rng) for pool in plot.lines)

    def texts(self, n: int, seed: int) -> list[str]:
        """The first n texts of a seed."""
        return list(islice(self.stream(seed), n))

    def joined(self, n_characters: int, seed: int) -> str:
        """Whole texts, each followed by the separator: the fewest that make n_characters or more."""
        pieces: list[str] = []
        length, stream = 0, self.stream(seed)
        while length < n_characters:
            pieces.append(next(stream) + self.separator)
            length += len(pieces[-1])
        return "".join(pieces)

    @cached_property
    def entropy(self) -> float:
        """Entropy of a text, nats per text. Exact (Shannon 1948, section 6)."""
        return entropy.entropy(self.plots)

    @cached_property
    def mean_length(self) -> float:
        """Expected length of a text, characters per text, separator included. Exact."""
        return entropy.mean_length(self.plots, self.line_separator, self.separator)

    @property
    def floor(self) -> float:
        """The floor under the loss: no model has a lower expected loss on this world, nats per character."""
        return self.entropy / self.mean_length

    @cached_property
    def characters(self) -> str:
        """Every character that the world writes, separators included, in code point order."""
        templates = [t for plot in self.plots.options for pool in plot.lines for t in pool.options]
        written = "".join(text for t in templates for token in t.tokens for text in token.meaning)
        return "".join(sorted({*written, *self.line_separator, *self.separator}))

    def log_prob(self, text: str) -> float:
        """Log probability of a text in nats; -inf if it is impossible."""
        lines = self.split(text)
        for plot, p in self.plots.items():
            readings = [plot.reading(i, line) for i, line in enumerate(lines[: len(plot.lines)])]
            if len(lines) != len(plot.lines) or None in readings:
                continue
            if plot.scene([pair for reading in readings for pair in reading.recalled]) is not None:
                scene = sum(math.log(len(variable.options)) for variable in plot.settled)
                return math.log(p) - scene + sum(math.log(reading.probability) for reading in readings)
        return -math.inf

    def grade(self, text: str) -> grader.Grade:
        """Is the text one that this world could have made, and if not, why not?"""
        return grader.grade(self.plots, self.labels, self.split(text))

    def split(self, text: str) -> list[str]:
        """The lines of a text, with or without the separator behind it."""
        return text.removesuffix(self.separator).split(self.line_separator)


PLAYS = World(*loader.load("words.txt", "plays.txt"), line_separator="\n\n", separator="\n\n\n")
STORIES = World(*loader.load("words.txt", "stories.txt"), line_separator="\n", separator="\n\n")
