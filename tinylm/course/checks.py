"""Check one exercise: print one line that says "correct", "not attempted yet", or what went wrong.

`Check` runs the learner's function, compares, and turns whatever happens into that line. The exercises
themselves are data, see `slips`.

Shown in 00_start_here."""

import ast
import copy
import dis
import inspect
import linecache
import textwrap
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from tinylm.course.differences import difference
from tinylm.course.guard import TooLong
from tinylm.course.source import codes
from tinylm.errors import TinyLMError

BLANK = "not attempted yet"
DATA = (torch.Tensor, np.ndarray, list, tuple, dict, str, int, float)


class Ended(Exception):
    """The first check that fails ends the exercise; the message is the verdict."""


@dataclass
class Check:
    """Mark one exercise: print one line when the block ends, whatever error the learner made.

    The line is "NAME: correct", "NAME: not attempted yet" or "NAME: not yet: DIAGNOSIS". If the notebook goes
    on with the answer (`bound`), it also says with whose. The first check that fails ends the block.
    Raises TinyLMError for an exercise that checks nothing, which is its author's mistake."""

    name: str
    bound: bool = False
    verdict: str = ""
    answer: Any = None
    given: Any = None
    checks: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None and not self.checks:
            raise TinyLMError(f'exercise "{self.name}" checks nothing: add check.that or check.close')
        if error is not None and not isinstance(error, Exception | SystemExit | TooLong):
            return False  # KeyboardInterrupt and the like belong to Jupyter
        self.verdict = _verdict(error, self.answer) if error else "correct"
        goes_on = "going on with yours" if self.verdict == "correct" else "going on with tinylm's"
        print(f"{self.name}: {self.verdict}" + (f" ({goes_on})" if self.bound else ""))
        return True

    def run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what the learner's function returns for these arguments, which it must not change.

        A function that is still blank ends the exercise, and so does one that returns None."""
        own = [copy.deepcopy(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        answer = function(*own, **named)
        if answer is None:
            raise Ended("not yet: your function returned None: is `return` missing?")
        if any(part is ... for part in (answer if isinstance(answer, tuple) else [answer])):
            raise Ended(BLANK)
        for mine, theirs in zip(own, arguments, strict=True):
            if isinstance(theirs, torch.Tensor) and difference(mine, theirs):
                raise Ended(
                    "not yet: your function changes a tensor that it was given: return a new one instead"
                )
        return answer

    def forbid(self, function: Any, *names: str) -> None:
        """Refuse a function that uses one of these names: the contract asks the learner to do without."""
        if used := {*names} & {name for code in codes(function) for name in code.co_names}:
            raise Ended(f"not yet: the contract asks you to do without `{min(used)}`")

    def attempted(self, *answers: Any) -> None:
        """End here with "not attempted yet" when any of the answers is still `...` or None."""
        if any(answer is ... or answer is None for answer in answers):
            raise Ended(BLANK)

    def that(self, condition: Any, diagnosis: str) -> None:
        """Demand that the condition holds. A tensor or array of booleans must be true everywhere."""
        self.attempted(condition)
        self.checks += 1
        if not bool(condition.all() if hasattr(condition, "all") else condition):
            raise Ended(f"not yet: {_overlooked(self.answer) or diagnosis}")

    def close(self, mine: Any, expected: Any, diagnosis: str = "", **near: float) -> None:
        """Demand that `mine` equals `expected`: floats up to rtol and atol (1e-4, 1e-6), the rest exactly.

        What is said otherwise is shape, dtype or nan, or `diagnosis` with the worst value."""
        self.attempted(mine)
        self.checks += 1
        if problem := difference(mine, expected, **near):
            sentence, about_values = problem
            diagnosis = _loop_changed(self.answer) or _overlooked(self.answer) or diagnosis
            raise Ended(
                f"not yet: {diagnosis} ({sentence})" if diagnosis and about_values else f"not yet: {sentence}"
            )


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


ERRORS = tomllib.loads(Path(__file__).with_name("errors.toml").read_text("utf-8"))["errors"]


def look_for(error: BaseException) -> str:
    """Return what a beginner should look for after this error, or ""."""
    kinds, message = {kind.__name__ for kind in type(error).__mro__}, _message(error)
    found = [told for kind, part, told in ERRORS if kind in kinds and part in message]
    return found[-1] if found else ""


def raised(error: Any) -> str:
    """Return " (your code raised ...)" with type and message, or "" for what is no error."""
    return (
        f" (your code raised {type(error).__name__}: {_message(error)})"
        if isinstance(error, Exception)
        else ""
    )


def _message(error: BaseException) -> str:
    try:
        message = " ".join(str(error).split())
    except Exception:  # the learner's own error class, whose __str__ is broken
        message = ""
    return message if len(message) <= 240 else f"{message[:239]}…"


def _loop_changed(function: Any) -> str | None:
    """Return the diagnosis of a `for` whose variable is moved on by hand, which does nothing, or None."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name):
            name = loop.target.id
            moves = (part.target for part in ast.walk(loop) if isinstance(part, ast.AugAssign))
            if any(isinstance(target, ast.Name) and target.id == name for target in moves):
                return (
                    f"`{name} += …` inside `for {name} in` skips nothing: `for` sets {name} anew. Use while"
                )
    return None


def _verdict(error: BaseException, answer: Any = None) -> str:
    """Return the verdict for what ended an exercise: a check, a stub's own error, or an error of the learner.

    An error of the learner is given with its type, its message, the innermost line of a notebook cell, and
    what a beginner should look for."""
    if isinstance(error, Ended):
        return str(error)
    message = _message(error)
    on_dots = isinstance(error, TypeError | AttributeError) and "ellipsis" in message.lower()
    if on_dots or isinstance(error, NotImplementedError):
        return BLANK
    frames = traceback.extract_tb(error.__traceback__)
    cells = [frame for frame in frames if "ipykernel_" in frame.filename or frame.filename.startswith("<")]
    line = ""
    if cells and cells[-1].filename != frames[0].filename:  # not the check cell itself
        line = linecache.getline(cells[-1].filename, cells[-1].lineno or 0).strip()
    look = _loop_changed(answer) or look_for(error)
    sentence = f"not yet: {look}" if look else "not yet"
    if isinstance(error, TooLong):
        return sentence + (f", at `{line}`" if line else "")
    python = f"your code raised {type(error).__name__}" + (f": {message}" if message else "")
    python += f", at `{line}`" if line else ""
    return f"{sentence} ({python})" if look else f"{sentence}: {python}"
