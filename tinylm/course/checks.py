"""Checks: mark an exercise in one line, and say what usually causes a wrong answer.

The checks are in `exercises`, out of sight, because they hold the answers. Each is a function of the check
and of what the learner wrote:

    @marked("2.1 · mask the future", given=causal_mask)
    def mask(check, mine):
        check.close(check.run(mine, 5), right, "a position may see itself", usual={"upside down?": right.T})

and a notebook says `mask = exercises.mask(mask)`: it goes on with the learner's own answer if that is right,
and otherwise with the package's, `given`. `difference` says in a sentence how two answers differ.
Shown in 00_start_here."""

import copy
import dis
import functools
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any, Self

import numpy as np
import torch

from tinylm.errors import TinyLMError, short

BLANK = "not attempted yet"
KINDS = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats", "c": "complex numbers"}
NAMES = {str: "a string", dict: "a dictionary", int: "an integer", bool: "True or False"}
NAMES |= {np.ndarray: "an array", torch.Tensor: "a tensor", torch.nn.Parameter: "a tensor"}
DATA = (torch.Tensor, np.ndarray, list, tuple, dict, str, int, float)


def marked(name: str, *, given: Any = None) -> Callable[[Callable], Callable[[Any], Any]]:
    """Turn check(check, answer) into the function that a notebook calls with the answer: it prints one line.

    That function returns what the notebook goes on with: the answer, or the package's own, `given`, if the
    answer is blank or wrong. Without `given` it always returns the answer."""

    def decorate(marking: Callable) -> Callable[[Any], Any]:
        @functools.wraps(marking)
        def mark(answer: Any) -> Any:
            if given is not None and answer is given:  # this cell has put it there, when it ran before
                print(f"{name}: this is tinylm's own answer now: run your cell again, then this one")
                return given
            with exercise(name, bound=given is not None) as check:
                check.answer = answer
                marking(check, answer)
            return answer if given is None or check.verdict == "correct" else given

        return mark

    return decorate


class _Ended(Exception):
    """The first check that fails ends the exercise; the message is the verdict."""


@dataclass
class exercise:
    """Mark one exercise: print one line when the block ends, whatever error the learner made.

    The line is "NAME: correct", "NAME: not attempted yet" or "NAME: not yet: DIAGNOSIS". If the notebook goes
    on with the answer (`bound`), it also says with whose. The first check that fails ends the block.
    Raises TinyLMError for an exercise that checks nothing, which is its author's mistake."""

    name: str
    bound: bool = False
    verdict: str = ""
    answer: Any = None
    checks: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None and not self.checks:
            raise TinyLMError(f'exercise "{self.name}" checks nothing: add check.that or check.close')
        if error is not None and not isinstance(error, Exception | SystemExit):
            return False  # KeyboardInterrupt and the like belong to Jupyter
        self.verdict = _verdict(error) if error else "correct"
        goes_on = "going on with yours" if self.verdict == "correct" else "going on with tinylm's"
        print(f"{self.name}: {self.verdict}" + (f" ({goes_on})" if self.bound else ""))
        return True

    def run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what the learner's function returns for these arguments, which it must not change.

        A function that is still blank ends the exercise, and so does one that returns None."""
        own = [copy.deepcopy(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        answer = function(*own, **named)
        if answer is None:
            raise _Ended("not yet: your function returned None: is `return` missing?")
        if any(part is ... for part in (answer if isinstance(answer, tuple) else [answer])):
            raise _Ended(BLANK)
        for mine, theirs in zip(own, arguments, strict=True):
            if isinstance(theirs, torch.Tensor) and difference(mine, theirs):
                raise _Ended(
                    "not yet: your function changes a tensor that it was given: return a new one instead"
                )
        return answer

    def forbid(self, function: Any, *names: str) -> None:
        """Refuse a function that uses one of these names: the contract asks the learner to do without."""
        if used := {*names} & {name for code in _codes(function) for name in code.co_names}:
            raise _Ended(f"not yet: the contract asks you to do without `{min(used)}`")

    def attempted(self, *answers: Any) -> None:
        """End here with "not attempted yet" when any of the answers is still `...` or None."""
        if any(answer is ... or answer is None for answer in answers):
            raise _Ended(BLANK)

    def that(self, condition: Any, diagnosis: str) -> None:
        """Demand that the condition holds. A tensor or array of booleans must be true everywhere."""
        self.attempted(condition)
        self.checks += 1
        if not bool(condition.all() if hasattr(condition, "all") else condition):
            raise _Ended(f"not yet: {_overlooked(self.answer) or diagnosis}")

    def close(
        self, mine: Any, expected: Any, diagnosis: str = "", *, usual: dict | None = None, **near: float
    ) -> None:
        """Demand that `mine` equals `expected`: floats up to rtol and atol (1e-4, 1e-6), the rest exactly.

        usual: {sentence: the value that this mistake gives}. If `mine` is such a value, its sentence is the
        diagnosis. Otherwise the diagnosis is shape, dtype or nan, or `diagnosis` with the worst value."""
        self.attempted(mine)
        self.checks += 1
        if problem := difference(mine, expected, **near):
            for mistake, wrong in (usual or {}).items():
                if difference(mine, wrong, kinds=False, **near) is None:
                    raise _Ended(f"not yet: {mistake}")
            sentence, about_values = problem
            diagnosis = _overlooked(self.answer) or diagnosis
            explained = f"{diagnosis} ({sentence})" if diagnosis and about_values else sentence
            raise _Ended(f"not yet: {explained}")


def _codes(function: Any) -> Iterator[CodeType]:
    """Yield the code of a function, of what is defined inside it, or of all methods of a class."""
    waiting = [function]
    while waiting:
        found = inspect.unwrap(waiting.pop())  # also what is under @torch.no_grad()
        if inspect.isclass(found):
            waiting += [member for member in vars(found).values() if inspect.isroutine(member)]
        elif code := found if isinstance(found, CodeType) else getattr(found, "__code__", None):
            yield code
            waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _overlooked(function: Any) -> str | None:
    """Return the diagnosis of a wrong function that never uses one of its arguments, or None."""
    function = inspect.unwrap(function) if callable(function) else None
    if not inspect.isfunction(function):
        return None
    code = function.__code__
    loads = (step.argval for step in dis.get_instructions(code) if step.opname.startswith("LOAD"))
    loaded = {*code.co_cellvars}.union(*(load if isinstance(load, tuple) else (load,) for load in loads))
    asked = inspect.signature(function).parameters.items()
    unused = [name for name, p in asked if p.default is p.empty and name not in loaded]
    if not unused:
        return None
    outside = [n for n in code.co_names if n in loaded and isinstance(function.__globals__.get(n), DATA)]
    instead = f" and reads `{outside[0]}` from outside" if outside else ""
    return f"your function does not use its argument `{unused[0]}`{instead}"


def _verdict(error: Exception | SystemExit) -> str:
    """Return the verdict for what ended an exercise: a check, a stub's own error, or an error of the learner.

    An error of the learner is given with its type, its message, and the innermost line of a notebook cell."""
    if isinstance(error, _Ended):
        return str(error)
    try:
        message = " ".join(str(error).split())
    except Exception:  # the learner's own error class, whose __str__ is broken
        message = ""
    if isinstance(error, SystemExit):
        message = "sys.exit() ends the whole program: use `return` to end a function"
    on_dots = isinstance(error, TypeError | AttributeError) and "ellipsis" in message.lower()
    if on_dots or isinstance(error, NotImplementedError):
        return BLANK
    message = message if len(message) <= 240 else f"{message[:239]}…"
    sentence = f"not yet: your code raised {type(error).__name__}" + (f": {message}" if message else "")
    if isinstance(error, NameError):
        return f"{sentence} (run the cells above, from the top)"
    frames = traceback.extract_tb(error.__traceback__)
    cells = [frame for frame in frames if "ipykernel_" in frame.filename or frame.filename.startswith("<")]
    if not cells or cells[-1].filename == frames[0].filename:  # the check cell itself
        return sentence
    line = linecache.getline(cells[-1].filename, cells[-1].lineno or 0).strip()
    return f"{sentence}, at `{line}`" if line else sentence


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
    return (
        f"{wrong} of {close.size} {'value differs' if wrong == 1 else 'values differ'}, "
        f"most at [{place}]: yours {_number(a[where])}, expected {_number(b[where])}"
    )


def _number(value: np.ndarray) -> str:
    return f"{value.item():.4g}" if value.dtype.kind == "f" else str(value)


def _name(value: Any) -> str:
    named = NAMES.get(type(value), f"a {type(value).__name__}")
    return "a function (call it)" if callable(value) else named
