"""Compare two outputs: printed text with a tolerance for floats, pictures by what they show from afar.

Text and whole numbers must match exactly. A float, a literal with digits after a point or with an
exponent, may differ by a relative 1e-3 of the larger of the two. There is no absolute tolerance: 0.000
against 0.0004 differs, and so does 0.001 against 0.002. So print numbers with three or four significant
digits. Words like nan and -inf, version numbers and a point that ends a sentence are text. The sign of a zero
does not count, and neither does the padding of a float whose column keeps its width.

A picture may be drawn by another version of matplotlib, so neither its bytes nor its pixels are compared.
Both pictures are shrunk to SQUARES by SQUARES squares, and no square may differ by more than SHADES of 255.
(Of 117 pictures, the two of equal size that are most alike differ by 39.)
"""

import base64
import io
import math
import re

import numpy as np
from PIL import Image

RELATIVE = 1e-3
PNG = "iVBORw0KGgo"  # how every PNG begins, in base64
SIZE, SQUARES, SHADES = 0.05, 16, 20
FLOAT = re.compile(
    r"(?P<pad> *)"
    r"(?P<literal>(?:(?<![\w.])-)?(?<![\w.])\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+))"
    r"(?!\d|\.\d)"
)


def same(one: str, other: str) -> bool:
    """Return whether two outputs agree: the text between floats exactly, the floats within RELATIVE."""
    if FLOAT.split(one)[::3] != FLOAT.split(other)[::3]:  # text, padding, literal, text, ...
        return False
    return all(map(_close, FLOAT.finditer(one), FLOAT.finditer(other)))


def _close(one: re.Match, other: re.Match) -> bool:
    if one["pad"] != other["pad"] and len(one[0]) != len(other[0]):
        return False
    a, b = float(one["literal"]), float(other["literal"])
    if not (math.isfinite(a) and math.isfinite(b)):  # 1e999: a literal, and yet no number
        return one["literal"] == other["literal"]
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=0.0)


def look_alike(one: str, other: str) -> bool:
    """Return whether two PNGs, in base64, have the same size within SIZE and show the same from afar."""
    pictures = [Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB") for png in (one, other)]
    if not np.allclose(pictures[0].size, pictures[1].size, rtol=SIZE):
        return False
    a, b = (np.asarray(p.resize((SQUARES, SQUARES), Image.Resampling.BOX), float) for p in pictures)
    return bool(np.abs(a - b).max() <= SHADES)


class Tolerant(str):
    """A string that is equal to another if `same` says so. nbval compares outputs with == and !=."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        alike = look_alike if self.startswith(PNG) else same
        return isinstance(other, str) and alike(str(self), str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other
