"""The exact entropy and mean length of a grammar's texts, in closed form: nothing here is estimated.

Taught in notebook 01_characters. A text is made by a chain of draws, each of known entropy, and the entropies
of a chain of draws add up (Shannon 1948, section 6). That sum is the entropy of the text itself because every
draw can be read off the finished text: see the three facts in grammar.
"""

from tinylm.text.toyworld.grammar import Choice, Plot, Template, Token


def entropy(plots: Choice[Plot]) -> float:
    """Entropy of one text in nats: which plot, its scene, and each line given the scene."""
    total = plots.entropy
    for plot, p in plots.items():
        total += p * (
            sum(variable.entropy for variable in plot.settled) + sum(map(_line_entropy, plot.lines))
        )
    return total


def _line_entropy(pool: Choice[Template]) -> float:
    """Which template, and which words of its lists: given the scene, a field is certain."""
    words = [sum(t.choice.entropy for t in template.tokens if not t.field) for template in pool.options]
    return sum((p * h for p, h in zip(pool.probabilities, words, strict=True)), pool.entropy)


def mean_length(plots: Choice[Plot], line_separator: str, separator: str) -> float:
    """Expected characters per text, the separator included."""
    total = float(len(separator))
    for plot, p in plots.items():
        total += p * len(line_separator) * (len(plot.lines) - 1)
        for pool in plot.lines:
            for template, q in pool.items():
                total += p * q * sum(map(_mean_length, template.tokens))
    return total


def _mean_length(token: Token) -> float:
    return sum(p * len(text) for text, p in token.choice.items())
