"""Exercises of notebook 04_training."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call
from tinylm.model.losses import cross_entropy

IMPORTS = """
import math
import torch
from torch import nn
from tinylm.model.losses import cross_entropy
"""
lesson = Lesson("04", IMPORTS)
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
    "4.1 · the training step",
    """
    def training_step(model, optimizer, tokens, targets):
        loss = cross_entropy(model(tokens), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    """,
    run=trained,
    cases=[(part, seed) for seed in (0, 1) for part in ("gradient", "training mode", "loss")],
    said="the {0} should be that of this batch, before the step",
    rtol=1e-3,
    atol=1e-5,
    slips="""
    optimizer.step() ->  :: nothing moved: backward(), then step()
    loss.backward() ->  :: nothing moved: backward(), then step()
    optimizer.step() -> optimizer.zero_grad() ⏎ optimizer.step() :: nothing moved: backward(), then step()
    optimizer.zero_grad() -> :: zero_grad() must come before backward(): an old gradient may be there
    optimizer.zero_grad() -> optimizer.step() ⏎ optimizer.zero_grad() && backward() ⏎ optimizer.step()
        -> backward() :: backward() must come before step()
    loss.backward() -> (-loss).backward() :: uphill: the optimiser already has the minus
    model(tokens), targets) -> model(tokens), tokens) :: the targets are what comes next, not the tokens
    loss = -> loss = targets.numel() * :: take the mean of the losses, not their sum
    loss.backward() -> (loss * targets.numel()).backward() :: take the mean of the losses, not their sum
    (tokens), -> (tokens).softmax(-1), :: cross_entropy takes the logits: no softmax before it
    cross_entropy(m -> nn.functional.cross_entropy(m :: torch's own wants flat logits (N, V): use ours
    optimizer.step() -> optimizer.step() ⏎ optimizer.step() :: the optimiser steps once
    loss = -> model.eval() ⏎ loss = :: leave the model in training mode: eval() switches dropout off
    return loss.item() -> return loss :: return a float
    return loss.item() -> print(loss.item()) :: is `return` missing?
    loss.item() -> cross_entropy(model(tokens), targets).item() :: that is the loss after the step
    optimizer.step() -> for p in model.parameters(): ⏎     p.data -= 0.5 * p.grad
    """,
)


def two_things(check: Check, answer: Any, part: str, *case: Any) -> Any:
    """Return the new m or the new w."""
    found = call(check, answer, *case)
    pair = isinstance(found, tuple | list) and len(found) == 2
    check.that(pair, "return two things: the new w, and the new m")
    return found[part == "m"]


W, M, SLOPE = torch.tensor([[1.0, -2.0, 3.0], [4.0, -3.0, 0.5], [0.7, 0.2, -6.0]])  # (3,) each

momentum = lesson.exercise(
    "4.2 · momentum",
    """
    def momentum(w, m, slope, rate, beta=0.9):
        m = beta * m + (1 - beta) * slope
        return w - rate * m, m
    """,
    run=two_things,
    cases=[(part, W, M, SLOPE, *rest) for rest in ((0.3,), (2.0, 0.75)) for part in "mw"],
    said="the new {0} is not that of the formula: w moves by the new m",
    slips="""
    beta * m + (1 - beta) * slope -> (1 - beta) * m + beta * slope :: beta is the share of m that stays
    (1 - beta) * slope -> slope :: m is a mean: the new slope counts 1 - beta
    beta * m + -> m + :: the old m counts beta of itself
    = return w - rate * m, m :: m is still the old one: nothing new is remembered
    beta * m + (1 - beta) * slope -> slope :: that is the slope alone: nothing is remembered
    beta * m + ->  :: beta times the old m is missing
    * slope -> * slope**2 :: the mean of the slope is asked here, not of its square
    (1 - beta) * -> (1 - beta) * rate * && w - rate * m -> w - m :: the rate belongs to w, not to m
    beta * m + (1 - beta) -> 0.9 * m + 0.1 :: beta is an argument: it is not always 0.9
    beta * m + (1 - beta) -> rate * m + (1 - rate) :: beta and the rate are exchanged
    w - rate * m, m -> m, w - rate * m :: the new w comes first, then the new m
    w - rate -> w + rate :: uphill: w moves against m
    m = beta * m -> old, m = m, beta * m && - rate * m -> - rate * old
        :: move by the new m, not by the old one
    w - rate * m -> w - rate * slope :: move by m, not by the slope
    w - rate * m -> w :: w has not moved
    w - rate * m -> w - m :: the rate is missing
    w - rate * m -> rate * m :: that is the move alone: the new w is asked
    w - rate * m -> -rate * m :: that is the move alone: the new w is asked
    rate * m -> rate * (1 - beta) * m :: 1 - beta is in m already
    w - rate * m, m -> w - rate * m :: return two things: the new w, and the new m
    return -> m = :: is `return` missing?
    beta * m + (1 - beta) * slope -> m.mul_(beta).add_((1 - beta) * slope) :: your function changes a tensor
    m = beta * m + -> m = beta * m - && w - rate -> w + rate
    """,
)

SIZES = {"lr": 0.05, "betas": (0.8, 0.9), "epsilon": 0.03, "weight_decay": 0.2}
DEFAULTS = {"betas": (0.9, 0.99), "epsilon": 1e-8, "weight_decay": 0.1}


def moved(check: Check, answer: Any, part: str, settings: dict[str, Any]) -> Any:
    """Return where six steps lead, or whether the slopes stay. The rate is halved after three.

    A second optimiser, which steps once before, must not matter."""
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
    return {"place": flat(parameters), "slopes": all(stay)}[part]


AdamW = lesson.exercise(
    "4.3 · AdamW",
    """
    class AdamW:
        def __init__(self, parameters, lr, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.1):
            self.parameters = list(parameters)
            self.lr, self.betas, self.epsilon, self.decay = lr, betas, epsilon, weight_decay
            self.m = [torch.zeros_like(p) for p in self.parameters]
            self.v = [torch.zeros_like(p) for p in self.parameters]
            self.steps = 0

        def zero_grad(self):
            for p in self.parameters:
                p.grad = None

        @torch.no_grad()
        def step(self):
            self.steps += 1
            beta1, beta2 = self.betas
            for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
                m.mul_(beta1).add_((1 - beta1) * p.grad)
                v.mul_(beta2).add_((1 - beta2) * p.grad.square())
                m_hat, v_hat = m / (1 - beta1**self.steps), v / (1 - beta2**self.steps)
                p -= self.lr * self.decay * p
                p -= self.lr * m_hat / (v_hat.sqrt() + self.epsilon)
    """,
    run=moved,
    cases=[(part, settings) for part in ("place", "slopes") for settings in (SIZES, {"lr": 0.1})],
    said="compare with the five formulas, after six steps",
    rtol=1e-6,
    atol=1e-9,
    slips="""
    p -= self.lr * self.decay * p ->  :: where is the weight decay?
    self.lr * self.decay * p -> self.decay * p :: the decay is the rate times weight_decay times p
    p -= self.lr * self.decay -> p += self.lr * self.decay :: the decay adds to p: subtract it
    p -= self.lr * self.decay * p ->  && m.mul_ -> p.grad += self.decay * p ⏎ m.mul_
        :: that is Adam: subtract the decay from p, and don't add it to the slope
    **self.steps -> **math.inf :: the hats are missing: divide m by 1 - beta1 ** t, and v by 1 - beta2 ** t
    m / (1 - beta1**self.steps) -> m :: m has no hat: divide it by 1 - beta1 ** t
    v / (1 - beta2**self.steps) -> v :: v has no hat: divide it by 1 - beta2 ** t
    beta1, beta2 = -> beta2, beta1 = :: the betas are exchanged: the first belongs to m, the second to v
    v_hat.sqrt() + self.epsilon -> (v_hat + self.epsilon).sqrt() :: epsilon is inside the root: it is √v̂ + ε
    v_hat.sqrt() + self.epsilon -> v_hat.sqrt() :: where is epsilon? It is not always 1e-8
    v_hat.sqrt() + self.epsilon -> v_hat.sqrt() + 1e-8 :: where is epsilon? It is not always 1e-8
    v_hat.sqrt() -> v_hat :: divide by the root of v, not by v
    p.grad.square() -> p.grad.abs() :: v is the mean of the slope's square
    (1 - beta1) * p -> p && (1 - beta2) * p -> p :: both are means: what is new counts 1 - beta
    (1 - beta1) * p.grad -> p.grad :: m is a mean: what is new counts 1 - beta1
    (1 - beta2) * p.grad -> p.grad :: v is a mean: what is new counts 1 - beta2
    p -= self.lr * m_hat -> p += self.lr * m_hat :: uphill: a parameter moves against m
    self.lr * m_hat -> self.lr * p.grad :: the numerator is m, not the slope of this step
    m_hat / (v_hat.sqrt() + self.epsilon) -> m_hat :: that is momentum alone: divide by √v̂
    self.steps += 1 ->  && m.mul_ -> self.steps += 1 ⏎ m.mul_ :: count once a step, not once a parameter
    m.mul_(beta1).add_( -> m = ( && v.mul_(beta2).add_( -> v = (
        :: m and v are 0 again at each step: keep them
    torch.zeros_like(p) -> p.detach().clone() :: m and v begin at 0, not at the parameters
    self.lr -> self.rate :: the rate is read too early: self.lr may change from step to step
    m.mul_(beta1).add_( -> m = ( :: m is forgotten: `m = …` makes a new tensor, so change m in place
    v.mul_(beta2).add_( -> v = ( :: v is forgotten: `v = …` makes a new tensor, so change v in place
    m / (1 -> m.div_(1 && v / (1 -> v.div_(1 :: keep m and v without their hats
    m / (1 -> m.div_(1 :: keep m without its hat: the hat is for the move alone
    v / (1 -> v.div_(1 :: keep v without its hat: the hat is for the move alone
    p -= self.lr * self.decay * p ->  && + self.epsilon) -> + self.epsilon) ⏎ p -= self.lr * self.decay * p
        :: the decay takes the weight before the move
    self.decay * p -> self.decay * p * (p.ndim > 1) :: each p decays here, vectors too
    p -= self.lr * m_hat -> p = p - self.lr * m_hat :: only the decay arrives: `p -= …` changes p, not `p = …`
    p -= self.lr -> p = p - self.lr :: nothing moved: `p -= …` changes p, `p = …` makes a new tensor
    beta2 = self.betas -> beta2 = self.betas[:1] * 2 :: v has a beta of its own, the second
    v.mul_(beta2).add_((1 - beta2) -> v.mul_(beta1).add_((1 - beta1) :: v has a beta of its own, the second
    self.steps = 0 -> self.steps = 1 :: the first step has t = 1: set self.steps = 0 in __init__
    self.steps = 0 -> AdamW.steps = getattr(AdamW, "steps", 0) && self.steps += 1 -> AdamW.steps += 1
        :: the first step has t = 1: set self.steps = 0 in __init__
    **self.steps -> **(self.steps - 1) :: your numbers are not finite: count from 1, since 1 - beta ** 0 is 0
    p.grad.square() -> p.grad :: a v is negative, and has no root: is the square missing?
    self.v, strict -> self.m, strict :: self.m and self.v are the same list: make two
    p.grad.square() -> p.grad.square_() :: step must leave p.grad as it is
    + self.epsilon) -> + self.epsilon) ⏎ p.grad = None :: step must leave p.grad as it is
    @torch.no_grad() ->  :: put @torch.no_grad() above step
    beta2 = self.betas -> beta2 = 0.9, 0.99 :: betas is an argument: it is not always (0.9, 0.99)
    self.decay * p -> 0.1 * p :: weight_decay is an argument: it is not always 0.1
    betas=(0.9, 0.99) -> betas=(0.9, 0.999) :: the default of betas is (0.9, 0.99)
    self.decay * p -> self.decay
    """,
)


def rates(check: Check, answer: Any, plan: dict[str, Any]) -> Any:
    """Return the rate of each step, those of the warm-up apart."""
    found, W = [answer(step, **plan) for step in range(plan["steps"])], plan["warmup_steps"]
    check.attempted(*(rate for rate in found if rate is ...), found[0])
    gap = next((step for step, rate in enumerate(found) if rate is None), None)
    check.that(gap is None, f"at step {gap} your function returned None: is a `return` missing?")
    return {"warm-up": found[:W], "after it": found[W:]}


cosine = lesson.exercise(
    "4.4 · the cosine",
    """
    def cosine(step, *, peak, minimum, warmup_steps, steps):
        if step < warmup_steps:
            return peak * (step + 1) / (warmup_steps + 1)
        p = (step - warmup_steps) / (steps - 1 - warmup_steps)
        return minimum + (peak - minimum) * (1 + math.cos(math.pi * p)) / 2
    """,
    run=rates,
    cases=[
        ({"peak": 2e-3, "minimum": 3e-4, "warmup_steps": 7, "steps": 104},),
        ({"peak": 1.0, "minimum": 0.1, "warmup_steps": 0, "steps": 11},),
    ],
    said="compare with the formulas, at p = 0 and p = 1 too",
    atol=1e-9,
    slips="""
    if step < warmup_steps -> warmup_steps = 0 ⏎ if False :: where is the warm-up?
    * (step + 1) / (warmup_steps + 1) ->  :: where is the warm-up? It begins at the peak
    return peak * -> return minimum + (peak - minimum) * :: the minimum has no part in the warm-up
    step < warmup_steps -> False :: before step W it is peak · (t + 1) / (W + 1)
    peak * (step + 1) / (warmup_steps + 1) -> peak * step / warmup_steps :: step 0 already learns: step + 1
    peak * (step + 1) -> peak * step :: step 0 already learns: count from step + 1
    / (warmup_steps + 1) -> / warmup_steps :: step W is the first at the peak: (step + 1) / (W + 1)
    minimum + (peak - minimum) * (1 -> peak * (1 :: the rate falls to 0, not to the minimum
    minimum + (peak - minimum) -> minimum + peak :: the rate loses peak - minimum, not the whole peak
    (1 + math.cos(math.pi * p)) / 2 -> (1 + math.cos(math.pi * p)) :: the ½ is missing
    (1 + math -> (1 - math :: upside down: at p = 0 it has the peak
    (1 + math.cos(math.pi * p)) / 2 -> (1 - p) :: a straight line: half a cosine is asked
    math.pi * p -> p :: π is missing
    math.pi * p -> 2 * math.pi * p :: a whole cosine: half of one is asked, with π and not 2π
    (steps - 1 - warmup_steps) -> (steps - warmup_steps) :: one step late: the last is steps - 1
    (step - warmup_steps) -> step && - 1 - warmup_steps -> - 1 :: p begins where the warm-up ends: step - W
    - 1 - warmup_steps -> - 1 :: subtract W in the denominator of p, too
    minimum + (peak - minimum) * (1 + math.cos(math.pi * p)) / 2 -> peak :: the fall is missing
    minimum + (peak - minimum) * ->  :: the whole formula, not the share alone
    return minimum -> minimum :: at step 7 your function returned None
    (1 + math.cos(math.pi * p)) / 2 -> math.cos(math.pi * p / 2) :: a quarter of a cosine: half is asked
    warmup_steps) / (steps -> warmup_steps) // (steps
    """,
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
    "4.5 · clip",
    """
    def clip(parameters, limit):
        length = sum(p.grad.square().sum() for p in parameters).sqrt()
        if length > limit:
            for p in parameters:
                p.grad *= limit / length
        return length
    """,
    run=clipped,
    cases=[
        *(("slopes", SLOPES, limit) for limit in (100.0, 2.0, 1.5)),
        *(("length", SLOPES, limit) for limit in (100.0, 2.0)),
        ("slopes", NONE, 1.0),
    ],
    said="scale all slopes by min(1, limit / length), and return the length before that",
    rtol=1e-3,
    slips="""
    length > limit -> limit && limit / length -> min(1.0, limit / p.grad.norm())
        :: each parameter has a length of its own here: one length is asked, of all together
    p.grad *= limit / length -> p.grad.clamp_(-limit, limit)
        :: that cuts each number: the direction should stay
    p.grad *= limit / length -> p.grad.clamp_(max=limit) :: that cuts each number: the direction should stay
    .sqrt() ->  :: the root is missing: the length is the root of the sum of squares
    .square() -> .abs() && .sqrt() ->  :: that is the sum of the sizes: square them, add, and take the root
    .square().sum() -> .norm() && .sqrt() ->  :: that is the sum of the parameters' lengths: add the squares
    sum(p -> max(p && .square().sum() -> .abs().max() && .sqrt() ->
        :: that is the largest number: add the squares
    parameters).sqrt() -> parameters[:1]).sqrt() :: that is the length of the first parameter alone
    parameters).sqrt() -> parameters[-1:]).sqrt() :: that is the length of the last parameter alone
    p.grad.square() -> p.detach().square() :: that is the length of the weights: take p.grad
    length > limit -> limit :: shorter slopes stay as they are: never scale up
    length > limit -> length < limit :: shorter slopes stay as they are: never scale up
    limit / length -> length / limit :: upside down: the factor is limit / length
    limit / length -> length / limit && length > limit -> limit :: upside down: the factor is limit / length
    limit / length -> 1 / length :: the new length should be `limit`, not 1
    limit / length -> 1 / length && length > limit -> limit :: the new length should be `limit`, not 1
    p.grad *= limit -> p.grad * limit :: nothing is scaled: p.grad *= … does it
    limit / length -> limit // length :: the gradient becomes 0: it should keep its direction
    p.grad *= -> p.data *= :: the weights have changed: clip scales p.grad
    p.grad *= limit / length -> p.grad = None :: the slopes are gone: scale them
    return length -> return length**2 :: the root is missing
    return length -> return limit / length :: that is the factor: return the length
    return length -> return min(1.0, limit / length) :: that is the factor: return the length
    return length -> return min(length, limit) :: that is the length after clipping
    return length -> print(length) :: is `return` missing?
    return length -> return parameters :: return the length, one number
    length > limit -> limit / length.item() < 1
        :: slopes that are all 0 have length 0: divide only where it is above the limit
    """,
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
    "4.6 · the big step",
    """
    def big_step(model, optimizer, pieces, limit):
        optimizer.zero_grad()
        total = 0.0
        for tokens, targets in pieces:
            loss = cross_entropy(model(tokens), targets) / len(pieces)
            loss.backward()
            total += loss.item()
        clip([*model.parameters()], limit)
        optimizer.step()
        return total
    """,
    run=whole,
    cases=[
        *(("gradient", n, 1e9) for n in (3, 4)),
        *(("clipped gradient", n, 0.1) for n in (3, 4)),
        *(("loss", n, 1e9) for n in (3, 4)),
        ("number of sequences at once", 3, 1e9),
        ("passes", 3, 1e9),
    ],
    said="the {0} should be that of the whole batch, before the step",
    rtol=1e-3,
    atol=1e-5,
    slips="""
    loss = -> optimizer.zero_grad() ⏎ loss = :: only the last piece is left: clear before the loop
    loss = -> optimizer.zero_grad() ⏎ loss = && / len(pieces) ->
        :: only the last piece is left, as if it were all
    / len(pieces) ->  :: divide each loss by the number of pieces
    optimizer.zero_grad() ->  :: the slopes of the step before are still there: clear them
    optimizer.zero_grad() ->  && / len(pieces) ->  :: old slopes are still there, and no loss is divided
    optimizer.step() ->  :: nothing moved: is optimizer.step() there?
    loss.backward() -> loss.backward() ⏎ optimizer.step() :: the optimiser steps once, after the last piece
    optimizer.step() ->  && total += -> optimizer.step() ⏎ total +=
        :: the optimiser steps once, after the last piece
    len(pieces) -> 2 :: divide by len(pieces), which is not always 2
    len(pieces) -> 4 :: divide by len(pieces), which is not always 4
    len(pieces) -> len(pieces) ** 2 :: divide once by the number of pieces, not by its square
    clip([*model.parameters()], limit) ->  :: not clipped: clip a list, between the last backward and the step
    optimizer.step() ->  && clip( -> optimizer.step() ⏎ clip(
        :: not clipped: clip a list, between the last backward and the step
    [*model.parameters()] -> model.parameters()
        :: not clipped: clip a list, between the last backward and the step
    loss.backward() -> loss.backward() ⏎ clip([*model.parameters()], limit)
        :: clip once, after the last backward
    total += loss.item() -> total += loss :: return a float
    loss.item() -> loss.item() * len(pieces) :: that is the sum of the losses: take the mean
    return total -> return loss.item() :: that is the last piece's loss, divided
    return total -> return loss.item() * len(pieces) :: that is the last piece's loss alone
    return total -> print(total) :: is `return` missing?
    total = 0.0 -> total, pieces = 0.0, [[torch.cat(x) for x in zip(*pieces)]]
        :: all pieces at once do not fit into memory: give the model one at a time
    loss.backward() ->  && loss.item() -> loss && clip( -> total.backward() ⏎ clip( && return total
        -> return total.item()
        :: one backward at the end keeps every piece in memory until then: call it for each piece
    """,
)
