"""Checks: an exercise is marked in one line, and a wrong answer is told what usually causes it.

The right answer, and the values that usual mistakes give, are handed in. Shown in notebook 00_start_here.

    with checks.exercise("2.1 · mask the future") as check:
        check.attempted(mask)
        check.close(mask, expected, "a position may see itself", usual={"is it upside down?": expected.T})
"""

import linecache
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tinylm.course.diff import difference, matches
from tinylm.errors import TinyLMError

BLANK = "not attempted yet"


class _Ended(Exception):
    """The first check that fails ends the exercise; the message is the verdict."""


class exercise:
    """Mark one exercise: print one line when the block ends, whatever error the learner made.

    The line is "NAME: correct", "NAME: not attempted yet" or "NAME: not yet: DIAGNOSIS". The first check that
    fails ends the block. Raises TinyLMError for an exercise that checks nothing: the author's mistake."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.verdict = ""
        self._checks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None:
            if not self._checks:
                raise TinyLMError(f'exercise "{self.name}" checks nothing: add check.that or check.close')
            self.verdict = "correct"
        elif isinstance(error, _Ended):
            self.verdict = str(error)
        elif _left_blank(error):
            self.verdict = BLANK
        elif isinstance(error, Exception):
            self.verdict = f"not yet: {_explain(error, trace)}"
        else:
            return False  # KeyboardInterrupt and the like belong to Jupyter
        print(f"{self.name}: {self.verdict}")
        return True

    def attempted(self, *answers: Any) -> None:
        """End here with "not attempted yet" when any of the answers is still `...` or None."""
        if any(answer is ... or answer is None for answer in answers):
            raise _Ended(BLANK)

    def that(self, condition: Any, diagnosis: str) -> None:
        """The condition must hold. A tensor or array of booleans must hold everywhere."""
        self.attempted(condition)
        self._checks += 1
        if not bool(condition.all() if hasattr(condition, "all") else condition):
            raise _Ended(f"not yet: {diagnosis}")

    def close(
        self,
        mine: Any,
        expected: Any,
        diagnosis: str = "",
        *,
        usual: Mapping[str, Any] | None = None,
        **near: float,
    ) -> None:
        """`mine` must equal `expected`: floats up to rtol and atol (1e-4, 1e-6), everything else exactly.

        usual maps a sentence to the value that a usual mistake gives: when `mine` is that value, the
        sentence is the diagnosis. Otherwise shape, dtype and nan are explained, and then `diagnosis`
        is given together with the largest difference."""
        self.attempted(mine)
        self._checks += 1
        if problem := difference(mine, expected, **near):
            for sentence, wrong in (usual or {}).items():
                if matches(mine, wrong, **near):
                    raise _Ended(f"not yet: {sentence}")
            about_values = diagnosis and problem.about_values
            sentence = f"{diagnosis} ({problem.sentence})" if about_values else problem.sentence
            raise _Ended(f"not yet: {sentence}")


def _left_blank(error: BaseException) -> bool:
    """True for what a stub raises: NotImplementedError, or arithmetic on the `...` still in it."""
    return isinstance(error, NotImplementedError) or (
        isinstance(error, TypeError | AttributeError) and "ellipsis" in str(error).lower()
    )


def _explain(error: Exception, trace: TracebackType | None) -> str:
    """An exception of the learner's code: its type, its message, the innermost line of a notebook cell."""
    message = " ".join(str(error).split())
    message = message if len(message) <= 240 else f"{message[:239]}…"
    sentence = f"your code raised {type(error).__name__}" + (f": {message}" if message else "")
    if isinstance(error, NameError):
        return f"{sentence} (run the cells above, from the top)"
    frames = traceback.extract_tb(trace)
    cells = [frame for frame in frames if "ipykernel_" in frame.filename or frame.filename.startswith("<")]
    if not cells or cells[-1].filename == frames[0].filename:  # the check cell itself
        return sentence
    line = linecache.getline(cells[-1].filename, cells[-1].lineno or 0).strip()
    return f"{sentence}, at `{line}`" if line else sentence
