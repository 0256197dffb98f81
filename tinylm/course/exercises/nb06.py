"""Exercises of notebook 06_custom_losses."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinylm.batch import Batch
from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.text.addition import write_sum as written

lesson = Lesson(__file__)
EQUALS = lesson.names["EQUALS"] = 12  # in the alphabet of the sums, "\n+0123456789="

write_sum = lesson.exercise(
    "write_sum",
    cases=[(7, 45), (120, 3), (999, 999), (0, 0), (500, 499)],
)


def pair_of_tensors(check: Check, answer: Any, ids: Tensor, length: int) -> Any:
    """Return tokens and targets."""
    found = call(check, answer, ids, length)
    check.that(isinstance(found, tuple | list) and len(found) == 2, "return two things: tokens, targets")
    check.that(all(isinstance(part, Tensor) for part in found), "tokens and targets are tensors")
    return tuple(found)


to_rows = lesson.exercise(
    "to_rows",
    run=pair_of_tensors,
    cases=[
        (torch.randperm(n * length, generator=torch.Generator().manual_seed(n)), length)
        for n, length in ((6, 4), (3, 13))
    ],
)

least_loss = lesson.exercise(
    "least_loss",
    cases=[(3,), (1,), (5,)],
)


def marks() -> list[tuple[Tensor, int]]:
    """Make rows with an = at five places: one row has none, and one has a second one."""
    tokens = torch.randint(12, (6, 9), generator=torch.Generator().manual_seed(2))
    tokens[torch.arange(5), torch.tensor([4, 6, 0, 8, 4])] = EQUALS
    tokens[0, 7] = EQUALS
    return [(tokens, EQUALS), ((tokens + 5) % 13, (EQUALS + 5) % 13)]


is_result = lesson.exercise(
    "is_result",
    cases=marks,
)


def nats(check: Check, answer: Any, tokens: Tensor, targets: Tensor, logits: Tensor, *weight: float) -> Any:
    """Return the nats, which need a gradient, for a model that gives these logits for these tokens."""
    leaf = logits.clone().requires_grad_()

    def model(read: Tensor) -> Tensor:
        told = "the model reads the whole line: give it `tokens`; only the targets change"
        check.that(torch.equal(read, tokens), told)
        return leaf * 1  # computed now: under no_grad there is no gradient

    found = check.run(answer, model, Batch(tokens.clone(), targets.clone()), *weight)
    pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
    check.that(pair, "return two things, as in `return nats, {}`")
    learns = isinstance(found[0], Tensor) and found[0].requires_grad
    check.that(learns, "nothing can be learnt through it: no .item(), .detach() or no_grad")
    check.that(leaf.grad is None, "leave out backward(): it belongs to the loop")
    return found[0]


def lines(*pairs: tuple[int, int], digits: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """Return tokens and targets of these sums, (B, T) each, and logits, (B, T, V)."""
    text = "".join(written(a, b, digits=digits) for a, b in pairs)
    rows = torch.tensor(["\n+0123456789=".index(c) for c in text]).view(len(pairs), -1)
    return rows[:, :-1], rows[:, 1:], random(len(pairs), rows.shape[1] - 1, 13, seed=seed)


result_loss = lesson.exercise(
    "result_loss",
    run=nats,
    cases=[lines((7, 45), (999, 1), (120, 3), seed=3), lines((3, 4), (61, 7), digits=2, seed=2)],
)


def guesses() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Make logits, targets and what is scored, with rows that are right or wrong on purpose."""
    generator, made = torch.Generator().manual_seed(4), []
    for B, T, V in ((8, 5, 3), (5, 8, 5), (61, 7, 3)):
        targets = torch.randint(V, (B, T), generator=generator)
        logits = random(B, T, V, seed=B) + 2.5 * F.one_hot(targets, V)
        scored = torch.rand(B, T, generator=generator) < 0.6
        scored[:, -1] = scored[2] = True
        logits[0] = F.one_hot((targets[0] + (~scored[0]).long()) % V, V)  # wrong where nobody looks
        logits[1] = F.one_hot((targets[1] + scored[1].long()) % V, V)
        logits[2] = F.one_hot(targets[2], V)
        if T > 5:  # more right ones outside `scored` than wrong ones inside, and a row that asks nothing
            scored[3] = torch.arange(T) >= T - 2
            logits[3] = F.one_hot(targets[3], V).roll(1, 1) * 1.0
            logits[3, : T - 2] = F.one_hot(targets[3, : T - 2], V) * 1.0
            scored[4] = False
        made.append((logits, targets, scored))
    return made


exact_match = lesson.exercise(
    "exact_match",
    cases=guesses,
)

waits = lesson.exercise(
    "waits",
    cases=[(*torch.randint(1000, (2, 4000), generator=torch.Generator().manual_seed(5)),), (145, 254)],
)

sort_line = lesson.exercise(
    "sort_line",
    cases=[("3142",), ("9009",), ("0000",), ("10",), ("00321",), ("7654321",)],
)

weighted_loss = lesson.exercise(
    "weighted_loss",
    run=nats,
    cases=[
        (*lines((7, 45), (999, 1), (120, 30 + seed), seed=seed), weight)
        for seed, weight in enumerate((0.25, 0.0, 1.0, 3.0))
    ],
)
