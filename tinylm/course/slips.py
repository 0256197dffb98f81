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

import functools
import re
import textwrap
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tinylm.course.checks import GIVEN, Check, Ended, raised, syntax
from tinylm.course.differences import difference
from tinylm.course.guard import TooLong, guarded
from tinylm.course.source import defined, run
from tinylm.course.yours import OWNERS, keep
from tinylm.errors import TinyLMError

Case = tuple[Any, ...]
BREAK, AND, ARROW, TOLD = " ⏎ ", " && ", re.compile(r" ->(?: |$)"), " :: "
SLIP_SECONDS = 1.0  # a slip may loop for ever, too


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
        found = place.search(solution)
        if not found:
            raise TinyLMError(f"`{old}` is not in the solution:\n{solution}")
        line = solution[solution.rfind("\n", 0, found.start()) + 1 :]
        indent = " " * (len(line) - len(line.lstrip()))
        solution = place.sub(new.replace("\\", r"\\").replace(BREAK, "\n" + indent), solution)
    return solution


def read_slips(solution: str, text: str) -> list[Slip]:
    """Read lines of `edits :: told`. A line that begins with one of the signs goes on with the line above."""
    joined, slips = re.sub(r"\n\s*(?=(?:::|->|⏎|&&) )", " ", textwrap.dedent(text)), []
    for line in filter(None, map(str.strip, joined.splitlines())):
        edits, _, told = line.partition(TOLD)
        slips.append(Slip(line, edited(solution, edits.strip()), told.strip()))
    return slips


def call(check: Check, answer: Callable[..., Any], *case: Any) -> Any:
    """Return what the answer gives for a case, whose lists, tensors and so on it must not change."""
    own = [value.clone_state() if isinstance(value, torch.Generator) else value for value in case]
    return check.run(answer, *own, kept=[*GIVEN])


@dataclass(eq=False)
class Exercise:
    """One exercise of a lesson. Call it with an answer to mark it; it returns what the notebook goes on with.

    solution: source whose last definition is the answer. cases: tuples of arguments, or a function that makes
    them. run(check, answer, *case): what is compared, by default what the answer returns. said: the diagnosis
    where no slip agrees, formatted with the case. forbid: names that the answer must not use. seconds: the
    longest time for all cases. number: of the notebook, whose answers are kept. rtol, atol: how near floats
    must be."""

    title: str
    solution: str
    names: dict[str, Any]
    _: KW_ONLY
    cases: Sequence[Case] | Callable[[], Sequence[Case]]
    slips: str
    run: Callable[..., Any] = call
    said: str = ""
    forbid: Sequence[str] = ()
    seconds: float = 10.0
    number: str = ""
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self) -> None:
        self.solution = textwrap.dedent(self.solution).strip("\n") + "\n"
        self.given = defined(self.solution, self.names)
        self.near = {"rtol": self.rtol, "atol": self.atol}

    def __call__(self, answer: Any) -> Any:
        """Mark the answer in one printed line; return it where it is right, and otherwise the solution."""
        if answer is self.given:  # this cell has put it there, when it ran before
            print(f"{self.title}: this is tinylm's own answer now: run your cell again, then this one")
            return answer
        with Check(self.title, bound=True) as check:
            self.mark(check, answer)
        if check.verdict != "correct":
            return self.given
        if self.number and (why := keep(self.number, self.given.__name__, answer)):
            print(f"not kept for later notebooks: {why}")
        return answer

    def mark(self, check: Check, answer: Any) -> None:
        """Compare the answer with the solution in every case. Raise what ends the exercise at the first."""
        check.answer = answer
        names = {getattr(part, "id", getattr(part, "attr", "")) for part in syntax(answer)}
        if used := names & {*self.forbid}:
            raise Ended(f"not yet: the contract asks you to do without `{min(used)}`")
        # What the notebook draws afterwards does not depend on how an answer, or a slip of it, is written.
        with guarded(self.seconds), torch.random.fork_rng(devices=[]):
            for k, right in enumerate(self.right):
                outcome = self.outcome(answer, k)
                if isinstance(outcome, Ended):
                    raise outcome
                if self.differs(outcome, right):
                    self.explain(check, k, outcome)

    @functools.cached_property
    def inputs(self) -> Sequence[Case]:
        """The cases, which are made when the first answer comes."""
        return self.cases() if callable(self.cases) else self.cases

    @functools.cached_property
    def right(self) -> list[Any]:
        """What the solution gives in each case."""
        return self.outcomes(self.given)

    @functools.cached_property
    def mistakes(self) -> list[tuple[Slip, list[Any]]]:
        """The slips that have a sentence, each with its outcomes, when the first wrong answer comes."""
        found = []
        for slip in read_slips(self.solution, self.slips):
            if slip.told:
                try:
                    with guarded(SLIP_SECONDS, characters=0):
                        found.append((slip, self.outcomes(defined(slip.source, self.names))))
                except (TooLong, Exception):  # it loops for ever, or cannot even be defined
                    continue
        return found

    def outcomes(self, answer: Any) -> list[Any]:
        """Return what the answer gives in each case."""
        return [self.outcome(answer, k) for k in range(len(self.inputs))]

    def outcome(self, answer: Any, k: int) -> Any:
        """Return what the answer gives in case k, or the error that it raises."""
        try:
            return self.run(Check(self.title, answer, self.given), answer, *self.inputs[k])
        except Exception as error:
            return error

    def differs(self, mine: Any, theirs: Any, *, kinds: bool = True) -> bool:
        """Return whether two outcomes differ; errors are alike when their types and messages are."""
        if isinstance(mine, Exception) or isinstance(theirs, Exception):
            return type(mine) is not type(theirs) or str(mine) != str(theirs)
        return difference(mine, theirs, kinds=kinds, **self.near) is not None

    def explain(self, check: Check, k: int, outcome: Any) -> None:
        """End the exercise with the sentence of the slip that agrees with the answer in the most cases.

        Two slips may agree in one case, so all cases are asked; case k is the first that is wrong."""
        outcomes = self.outcomes(check.answer)
        for kinds in (True, False):
            differs, cases = functools.partial(self.differs, kinds=kinds), {}
            for slip, theirs in self.mistakes:
                if differs(theirs[k], self.right[k]) and not differs(outcome, theirs[k]):
                    cases[slip] = sum(map(differs, outcomes, theirs))  # in which it does not agree
            if cases:
                python = f" ({raised(outcome)})" if isinstance(outcome, Exception) else ""
                raise Ended(f"not yet: {min(cases, key=cases.__getitem__).told}{python}")
        if isinstance(outcome, Exception):
            raise outcome
        check.close(outcome, self.right[k], self.said.format(*self.inputs[k]), **self.near)


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
