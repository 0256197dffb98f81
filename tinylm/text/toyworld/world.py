"""Toyworld: a small world to train on, whose entropy is known exactly and whose texts can be graded.

Two flavours: PLAYS (little scenes in Tiny Shakespeare's 65 characters) and STORIES (about a hundred words).
Seeded and endless. The words and templates live in toyworld_plays and toyworld_stories, the arithmetic in
grammar and grammar_entropy. Refuses to know models, tokenizers and files. Taught in notebook 01_characters.

Why the entropy is exact. A text is made by a chain of small draws: which plot, who and what it is about
(the scene), and for each line a template and the words in its gaps. Each draw has a known entropy,
H = -sum p ln p, and the entropies of a chain of draws add up. That sum is the entropy of the text itself
if one can read every draw off the finished text; and one can: the first line names all of the scene,
and no two templates that compete for a line can say the same thing. The second fact is not believed but
searched for; wherever it fails, the sentences themselves are counted instead of the draws.
No model can have a lower expected loss than this entropy: it is the floor under the loss curve.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinylm.text.toyworld import entropy as grammar_entropy
from tinylm.text.toyworld import plays as toyworld_plays
from tinylm.text.toyworld import stories as toyworld_stories
from tinylm.text.toyworld.grammar import Grammar
from tinylm.text.toyworld.templates import Mentions


@dataclass(frozen=True)
class Grade:
    """What the grader says of a text.

    grammatical: every line is a line of this world, in its place.
    faithful: grammatical, and every later line agrees with the first about who and what.
    why: the reason, in one sentence."""

    grammatical: bool
    faithful: bool
    why: str


class World:
    """A flavour of toyworld: texts with their exact probability, entropy and grade.

    A text is held without its separator; in joined text the separator follows each text, and no text
    contains it. Probabilities and lengths count text and separator together."""

    def __init__(self, name: str, grammar: Grammar, labels: dict[str, str]) -> None:
        self.name = name
        self.grammar = grammar
        self.separator = grammar.separator
        self._labels = labels  # field -> what the grader calls it

    def __repr__(self) -> str:
        return f"World({self.name!r})"

    def sample(self, rng: np.random.Generator) -> str:
        """One text, without the separator."""
        return self.grammar.sample(rng)

    def stream(self, seed: int) -> Iterator[str]:
        """Texts without end. The same seed gives the same texts."""
        rng = np.random.default_rng(seed)
        while True:
            yield self.grammar.sample(rng)

    def texts(self, n: int, seed: int) -> list[str]:
        """The first n texts of a seed."""
        stream = self.stream(seed)
        return [next(stream) for _ in range(n)]

    def joined(self, n_characters: int, seed: int) -> str:
        """Whole texts, each followed by the separator: the fewest that make n_characters or more."""
        pieces: list[str] = []
        length, stream = 0, self.stream(seed)
        while length < n_characters:
            pieces += [next(stream), self.separator]
            length += len(pieces[-2]) + len(pieces[-1])
        return "".join(pieces)

    @cached_property
    def entropy(self) -> float:
        """Entropy of a text, nats per text. Exact (Shannon 1948, section 6)."""
        return grammar_entropy.entropy(self.grammar)

    @cached_property
    def mean_length(self) -> float:
        """Expected length of a text, characters per text, separator included. Exact."""
        return grammar_entropy.mean_length(self.grammar)

    @cached_property
    def longest(self) -> int:
        """No text is longer than this many characters, separator included."""
        return grammar_entropy.longest(self.grammar)

    @property
    def floor(self) -> float:
        """The lowest expected loss that any model can reach on this world, nats per character."""
        return self.entropy / self.mean_length

    @cached_property
    def characters(self) -> str:
        """Every character that the world writes, separators included, in code point order."""
        grammar = self.grammar
        tokens = (t for p in grammar.plots for pool in p.lines for tpl, _ in pool for t in tpl.tokens)
        written = "".join(word for token in tokens for word in token.written)
        return "".join(sorted({*written, *grammar.line_separator, *grammar.separator}))

    def log_prob(self, text: str) -> float:
        """Log probability of a text in nats, summed over all its derivations; -inf if it is impossible."""
        return self.grammar.log_prob(self.grammar.split(text))

    def log_prob_rest(self, text: str, *, hide_first: bool = False) -> float:
        """Log probability in nats of all lines but the first.

        Given the first line; or, with hide_first, without having seen it: then every scene that could
        have been is weighed by its probability. The difference is what the first line is worth."""
        lines = self.grammar.split(text)
        if hide_first:
            return self.grammar.log_prob(lines[1:], first=1)
        whole = self.grammar.log_prob(lines)
        return whole - self.grammar.log_prob(lines[:1], count=len(lines)) if whole > -math.inf else whole

    def grade(self, text: str) -> Grade:
        """Is the text one that this world could have made, and if not, why not?"""
        lines = self.grammar.split(text)
        plots = [plot for plot in self.grammar.plots if plot.readings(0, lines[0])]
        if not plots:
            return Grade(False, False, f"line 1 is not an opening of this world: {_shown(lines[0])}")
        plot = plots[0]  # openings give their plot away
        if len(lines) != len(plot.lines):
            return Grade(False, False, f"there are {len(lines)} lines, but this plot has {len(plot.lines)}")
        masks = tuple(variable.everything for variable in self.grammar.variables)
        read = [
            [said for said in plot.readings(i, line) if self.grammar.narrowed(masks, said) is not None]
            for i, line in enumerate(lines)  # a line must be possible in some scene to be grammatical
        ]
        for i, line in enumerate(lines):
            if not read[i]:
                return Grade(False, False, f"line {i + 1} is not a line for this place: {_shown(line)}")
        for number, readings in enumerate(read, start=1):
            verdicts = [self._keeps(masks, said, number) for said in readings]
            kept = [after for after, _ in verdicts if after]
            if not kept:
                return verdicts[0][1]
            masks = kept[0]
        return Grade(True, True, "every line is grammatical and keeps to what the first line settled")

    def _keeps(
        self, masks: tuple[int, ...], said: Mentions, number: int
    ) -> tuple[tuple[int, ...] | None, Grade | None]:
        """The scenes left when line `number` says this; or None and the grade, if it contradicts them all."""
        for field, word in said:
            after = self.grammar.narrowed(masks, ((field, word),))
            if after is None:
                expected = self.grammar.words_left(masks, field)
                label = self._labels.get(field)
                if label is None:
                    why = f"line {number} says {word!r} where {' or '.join(map(repr, expected))} agrees"
                elif len(expected) == 1:
                    why = f"the {label} was {expected[0]}, but line {number} speaks of {word}"
                else:
                    why = f"line {number} speaks of {word} as the {label}, against the words before it"
                return None, Grade(label is not None, False, why)
            masks = after
        return masks, None


def _shown(line: str) -> str:
    line = line.replace("\n", " ")
    return repr(line if len(line) <= 60 else line[:57] + "...")


PLAYS = World("toyworld-plays", toyworld_plays.GRAMMAR, toyworld_plays.LABELS)
STORIES = World("toyworld-stories", toyworld_stories.GRAMMAR, toyworld_stories.LABELS)


def plays(seed: int) -> Iterator[str]:
    """Scenes without end, each without its separator. The same seed gives the same scenes."""
    return PLAYS.stream(seed)


def stories(seed: int) -> Iterator[str]:
    """Stories without end, each without its separator. The same seed gives the same stories."""
    return STORIES.stream(seed)
