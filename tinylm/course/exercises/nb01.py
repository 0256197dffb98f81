"""Exercises of notebook 01_characters."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.slips import Lesson, call

lesson = Lesson(__file__)


def random_rows(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return rows of probabilities, none of them near 0."""
    rows = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.1
    return rows / rows.sum(dim=-1, keepdim=True)


def random_ids(n: int, V: int, seed: int = 0) -> torch.Tensor:
    """Return n ids below V."""
    return torch.randint(V, (n,), generator=torch.Generator().manual_seed(seed))


def pair(check: Check, answer: Any, ids: torch.Tensor, starts: torch.Tensor, T: int) -> dict[str, Any]:
    """Return tokens and targets, which must be two tensors."""
    found = call(check, answer, ids, starts, T)
    two = isinstance(found, tuple | list) and len(found) == 2
    check.that(two, "return two things: the tokens and the targets, (B, T) each")
    told = "return two tensors: ids[places], with a table of places, gives one at once"
    check.that(all(map(torch.is_tensor, found)), told)
    return dict(zip(("tokens", "targets"), found, strict=True))


cut = lesson.exercise(
    "cut",
    run=pair,
    cases=[
        (random_ids(60, 11, 7) + 100, torch.tensor([0, 8, 16]), 7),
        (random_ids(50, 13, 3) + 100, torch.tensor([31, 2, 2, 19]), 3),
    ],
)


class Calls(TorchFunctionMode):
    """Count what is asked of torch."""

    n = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one and go on."""
        self.n += 1
        return function(*args, **(kwargs or {}))


def without_loop(check: Check, answer: Any, *case: Any) -> tuple[Any, Any]:
    """Return what the answer gives for a case and, if it is right and finite, for its ids many times over."""
    found, right, many = call(check, answer, *case), check.given(*case), None
    if right.isfinite().all() and difference(found, right, kinds=False) is None:
        with Calls() as calls:
            many = answer(*(x.repeat(2000 // len(x)) if getattr(x, "ndim", 0) == 1 else x for x in case))
        told = "right, but a loop over a million pairs would take many seconds: do all of them at once"
        check.that(calls.n < 1000, told)
    return found, many


def square(check: Check, answer: Any, ids: torch.Tensor, V: int) -> Any:
    """Return the counts as floats, for the ids and for many more."""
    found, many = without_loop(check, answer, ids, V)
    check.that(torch.is_tensor(found), "return a tensor of shape (V, V)")
    return {"counts": found.float(), "for many ids": many if many is None else many.float()}


def text(n: int, V: int, seed: int) -> tuple[torch.Tensor, int]:
    """Return ids among which the last of the V characters never occurs, and V."""
    ids = random_ids(n, V - 1, seed)
    ids[-1] = 0
    return ids, V


count_pairs = lesson.exercise(
    "count_pairs",
    run=square,
    cases=[text(40, 5, 0), text(33, 7, 1), text(12, 4, 5)],
)


def one_number(check: Check, answer: Any, table: torch.Tensor, *pairs: torch.Tensor) -> Any:
    """Return the loss, which must be infinite where a p is 0, for the pairs and for many more."""
    found, many = without_loop(check, answer, table, *pairs)
    check.that(getattr(found, "ndim", 0) == 0, "return one number: the mean over all pairs")
    hidden = "a pair with p = 0 is infinitely surprising: add nothing to p, and leave no pair out"
    check.that(bool((table[pairs] > 0).all()) or math.isinf(float(found)), hidden)
    return {"loss": found, "loss of many pairs": many}


mean_surprise = lesson.exercise(
    "mean_surprise",
    run=one_number,
    cases=[
        (random_rows(5, 5, seed=0), random_ids(11, 5, 0), random_ids(11, 5, 9)),
        (random_rows(7, 7, seed=1), random_ids(9, 7, 1), random_ids(9, 7, 10)),
        (torch.eye(2), torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])),
    ],
)


def in_order(result: Any) -> list[Any]:
    """Return the result and all that it was made from, each before its parts."""
    found = []

    def visit(number: Any) -> None:
        if number not in found:
            for part, _ in number.made_from:
                visit(part)
            found.append(number)

    visit(result)
    return found[::-1]


lesson.names["in_order"] = in_order


def local_slopes(check: Check, answer: Any, name: str, formula: Callable, *numbers: float) -> dict[str, Any]:
    """Return the value of one operation and its local slopes."""
    result = formula(*map(answer, numbers))
    if name == "*":
        check.attempted(check.run(lambda: result))  # still the stub
    check.that(result is not ..., f"{name} is still blank")
    check.that(result is not None, f"{name} returned None: is `return` missing?")
    tensor = torch.is_tensor(result) or torch.is_tensor(getattr(result, "value", None))
    check.that(not tensor, f"{name}: this is a tensor; a plain number is needed: use math.exp, math.log")
    known = hasattr(result, "value") and hasattr(result, "made_from")
    check.that(known, f"{name} must return a Number, so that the graph goes on: Number(value, made_from)")
    pairs = list(result.made_from)
    formed = all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs)
    check.that(formed, f"{name}: made_from is a list of pairs, (part, local slope)")
    n = len(numbers)
    check.that(len(pairs) == n, f"{name} is made from {n} Number{'s' * (n > 1)}: one pair for each")
    told = f"{name}: the first of each pair is the Number itself, not its value"
    check.that(all(hasattr(part, "slope") for part, _ in pairs), told)
    plain = all(isinstance(local, float | int) for _, local in pairs)
    check.that(plain, f"{name}: a local slope is a plain number, such as other.value")
    return {"value": result.value, "local slopes": [float(local) for _, local in pairs]}


def differentiated(check: Check, answer: Any, name: str, _: str, formula: Callable, *numbers: float) -> Any:
    """Return what one operation gives, or the slopes after backward, which is called once or twice."""
    if name in ("*", "+", "exp", "log"):
        return local_slopes(check, answer, name, formula, *numbers)
    leaves = [answer(number) for number in numbers]
    for _ in range(2 if name == "twice" else 1):
        result = formula(*leaves)
        check.that(result.backward() is not ..., "*, exp and log are right; backward is still blank")
    slopes = [leaf.slope for leaf in leaves]
    plain = all(isinstance(slope, float | int) for slope in slopes)
    check.that(plain, "a slope is a plain number: the local slope times number.slope")
    return {"slopes": slopes, "slope of the result": result.slope}


def shared(x: Any, *, swapped: bool) -> Any:
    """Return x⁴ + x². Its u = x · x is used three times, so its slope is complete only after that of w."""
    u = x * x
    w = u * u
    return u + w if swapped else w + u


BACK = "the slopes differ from torch's"
TWICE = "a second result adds to the slopes that are there: clear none"
EARLY = "a number passes its slope on only when it is complete, and once: in_order(self) gives that order"
Number = lesson.exercise(
    "Number",
    run=differentiated,
    cases=[
        ("*", "* differs from the product and its slopes", lambda a, b: a * b, 3.0, -2.0),
        ("+", "+ differs from the sum and its slopes", lambda a, b: a + b, 3.0, -2.0),
        ("exp", "exp differs from e to the power of the value, and its slope", lambda x: x.exp(), 0.5),
        ("log", "log differs from the natural logarithm, and its slope", lambda x: x.log(), 4.0),
        ("backward", BACK, lambda x, y: x * y + x, 2.0, 3.0),
        ("backward", BACK, lambda x, y, z: (x * y).exp() * z + z.log() * x, 1.5, -0.5, 2.0),
        ("backward", BACK, lambda x, y: ((x.exp() + y.exp()).log() + x * x) * (x * x), 0.3, -1.2),
        ("backward", BACK, lambda x: (x + x) * (x * x * x).log().exp(), 1.1),
        ("backward", EARLY, lambda x: shared(x, swapped=False), 2.0),
        ("backward", EARLY, lambda x: shared(x, swapped=True), 2.0),
        ("twice", TWICE, lambda x: x * x, 3.0),
    ],
)


def bowl(V: int, seed: int) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Return a loss of logits (V, V) that has a single lowest point and whose slopes depend on the step."""
    goal = torch.randn(V, V, generator=torch.Generator().manual_seed(seed))
    return lambda logits, step: ((logits - goal) ** 2).sum() * (1 + step % 3) / 10 + step / 100


def way_down(check: Check, answer: Any, *case: Any) -> dict[str, Any]:
    """Return the logits and the losses, which must be a tensor without its record and plain numbers."""
    with warnings.catch_warnings(action="ignore"):  # of the .grad of a tensor that is no leaf
        found = call(check, answer, *case)
    two = isinstance(found, tuple | list) and len(found) == 2
    check.that(two, "return two things: the logits and the list of losses")
    logits, losses = found
    check.that(not isinstance(logits, list), "the logits come first, then the list of losses")
    check.that(torch.is_tensor(logits), "the first of the two is the tensor of logits")
    listed = isinstance(losses, list | tuple) or getattr(losses, "ndim", 0) == 1
    check.that(listed, "return a list of losses, one for each step")
    plain = all(isinstance(loss, float | int) for loss in losses)
    check.that(plain, "the losses are plain numbers, loss.item(): a tensor keeps its whole record")
    check.that(not logits.requires_grad, "logits.detach() drops the record")
    return {"logits": logits, "losses": list(losses)}


descend = lesson.exercise(
    "descend",
    run=way_down,
    cases=[(bowl(4, 0), 4, 7, 0.5), (bowl(3, 1), 3, 5, 0.25), (bowl(3, 2), 3, 1, 0.25)],
)
