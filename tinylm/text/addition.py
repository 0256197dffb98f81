"""Addition: the sums of two numbers as lines of text, and the marking of sums that a model writes.

A line is as long as any other, so that a row of a batch can be exactly one sum. Each pair of numbers is there
once, as a + b or as b + a: the sums held out for validation are new to the model either way round.
Taught in notebook 06_custom_losses."""

import re
from typing import Literal

import numpy as np

Style = Literal["padded", "reversed", "unpadded"]
LINE = len("123+456=0579\n")
FORM = re.compile(r"([0-9]+)\+([0-9]+)=([0-9]+) *")


def write_sum(a: int, b: int, style: Style = "padded", digits: int = 3) -> str:
    """The line of a + b, for numbers of at most so many digits.

    "padded" has zeros in front ("007+045=0052"), "reversed" has the result's last digit first
    ("007+045=2500"), "unpadded" has no zeros, and spaces at the end instead ("7+45=52     ")."""
    if style == "unpadded":
        return f"{a}+{b}={a + b}".ljust(3 * digits + 3) + "\n"
    result = f"{a + b:0{digits + 1}d}"
    return f"{a:0{digits}d}+{b:0{digits}d}={result[::-1] if style == 'reversed' else result}\n"


def texts(
    n: int, style: Style = "padded", digits: int = 3, *, held_out: float = 0.1, seed: int = 1
) -> tuple[str, str]:
    """(training, validation) text of at most n sums in all, of which the share `held_out` is for validation.

    They are n of the pairs of numbers that there are (500,500 of three digits), no pair twice; the same seed
    chooses the same ones in every style."""
    rng, numbers = np.random.default_rng(seed), 10**digits
    pairs = np.stack(np.divmod(rng.permutation(numbers**2), numbers), axis=1)  # (numbers², 2)
    pairs = pairs[pairs[:, 0] <= pairs[:, 1]][:n]  # (n, 2), each pair in one order
    pairs = np.where(rng.integers(2, size=(len(pairs), 1)), pairs, pairs[:, ::-1])  # in either order
    lines = [write_sum(a, b, style, digits) for a, b in pairs.tolist()]
    cut = len(lines) - round(held_out * len(lines))
    return "".join(lines[:cut]), "".join(lines[cut:])


def grade(text: str, style: Style = "padded") -> tuple[int, int]:
    """(right, all) of the lines of a text: how many are a sum, a+b=c, with the right result.

    Empty lines are none, and spaces at the end of one do not matter."""
    lines = [line for line in text.split("\n") if line.strip()]
    sums = [found.groups() for line in lines if (found := FORM.fullmatch(line))]
    right = [int(c[::-1] if style == "reversed" else c) == int(a) + int(b) for a, b, c in sums]
    return sum(right), len(lines)
