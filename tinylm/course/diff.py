"""Diff: in which way does an answer differ from the right one? One sentence.

Used by `checks`, for tensors, arrays, numbers, strings, and lists, tuples and dictionaries of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinylm.errors import short

KINDS = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "floats", "c": "complex numbers"}
NAMES = {str: "a string", list: "a list", tuple: "a tuple", dict: "a dictionary", set: "a set"}
NAMES |= {int: "a whole number", float: "a float", bool: "True or False", np.ndarray: "an array"}


@dataclass(frozen=True)
class Difference:
    """What differs: one sentence, and whether it concerns the values (not shape, dtype, type or nan)."""

    sentence: str
    about_values: bool = False


def matches(mine: Any, other: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """True when both hold the same values in the same shape; dtype does not count and nan equals nan."""
    a, b = _as_array(mine), _as_array(other)
    if a is None or b is None:
        return a is None and b is None and difference(mine, other, rtol=rtol, atol=atol) is None
    return a.shape == b.shape and bool(_close(a, b, rtol, atol).all())


def difference(mine: Any, expected: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> Difference | None:
    """None when equal (floats up to rtol, atol; the rest exactly), or what differs first."""
    a, b = _as_array(mine), _as_array(expected)
    if b is None:
        return _difference_of_others(mine, expected, rtol, atol)
    if a is None or (isinstance(expected, torch.Tensor) and b.ndim and not isinstance(mine, torch.Tensor)):
        return Difference(f"your answer is {_name(mine)}, {_name(expected)} is expected")
    if a.shape != b.shape:
        return Difference(_shape_sentence(a.shape, b.shape))
    if b.ndim and KINDS[a.dtype.kind] != KINDS[b.dtype.kind]:
        return Difference(f"your dtype is {_dtype(mine, a)}, {_dtype(expected, b)} is expected")
    nan = np.isnan(a) & (np.isnan(a).sum() > np.isnan(b).sum())
    for word, wrong in (("nan", nan), ("an infinity", np.isinf(a) & ~np.isinf(b))):
        if wrong.any():
            share = f" ({wrong.sum()} of {wrong.size} values)" if wrong.ndim else ""
            return Difference(f"your answer holds {word}{share}")
    close = _close(a, b, rtol, atol)
    return None if close.all() else Difference(_value_sentence(a, b, close), about_values=True)


def _as_array(value: Any) -> np.ndarray | None:
    """A numpy array of booleans, whole numbers or floats, or None when the value is not numbers."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).numpy()
    if isinstance(value, list | tuple):
        value = [item.detach().cpu().tolist() if isinstance(item, torch.Tensor) else item for item in value]
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        return None
    return array if array.dtype.kind in KINDS else None


def _close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    if a.dtype.kind in "biu" and b.dtype.kind in "biu":
        return a == b
    with np.errstate(invalid="ignore"):
        return np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def _difference_of_others(mine: Any, expected: Any, rtol: float, atol: float) -> Difference | None:
    """Lists, tuples and dictionaries item by item; strings and all the rest are equal or not."""
    if isinstance(mine, np.ndarray) and isinstance(expected, np.ndarray):  # of strings, of anything
        mine, expected = mine.tolist(), expected.tolist()
    dictionaries = isinstance(mine, dict) and isinstance(expected, dict)  # a Counter is one, too
    if type(mine) is not type(expected) and not dictionaries:
        return Difference(f"your answer is {_name(mine)}, {_name(expected)} is expected")
    if isinstance(expected, list | tuple) and len(mine) != len(expected):
        return Difference(f"your answer has {len(mine)} items, {len(expected)} are expected")
    if dictionaries and mine.keys() != expected.keys():
        return Difference(f"your keys are {short([*mine])}, {short([*expected])} are expected")
    if not isinstance(expected, list | tuple | dict):
        sentence = f"yours: {short(mine)}, expected: {short(expected)}"
        return None if mine == expected else Difference(sentence, about_values=True)
    for place in expected if dictionaries else range(len(expected)):
        if found := difference(mine[place], expected[place], rtol=rtol, atol=atol):
            return Difference(f"at [{place!r}]: {found.sentence}", found.about_values)
    return None


def _shape_sentence(mine: tuple[int, ...], expected: tuple[int, ...]) -> str:
    sentence = f"your shape is {mine}, {expected} is expected"
    if len(mine) == len(expected) and sorted(mine) == sorted(expected):
        return f"{sentence}: are two dimensions exchanged?"
    if [n for n in mine if n != 1] == [n for n in expected if n != 1]:
        fault = "missing" if len(mine) < len(expected) else "in the way"
        return f"{sentence}: a dimension of size 1 is {fault}"
    return sentence


def _value_sentence(a: np.ndarray, b: np.ndarray, close: np.ndarray) -> str:
    if a.ndim == 0:
        return f"yours: {_number(a)}, expected: {_number(b)}"
    with np.errstate(invalid="ignore"):
        gap = np.where(close, -1.0, np.nan_to_num(np.abs(a.astype(float) - b.astype(float)), nan=np.inf))
    where = np.unravel_index(int(gap.argmax()), gap.shape)
    wrong, place = int((~close).sum()), ", ".join(map(str, where))
    return (
        f"{wrong} of {close.size} {'value differs' if wrong == 1 else 'values differ'}, "
        f"most at [{place}]: yours {_number(a[where])}, expected {_number(b[where])}"
    )


def _number(value: np.ndarray) -> str:
    return f"{value.item():.4g}" if value.dtype.kind == "f" else str(value)


def _dtype(value: Any, array: np.ndarray) -> str:
    return str(getattr(value, "dtype", array.dtype)).removeprefix("torch.")


def _name(value: Any) -> str:
    if isinstance(value, torch.Tensor):  # an nn.Parameter is one, too
        return "a tensor"
    if callable(value):
        return "a function (call it)"
    return NAMES.get(type(value), f"a {type(value).__name__}")
