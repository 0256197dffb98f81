"""Exercises of notebook 04_training."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call
from tinylm.model.losses import cross_entropy

lesson = Lesson(__file__)
ONCE, FLOAT = "the optimiser steps once", "return a float: .item() makes one of a tensor"


class Counted(torch.optim.SGD):
    """SGD at rate 1, which moves by the gradient itself, and counts its steps."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        """Count one more."""
        self.steps += 1
        return super().step(closure)


def started(tokens: Tensor, targets: Tensor) -> tuple[nn.Module, Counted, Tensor]:
    """Return a small model that still has the gradient of an earlier step, its optimiser and its weights."""
    model = numbered(nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 11)))
    cross_entropy(model(tokens), targets).backward()
    return model, Counted(model.parameters(), lr=1.0), flat(model.parameters())


def flat(tensors: Any) -> Tensor:
    """Return all numbers of these tensors in one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def ids(*shape: int, seed: int) -> Tensor:
    """Return token ids below 11."""
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(seed))


def trained(check: Check, answer: Any, part: str, seed: int) -> Any:
    """Return one part of what a step does: its gradient, its loss, or the mode of the model after it."""
    tokens, targets = ids(2, 4, 7, seed=seed)
    model, sgd, start = started(tokens, targets)
    loss = call(check, answer, model, sgd, tokens, targets)
    check.that(sgd.steps < 2, ONCE)
    check.that(not isinstance(loss, Tensor), FLOAT)
    gradient = start - flat(model.parameters())
    return {"gradient": gradient, "training mode": model.training, "loss": loss}[part]


training_step = lesson.exercise(
    "training_step",
    run=trained,
    cases=[(part, seed) for seed in (0, 1) for part in ("gradient", "training mode", "loss")],
    rtol=1e-3,
    atol=1e-5,
)


def two_things(check: Check, answer: Any, part: str, *case: Any) -> Any:
    """Return the new m or the new w."""
    found = call(check, answer, *case)
    pair = isinstance(found, tuple | list) and len(found) == 2
    check.that(pair, "return two things: the new w, and the new m")
    return found[part == "m"]


W, M, SLOPE = torch.tensor([[1.0, -2.0, 3.0], [4.0, -3.0, 0.5], [0.7, 0.2, -6.0]])  # (3,) each

momentum = lesson.exercise(
    "momentum",
    run=two_things,
    cases=[(part, W, M, SLOPE, *rest) for rest in ((0.3,), (2.0, 0.75)) for part in "mw"],
)

SIZES = {"lr": 0.05, "betas": (0.8, 0.9), "epsilon": 0.03, "weight_decay": 0.2}
DEFAULTS = {"betas": (0.9, 0.99), "epsilon": 1e-8, "weight_decay": 0.1}


def moved(check: Check, answer: Any, part: str, settings: dict[str, Any]) -> Any:
    """Return where six steps lead, or whether the slopes stay, or whether zero_grad clears them.

    The rate is halved after three. A second optimiser, which steps once before, must not matter."""
    asked = inspect.signature(answer).parameters
    for name, value in DEFAULTS.items():
        check.that(name in asked and asked[name].default == value, f"the default of {name} is {value}")
    for steps in (1, 6):
        parameters = [nn.Parameter(torch.full(shape, 1.5, dtype=torch.float64)) for shape in ((2, 3), (5,))]
        optimizer, slopes = answer(iter(parameters), **settings), []
        for t in range(steps):
            slopes = [random(2, 3, seed=t).double(), 0.02 * random(5, seed=t + 9).double()]
            for p, slope in zip(parameters, slopes, strict=True):
                p.grad = slope.clone()
            if t == 3:
                optimizer.lr = settings["lr"] / 2
            check.attempted(optimizer.step() or True)
    stay = [p.grad is not None and torch.equal(p.grad, s) for p, s in zip(parameters, slopes, strict=True)]
    optimizer.zero_grad()
    cleared = all(p.grad is None or not p.grad.any() for p in parameters)
    return {"place": flat(parameters), "slopes": all(stay), "cleared": cleared}[part]


AdamW = lesson.exercise(
    "AdamW",
    run=moved,
    cases=[(part, settings) for part in ("place", "slopes", "cleared") for settings in (SIZES, {"lr": 0.1})],
    rtol=1e-6,
    atol=1e-9,
)


def rates(check: Check, answer: Any, plan: dict[str, Any]) -> Any:
    """Return the rate of each step, those of the warm-up apart."""
    found, W = [answer(step, **plan) for step in range(plan["steps"])], plan["warmup_steps"]
    check.attempted(*(rate for rate in found if rate is ...), found[0])
    gap = next((step for step, rate in enumerate(found) if rate is None), None)
    check.that(gap is None, f"at step {gap} your function returned None: is a `return` missing?")
    return {"warm-up": found[:W], "after it": found[W:]}


cosine = lesson.exercise(
    "cosine",
    run=rates,
    cases=[
        ({"peak": 2e-3, "minimum": 3e-4, "warmup_steps": 7, "steps": 104},),
        ({"peak": 1.0, "minimum": 0.1, "warmup_steps": 0, "steps": 11},),
    ],
    atol=1e-9,
)


def clipped(check: Check, answer: Any, part: str, slopes: tuple[Tensor, ...], limit: float) -> Any:
    """Return the slopes after clipping, or the length that the answer returns."""
    parameters = [nn.Parameter(torch.ones_like(slope)) for slope in slopes]
    for p, slope in zip(parameters, slopes, strict=True):
        p.grad = slope.clone()
    length = check.run(answer, parameters, limit)
    check.that((flat(parameters) == 1).all(), "the weights have changed: clip scales p.grad")
    check.that(all(p.grad is not None for p in parameters), "the slopes are gone: scale them")
    check.that(isinstance(length, Tensor | float | int), "return the length, one number")
    return {"slopes": flat(p.grad for p in parameters), "length": length}[part]


SLOPES = torch.tensor([[3.0, -1.0], [0.0, 4.0]]), torch.tensor([6.0, -2.0, 0.5])
NONE = tuple(torch.zeros_like(slope) for slope in SLOPES)

clip = lesson.exercise(
    "clip",
    run=clipped,
    cases=[
        *(("slopes", SLOPES, limit) for limit in (100.0, 2.0, 1.5)),
        *(("length", SLOPES, limit) for limit in (100.0, 2.0)),
        ("slopes", NONE, 1.0),
    ],
    rtol=1e-3,
)


def whole(check: Check, answer: Any, part: str, n: int, limit: float) -> Any:
    """Return one part of what a big step on 12 sequences in n pieces does."""
    tokens, targets = ids(2, 12, 8, seed=4)
    model, sgd, start = started(tokens, targets)
    sequences, passes = [], []
    model.register_forward_pre_hook(lambda _, given: sequences.append(len(given[0])))
    model[1].weight.register_hook(lambda _: passes.append(1))  # once in each backward pass
    loss = check.run(answer, model, sgd, list(zip(tokens.chunk(n), targets.chunk(n), strict=True)), limit)
    check.that(sgd.steps < 2, f"{ONCE}, after the last piece")
    check.that(not isinstance(loss, Tensor), FLOAT)
    gradient = start - flat(model.parameters())
    found = {"gradient": gradient, "clipped gradient": gradient, "loss": loss}
    return (found | {"number of sequences at once": max(sequences), "passes": len(passes)})[part]


big_step = lesson.exercise(
    "big_step",
    run=whole,
    cases=[
        *(("gradient", n, 1e9) for n in (3, 4)),
        *(("clipped gradient", n, 0.1) for n in (3, 4)),
        *(("loss", n, 1e9) for n in (3, 4)),
        ("number of sequences at once", 3, 1e9),
        ("passes", 3, 1e9),
    ],
    rtol=1e-3,
    atol=1e-5,
)
