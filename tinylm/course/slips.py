"""Exercises as data: a solution as text, cases to try it on, and the usual slips as edits of that text.

Beside each module of `exercises` a file holds what is text. The module adds the cases:

    # nb02.toml                                        # nb02.py
    imports = "import torch"                           lesson = Lesson(__file__)

    [causal_mask]                                      causal_mask = lesson.exercise(
    title = "2.1 · the causal mask"                        "causal_mask", cases=[(5,), (3,)]
    solution = '''                                     )
    def causal_mask(T):
        return torch.ones(T, T).tril().bool()
    '''
    slips = '''
    .tril() -> .triu()    :: True should mean *may look*, and the past lies to the left
    .tril() -> .tril(-1)  :: a position also sees itself: s = t is allowed
    '''

The notebook says `causal_mask = exercises.causal_mask(causal_mask)`. A right answer runs none of the slips. A
wrong answer is compared with what each slip gives, and the slip that agrees with it says what went wrong.

One line is one slip: `old -> new :: what the learner is told`. Every `old` is replaced. ` ⏎ ` is a line
break at the same indentation, ` && ` joins several edits, and `= body` replaces the whole body of a function.
A line without ` :: ` is a wrong answer for which we have no sentence. Long lines are broken before a sign.

Shown in 00_start_here."""

import copy
import functools
import re
import textwrap
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tinylm.course.checks import Check, Ended, raised
from tinylm.course.differences import difference
from tinylm.course.guard import TooLong, guarded
from tinylm.course.source import defined, run
from tinylm.course.yours import OWNERS, keep
from tinylm.errors import TinyLMError

Case = tuple[Any, ...]
BREAK, AND, ARROW, TOLD = " ⏎ ", " && ", re.compile(r" ->(?: |$)"), " :: "
CHANGED = {torch.Tensor: "tensor", np.ndarray: "array", list: "list", dict: "dictionary", set: "set"}
SECONDS, SLIP_SECONDS = 10.0, 1.0  # a slip may loop for ever, too


class Slip(NamedTuple):
    """A usual mistake: its line, the source that it makes of the solution, and what the learner is told."""

    line: str
    source: str
    told: str


def edited(solution: str, edits: str) -> str:
    """Return the solution with these edits made. Raise TinyLMError for an edit that has no place in it."""
    if edits.startswith("= "):
        head = solution[: solution.index("\n", solution.index("def ")) + 1]
        return head + textwrap.indent(edits[2:].replace(BREAK, "\n"), "    ") + "\n"
    for edit in edits.split(AND):
        old, new = (part.strip() for part in ARROW.split(edit, maxsplit=1))
        place = re.compile(r"\s*\n\s*".join(re.escape(part) for part in old.split(BREAK)))
        if not place.search(solution):
            raise TinyLMError(f"`{old}` is not in the solution:\n{solution}")

        def put(found: re.Match[str], new: str = new, text: str = solution) -> str:
            line = text[text.rfind("\n", 0, found.start()) + 1 :]
            return new.replace(BREAK, "\n" + " " * (len(line) - len(line.lstrip())))

        solution = place.sub(put, solution)
    return solution


def read_slips(solution: str, text: str) -> list[Slip]:
    """Read lines of `edits :: told`. A line that begins with one of the signs goes on with the line above."""
    joined = re.sub(r"\n\s*(?=(?:::|->|⏎|&&) )", " ", textwrap.dedent(text))
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    parts = [line.partition(TOLD) for line in lines]
    return [
        Slip(line, edited(solution, edits.strip()), told.strip())
        for line, (edits, _, told) in zip(lines, parts, strict=True)
    ]


def fresh(value: Any) -> Any:
    """Return a copy of what a function might change, and anything else as it is."""
    if isinstance(value, torch.Generator):
        return value.clone_state()
    return copy.deepcopy(value) if isinstance(value, tuple(CHANGED)) else value


def call(check: Check, answer: Callable[..., Any], *case: Any) -> Any:
    """Return what the answer gives for a case, whose lists, tensors and so on it must not change."""
    own = [fresh(value) for value in case]
    result = check.run(answer, *own)
    for mine, theirs in zip(own, case, strict=True):
        kind = next((name for kind, name in CHANGED.items() if isinstance(theirs, kind)), "")
        check.that(
            not kind or difference(mine, theirs) is None,
            f"your function changes the {kind} that it was given: make a new one",
        )
    return result


class Exercise:
    """One exercise of a lesson. Call it with an answer to mark it; it returns what the notebook goes on with.

    solution: source whose last definition is the answer. cases: tuples of arguments, or a function that makes
    them. run(check, answer, *case): what is compared, by default what the answer returns. said: the diagnosis
    where no slip agrees, formatted with the case. forbid: names that the answer must not use. seconds: the
    longest time for all cases. number: of the notebook, whose answers are kept. near: rtol and atol of the
    comparison."""

    def __init__(
        self,
        title: str,
        solution: str,
        names: dict[str, Any],
        *,
        cases: Sequence[Case] | Callable[[], Sequence[Case]],
        slips: str,
        run: Callable[..., Any] = call,
        said: str = "",
        forbid: Sequence[str] = (),
        seconds: float = SECONDS,
        number: str = "",
        **near: float,
    ) -> None:
        self.title, self.solution = title, textwrap.dedent(solution).strip("\n") + "\n"
        self.names, self.given = dict(names), defined(self.solution, names)
        self.name: str = self.given.__name__
        self._cases, self._slips, self.run = cases, slips, run
        self.said, self.forbid, self.seconds, self.near = said, forbid, seconds, near
        self.number = number

    @functools.cached_property
    def cases(self) -> Sequence[Case]:
        """The tuples of arguments."""
        return self._cases() if callable(self._cases) else self._cases

    @functools.cached_property
    def slips(self) -> list[Slip]:
        """The usual mistakes, which are read when the first wrong answer comes."""
        return read_slips(self.solution, self._slips)

    def __call__(self, answer: Any) -> Any:
        """Mark the answer in one printed line; return it where it is right, and otherwise the solution."""
        if answer is self.given:  # this cell has put it there, when it ran before
            print(f"{self.title}: this is tinylm's own answer now: run your cell again, then this one")
            return answer
        with Check(self.title, bound=True) as check:
            self.mark(check, answer)
        if check.verdict != "correct":
            return self.given
        if self.number and (why := keep(self.number, self.name, answer)):
            print(f"not kept for later notebooks: {why}")
        return answer

    def mark(self, check: Check, answer: Any) -> None:
        """Compare the answer with the solution in every case. Raise what ends the exercise at the first."""
        check.answer, check.given = answer, self.given
        check.forbid(answer, *self.forbid)
        # What the notebook draws afterwards does not depend on how an answer, or a slip of it, is written.
        with guarded(self.seconds), torch.random.fork_rng(devices=[]):
            for k in range(len(self.cases)):
                outcome = self.outcome(answer, k, check)
                if isinstance(outcome, Ended):
                    raise outcome
                if self.differs(outcome, self.right[k]):
                    self.explain(check, answer, k, outcome)
                check.checks += 1

    @functools.cached_property
    def right(self) -> list[Any]:
        """What the solution gives in each case."""
        return [self.outcome(self.given, k) for k in range(len(self.cases))]

    def outcome(self, answer: Any, k: int, check: Check | None = None) -> Any:
        """Return what the answer gives in case k, or the error that it raises."""
        if check is None:
            check = Check(self.title, answer=answer, given=self.given)
        try:
            return self.run(check, answer, *self.cases[k])
        except Exception as error:
            return error

    def differs(self, mine: Any, theirs: Any, *, kinds: bool = True) -> bool:
        """Return whether two outcomes differ; errors are alike when their types and messages are."""
        if isinstance(mine, Exception) or isinstance(theirs, Exception):
            return type(mine) is not type(theirs) or str(mine) != str(theirs)
        return difference(mine, theirs, kinds=kinds, **self.near) is not None

    @functools.cached_property
    def mistakes(self) -> list[tuple[Slip, list[Any]]]:
        """The slips that have a sentence, each with its outcomes."""
        found = []
        for slip in self.slips:
            if slip.told:
                try:
                    with guarded(SLIP_SECONDS, characters=0):
                        wrong = defined(slip.source, self.names)
                        found.append((slip, [self.outcome(wrong, k) for k in range(len(self.cases))]))
                except (TooLong, Exception):  # it loops for ever, or cannot even be defined
                    continue
        return found

    def explain(self, check: Check, answer: Any, k: int, outcome: Any) -> None:
        """End the exercise with the sentence of the slip that agrees with the answer in the most cases.

        Two slips may agree in one case, so all cases are asked; case k is the first that is wrong."""
        outcomes = [self.outcome(answer, i) for i in range(len(self.cases))]
        for kinds in (True, False):
            agreeing = [
                (
                    sum(not self.differs(a, b, kinds=kinds) for a, b in zip(outcomes, theirs, strict=True)),
                    slip,
                )
                for slip, theirs in self.mistakes
                if not self.differs(outcome, theirs[k], kinds=kinds)
                and self.differs(theirs[k], self.right[k], kinds=kinds)
            ]
            if agreeing:
                _, slip = max(agreeing, key=lambda found: found[0])
                raise Ended(f"not yet: {slip.told}{raised(outcome)}")
        if isinstance(outcome, Exception):
            raise outcome
        check.close(outcome, self.right[k], self.said.format(*self.cases[k]), **self.near)


class Lesson:
    """The exercises of one notebook, in order, and the names that their solutions can use.

    module: the path of the module that adds the cases. Its texts are in the TOML file beside it."""

    def __init__(self, module: str | Path) -> None:
        self.number = Path(module).stem[-2:]
        self.texts = tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))
        self.names = run(self.texts.pop("imports"), {})
        self.exercises: dict[str, Exercise] = {}

    def exercise(self, name: str, **settings: Any) -> Exercise:
        """Add an exercise; later solutions can use what it defines. For the settings see `Exercise`.

        With kept=False an answer is not kept: it only works beside what its notebook has opened."""
        number = self.number if settings.pop("kept", True) else ""
        made = Exercise(names=self.names, number=number, **self.texts[name], **settings)
        OWNERS[made.given] = self.number, name
        self.exercises[name] = made
        self.names[name] = made.given
        return made
