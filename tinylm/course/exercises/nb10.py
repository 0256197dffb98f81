"""Exercises of notebook 10_speed."""

import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call
from tinylm.device import best_device, synchronize
from tinylm.model.config import ModelConfig

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

tiny = ModelConfig(211, 31, 3, 2, 22)
flops_per_token = lesson.exercise(
    "flops_per_token",
    cases=[(tiny,), (replace(tiny, n_layer=5, tied_head=False),), (replace(tiny, n_embd=26),)],
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


def without_second(check: Check, answer: Any, N: int, V: int, scale: float) -> Any:
    """Return the observed. An answer whose only fault is a second table is told which operation makes it."""
    seen = stepwise(in_place)(check, answer, N, V, scale)
    maker = seen["operation that makes a second table"]
    told = f"`{maker}` makes a second table of {N} × {V} numbers: work in place, as sub_ and exp_ do"
    check.that(not maker, told)
    return seen


loss_into_gradient = lesson.exercise(
    "loss_into_gradient",
    run=without_second,
    cases=[(5, 7, 1.0), (3, 11, 400.0)],
)

PARTS = ("weights", "gradients", "averages", "blocks", "logits")


def table(check: Check, answer: Any, config: ModelConfig, rows: int, copies: int) -> dict[str, Any]:
    """Return the dictionary, whose names must be those of the contract."""
    found = call(check, answer, config, rows, copies)
    check.that(isinstance(found, dict), "return a dictionary that begins with 'weights': …, 'gradients': …")
    check.that(found.keys() == {*PARTS}, f"the names are {', '.join(PARTS)}")
    return dict(found)


memory_table = lesson.exercise(
    "memory_table",
    run=stepwise(table),
    cases=[(ModelConfig(211, 31, 3, 2, 22), 5, 3), (ModelConfig(97, 13, 2, 2, 34), 3, 2)],
)


def rerun(check: Check, answer: Any, n: int, width: int) -> dict[str, Any]:
    """Return how often the function ran, whether x's past was left alone, and the gradients."""
    block = numbered(nn.Sequential(nn.Linear(width, 11), nn.Tanh(), nn.Linear(11, width)))
    for weight in block.parameters():
        weight.grad = torch.ones_like(weight)  # of an earlier micro-batch
    leaf, gradient, calls = random(n, width, seed=n).requires_grad_(), random(n, width, seed=n + 9), []

    def function(z: Tensor) -> Tensor:
        calls.append(z)
        return block(z)

    x = 0.5 * leaf  # it has a past, which belongs to others
    with warnings.catch_warnings(), torch.no_grad():  # as inside a backward pass
        warnings.simplefilter("ignore")  # of an x whose past was not cut off
        found = answer(function, x, gradient)
    if not calls and found is not None:
        check.attempted(found)
    ran = {"runs of function(x)": len(calls), "backward stops at x": leaf.grad is None}
    return ran | {"gradient of x": found, "gradients of the weights": [w.grad for w in block.parameters()]}


run_again = lesson.exercise(
    "run_again",
    run=stepwise(rerun),
    cases=[(5, 3), (2, 7)],
)

affordable = lesson.exercise(
    "affordable",
    cases=[(48, 1e11), (5, 3e13)],
)
