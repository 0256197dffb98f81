"""The exact probability of a text of a toyworld: what entropy and floor are held against."""

import math

from tinylm.text.toyworld.grammar import Choice, Recalled, Template
from tinylm.text.toyworld.world import World


def log_prob(world: World, text: str) -> float:
    """Log probability of a text in nats, its separator included; -inf if it is impossible."""
    lines = text.removesuffix(world.separator).split(world.line_separator)
    for plot, p in world.plots.items():
        if len(lines) != len(plot.lines):
            continue
        found = [reading(*said) for said in zip(plot.lines, lines, strict=True)]
        if None not in found and plot.scene([pair for recalled, _ in found for pair in recalled]) is not None:
            scene = sum(math.log(len(variable.options)) for variable in plot.settled)
            return math.log(p) - scene + sum(math.log(q) for _, q in found)
    return -math.inf


def reading(pool: Choice[Template], line: str) -> tuple[Recalled, float] | None:
    """What the line recalls of the scene, and its probability given that scene."""
    for template, p in pool.items():
        reached = [(0, (), p)]  # how far a way of reading it is, what it has recalled, how probable it is
        for token in template.tokens:
            words = token.choice.items() if token.field is None else [(text, 1.0) for text in token.words]
            reached = [
                (at + len(text), (*recalled, (token.field, token.words[text])), so_far * q)
                for at, recalled, so_far in reached
                for text, q in words
                if line.startswith(text, at)
            ]
        for at, recalled, q in reached:
            if at == len(line):
                return tuple(pair for pair in recalled if pair[0]), q
    return None
