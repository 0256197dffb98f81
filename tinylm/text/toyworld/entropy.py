"""The exact entropy of toyworld's texts, in closed form: the floor under a model's loss.

A text is made by a chain of draws, and the entropies of a chain add up (Shannon 1948, section 6). Their sum
is the entropy of the finished text, since every draw can be read off it: see the three facts in `grammar`.
Nothing is estimated. Taught in notebook 01_characters, and used by `world`."""

import math
from collections.abc import Callable

from tinylm.text.toyworld.grammar import Choice, Plot, T, Template


def entropy(choice: Choice) -> float:
    """Return the entropy of one draw in nats, H = -sum p ln p."""
    return -math.fsum(p * math.log(p) for p in choice.probabilities if p > 0)


def expected(choice: Choice[T], quantity: Callable[[T], float]) -> float:
    """Return the expected value of a quantity of the option drawn."""
    return sum(p * quantity(option) for option, p in choice.items())


def text_entropy(plots: Choice[Plot]) -> float:
    """Return the entropy of a text in nats: of the choice of its plot, and of what that plot leaves open."""
    return entropy(plots) + expected(plots, _plot_entropy)


def _plot_entropy(plot: Plot) -> float:
    lines = sum(entropy(pool) + expected(pool, _template_entropy) for pool in plot.lines)
    return sum(entropy(variable) for variable in plot.settled) + lines


def _template_entropy(template: Template) -> float:
    """Of its words, given the scene: there a field is certain and adds nothing."""
    return sum(entropy(token.choice) for token in template.tokens if not token.field)


def text_length(plots: Choice[Plot], line_separator: str) -> float:
    """Return the expected number of characters of a text, with its line separators."""
    between = len(line_separator)
    lengths = expected(plots, lambda plot: sum(expected(pool, _length) + between for pool in plot.lines))
    return lengths - between


def _length(template: Template) -> float:
    return sum(expected(token.choice, len) for token in template.tokens)
