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

lesson = Lesson("01", "import math, torch; import torch.nn.functional as F")


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
    "1.1 · tokens and targets",
    """
    def cut(ids, starts, context_length):
        places = starts[:, None] + torch.arange(context_length + 1)  # (B, T + 1)
        rows = ids[places]  # (B, T + 1)
        return rows[:, :-1], rows[:, 1:]  # (B, T) each
    """,
    run=pair,
    cases=[
        (random_ids(60, 11, 7) + 100, torch.tensor([0, 8, 16]), 7),
        (random_ids(50, 13, 3) + 100, torch.tensor([31, 2, 2, 19]), 3),
    ],
    said="row b of the tokens begins at starts[b], and the targets are one further in the text",
    slips="""
    starts[:, None] -> starts :: make starts a column, so that a row is added to each: starts[:, None]
    starts[:, None] -> starts && context_length + 1 -> context_length
        :: make starts a column, so that a row is added to each: starts[:, None]
    ids[places] -> ids[starts : starts + context_length + 1]
        :: a slice takes a single start, and here are B of them: look up a table of places, ids[places]
    context_length + 1 -> context_length :: a row has T + 1 characters, one more than T: its last is a target
    context_length + 1 -> context_length && rows[:, :-1], rows[:, 1:] -> rows, rows.roll(-1, 1)
        :: the first token became the last target: a row of T + 1 characters holds all of its targets
    context_length + 1 -> 9 :: your function does not use its argument `context_length`
    rows[:, :-1], rows[:, 1:] -> rows[:, 1:], rows[:, :-1] :: return the tokens first, then the targets
    rows[:, :-1], rows[:, 1:] -> rows, rows :: both are the same: the targets are one further
    rows[:, :-1], rows[:, 1:] -> rows[:, 1:], rows[:, 1:]
        :: both are the targets: the tokens are all but the last
    rows[:, :-1], rows[:, 1:] -> rows[:, :-1], rows[:, :-1] :: both are the same: the targets are one further
    rows[:, :-1], rows -> rows, rows :: the tokens are one too many: all but the last of the T + 1
    rows[:, 1:] -> rows :: the targets are one too many: all but the first of the T + 1
    rows[:, 1:] -> rows[:, -1] :: each of the T places has a target, not only the last one
    rows[:, 1:] -> rows[:, -1:] :: each of the T places has a target, not only the last one
    rows[:, :-1], rows[:, 1:] -> rows[:, :-1] :: return two things
    rows[:, :-1], rows[:, 1:] -> torch.stack([rows[:, :-1], rows[:, 1:]]) :: return two things
    rows[:, :-1], rows[:, 1:] -> rows[:, :-1].tolist(), rows[:, 1:].tolist() :: return two tensors
    ids[places] -> places :: these are places in the text: look up the ids there, ids[places]
    starts[:, None] -> torch.arange(len(starts))[:, None] * context_length
        :: `starts` should say where the rows begin: row b begins at starts[b]
    starts[:, None] -> 0 * starts[:, None] + starts[0] :: all begin at the first start: row b at starts[b]
    starts[:, None] + -> starts + && (context_length + 1) -> (context_length + 1)[:, None]
        && rows[:, :-1], rows[:, 1:] -> rows[:-1], rows[1:]
        :: these are transposed: one row for each start, so the starts are the column, starts[:, None]
    context_length + 1 -> 1, context_length + 2 :: one too far: the tokens begin at the start itself
    context_length + 1 -> context_length + 2 && rows[:, :-1], rows[:, 1:] -> rows[:, :-2], rows[:, 2:]
        :: the targets are two further: they are one further than the tokens
    rows[:, 1:] -> ids[places - 1][:, :-1] :: this is the character before: the targets are one further
    = return ids[:-1], ids[1:] :: return B rows, one for each start
    return -> parts = :: is `return` missing?
    """,
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
    "1.2 · count the pairs",
    """
    def count_pairs(ids, V):
        pairs = ids[:-1] * V + ids[1:]  # (N - 1,)
        return torch.bincount(pairs, minlength=V * V).view(V, V)  # (V, V)
    """,
    run=square,
    cases=[text(40, 5, 0), text(33, 7, 1), text(12, 4, 5)],
    said="compare with the loop over the neighbours",
    slips="""
    ids[:-1] * V + ids[1:] -> ids[1:] * V + ids[:-1] :: this is transposed: rows are this character
    ids[:-1] * V -> ids[:-1] :: this + next is the same for different pairs: number them this * V + next
    ids[:-1] * V -> ids[:-1] * 10 :: there are V characters, not 10: number the pairs this * V + next
    ids[:-1] * V -> ids[:-1] * (V - 1) :: two pairs get the same number: this * V + next
    ids[:-1] * V + ids[1:] -> ids[:-2] * V + ids[2:] :: a pair is two neighbours: yours are two apart
    ids[:-1] * V + ids[1:] -> ids * V + ids.roll(-1)
        :: the last character is followed by nothing: the first does not come after it
    ids[:-1] * V + ids[1:] -> (ids[:-1] * V + ids[1:])[:-1] :: the last pair is missing: there are N − 1
    ids[:-1] * V + ids[1:] -> (ids[:-1] * V + ids[1:])[1:] :: the first pair is missing: there are N − 1
    ids[:-1] * V + ids[1:] -> (ids[:-1] * V + ids[1:])[::2]
        :: pairs overlap: the second character of one is the first of the next
    .view(V, V) -> :: fold the counts into a table: .view(V, V)
    , minlength=V * V -> :: V · V counts are needed: minlength=V * V also counts the pairs that never occur
    def count_pairs(ids, V): -> def count_pairs(ids, V): ⏎     V = ids.max() + 1
        :: V is the size of the vocabulary, even where a character never occurs
    return torch.bincount(pairs, minlength=V * V).view(V, V) -> return pairs
        :: these are the numbers of the pairs: bincount says how often each occurs
    bincount(pairs, minlength=V * V).view(V, V) -> bincount(ids, minlength=V)
        :: these are single characters: a pair is two neighbours
    bincount(pairs, minlength=V * V).view(V, V) -> bincount(ids, minlength=V).expand(V, V)
        :: these are the counts of single characters: a pair is two neighbours
    return torch.bincount(pairs, minlength=V * V).view(V, V)
        -> c = torch.bincount(pairs, minlength=V * V).view(V, V) ⏎ return c / c.sum(1, keepdim=True)
        :: these are probabilities, with 0 / 0 among them: return counts
    return torch.bincount(pairs, minlength=V * V).view(V, V)
        -> c = torch.bincount(pairs, minlength=V * V).view(V, V) ⏎ return c / c.sum(1, keepdim=True).clamp(1)
        :: these are probabilities: return counts
    .view(V, V) -> .view(V, V) / len(pairs) :: these are shares of all pairs: return counts
    .view(V, V) -> .view(V, V) > 0 :: this says which pairs occur: return how often
    = counts = torch.zeros(V, V) ⏎ counts[ids[:-1], ids[1:]] += 1 ⏎ return counts
        :: this says which pairs occur: return how often
    .view(V, V) -> .view(V, V) * 2 :: every pair is counted twice
    .view(V, V) -> .view(V, V) + 1 :: one pair too many in each place: begin with zeros
    (pairs, minlength -> (torch.tensor([1, 2]), minlength :: your function does not use its argument `ids`
    = counts = torch.zeros(V, V) ⏎ for i, j in zip(ids[:-1], ids[1:]): ⏎     counts[i, j] += 1 ⏎ return counts
        :: right, but a loop over a million pairs would take many seconds
    = return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V).tolist() :: return a tensor
    return -> table = :: is `return` missing?
    """,
)


def one_number(check: Check, answer: Any, table: torch.Tensor, *pairs: torch.Tensor) -> Any:
    """Return the loss, which must be infinite where a p is 0, for the pairs and for many more."""
    found, many = without_loop(check, answer, table, *pairs)
    check.that(getattr(found, "ndim", 0) == 0, "return one number: the mean over all pairs")
    hidden = "a pair with p = 0 is infinitely surprising: add nothing to p, and leave no pair out"
    check.that(bool((table[pairs] > 0).all()) or math.isinf(float(found)), hidden)
    return {"loss": found, "loss of many pairs": many}


mean_surprise = lesson.exercise(
    "1.3 · the loss",
    """
    def mean_surprise(table, tokens, targets):
        p = table[tokens, targets]  # (N,)
        return -p.log().mean()
    """,
    run=one_number,
    cases=[
        (random_rows(5, 5, seed=0), random_ids(11, 5, 0), random_ids(11, 5, 9)),
        (random_rows(7, 7, seed=1), random_ids(9, 7, 1), random_ids(9, 7, 10)),
        (torch.eye(2), torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])),
    ],
    said="look up p of each pair, take −ln, then the mean",
    slips="""
    -p.log().mean() -> -p.log2().mean() :: these are bits: nats use the natural logarithm, .log()
    -p.log().mean() -> -p.log10().mean() :: this is the logarithm to base 10: use .log()
    -p.log().mean() -> -p.log1p().mean() :: log1p is ln(1 + p): use .log()
    .mean() -> .sum() :: return the mean, not the sum
    -p.log().mean() -> -p.log2().sum() :: return the mean, not the sum, and in nats: .log()
    -p.log() -> p.log() :: a surprise is never negative: is the minus sign missing?
    -p.log() -> p.log2() :: these are bits, without the minus sign: a surprise is −ln p, .log()
    -p.log().mean() -> -p.mean().log() :: take the surprise of each pair first, then the mean
    -p.log() -> p :: these are probabilities: take −ln of each
    -p.log().mean() -> p.prod() :: this is the probability of the whole text: take −ln of each, then the mean
    -p.log().mean() -> -p.prod().log() :: return the mean, not the sum
    -p.log().mean() -> -p.prod().log() / len(p)
        :: for many pairs the product of all p is 0 as a float: take −ln of each first, then the mean
    [tokens, targets] -> [targets, tokens] :: table[tokens, targets]: the character before is the first index
    [tokens, targets] -> :: this is the mean over the whole table: look up the pairs of the text
    [tokens, targets] -> [tokens][:, targets] :: look up one p for each pair: table[tokens, targets]
    [tokens, targets] -> [tokens][targets] :: put both into one bracket: table[tokens, targets]
    [tokens, targets] -> [tokens] :: this is the mean over whole rows: look up the targets too
    -p.log().mean() -> -p.log() :: return one number
    .mean() -> .median() :: return the mean, not the median
    .mean() -> .max() :: return the mean, not the largest surprise
    -p.log().mean() -> (-p.log().mean()).exp() :: this is the perplexity: the loss is its logarithm
    .mean() -> .sum() / len(table) :: divide by the number of pairs, not by V
    -p.log() -> -p[:-1].log() :: the last pair is missing
    -p.log().mean() -> F.cross_entropy(table[tokens], targets)
        :: cross_entropy expects logits, and these are probabilities: take −ln of each
    -p.log() -> (1 - p) :: this is 1 − p: a surprise is −ln p
    -p.log() -> -(p + 1e-9).log() :: is infinitely surprising
    -p.log() -> -p.clamp(min=1e-6).log() :: is infinitely surprising
    -p.log() -> -p[p > 0].log() :: is infinitely surprising
    = return sum(-table[i, j].log() for i, j in zip(tokens, targets)) / len(tokens)
        :: right, but a loop over a million pairs would take many seconds
    -p.log().mean() -> -math.log(p)
    table[tokens, targets] -> torch.full((7, 7), 0.2)[tokens, targets]
        :: your function does not use its argument `table`
    return -> loss = :: is `return` missing?
    """,
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
    "1.4 · a differentiator",
    """
    class Number:
        def __init__(self, value, made_from=()):
            self.value, self.made_from, self.slope = value, made_from, 0.0

        def __add__(self, other):
            return Number(self.value + other.value, [(self, 1.0), (other, 1.0)])

        def __mul__(self, other):
            return Number(self.value * other.value, [(self, other.value), (other, self.value)])

        def exp(self):
            value = math.exp(self.value)
            return Number(value, [(self, value)])

        def log(self):
            return Number(math.log(self.value), [(self, 1 / self.value)])

        def backward(self):
            self.slope = 1.0
            for number in in_order(self):
                for part, local in number.made_from:
                    part.slope += local * number.slope
    """,
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
    said="{1}",
    slips="""
    [(self, other.value), (other, self.value)] -> [(self, self.value), (other, other.value)]
        :: the local slopes are exchanged: when the first moves by 1, the product moves by the second
    [(self, other.value), (other, self.value)] -> [(self, 1.0), (other, 1.0)]
        :: these are the local slopes of a sum: those of a product are the other factors
    [(self, other.value), (other, self.value)] -> [(self.value, other.value), (other.value, self.value)]
        :: the first of each pair is the Number itself, not its value
    [(self, other.value), (other, self.value)] -> [self, other] :: made_from is a list of pairs
    [(self, other.value), (other, self.value)] -> [(self, other), (other, self)]
        :: a local slope is a plain number
    , [(self, other.value), (other, self.value)] -> :: * is made from 2 Numbers: one pair for each
    Number(self.value * other.value, [(self, other.value), (other, self.value)]) -> self.value * other.value
        :: * must return a Number
    return Number(self.value * -> product = Number(self.value * :: is `return` missing?
    self.value * other.value -> self.value + other.value :: the value of * is wrong: multiply
    Number(value, [(self, value)]) -> Number(value, [(self, 1.0)]) :: exp is its own slope: e to the value
    Number(value, [(self, value)]) -> Number(value, [(self, self.value)])
        :: the local slope of exp is e to the power of the value, not the value
    Number(value, [(self, value)]) -> value :: exp must return a Number
    Number(value, [(self, value)]) -> ... :: exp is still blank
    math.exp(self.value) -> torch.tensor(self.value).exp() :: use math.exp
    1 / self.value -> math.log(self.value) :: this is the logarithm itself: its local slope is 1 / value
    1 / self.value -> self.value :: the local slope of log is 1 / value
    1 / self.value -> 1 / math.log(self.value)
        :: the local slope of log is 1 / value, of the value that goes in
    1 / self.value -> -1 / self.value :: the local slope of log is 1 / value: there is no minus sign
    1 / self.value -> 1.0 :: the local slope of log is 1 / value, not 1
    math.log -> math.log2 :: use the natural logarithm, math.log
    math.log -> math.log10 :: use the natural logarithm, math.log
    return Number(math.log -> found = Number(math.log :: log returned None: is `return` missing?
    self.slope = 1.0 ⏎ for number in in_order(self): ⏎ for part, local in number.made_from:
        ⏎ part.slope += local * number.slope -> return ... :: backward is still blank
    part.slope += -> part.slope = :: add what comes: part.slope += …, since a part may be used twice
    local * number.slope -> local :: along a path slopes multiply: local * number.slope
    local * number.slope -> number.slope :: the local slope is missing: part.slope += local * number.slope
    local * number.slope -> local + number.slope :: along a path slopes multiply: yours are added
    local * number.slope -> local * number.value :: multiply by the number's slope, not by its value
    local * number.slope -> local * self.slope :: along a path slopes multiply: local * number.slope
    self.slope = 1.0 -> :: all slopes are 0: the slope of the result is 1, so set self.slope = 1.0 first
    in_order(self) -> in_order(self)[::-1]
        :: go through all of in_order(self), the result first, then its parts
    in_order(self) -> [self] :: go through all of in_order(self), the result first, then its parts
    part.slope += -> number.slope += :: none of the parts gets a slope: part.slope += …
    part.slope += -> self.slope += :: none of the parts gets a slope: part.slope += …
    self.slope = 1.0 -> for number in in_order(self): ⏎     number.slope = 0.0 ⏎ self.slope = 1.0
        :: a second result adds to the slopes that are there: clear none
    self.slope = 1.0 ⏎ for number in in_order(self): ⏎ for part, local in number.made_from:
        ⏎ part.slope += local * number.slope -> self.slope = self.slope or 1.0
        ⏎ for part, local in self.made_from: ⏎     part.slope += local * self.slope ⏎     part.backward()
        :: a number passes its slope on only when it is complete, and once: in_order(self) gives that order
    self.slope = 1.0 ⏎ for number in in_order(self): ⏎ for part, local in number.made_from:
        ⏎ part.slope += local * number.slope -> self.slope = 1.0 ⏎ def go(number):
        ⏎     for part, local in number.made_from: ⏎         part.slope += local * number.slope
        ⏎         go(part) ⏎ go(self)
        :: a number passes its slope on only when it is complete, and once: in_order(self) gives that order
    for number in in_order(self): -> waiting = [self] ⏎ while waiting: ⏎     number = waiting.pop(0)
        && number.slope -> number.slope ⏎ waiting.append(part)
        :: a number passes its slope on only when it is complete, and once: in_order(self) gives that order
    for number in in_order(self): -> waiting, seen = [self], [] ⏎ while waiting: ⏎     number = waiting.pop(0)
        ⏎     if number in seen: ⏎         continue ⏎     seen.append(number) && number.slope -> number.slope
        ⏎ waiting.append(part)
        :: a number passes its slope on only when it is complete, and once: in_order(self) gives that order
    for number in in_order(self): -> waiting, seen = [self], [] ⏎ while waiting: ⏎     number = waiting.pop()
        ⏎     if number in seen: ⏎         continue ⏎     seen.append(number) && number.slope -> number.slope
        ⏎ waiting.append(part)
        :: a number passes its slope on only when it is complete, and once: in_order(self) gives that order
    """,
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
    "1.5 · downhill",
    """
    def descend(loss_at, V, steps, rate):
        logits, losses = torch.zeros(V, V, requires_grad=True), []
        for step in range(steps):
            loss = loss_at(logits, step)
            loss.backward()  # fills logits.grad
            with torch.no_grad():
                logits -= rate * logits.grad
            logits.grad = None  # else the next slopes would be added to these
            losses.append(loss.item())
        return logits.detach(), losses
    """,
    run=way_down,
    cases=[(bowl(4, 0), 4, 7, 0.5), (bowl(3, 1), 3, 5, 0.25), (bowl(3, 2), 3, 1, 0.25)],
    said="compare with the loop above: the loss, its slopes, a step against them, slopes cleared",
    slips="""
    logits.grad = None -> :: backward adds to logits.grad: set it to None after each step
    logits.grad = None -> logits.grad.zero_ :: backward adds to logits.grad: set it to None after each step
    -= rate -> += rate :: this goes uphill: move against the slopes, with a minus
    rate * logits.grad -> logits.grad :: your function does not use its argument `rate`
    rate * logits.grad -> logits.grad / rate :: multiply by the rate, don't divide: rate * logits.grad
    with torch.no_grad(): ⏎ logits -= -> logits -= :: the move needs no record: use `with torch.no_grad():`
    logits -= rate * logits.grad -> logits = logits - rate * logits.grad
        :: after one step the record is lost: `logits = …` makes a new tensor, `logits -= …` keeps it
    with torch.no_grad(): ⏎ logits -= rate * logits.grad -> logits = logits - rate * logits.grad
        :: after one step the record is lost: `logits = …` makes a new tensor, `logits -= …` keeps it
    , requires_grad=True -> :: no record was kept: torch.zeros(V, V, requires_grad=True)
    loss.backward() -> :: logits.grad is still None: loss.backward() fills it, before the move
    (logits, step) -> (logits, 0) :: tell loss_at which step it is: loss_at(logits, step)
    (logits, step) -> (logits, steps) :: loss_at gets the step, not the number of steps
    (logits, step) -> (logits, step + 1) :: the first step is 0: loss_at(logits, step)
    range(steps) -> range(steps - 1) :: one step too few: range(steps)
    range(steps) -> range(steps + 1) :: one step too many: range(steps)
    range(steps) -> range(300) :: your function does not use its argument `steps`
    losses.append(loss.item()) -> losses.append(loss.item()) ⏎ return logits.detach(), losses
        :: only the first step was made: is `return` inside the loop?
    rate * logits.grad -> 0 * rate * logits.grad :: the logits did not move
    torch.zeros -> torch.ones :: begin with logits of 0
    torch.zeros(V, V -> torch.zeros(5, 5 :: your function does not use its argument `V`
    return logits.detach(), losses -> return losses :: return two things
    return logits.detach(), losses -> return logits.detach() :: return two things
    return logits.detach(), losses -> return losses, logits.detach() :: the logits come first
    return logits.detach(), losses -> return logits.detach(), loss.item() :: return a list of losses
    return logits.detach(), losses -> return logits, losses :: drops the record
    losses.append(loss.item()) -> losses.append(loss) :: the losses are plain numbers
    losses.append(loss.item()) -> losses.append(loss.detach()) :: the losses are plain numbers
    losses.append(loss.item()) -> losses.append(loss_at(logits, step).item())
        :: this is the loss after the move: measure it before
    losses.append(loss.item()) -> :: append the loss of each step
    return -> end = :: is `return` missing?
    """,
)
