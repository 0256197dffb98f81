"""Exercises of notebook 10_speed."""

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.device import best_device, synchronize

lesson = Lesson(__file__)


def seconds(work: Callable[[], Any]) -> float:
    """Return the time that work() takes."""
    synchronize(best_device())
    began = time.perf_counter()
    work()
    synchronize(best_device())
    return time.perf_counter() - began


lesson.names["seconds"] = seconds


def stepwise(observe: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a `run` that observes one mistake at a time: what comes after the first is None."""

    def run(check: Check, answer: Any, *case: Any) -> dict[str, Any]:
        right, mine = observe(check, check.given, *case), observe(check, answer, *case)
        good = True
        for name in right:
            mine[name] = mine[name] if good else None
            good = good and difference(mine[name], right[name]) is None
        return mine

    return run


class Machine:
    """A machine whose clock only work moves: it slows down, starts slowly, and is disturbed in some runs."""

    def __init__(self, before: float, after: float, disturbed: dict[int, float]) -> None:
        self.base, self.disturbed = {"before": before, "after": after}, disturbed
        self.now, self.ran, self.timed = 100.0, [], []

    def work(self, name: str) -> Callable[[], None]:
        """Return a function that takes its time on this machine's clock."""

        def run() -> None:
            slow = 1 + 0.03 * len(self.ran) + 20 * (name not in self.ran)
            self.now += self.base[name] * slow * self.disturbed.get(len(self.ran), 1)
            self.ran.append(name)
            self.timed.append(
                any(f.f_code.co_name == "seconds" for f, _ in traceback.walk_stack(sys._getframe()))
            )

        return run


def turns(check: Check, answer: Any, rounds: int, *machine: Any) -> dict[str, Any]:
    """Return what ran in which order, whether `seconds` timed the rounds, and the answer."""
    mine = Machine(*machine)
    moved = {"perf_counter": lambda: mine.now, "perf_counter_ns": lambda: int(mine.now * 1e9)}
    with mock.patch.multiple(time, **moved, time=lambda: mine.now):
        ratio = check.run(answer, mine.work("before"), mine.work("after"), rounds)
    ran = " ".join([*sorted(mine.ran[:2], reverse=True), *mine.ran[2:]])  # either may warm up first
    return {"order": ran, "timed by seconds(...)": all(mine.timed[-2 * rounds :]), "ratio": ratio}


compare = lesson.exercise(
    "compare",
    run=stepwise(turns),
    cases=[(7, 3.0, 2.0, {2: 3, 5: 9, 6: 30, 8: 4, 15: 2}), (6, 1.0, 4.0, {4: 12})],
)

whole_speedup = lesson.exercise(
    "whole_speedup",
    cases=[(0.3, 2.0), (0.07, 30.0), (0.9, 1.5)],
)


class Tables(TorchDispatchMode):
    """Record the first operation that makes a new tensor of at least this many numbers."""

    def __init__(self, numel: int, known: Tensor) -> None:
        super().__init__()
        self.numel, self.known, self.maker = numel, known.untyped_storage().data_ptr(), ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Run the operation and look at what it made."""
        result = operation(*args, **kwargs or {})
        for made in result if isinstance(result, tuple | list) else (result,):
            large = isinstance(made, Tensor) and made.numel() >= self.numel
            if large and made.untyped_storage().data_ptr() != self.known:
                self.maker = self.maker or operation.name().partition("::")[2].partition(".")[0].strip("_")
        return result


def in_place(check: Check, answer: Any, N: int, V: int, scale: float) -> dict[str, Any]:
    """Return what has become of the logits, the loss, and which operation made a second table."""
    logits, targets = scale * random(N, V, seed=N), torch.arange(1, N + 1)
    with torch.no_grad(), Tables(N * V, logits) as tables:
        loss = answer(logits, targets)
    check.that(loss is not None, "your function returned None: is `return` missing?")
    check.attempted(loss)
    check.that(not isinstance(loss, tuple | list), "return the loss alone: the gradient is in `logits`")
    check.that(
        isinstance(loss, Tensor), "return a tensor, as `.sum()` gives it: .item() makes a plain number"
    )
    told = "`targets` belongs to the caller: change only `logits`"
    check.that(torch.equal(targets, torch.arange(1, N + 1)), told)
    return {"logits": logits, "loss": loss, "operation that makes a second table": tables.maker}


def without_table(observe: Callable[..., dict[str, Any]], told: str) -> Callable[..., dict[str, Any]]:
    """Return a `run`. An answer whose only fault is a large table is told which operation makes it.

    told: the sentence, with places for the operation, {0}, and for the values of the case, from {1} on."""

    def run(check: Check, answer: Any, *case: Any) -> dict[str, Any]:
        seen = stepwise(observe)(check, answer, *case)
        *_, maker = seen.values()
        check.that(not maker, told.format(maker, *case))
        return seen

    return run


loss_into_gradient = lesson.exercise(
    "loss_into_gradient",
    run=without_table(
        in_place, "`{0}` makes a second table of {1} × {2} numbers: work in place, as sub_ and exp_ do"
    ),
    cases=[(5, 7, 1.0), (3, 11, 400.0)],
)

mended = lesson.exercise(
    "mended",
    cases=lambda: [
        (torch.tensor(0.3), random(5, 3, seed=1), random(7, 3, seed=2), random(5, 7, seed=3)),
        (torch.tensor(-3.0), random(4, 6, seed=4), random(5, 6, seed=5), random(4, 5, seed=6)),
    ],
)

verdict = lesson.exercise(
    "verdict",
    cases=[
        ([4.0, 4.4, 4.2, 4.1], [4.0, 4.0, 4.4, 4.2], 1.25),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 1.0, 2.0, 2.5, 3.0], 1.25),
        ([1.0, 2.0, 4.0], [0.5, 2.0, 3.0], 1.25),
        ([5.0, 4.0], [4.0, 4.0], 1.25),
        ([5.0, 6.0], [4.0, 4.0], 1.25),
        ([6.0, 30.0, 6.6], [6.0, 6.0, 6.0], 0.9),
        ([3.0, 3.3], [2.0, 3.0], 1.6),
        ([4.0, 2.0], [2.0, 4.0], 1.25),
        ([6.0, 5.0, 5.2], [3.0, 3.0, 4.0], 1.6),
    ],
)


def in_pieces(check: Check, answer: Any, N: int, V: int, C: int, rows: int) -> dict[str, Any]:
    """Return the loss, both gradients, and which operation made a table of more than rows × V numbers."""
    x, weight, targets = random(N, C, seed=N), random(V, C, seed=V), torch.arange(N) * 5 % V
    tables = Tables(rows * V + 1, x)

    def watched(*arguments: Any) -> Any:
        with torch.no_grad(), tables:
            return answer(*arguments)

    found = call(check, watched, x, weight, targets, rows)
    check.attempted(*found if isinstance(found, tuple | list) else [found])
    told = "return three things: the loss, the gradient of x, the gradient of weight"
    check.that(isinstance(found, tuple | list) and len(found) == 3, told)
    seen = dict(zip(("loss", "gradient of x", "gradient of weight"), found, strict=True))
    return seen | {"operation that makes a larger table": tables.maker}


loss_in_pieces = lesson.exercise(
    "loss_in_pieces",
    run=without_table(
        in_pieces,
        "right numbers, but `{0}` makes a table larger than rows × V = {4} × {2}: work in pieces",
    ),
    cases=[(10, 23, 3, 4), (9, 17, 5, 6)],
)
