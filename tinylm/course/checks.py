"""Check one exercise: print one line that says "correct", "not attempted yet", or what went wrong.

`Check` runs the learner's function, compares, and turns whatever happens into that line. The exercises
themselves are data, see `slips`.

Shown in 00_start_here."""

import ast
import copy
import inspect
import linecache
import textwrap
import tomllib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from tinylm.course.differences import difference
from tinylm.course.guard import TooLong

BLANK = "not attempted yet"
DATA = (torch.Tensor, np.ndarray, list, tuple, dict, str, int, float)


class Ended(Exception):
    """The first check that fails ends the exercise; the message is the verdict."""


ERRORS = tomllib.loads(Path(__file__).with_name("errors.toml").read_text("utf-8"))["errors"]
# What an answer must not change, and what it is called.
GIVEN = {torch.Tensor: "a tensor", np.ndarray: "the array", list: "the list"}
GIVEN |= {dict: "the dictionary", set: "the set"}


@dataclass
class Check:
    """Mark one exercise: print one line when the block ends, whatever error the learner made.

    The line is "NAME: correct", "NAME: not attempted yet" or "NAME: not yet: DIAGNOSIS". If the notebook goes
    on with the answer (`bound`), it also says with whose. The first check that fails ends the block."""

    name: str
    answer: Any = None
    given: Any = None
    bound: bool = False
    verdict: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is not None and not isinstance(error, Exception | SystemExit | TooLong):
            return False  # KeyboardInterrupt and the like belong to Jupyter
        self.verdict = _verdict(error, self.answer) if error else "correct"
        goes_on = "going on with yours" if self.verdict == "correct" else "going on with tinylm's"
        print(f"{self.name}: {self.verdict}" + (f" ({goes_on})" if self.bound else ""))
        return True

    def run(
        self, function: Callable[..., Any], *case: Any, kept: Sequence[type] = (torch.Tensor,), **named: Any
    ) -> Any:
        """Return what the learner's function returns for a case, whose values of the kinds `kept` must stay.

        A function that is still blank ends the exercise, and so does one that returns None."""
        own = [copy.deepcopy(value) if isinstance(value, tuple(kept)) else value for value in case]
        answer = function(*own, **named)
        if answer is None:
            raise Ended("not yet: your function returned None: is `return` missing?")
        if any(part is ... for part in (answer if isinstance(answer, tuple) else [answer])):
            raise Ended(BLANK)
        for mine, theirs in zip(own, case, strict=True):
            if mine is not theirs and difference(mine, theirs):
                kind = next(name for kind, name in GIVEN.items() if isinstance(theirs, kind))
                told = f"your function changes {kind} that it was given: return a new one instead"
                raise Ended(f"not yet: {told}")
        return answer

    def attempted(self, *answers: Any) -> None:
        """End here with "not attempted yet" when any of the answers is still `...` or None."""
        if any(answer is ... or answer is None for answer in answers):
            raise Ended(BLANK)

    def that(self, condition: Any, diagnosis: str) -> None:
        """Demand that the condition holds. A tensor or array of booleans must be true everywhere."""
        self.attempted(condition)
        if not bool(condition.all() if hasattr(condition, "all") else condition):
            raise Ended(f"not yet: {_overlooked(self.answer) or diagnosis}")

    def close(self, mine: Any, expected: Any, diagnosis: str = "", **near: float) -> None:
        """Demand that `mine` equals `expected`: floats up to rtol and atol (1e-4, 1e-6), the rest exactly.

        What is said otherwise is shape, dtype or nan, or `diagnosis` with the worst value."""
        self.attempted(mine)
        if problem := difference(mine, expected, **near):
            sentence, about_values = problem
            diagnosis = _loop_changed(self.answer) or _overlooked(self.answer) or diagnosis
            told = f"{diagnosis} ({sentence})" if diagnosis and about_values else sentence
            raise Ended(f"not yet: {told}")


def syntax(function: Any) -> list[ast.AST]:
    """Return the parts of a function's source, and none where Python does not know the source."""
    try:
        source = inspect.getsource(inspect.unwrap(function))
        return [*ast.walk(ast.parse(textwrap.dedent(source)))]
    except (OSError, TypeError, SyntaxError, ValueError):
        return []


def _overlooked(function: Any) -> str:
    """Return the diagnosis of a wrong function that never uses one of its arguments, or ""."""
    function, parts = inspect.unwrap(function), syntax(function)
    if not inspect.isfunction(function) or not parts:
        return ""
    moved = [part.target for part in parts if isinstance(part, ast.AugAssign)]
    read = [part for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)]
    used = {part.id for part in [*read, *moved] if isinstance(part, ast.Name)}
    asked = inspect.signature(function).parameters.items()
    unused = [name for name, p in asked if p.default is p.empty and name not in used]
    if not unused:
        return ""
    names, space = function.__code__.co_names, function.__globals__
    outside = [name for name in names if name in used and isinstance(space.get(name), DATA)]
    instead = f" and reads `{outside[0]}` from outside" if outside else ""
    return f"your function does not use its argument `{unused[0]}`{instead}"


def _loop_changed(function: Any) -> str:
    """Return the diagnosis of a `for` whose variable is moved on by hand, which does nothing, or ""."""
    for loop in syntax(function):
        if isinstance(loop, ast.For) and ast.unparse(loop.iter).startswith("range("):
            name = ast.unparse(loop.target)
            moved = [ast.unparse(part.target) for part in ast.walk(loop) if isinstance(part, ast.AugAssign)]
            if name in moved:
                told = f"`{name} += …` inside `for {name} in` skips nothing: `for` sets {name} anew"
                return f"{told}. Use while"
    return ""


def look_for(error: BaseException) -> str:
    """Return what a beginner should look for after this error, or ""."""
    kinds, message = {kind.__name__ for kind in type(error).__mro__}, _message(error)
    found = [told for kind, part, told in ERRORS if kind in kinds and part in message]
    return found[-1] if found else ""


def raised(error: BaseException) -> str:
    """Return "your code raised TYPE: MESSAGE"."""
    return f"your code raised {type(error).__name__}: {_message(error)}".removesuffix(": ")


def _message(error: BaseException) -> str:
    try:
        message = " ".join(str(error).split())
    except Exception:  # the learner's own error class, whose __str__ is broken
        message = ""
    return message if len(message) <= 240 else f"{message[:239]}…"


def _verdict(error: BaseException, answer: Any) -> str:
    """Return the verdict for what ended an exercise: a check, a stub's own error, or an error of the learner.

    An error of the learner is given with its type, its message, the innermost line of a notebook cell, and
    what a beginner should look for."""
    if isinstance(error, Ended):
        return str(error)
    on_dots = isinstance(error, TypeError | AttributeError) and "ellipsis" in _message(error).lower()
    if on_dots or (isinstance(error, NotImplementedError) and not _message(error)):  # torch's has a message
        return BLANK
    frames = traceback.extract_tb(error.__traceback__)
    cells = [frame for frame in frames if "ipykernel_" in frame.filename or frame.filename.startswith("<")]
    line = ""
    if cells and cells[-1].filename != frames[0].filename:  # not the check cell itself
        line = linecache.getline(cells[-1].filename, cells[-1].lineno or 0).strip()
    at = f", at `{line}`" if line else ""
    look = _loop_changed(answer) or look_for(error)
    if isinstance(error, TooLong):
        return f"not yet: {look}{at}"
    return f"not yet: {look} ({raised(error)}{at})" if look else f"not yet: {raised(error)}{at}"
