"""Say in a sentence how two answers differ: type, shape, dtype, nan, or the worst value.

Shown in 00_start_here."""

from typing import Any

import numpy as np
import torch

from tinylm.errors import short

KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats", "c": "complex numbers"}
NAMES = {str: "a string", dict: "a dictionary", int: "an integer", bool: "True or False"}
NAMES |= {np.ndarray: "an array", torch.Tensor: "a tensor", torch.nn.Parameter: "a tensor"}


def difference(
    mine: Any, expected: Any, *, rtol: float = 1e-4, atol: float = 1e-6, kinds: bool = True
) -> tuple[str, bool] | None:
    """Return None when equal (floats up to rtol and atol, the rest exactly), or what differs first.

    That is one sentence, and whether it is about the values, and not about shape, dtype, type or nan. Without
    `kinds` a list may replace a tensor, and floats may replace integers or booleans."""
    near = {"rtol": rtol, "atol": atol, "kinds": kinds}
    a, b = _as_array(mine), _as_array(expected)
    if b is None:
        return _difference_of_others(mine, expected, near)
    strict = kinds and b.ndim > 0  # a number may stand for a scalar tensor
    if a is None or (strict and isinstance(expected, torch.Tensor) and not isinstance(mine, torch.Tensor)):
        return f"your answer is {_name(mine)}, but it should be {_name(expected)}", False
    if a.shape != b.shape:
        return _shape_sentence(a.shape, b.shape), False
    if strict and KINDS[a.dtype.kind] != KINDS[b.dtype.kind]:
        own, right = (str(getattr(x, "dtype", n.dtype)).split(".")[-1] for x, n in ((mine, a), (expected, b)))
        return f"your dtype is {own}, but it should be {right}", False
    nan = np.isnan(a) & (np.isnan(a).sum() > np.isnan(b).sum())
    for word, wrong in (("nan", nan), ("an infinity", np.isinf(a) & ~np.isinf(b))):
        if wrong.any():
            share = f" ({wrong.sum()} of {wrong.size} values)" if wrong.ndim else ""
            return f"your answer contains {word}{share}", False
    exact = a.dtype.kind in "biu" and b.dtype.kind in "biu"
    close = a == b if exact else np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    return None if close.all() else (_value_sentence(a, b, close), True)


def _as_array(value: Any) -> np.ndarray | None:
    """Return a numpy array of booleans, integers or floats, or None when the value is not numbers."""
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


def _difference_of_others(mine: Any, expected: Any, near: dict[str, Any]) -> tuple[str, bool] | None:
    """Compare lists, tuples and dictionaries item by item, and everything else as equal or not."""
    if isinstance(mine, np.ndarray) and isinstance(expected, np.ndarray):  # of strings, of anything
        mine, expected = mine.tolist(), expected.tolist()
    dictionaries = isinstance(mine, dict) and isinstance(expected, dict)  # a Counter is one, too
    if type(mine) is not type(expected) and not dictionaries:
        return f"your answer is {_name(mine)}, but it should be {_name(expected)}", False
    if dictionaries and mine.keys() != expected.keys():
        return f"your keys are {short([*mine])}, but they should be {short([*expected])}", False
    if not isinstance(expected, list | tuple | dict):
        return None if mine == expected else (f"yours: {short(mine)}, expected: {short(expected)}", True)
    if len(mine) != len(expected):
        return f"your answer has {len(mine)} items, but it should have {len(expected)}", False
    for place in expected if dictionaries else range(len(expected)):
        if found := difference(mine[place], expected[place], **near):
            return f"at [{place!r}]: {found[0]}", found[1]
    return None


def _shape_sentence(mine: tuple[int, ...], expected: tuple[int, ...]) -> str:
    sentence = f"your shape is {mine}, but it should be {expected}"
    if len(mine) == len(expected) and sorted(mine) == sorted(expected):
        return f"{sentence}: are two dimensions exchanged?"
    if [n for n in mine if n != 1] == [n for n in expected if n != 1]:
        fault = "missing" if len(mine) < len(expected) else "in the way"
        return f"{sentence}: a dimension of size 1 is {fault}"
    return sentence


def _value_sentence(a: np.ndarray, b: np.ndarray, close: np.ndarray) -> str:
    if a.ndim == 0:
        return f"yours: {_number(a)}, expected: {_number(b)}"
    gap = np.subtract(a, b, out=np.zeros(a.shape, complex), where=~close, dtype=complex)  # of any kind
    where = np.unravel_index(int(np.abs(gap).argmax()), gap.shape)
    wrong, place = int((~close).sum()), ", ".join(map(str, where))
    differ = "value differs" if wrong == 1 else "values differ"
    numbers = f"yours {_number(a[where])}, expected {_number(b[where])}"
    return f"{wrong} of {close.size} {differ}, most at [{place}]: {numbers}"


def _number(value: np.ndarray) -> str:
    return f"{value.item():.4g}" if value.dtype.kind == "f" else str(value)


def _name(value: Any) -> str:
    named = NAMES.get(type(value), f"a {type(value).__name__}")
    return "a function (call it)" if callable(value) else named
