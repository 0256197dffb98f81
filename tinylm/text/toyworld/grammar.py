"""Grammar: texts made of template sentences, and their exact probability.

Knows plots (which templates may stand in which line) and scenes (what the opening line settles and later
lines recall); refuses to know English and grading.
Used by toyworld; seen in notebook 01_characters.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from tinylm.errors import DataError
from tinylm.text.toyworld.templates import Mentions, Template, Variable, weighted


class Plot:
    """The shape of a text: for each of its lines the templates to choose from."""

    def __init__(
        self, lines: Sequence[Sequence[str]], words: Mapping[str, str], variables: Sequence[Variable]
    ) -> None:
        fields = {f: list(dict.fromkeys(v[f] for v in var.values)) for var in variables for f in var.fields}
        self.lines = [
            [(Template(source, words, fields), p) for source, p in weighted(pool).items()] for pool in lines
        ]
        self.cumulative = [list(accumulate(p for _, p in pool)) for pool in self.lines]
        opening, *later = ({t.field for tpl, _ in pool for t in tpl.tokens} for pool in self.lines)
        self.settled = [i for i, v in enumerate(variables) if opening & set(v.fields)]
        for i, variable in enumerate(variables):
            if i not in self.settled and set().union(*later) & set(variable.fields):
                raise DataError(f"a later line recalls {variable.fields}, which no opening line settles")

    def readings(self, index: int, line: str) -> dict[Mentions, float]:
        """Every way in which line number `index` of this plot can be the given line."""
        found: dict[Mentions, float] = {}
        for template, weight in self.lines[index]:
            for said, probability in template.readings(line).items():
                found[said] = found.get(said, 0.0) + weight * probability
        return found


class Grammar:
    """Plots over one set of variables. A text: draw a plot, settle its variables, then say its lines.

    Given the plot and the settled scene, the lines are drawn independently of each other."""

    def __init__(
        self,
        *,
        variables: Sequence[Variable],
        words: Mapping[str, str],
        plots: Sequence[tuple[float, Sequence[Sequence[str]]]],
        line_separator: str,
        separator: str,
    ) -> None:
        self.variables = list(variables)
        self.line_separator, self.separator = line_separator, separator
        self.plots = [Plot(lines, words, variables) for _, lines in plots]
        total = sum(weight for weight, _ in plots)
        self.plot_probabilities = [weight / total for weight, _ in plots]
        self._owner = {field: i for i, v in enumerate(self.variables) for field in v.fields}

    def sample(self, rng: np.random.Generator) -> str:
        """One text, without the separator."""
        plot = self.plots[_draw(list(accumulate(self.plot_probabilities)), rng)]
        scene: dict[str, str] = {}
        for i in plot.settled:
            scene |= self.variables[i].values[_draw(self.variables[i].cumulative, rng)]
        lines = []
        for pool, cumulative in zip(plot.lines, plot.cumulative, strict=True):
            template = pool[_draw(cumulative, rng)][0]
            lines.append("".join(token.say(scene, rng) for token in template.tokens))
        return self.line_separator.join(lines)

    def split(self, text: str) -> list[str]:
        """The lines of a text, with or without the separator behind it."""
        return text.removesuffix(self.separator).split(self.line_separator)

    def narrowed(self, masks: tuple[int, ...], said: Mentions) -> tuple[int, ...] | None:
        """The scenes in masks (one mask per variable) that agree with what was said; None if none does."""
        narrow = list(masks)
        for mention in said:
            i = self._owner[mention[0]]
            narrow[i] &= self.variables[i].masks[mention]
            if not narrow[i]:
                return None
        return tuple(narrow)

    def words_left(self, masks: tuple[int, ...], field: str) -> list[str]:
        """What the field can still be called in the scenes of masks."""
        i = self._owner[field]
        variable = self.variables[i]
        return list(dict.fromkeys(v[field] for n, v in enumerate(variable.values) if masks[i] >> n & 1))

    def log_prob(self, lines: Sequence[str], *, first: int = 0, count: int | None = None) -> float:
        """Log probability in nats that the lines from number `first` on are these; -inf if they cannot be.

        Sums over plots, scenes and derivations. count: how many lines the whole text has (default:
        first + len(lines)); lines before `first`, and after the given ones, may be anything."""
        count = first + len(lines) if count is None else count
        total = 0.0
        for plot, weight in zip(self.plots, self.plot_probabilities, strict=True):
            if len(plot.lines) == count:
                total += weight * self._probability(plot, lines, first)
        return math.log(total) if total > 0 else -math.inf

    def _probability(self, plot: Plot, lines: Sequence[str], first: int) -> float:
        front = {tuple(v.everything for v in self.variables): 1.0}
        for index, line in enumerate(lines, start=first):
            ahead: dict[tuple[int, ...], float] = {}
            for said, p in plot.readings(index, line).items():
                for masks, so_far in front.items():
                    narrow = self.narrowed(masks, said)
                    if narrow:
                        ahead[narrow] = ahead.get(narrow, 0.0) + so_far * p
            if not ahead:
                return 0.0
            front = ahead
        scenes = (math.prod(map(Variable.probability, self.variables, masks)) for masks in front)
        return sum(p * scene for p, scene in zip(front.values(), scenes, strict=True))


def _draw(cumulative: Sequence[float], rng: np.random.Generator) -> int:
    return min(bisect(cumulative, rng.random()), len(cumulative) - 1)
