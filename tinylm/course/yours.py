"""What passes is kept: a later notebook opens your own answer, or the solution where there is none yet.

    GPT = yours("03", "GPT")

prints "3.6 · the GPT: yours", or that tinylm's solution is used. An answer is kept as a Python file with the
functions, classes and plain values that it uses, in data/mine/yours/nb03/GPT.py. It is marked again each time
it is opened. If it no longer passes it is not used, and its file stays.

Used from notebook 03_transformer on."""

import importlib
import inspect
import itertools
import os
import re
import textwrap
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tinylm.course.checks import Check
from tinylm.course.guard import TooLong, guarded
from tinylm.course.source import parts_of, run
from tinylm.errors import TinyLMError
from tinylm.runs import paths
from tinylm.text.download import atomic_file

# Functions and classes that exercises have handed out: to which exercise each belongs.
OWNERS: WeakKeyDictionary[Any, tuple[str, str]] = WeakKeyDictionary()
LOADING = 20.0  # seconds: enough for all exercises that one answer builds on


def yours(number: str, name: str) -> Any:
    """Open your answer to an exercise, or its solution where you have none, and print which it is.

    number: the notebook, "03". name: what the exercise defines, "GPT". Answers that no longer pass are named,
    also those that this one uses. Raises TinyLMError if there is no such exercise."""
    value, told = opened(number, name)
    print(f"{exercise(number, name).title}: {told}")
    return value


def exercise(number: str, name: str) -> Any:
    """Return an exercise of a notebook. Raises TinyLMError with the names that there are."""
    try:
        lesson = importlib.import_module(f"tinylm.course.exercises.nb{number}").lesson
    except ModuleNotFoundError as error:
        raise TinyLMError(f'there is no notebook "{number}": write two digits, such as "03"') from error
    if name not in lesson.exercises:
        raise TinyLMError(f"notebook {number} has no exercise `{name}`: it has {', '.join(lesson.exercises)}")
    return lesson.exercises[name]


def file_of(number: str, name: str) -> Path:
    """Return where an answer is kept."""
    return paths.MINE / "yours" / f"nb{number}" / f"{name}.py"


def opened(number: str, name: str) -> tuple[Any, str]:
    """Return an answer that was kept, or the solution, and a sentence that says which."""
    asked, file = exercise(number, name), file_of(number, name)
    if not file.is_file():
        return asked.given, "you have not solved it yet, so this is tinylm's"
    try:
        value, others = marked(number, name, file.read_text(encoding="utf-8"))
    except (Exception, SystemExit, TooLong) as error:
        told = f"your answer in {paths.display_path(file)} no longer passes ({reason(error, 90)}), so this is"
        return asked.given, f"{told} tinylm's. Run {asked.title.split()[0]} and its check in {number} again"
    OWNERS[value] = number, name
    return value, "\n".join(["yours", *others])


def reason(error: BaseException, most: int) -> str:
    """Return what an error says, in at most so many characters."""
    return textwrap.shorten(str(error).removeprefix("not yet: "), most) or type(error).__name__


def marked(number: str, name: str, source: str) -> tuple[Any, list[str]]:
    """Run an answer's source and mark it. Return it, and sentences on what it uses that no longer passes.

    Raises whatever ends its check."""
    asked, others = exercise(number, name), []
    if re.search(rf"yours\(\W{number}\W+{name}\W", source):
        raise TinyLMError(f"`{name}` opens itself: write it without yours({number!r}, {name!r})")

    def other(*key: str) -> Any:
        value, told = opened(*key)
        if "no longer passes" in told:
            others.append(f"  it uses {exercise(*key).title}: {told.removeprefix('yours').strip()}")
        return value

    with guarded(LOADING, characters=0):
        value = run(source, {"yours": other})[name]
        asked.mark(Check(asked.title), value)
    return value, others


def reference(value: Any) -> str | None:
    """Return the source that opens a value of another exercise, or None for any other value."""
    found = OWNERS.get(value) if inspect.isroutine(value) or inspect.isclass(value) else None
    return f'yours("{found[0]}", "{found[1]}")' if found else None


def keep(number: str, name: str, answer: Any) -> str:
    """Keep an answer that has passed its check. Returns why it cannot be kept, or "".

    It is first run and marked without the notebook around it. Only then does it replace an earlier answer. An
    earlier one that no longer passes gets another name."""
    title, file = exercise(number, name).title, file_of(number, name)
    try:
        parts = parts_of(name, answer, reference).values()
        imports = sorted(part for part in parts if part.startswith(("import ", "from ")))
        blocks = [part for part in parts if part not in imports]
        head = [f"# {title}: your answer, kept when its check said correct.", *imports]
        text = "\n\n\n".join(["\n".join(head), *blocks]) + "\n"
        marked(number, name, text)
        if file.is_file() and "no longer" in opened(number, name)[1]:
            olds = (file.with_suffix(f".old{n}.py") for n in itertools.count(1))
            os.replace(file, next(old for old in olds if not old.exists()))
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as draft:
            draft.write(text.encode())
    except (Exception, SystemExit, TooLong) as error:
        alone = "" if isinstance(error, TinyLMError) else "without the notebook around it, it does not pass: "
        return alone + reason(error, 160) + ("; your earlier answer stays" if file.is_file() else "")
    OWNERS[answer] = number, name
    return ""
