"""Addition: sums of two numbers as lines of text, and the grading of sums that a model writes.

All lines have the same length, so a row of a batch can be exactly one sum. Each pair of numbers occurs once,
as a + b or as b + a, so the sums held out for validation are new to the model in either order.
Taught in notebook 06_custom_losses."""

import re
from typing import Literal

import numpy as np

Style = Literal["padded", "reversed", "unpadded"]
LINE = len("123+456=0579\n")
FORM = re.compile(r"([0-9]+)\+([0-9]+)=([0-9]+) *")


def write_sum(a: int, b: int, style: Style = "padded", digits: int = 3) -> str:
    """Return the line of a + b, for numbers of at most that many digits.

    "padded" has zeros in front ("007+045=0052"), "reversed" also has the result's last digit first
    ("007+045=2500"), "unpadded" has no zeros, and spaces at the end instead ("7+45=52     ")."""
    if style == "unpadded":
        return f"{a}+{b}={a + b}".ljust(3 * digits + 3) + "\n"
    result = f"{a + b:0{digits + 1}d}"
    return f"{a:0{digits}d}+{b:0{digits}d}={result[::-1] if style == 'reversed' else result}\n"


def texts(
    n: int, style: Style = "padded", digits: int = 3, *, held_out: float = 0.1, seed: int = 1
) -> tuple[str, str]:
    """Return training and validation text of at most n sums together; `held_out` is the validation share.

    The sums are drawn from all pairs of numbers (500,500 of three digits), no pair twice. The same seed draws
    the same pairs in every style."""
    rng, numbers = np.random.default_rng(seed), 10**digits
    pairs = np.stack(np.divmod(rng.permutation(numbers**2), numbers), axis=1)  # (numbers², 2)
    pairs = pairs[pairs[:, 0] <= pairs[:, 1]][:n]  # (n, 2), each pair in one order
    pairs = np.where(rng.integers(2, size=(len(pairs), 1)), pairs, pairs[:, ::-1])  # in either order
    lines = [write_sum(a, b, style, digits) for a, b in pairs.tolist()]
    cut = len(lines) - round(held_out * len(lines))
    return "".join(lines[:cut]), "".join(lines[cut:])


def grade(text: str, style: Style = "padded") -> tuple[int, int]:
    """Return how many lines of a text are a sum a+b=c with the right result, and how many lines it has.

    Empty lines do not count, and spaces at the end of a line do not matter."""
    lines = [line for line in text.split("\n") if line.strip()]
    sums = [found.groups() for line in lines if (found := FORM.fullmatch(line))]
    right = [int(c[::-1] if style == "reversed" else c) == int(a) + int(b) for a, b, c in sums]
    return sum(right), len(lines)
