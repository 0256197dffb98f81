"""Exercises of notebook 09_precision."""

from typing import Any

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

lesson = Lesson("09", "import math\nimport torch\nfrom torch import nn")
INF, NAN = float("inf"), float("nan")
EXACT = {"rtol": 0.0, "atol": 0.0}


def several(check: Check, answer: Any, *case: Any) -> Any:
    """Return the tuple, which must be as long as the solution's."""
    found, right = call(check, answer, *case), check.given(*case)
    told = {3: "three numbers: largest, smallest, gap", 2: "two things: the scale, the count of good steps"}
    whole = isinstance(found, tuple | list) and len(found) == len(right)
    check.that(whole, f"return {told[len(right)]}")
    return tuple(found)


limits = lesson.exercise(
    "9.1 · the limits of a type",
    """
    def limits(exponent_bits, mantissa_bits):
        b = 2 ** (exponent_bits - 1) - 1
        gap = 2.0**-mantissa_bits
        return (2 - gap) * 2.0**b, 2.0 ** (1 - b), gap
    """,
    run=several,
    cases=[(5, 10), (3, 2), (8, 7), (4, 3), (8, 23), (9, 5)],
    said="with {0} bits for e and {1} for m",
    rtol=1e-12,
    atol=0.0,
    slips="""
    2.0**b -> 2.0 ** (b + 1) :: the exponent of ones only is for infinity: the highest is 2^(E − 1) − 1
    (2 - gap) * -> :: all M digits after the leading 1 are 1 in the largest number: start it with 2 − 2^−M
    (2 - gap) * 2.0**b -> 2.0 ** (b + 1) :: the largest number is below 2 · 2^b, by one gap
    2 - gap -> 1 - gap :: the largest number has a leading 1: start it with 2 − 2^−M, not with 1 − 2^−M
    2 - gap -> 2 - 2 * gap :: all M digits after the leading 1 are 1: start the largest number with 2 − 2^−M
    (2 - gap) -> 2**mantissa_bits :: divide m by 2^M before you add the 1
    2.0 ** (1 - b) -> 2.0**-b :: the exponent of zeros only is reserved for 0: the lowest is 1 − b
    2.0 ** (1 - b) -> 2.0 ** (-b - 1) :: the lowest exponent is 1 − b: yours is lower by 2
    2.0 ** (1 - b) -> 2.0 ** (1 - b - mantissa_bits)
        :: the smallest with a leading 1 is asked for, 2^(1 − b): yours is the smallest without one
    2.0 ** (1 - b) -> -(2 - gap) * 2.0**b :: the smallest is a positive number near 0, not the most negative
    (1 - b), gap -> (1 - b), gap / 2 :: the gap is one unit of the last digit: yours is half of it
    gap = 2.0**-mantissa_bits -> gap = 2.0 ** -(mantissa_bits + 1)
        :: m has M bits after the 1, so the gap is 2^−M: yours is half of it, and the largest number uses it
    (1 - b), gap -> (1 - b), 2 * gap :: m has M bits after the 1, so the gap is 2^−M: yours is twice that
    gap = 2.0**-mantissa_bits -> gap = 2.0 ** (1 - mantissa_bits)
        :: m has M bits after the 1, so the gap is 2^−M: yours is twice that, and the largest number uses it
    (1 - b), gap -> (1 - b), -mantissa_bits :: the gap is a number, 2^−M: yours is its exponent
    (1 - b), gap -> (1 - b), 1 + gap :: the gap is a distance: take the 1 off
    b), gap -> b), 2.0 ** (1 - b) * gap :: the gap after 1 is asked for, not after the smallest number
    (2 - gap) * 2.0**b, 2.0 ** (1 - b) -> 2.0 ** (1 - b), (2 - gap) * 2.0**b
        :: the order is largest, smallest, gap
    (exponent_bits, mantissa_bits) -> (mantissa_bits, exponent_bits) :: E and M are exchanged
    2 ** (exponent_bits - 1) - 1 -> 2 ** (exponent_bits - 1) :: b is 2^(E − 1) − 1: yours is larger by 1
    b = 2 ** (exponent_bits - 1) - 1 -> b = 2**exponent_bits - 2
        :: b is 2^(E − 1) − 1: 2^E − 2 is the highest stored e, before b is taken off
    2 ** (exponent_bits - 1) - -> 2**exponent_bits - :: b is 2^(E − 1) − 1: half of the exponents are negative
    2 ** (exponent_bits - 1) - -> (2 ^ (exponent_bits - 1)) - :: in Python 2 ** n is a power, and 2 ^ n is not
    2 ** (exponent_bits -> 2 ^ (exponent_bits :: in Python 2 ** n is a power, and 2 ^ n is not
    = b = 2 ** (exponent_bits - 1) - 1 ⏎ found = (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b)
        ⏎ return *(round(n, 4) for n in found), 2.0**-mantissa_bits :: give the exact numbers: leave out round
    (1 - b), gap -> (1 - b) :: return three numbers
    = return 65504.0, 2.0**-14, 2.0**-10 :: your function does not use its argument `exponent_bits`
    return (2 - gap) -> found = (2 - gap) :: is `return` missing?
    """,
)


def single(check: Check, answer: Any, x: Tensor, bits: int) -> Any:
    """Return the rounded tensor, which must be in float32."""
    found = call(check, answer, x, bits)
    kept = getattr(found, "dtype", torch.float32) == torch.float32
    check.that(kept, "the result is float32, with fewer digits: .float()")
    return found


round_to = lesson.exercise(
    "9.2 · rounding",
    """
    def round_to(x, bits):
        m, e = torch.frexp(x)
        return torch.ldexp(torch.round(m * 2**bits), e - bits)
    """,
    run=single,
    cases=[
        (x, bits)
        for bits in (8, 11, 3)
        for x in (
            random(60, seed=1) * torch.logspace(-3, 3, 60),
            torch.tensor([257.0, 259.0, -257.0, -259.0, 2049.0, 2051.0, -2049.0, 2.75, 3.25, -2.75]),
            torch.tensor([0.0, 1.0, 2.0, -1.0]),
            torch.tensor([1.1e38, -1.3e38, 1.7e-35, -3.3e-35, 65_519.0]),
            torch.tensor([INF, -INF, NAN]),
        )
    ],
    said="keep {1} digits, with the leading 1",
    **EXACT,
    slips="""
    torch.round -> torch.trunc :: this cuts the digits off: torch.round goes to the nearest
    torch.round -> torch.floor :: this rounds downwards: torch.round goes to the nearest
    torch.round -> torch.ceil :: this rounds upwards: torch.round goes to the nearest
    .round(m * 2**bits) -> .floor(m * 2**bits + 0.5) :: a half goes to the even neighbour: use torch.round
    torch.round(m * 2**bits) -> m.sign() * torch.floor(m.abs() * 2**bits + 0.5)
        :: a half goes to the even neighbour, not away from 0: use torch.round
    torch.round(m * 2**bits), e - bits -> torch.round(m * 2 ** (bits + 1)), e - bits - 1
        :: m is below 1, so m · 2**bits has `bits` digits: yours keeps one more
    torch.round(m * 2**bits), e - bits -> torch.round(m * 2 ** (bits - 1)), e - bits + 1
        :: m is at least 1/2, so m · 2**bits has `bits` digits: yours keeps one less
    e - bits -> e :: you multiplied by 2**bits: take it off again, as in e − bits
    e - bits -> bits - e :: the exponent has the wrong sign: e − bits, not bits − e
    e - bits -> e + bits :: you multiplied by 2**bits: take it off again, as in e − bits, not e + bits
    m * 2**bits -> m * bits :: m times 2**bits shifts by `bits` digits: yours is m times bits
    m * 2**bits -> m * 2 ^ bits :: in Python 2 ** n is a power, and 2 ^ n is not
    torch.ldexp(torch.round(m * 2**bits), e - bits) -> torch.round(m * 2**bits) / 2**bits
        :: the exponent is missing: torch.ldexp puts m and e together
    torch.ldexp(torch.round(m * 2**bits), e - bits) -> torch.round(m * 2**bits)
        :: these are whole numbers: put the exponent back with torch.ldexp
    torch.ldexp(torch.round(m * 2**bits), e - bits) -> torch.round(x * 2**bits) / 2**bits
        :: keep the leading digits, not the digits after the point
    torch.ldexp(torch.round(m * 2**bits), e - bits) -> torch.round(x, decimals=bits)
        :: digits are binary here: these are decimals
    torch.round(m * 2**bits), e - bits -> m, e :: m must be rounded, too: yours keeps all digits
    (m * 2**bits), e - bits -> (m, decimals=bits), e :: `decimals` counts decimal digits: take m times 2**bits
    torch.ldexp(torch.round(m * 2**bits), e - bits) -> torch.round(m * 2**bits) * 2 ** (e - bits)
        :: 2**e of integers has no fractions: use torch.ldexp
    = e = torch.floor(torch.log2(x.abs())) ⏎ n = 2.0 ** (bits - 1)
        ⏎ return torch.round(x / 2.0**e * n) / n * 2.0**e :: log2 of 0 is not finite: torch.frexp knows 0, too
    = return x.bfloat16() if bits == 8 else x.half() :: the result is float32, with fewer digits
    = return x.bfloat16().float() :: your function does not use its argument `bits`
    return -> rounded = :: is `return` missing?
    = return x.bfloat16().float() if bits == 8 else x.half().float()
    """,
)


def multiplied(check: Check, answer: Any, x: Tensor, weight: Tensor, dtype: Any, back: Any) -> Any:
    """Return the product, or its gradients where `back` comes from behind (None where nothing arrives)."""
    found = call(check, answer, x, weight, dtype)
    told = "return float32, so that others can add to it: .float() at the end"
    check.that(getattr(found, "dtype", torch.float32) == torch.float32, told)
    if back is None:
        return found
    pair = [t.clone().requires_grad_() for t in (x, weight)]
    found = answer(*pair, dtype)
    learns = found.requires_grad
    return [*torch.autograd.grad(found, pair, back, allow_unused=True)] if learns else [None, None]


def factors() -> list[tuple[Any, ...]]:
    """Make integers, whose products and sums are exact in float32 in whatever order they are added."""
    generator, made = torch.Generator().manual_seed(3), []
    for dtype, most in ((torch.bfloat16, 1000), (torch.float16, 4200)):
        x = torch.randint(-most, most, (2, 3, 5), generator=generator).float()
        weight = torch.randint(-60, 60, (7, 5), generator=generator) / 64
        weight[0, 0], x[0, 0, 0] = 1.00390625 + 2.0**-12, most - 1.0
        back = torch.arange(42.0).view(2, 3, 7) % 5 - 2
        back[..., 6] = 2.0**-26  # float16 makes a 0 of it
        still = weight.clone()
        still[6] = 0
        made += [(x, weight, dtype, None), (x, still, dtype, back)]
    return made


mixed_linear = lesson.exercise(
    "9.3 · a mixed product",
    """
    def mixed_linear(x, weight, dtype):
        y = x.to(dtype).float() @ weight.to(dtype).float().T
        return y.to(dtype).float()
    """,
    run=multiplied,
    cases=factors,
    said="round, multiply, add up, round; .to(dtype) rounds the gradient on its way back, too",
    **EXACT,
    slips="""
    y.to(dtype).float() -> y :: the result must be rounded, too
    weight.to(dtype).float() -> weight :: the weight must be rounded as well
    x.to(dtype).float() -> x :: x must be rounded as well
    x.to(dtype).float() -> x && weight.to(dtype).float() -> weight
        :: round x and the weight before the product, too
    = return x @ weight.to(torch.float32).T + 0 * torch.zeros(1, dtype=dtype)
        :: nothing is rounded here: .to(dtype) rounds
    weight.to(dtype).float() -> weight && y.to(dtype).float() -> y
        :: the weight must be rounded, and the result
    x.to(dtype).float() -> x && y.to(dtype).float() -> y :: x must be rounded, and the result
    = a, b = x.to(dtype).float(), weight.to(dtype).float()
        ⏎ return (a[..., None, :] * b).to(dtype).float().sum(-1)
        :: add up in float32: this rounds every product
    = a, b = x.to(dtype).float(), weight.to(dtype).float()
        ⏎ return (a[..., None, :] * b).to(dtype).float().sum(-1).to(dtype).float()
        :: add up in float32, round once: this rounds every product, too
    = a, b, y = x.to(dtype).float(), weight.to(dtype).float(), 0 ⏎ for i in range(x.shape[-1]):
        ⏎     y = (y + (a[..., i, None] * b[:, i]).to(dtype).float()).to(dtype).float() ⏎ return y
        :: add up in float32: this rounds after every addition
    y.to(dtype).float() -> y.to(dtype) :: return float32
    .float() -> :: return float32
    y.to(dtype) -> y.detach().to(dtype) :: nothing can be learnt through it: no .detach(), .data or no_grad
    x.to(dtype) -> x.detach().to(dtype) :: nothing reaches x: no .detach(), .data or no_grad
    weight.to( -> weight.detach().to( :: nothing can be learnt by the weight: no .detach(), .data or no_grad
    = n = 8 if dtype is torch.bfloat16 else 11 ⏎ return round_to(round_to(x, n) @ round_to(weight, n).T, n)
        :: torch.round has the gradient 0, so nothing can be learnt: round with .to(dtype).float()
    return y.to(dtype).float() -> return round_to(y, 8 if dtype is torch.bfloat16 else 11)
        :: torch.round has the gradient 0, so nothing can be learnt: round with .to(dtype).float()
    x.to(dtype).float() -> round_to(x, 8 if dtype is torch.bfloat16 else 11) && weight.to(dtype).float()
        -> round_to(weight, 8 if dtype is torch.bfloat16 else 11)
        :: torch.round has the gradient 0, so nothing can be learnt: round with .to(dtype).float()
    weight.to(dtype).float() -> round_to(weight, 8 if dtype is torch.bfloat16 else 11)
        :: torch.round has the gradient 0, so the weight cannot learn: round with .to(dtype).float()
    y.to(dtype).float() -> y + (y.to(dtype).float() - y).detach()
        :: the gradient must be rounded on its way back, too: round with .to(dtype).float()
    = a, b = (t + (t.to(dtype).float() - t).detach() for t in (x, weight))
        ⏎ return (a @ b.T).to(dtype).float()
        :: the gradient must be rounded on its way back, too: round with .to(dtype).float()
    = a, b = (t + (t.to(dtype).float() - t).detach() for t in (x, weight)) ⏎ y = a @ b.T
        ⏎ return y + (y.to(dtype).float() - y).detach()
        :: the gradient must be rounded on its way back, too: round with .to(dtype).float()
    .float().T -> .float() :: the weight has the shape (outputs, inputs): transpose it, weight.T
    (dtype) -> (torch.bfloat16) :: your function does not use its argument `dtype`
    return -> y = :: is `return` missing?
    """,
)


def divided(check: Check, answer: Any, scale: float, *rows: list[float]) -> Any:
    """Return what is found after parameters of ones with these gradients were unscaled."""
    parameters = [nn.Parameter(torch.ones(len(row))) for row in rows]
    for parameter, row in zip(parameters, rows, strict=True):
        parameter.grad = torch.tensor(row)
    finite = flag(check, check.run(answer, parameters, scale), "whether all gradients are finite")
    grads, weights = ([getattr(p, name) for p in parameters] for name in ("grad", "data"))
    return {"gradients": grads, "finite": finite, "weights": weights}


def flag(check: Check, found: Any, what: str) -> bool:
    """Return True or False, which may come as a tensor."""
    single = isinstance(found, bool | Tensor) and torch.as_tensor(found).numel() == 1
    check.that(single, f"return True or False: {what}")
    return bool(found)


unscale = lesson.exercise(
    "9.4 · unscale",
    """
    def unscale(parameters, scale):
        finite = True
        for p in parameters:
            p.grad /= scale
            finite = finite and bool(p.grad.isfinite().all())
        return finite
    """,
    run=divided,
    cases=[
        (8.0, [8.0, -16.0], [4.0]),
        (2.0**16, [0.0, 3.0], [-5.0, 1.0, 2.0]),
        (4.0, [1.0, INF], [2.0]),
        (4.0, [1.0, 2.0], [2.0], [INF]),
        (4.0, [-INF, 2.0], [2.0]),
        (4.0, [1.0, 2.0], [NAN, 1.0]),
        (4.0, [INF, -INF], [1.0]),
        (1.0, [3e38, 3e38], [1.0]),
    ],
    said="divide each gradient by {0:g}, in place; True means that all of them are finite",
    slips="""
    grad /= scale -> grad / scale :: the gradients stayed as they were: p.grad /= scale changes them in place
    p.grad /= scale -> p.grad *= scale :: take the scale off: divide by it
    p.grad /= scale -> p.grad /= scale ⏎ p.grad /= scale :: divide each gradient once
    p.grad /= scale -> p.grad /= scale**0.5 :: divide by the scale, not by its square root
    p.grad /= scale -> p.grad.zero_() && return finite -> return finite and scale > 0
        :: keep the gradients: only the scale comes off
    = finite = all(p.grad.isfinite().all() for p in parameters) ⏎ for p in parameters: ⏎     p.grad = None
        ⏎ return bool(finite) and scale > 0 :: keep the gradients: set none of them to None
    p.grad /= scale -> p.data /= scale :: the weights stay as they are: divide the gradients
    /= scale -> /= scale ⏎ p.data /= scale :: the weights stay as they are: divide the gradients only
    return finite -> return not finite :: True means that all are finite: yours says the opposite
    finite = finite and bool(p.grad.isfinite().all()) -> finite = bool(p.grad.isfinite().all())
        :: look at all gradients, also at the first parameter's: this keeps only what the last one says
    return finite -> return bool(parameters[0].grad.isfinite().all())
        :: look at all gradients, also at the last parameter's: this looks at the first one only
    bool(p.grad.isfinite().all()) -> not bool(p.grad.isnan().any())
        :: an infinity is not finite, either: use isfinite
    bool(p.grad.isfinite().all() -> not bool(p.grad.isinf().any() :: a nan is not finite, either: use isfinite
    p.grad.isfinite() -> (p.grad < math.inf) :: a negative infinity is not finite, either: use isfinite
    grad.isfinite().all -> grad.isfinite().any :: one number that is not finite is enough: .all(), not .any()
    bool(p.grad.isfinite().all()) -> bool(p.grad.sum().isfinite())
        :: finite numbers may overflow in a sum: ask each number, .isfinite().all()
    finite = finite and bool(p.grad.isfinite().all()) ->
        :: yours always says True: look at the gradients, whether they are finite
    p.grad.isfinite() -> p.isfinite()
        :: yours always says True: look at the gradients, whether they are finite
    = for p in parameters: ⏎     p.grad /= scale ⏎     if not p.grad.isfinite().all(): ⏎         return False
        ⏎ return True
        :: this ends at the first bad gradient, and the later ones stay scaled: return after the loop
    = for p in parameters: ⏎     if not p.grad.isfinite().all(): ⏎         return False ⏎     p.grad /= scale
        ⏎ return True
        :: this ends at the first bad gradient, and the later ones stay scaled: return after the loop
    = for p in parameters: ⏎     p.grad /= scale ⏎     if p.grad.isfinite().all(): ⏎         return True
        ⏎ return False
        :: this ends at the first good gradient, and the later ones stay scaled: return after the loop
    return finite -> return [p.grad for p in parameters] :: return True or False
    return finite -> :: is `return` missing?
    return finite -> return finite, scale
    """,
)


next_scale = lesson.exercise(
    "9.5 · the next scale",
    """
    def next_scale(scale, good, finite, every):
        if not finite:
            return scale / 2, 0
        if good + 1 == every:
            return scale * 2, 0
        return scale, good + 1
    """,
    run=several,
    cases=[
        *((16.0, good, True, 3) for good in range(3)),
        *((scale, good, False, 3) for scale, good in ((16.0, 2), (16.0, 0), (1.0, 0), (3.0, 0))),
        (1024.0, 6, True, 7),
        (1024.0, 5, True, 7),
        (2.0, 0, True, 1),
    ],
    said="scale {0:g}, {1} good steps, finite {2}, every {3}",
    slips="""
    scale / 2, 0 -> scale * 2, 0 :: an overflow makes the scale smaller: halve it
    / 2 -> @ 2 && * 2 -> / 2 && @ 2 -> * 2
        :: the scale grows after good steps, and an overflow makes it smaller
    scale / 2, 0 -> scale / 2, good :: after an overflow the count begins again, at 0
    scale / 2, 0 -> scale / 2, good + 1 :: an overflow is no good step: do not count it
    scale / 2, 0 -> scale / 2, 1 :: an overflow is no good step: the count is 0
    scale / 2, 0 -> scale, 0 :: halve the scale after an overflow
    scale / 2, 0 -> max(scale / 2, 1), 0 :: halve the scale after an overflow, even one that is 1 or less
    scale / 2, 0 -> scale // 2, 0 :: halve the scale with /: // drops what is behind the point
    scale / 2, 0 -> scale / 4, 0 :: half is enough: the next step tries again
    scale / 2, 0 -> scale**0.5, 0 :: half of the scale, not its square root
    scale / 2, 0 -> scale - 2, 0 :: halve the scale: divide by 2, not minus 2
    if not finite: ⏎ return scale / 2, 0 -> finite :: ask `finite` first: it is False after an overflow
    = if good + 1 == every: ⏎     return scale * 2, 0
        ⏎ return (scale / 2, 0) if not finite else (scale, good + 1)
        :: an overflow makes the scale smaller, also at the last step of `every`: ask `finite` first
    if not finite -> if finite :: `finite` is True for a good step
    = if not finite: ⏎     scale, good = scale / 2, 0 ⏎ elif good + 1 == every: ⏎     return scale * 2, 0
        ⏎ return scale, good + 1 :: an overflow is no good step: the count is 0
    good + 1 == every -> good == every :: this step is a good one, too: with it there are `every` in a row
    good + 1 == every -> good + 1 > every :: this step is a good one, too: with it there are `every` in a row
    scale * 2, 0 -> scale * 2, good + 1 :: when the scale is doubled the count begins again, at 0
    scale * 2, 0 -> scale * 2, good :: when the scale is doubled the count begins again, at 0
    scale * 2, 0 -> scale * 2, 1 :: the next step counts from 0, not from 1
    scale * 2, 0 -> scale + 2, 0 :: double the scale: times 2, not plus 2
    scale * 2, 0 -> scale**2, 0 :: double the scale, do not square it
    scale * 2, 0 -> scale, 0 :: after `every` good steps the scale is doubled
    scale * 2, 0 -> scale / 2, 0 :: after good steps the scale grows: double it
    if good + 1 == every: ⏎ return scale * 2, 0 -> every
        :: this step is a good one, too: with it there are `every` in a row
    good + 1 == every -> good + 1 == 3 :: your function does not use its argument `every`
    good + 1 == every -> every :: the scale is doubled after `every` good steps in a row, not after each
    = return (scale / 2, 0) if not finite else (scale * 2, good + 1 + 0 * every)
        :: the scale is doubled after `every` good steps in a row, not after each: the count goes on till then
    return scale, good + 1 -> return scale, good :: a good step counts: good + 1
    return scale, good + 1 -> return scale, 0 :: the count goes on until it reaches `every`
    return scale / 2, 0 -> return 0, scale / 2 && return scale * 2, 0 -> return 0, scale * 2
        && return scale, good + 1 -> return good + 1, scale :: return the scale first, then the count
    return scale / 2, 0 -> return scale / 2 :: return two things: the scale, the count of good steps
    return scale, good + 1 -> good += 1 :: is `return` missing?
    """,
)


def stepped(check: Check, answer: Any, slopes: tuple[float, float], scale: float) -> Any:
    """Return the weights after one step on a loss with these slopes, and whether it was taken."""
    parameters = [nn.Parameter(random(3, 2, seed=1)), nn.Parameter(random(5, seed=2))]
    loss = sum(slope * p.sum() for slope, p in zip(slopes, parameters, strict=True))
    for parameter in parameters:
        parameter.grad = 7 * parameter.detach()  # of the step before
    optimizer, steps = torch.optim.SGD(parameters, lr=0.125), []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    found = check.run(lambda: answer(loss, optimizer, parameters, scale, 1.0))  # no copies of these
    taken = flag(check, found, "whether the step was taken, as unscale says")
    return {"weights": [p.detach() for p in parameters], "steps": len(steps), "taken": taken}


scaled_step = lesson.exercise(
    "9.6 · a scaled step",
    """
    def scaled_step(loss, optimizer, parameters, scale, limit):
        optimizer.zero_grad()
        (loss * scale).backward()
        finite = unscale(parameters, scale)
        if finite:
            nn.utils.clip_grad_norm_(parameters, limit)
            optimizer.step()
        return finite
    """,
    run=stepped,  # a gradient to clip, one to leave as it is, and two that overflow
    cases=[((3.0, 3.0), 8.0), ((0.25, 0.25), 8.0), ((1e30, 1.0), 2.0**100), ((1e36, 1.0), 2.0**100)],
    said="scale, backward, unscale, clip, step",
    slips="""
    finite = unscale(parameters, scale) -> nn.utils.clip_grad_norm_(parameters, limit)
        ⏎ finite = unscale(parameters, scale)
        :: unscale before clipping: the limit is for the gradient as it is
    unscale(parameters, scale) -> True :: the scale never came off: unscale(parameters, scale) before clipping
    finite = unscale(parameters, scale) -> finite = all(p.grad.isfinite().all() for p in parameters)
        :: the scale never came off: unscale(parameters, scale) before clipping, and return what it says
    (loss * scale).backward() -> loss.backward() :: multiply the loss by the scale before backward
    (loss * scale).backward() -> (loss / scale).backward() :: multiply the loss by the scale, do not divide
    optimizer.zero_grad() -> :: the gradient of the step before is still there: optimizer.zero_grad()
    optimizer.zero_grad() ⏎ (loss * scale).backward() -> (loss * scale).backward() ⏎ optimizer.zero_grad()
        :: optimizer.zero_grad() comes before backward: here it takes the new gradients away
    optimizer.zero_grad() ⏎ (loss * scale).backward() -> (loss * scale).backward()
        ⏎ optimizer.zero_grad(set_to_none=False)
        :: optimizer.zero_grad() comes before backward: here it sets the new gradients to 0
    optimizer.step() -> optimizer.zero_grad() ⏎ optimizer.step()
        :: optimizer.zero_grad() comes before backward: here it takes the new gradients away
    if finite: ⏎ nn.utils.clip_grad_norm_(parameters, limit) ⏎ optimizer.step()
        -> nn.utils.clip_grad_norm_(parameters, limit) :: the weights did not move: optimizer.step()
    optimizer.step() -> optimizer.step() ⏎ optimizer.step() :: the optimiser steps once
    nn.utils.clip_grad_norm_(parameters, limit) -> :: clip to the limit, before the step
    nn.utils.clip_grad_norm_(parameters, limit) ⏎ optimizer.step() -> optimizer.step()
        ⏎ nn.utils.clip_grad_norm_(parameters, limit) :: clip to the limit, before the step
    clip_grad_norm_ -> clip_grad_value_
        :: clip the length of all gradients together, not each number: clip_grad_norm_
    nn.utils.clip_grad_norm_(parameters, limit) -> [nn.utils.clip_grad_norm_([p], limit) for p in parameters]
        :: clip the length of all gradients together, not of each parameter alone
    if finite: ⏎ nn.utils.clip_grad_norm_(parameters, limit) ⏎ optimizer.step()
        -> nn.utils.clip_grad_norm_(parameters, limit) ⏎ optimizer.step()
        :: where the gradient is not finite the weights stay: no optimizer.step() then
    if finite -> if not finite :: take the step where all gradients are finite, and no other
    finite = unscale(parameters, scale) -> unscale(parameters, scale) ⏎ finite = bool(loss.isfinite())
        :: the gradient may overflow where the loss is finite: ask what unscale returns
    return finite -> return not finite :: return whether the step was taken: yours says the opposite
    return finite -> return True :: a step that was left out must return False, as unscale does
    return finite -> return False :: a step that was taken must return True, as unscale does
    return finite -> return loss.item() :: return True or False: whether the step was taken
    return finite -> :: is `return` missing?
    return finite -> optimizer.zero_grad() ⏎ return loss
    """,
)


def named(check: Check, answer: Any, place: str, value: float) -> Any:
    """Return the names for a GPT with this value in a parameter, and whether it was run.

    Its parts are computed in another order than they are listed."""
    size = {"vocab_size": 7, "context_length": 6, "n_layer": 2, "n_head": 1, "n_embd": 4}
    config, runs = ModelConfig(**size, tied_head=False), []
    model = GPT(config, generator=torch.Generator().manual_seed(9))
    model._modules = dict(reversed(model._modules.items()))
    if place:
        model.get_parameter(place).data.view(-1)[1] = value
    forward = model.forward
    model.forward = lambda tokens: runs.append(1) or forward(tokens)
    found = check.run(answer, model, torch.arange(6)[None])
    check.that(isinstance(found, list), "return a list of names, an empty one where all is well")
    check.that(all(isinstance(at, str) for at in found), "return names: strings, not modules")
    kept = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return {"names": found, "run": bool(runs), "hooks are gone": not kept}


bad_parts = lesson.exercise(
    "9.7 · where it began",
    """
    def bad_parts(model, tokens):
        bad, hooks = [], []
        for name, module in model.named_modules():

            def look(module, inputs, output, name=name):
                if not output.isfinite().all():
                    bad.append(name)

            if name:
                hooks.append(module.register_forward_hook(look))
        model(tokens)
        for hook in hooks:
            hook.remove()
        return bad
    """,
    run=named,
    cases=[
        ("blocks.0.attn.proj.weight", NAN),
        ("blocks.1.mlp.up.weight", 3e38),
        ("blocks.1.mlp_norm.weight", INF),
        ("token_embedding.weight", -INF),
        ("head.weight", NAN),
        ("", 0.0),
    ],
    said="with {1} in {0}",
    slips="""
    , name=name) -> ) :: every name is the loop's last: bind it, `def look(module, inputs, output, name=name)`
    if name: -> if True: :: the model itself has an empty name: leave it out
    , name=name): -> ): && if name: -> if True: :: every name is the loop's last: bind it with `name=name`
    not output.isfinite().all() -> output.isnan().any() :: infinity is not finite, either: use isfinite
    not output.isfinite().all() -> output.isinf().any() :: nan is not finite, either: use isfinite
    output.isfinite().all -> output.isfinite().any :: one bad number is enough: `not output.isfinite().all()`
    not output.isfinite().all() -> output.isfinite().all() :: these are the ones that are finite
    not output.isfinite().all() -> not inputs[0].isfinite().all() :: look at the output, not at the input
    if not output.isfinite().all(): ⏎ bad. -> bad. :: these are all modules: look at what they give
    return bad -> return bad[:1] :: return every output that is not finite, not only the first
    return bad -> return bad[::-1] :: the first comes first: keep the order in which they are computed
    return bad -> return sorted(bad) :: the order is that in which they are computed: leave out sorted
    return bad -> return [name for name, _ in model.named_modules() if name in bad]
        :: the order is that in which they are computed: let the hook itself append the name
    if name: -> if name and not [*module.children()]:
        :: blocks and their parts count, too, not only the innermost modules
    if name: -> if name and "." not in name: :: the parts of the parts count, too: named_modules has them all
    .named_modules() -> .named_children() :: the parts of the parts count, too: named_modules has them all
    = model(tokens)
        ⏎ return [n.rpartition(".")[0] for n, w in model.named_parameters() if not w.isfinite().all()]
        :: look at the outputs, not at the weights
    bad.append(name) -> bad.append(name.rpartition(".")[2]) :: append the whole name, as in named_modules
    bad.append(name) -> bad.append(module) :: return names: strings, not modules
    hook.remove() -> pass :: the hooks are still there: keep what register_forward_hook returns, .remove() it
    model(tokens) ⏎ for hook in hooks: ⏎ hook.remove() -> for hook in hooks: ⏎     hook.remove()
        ⏎ model(tokens) :: the hooks must stay until the model has run
    model(tokens) -> tokens :: no hook can see anything: the model has to run, `model(tokens)`
    return bad -> return bad[0] if bad else "" :: return a list of names
    return bad -> :: is `return` missing?
    = return [n[:-7] for n, w in model.named_parameters() if not w.isfinite().all()]
        :: your function does not use its argument `tokens`
    """,
)


def drawn(check: Check, answer: Any, value: float, bits: int, draws: int) -> Any:
    """Return where the roundings of a value are, in gaps above its lower neighbour."""
    x = torch.full((draws,), value)
    found = [call(check, answer, x, bits, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    whole = all(isinstance(part, Tensor) and part.shape == x.shape for part in found)
    check.that(whole, "return a tensor of the shape of x")
    m, e = torch.frexp(x)
    steps = torch.ldexp(found[0], bits - e).double() - torch.floor(m * 2**bits)
    counted = {"different results, up to 3": min(3, len(steps.unique())), "mean": steps.mean()}
    alike = {"the same generator": found[0].equal(found[1]), "another generator": found[0].equal(found[2])}
    return {"lowest": steps.min(), "highest": steps.max()} | counted | alike


stochastic_round = lesson.exercise(
    "9.8 · rounding by chance",
    """
    def stochastic_round(x, bits, generator):
        m, e = torch.frexp(x)
        chance = torch.rand(x.shape, generator=generator)
        return torch.ldexp(torch.floor(m * 2**bits + chance), e - bits)
    """,
    run=drawn,
    cases=[
        *((value, bits, 10_000) for value, bits in ((1.003, 8), (2.9, 3), (-7.7, 5))),
        *((value, 8, 20) for value in (0.0, 1.0, -2.5, 384.0)),
    ],
    said="{0} with {1} digits, in gaps above its lower neighbour, of {2:,} draws",
    rtol=0.0,
    atol=0.03,  # four times what 10,000 draws leave to chance
    slips="""
    torch.floor -> torch.round :: torch.floor after chance is added: torch.round adds another half
    chance) -> chance.round()) :: both neighbours are equally likely here: the nearer one must come more often
    torch.floor(m * 2**bits + chance)
        -> torch.floor(m * 2**bits) + (chance > m * 2**bits - (m * 2**bits).floor())
        :: the probabilities are exchanged: the nearer neighbour must come more often
    bits + chance -> bits - chance :: add chance before torch.floor: yours takes it off
    torch.floor -> torch.ceil :: torch.floor after chance is added: torch.ceil goes one higher
    .floor(m * 2**bits + chance) -> .ceil(m * 2**bits) + 0 * chance :: every number goes up: where is chance?
    floor(m * 2**bits + chance) -> floor(m * 2**bits) + 0 * chance :: every number goes down: where is chance?
    torch.floor(m * 2**bits + chance) -> torch.round(m * 2**bits) + 0 * chance
        :: this is rounding to the nearest: where is chance?
    torch.floor -> torch.trunc :: below 0 torch.trunc goes upwards: torch.floor goes down everywhere
    torch.floor(m * 2**bits + chance) -> m * 2**bits + chance
        :: round after chance is added: a number goes to one of its two neighbours
    torch.floor(m * 2**bits + chance) -> torch.floor(m * 2**bits) + chance
        :: add chance before torch.floor, not after it: what comes out has no more digits than `bits`
    = return round_to(x + torch.rand(x.shape, generator=generator), bits)
        :: chance is added to m · 2**bits, not to x: a number goes to one of its two neighbours
    = return x + 0 * torch.rand(x.shape, generator=generator) + 0 * bits :: nothing is rounded here
    rand(x.shape -> rand(1
        :: every number goes the same way: draw a random number for each, torch.rand(x.shape, …)
    torch.rand(x.shape, -> torch.randn(x.shape,
        :: torch.rand lies between 0 and 1, torch.randn does not: a number goes to one of its two neighbours
    chance = -> generator.manual_seed(0) ⏎ chance = :: draw from the generator as it is: do not seed it
    torch.rand(x.shape, generator=generator) -> torch.rand(x.shape)
        :: the same generator must give the same result: torch.rand(x.shape, generator=generator)
    = return round_to(x, bits) :: this is rounding to the nearest: where is chance?
    return -> rounded = :: is `return` missing?
    """,
)

given_round_to = lesson.names["round_to"]  # 13_evaluation goes on with it
