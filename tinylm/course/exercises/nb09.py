"""Checks of notebook 09_precision, and what it goes on with where a part is blank."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check as exercise
from tinylm.course.checks import marked
from tinylm.course.differences import difference
from tinylm.course.exercises.nb02 import random
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

EXACT = {"rtol": 0.0, "atol": 0.0}


def given_limits(exponent_bits, mantissa_bits):
    """The largest number, the smallest with a leading 1, and the gap after 1."""
    highest = 2 ** (exponent_bits - 1) - 1
    return (2 - 2.0**-mantissa_bits) * 2.0**highest, 2.0 ** (1 - highest), 2.0**-mantissa_bits


def given_round_to(x, bits):
    """x with so many binary digits, the leading 1 included; a half goes to the even neighbour."""
    m, e = torch.frexp(x)
    return torch.ldexp(torch.round(m * 2**bits), e - bits)


def given_mixed_linear(x, weight, dtype):
    """x @ weight.T of rounded numbers, added up in float32, and rounded."""
    return (x.to(dtype).float() @ weight.to(dtype).float().T).to(dtype).float()


def given_unscale(parameters, scale):
    """Divide each gradient by the scale; whether all of them are finite."""
    finite = True
    for p in parameters:
        p.grad /= scale
        finite = finite and bool(p.grad.isfinite().all())
    return finite


def given_next_scale(scale, good, finite, every):
    """The scale of the next step, and how many good steps there have been since it last changed."""
    if not finite:
        return scale / 2, 0
    return (scale * 2, 0) if good + 1 == every else (scale, good + 1)


def given_scaled_step(loss, optimizer, parameters, scale, limit):
    """One step with a scaled loss; whether it was taken."""
    optimizer.zero_grad()
    (loss * scale).backward()
    finite = given_unscale(parameters, scale)
    if finite:
        nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()
    return finite


def given_bad_parts(model, tokens):
    """The names of the modules whose output is not finite, in the order in which they are computed."""
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


def given_stochastic_round(x, bits, generator):
    """x rounded to one of its two neighbours, the nearer one more often, so that the mean is x."""
    m, e = torch.frexp(x)
    return torch.ldexp(torch.floor(m * 2**bits + torch.rand(x.shape, generator=generator)), e - bits)


@marked("9.1 · the limits of a type", given=given_limits)
def limits(check: exercise, mine) -> None:
    """(2 − 2^−M) 2^b, 2^(1 − b) and 2^−M, where b = 2^(E − 1) − 1."""
    for E, M in ((3, 2), (5, 10), (8, 7), (4, 3), (8, 23), (9, 5)):
        b = 2 ** (E - 1) - 1
        largest, least, gap = right = given_limits(E, M)
        far, other = 2.0 ** (b + 1), (2 ^ (E - 1)) - 1
        usual = {
            "the exponent of ones only is kept for infinity: the highest is 2^(E − 1) − 1": (
                (2 - gap) * far,
                least,
                gap,
            ),
            "after the 1 stand M digits, and in the largest number all are 1: 2 − 2^−M": (2.0**b, least, gap),
            "the largest number is a little below 2 · 2^b, by one gap": (far, least, gap),
            "the exponent of zeros only is kept for 0: the lowest is 1 − b": (largest, 2.0**-b, gap),
            "the smallest with a leading 1 is asked for: below it digits get lost": (
                largest,
                2.0 ** (1 - b - M),
                gap,
            ),
            "the gap is one unit of the last digit, and this is half of it": (largest, least, gap / 2),
            "m has M bits after the 1, so the gap is 2^−M: this is twice that": (largest, least, 2 * gap),
            "the order is largest, smallest, gap": (least, largest, gap),
            "the smallest is a positive number near 0, not the most negative one": (largest, -largest, gap),
            "E and M are exchanged": given_limits(M, E) if M <= 11 else right,
            "the gap is a number, 2^−M: this is its exponent": (largest, least, -M),
            "the gap is a distance: take the 1 off": (largest, least, 1 + gap),
            "the gap after 1 is asked for, not the one after the smallest": (largest, least, least * gap),
            "m is divided by 2^M before the 1 is added": (2.0 ** (b + M), least, gap),
            "b is 2^(E − 1) − 1: this one is larger by 1": ((2 - gap) * far, 2.0**-b, gap),
            "in Python 2 ** n is a power, and 2 ^ n is not": (
                (2 - gap) * 2.0**other,
                2.0 ** (1 - other),
                gap,
            ),
        }
        answer = check.run(mine, E, M)
        three = isinstance(answer, tuple | list) and len(answer) == 3
        check.that(three, "return three numbers: largest, smallest, gap")
        said = f"with {E} bits for e and {M} for m"
        check.close(answer, right, said, usual=usual, rtol=1e-12, atol=0.0)


@marked("9.2 · rounding", given=given_round_to)
def round_to(check: exercise, mine) -> None:
    """The nearest number with so many digits; halves, both signs, very large and very small ones."""
    plain = random(60, seed=1) * torch.logspace(-3, 3, 60)
    halves = torch.tensor([257.0, 259.0, -257.0, -259.0, 2049.0, 2051.0, -2049.0, 2.75, 3.25, -2.75])
    for bits in (8, 11, 3):
        for kind, x in (
            ("random numbers", plain),
            ("halves", halves),
            ("0, 1 and 2", torch.tensor([0.0, 1.0, 2.0, -1.0])),
            ("large and small ones", torch.tensor([1.1e38, -1.3e38, 1.7e-35, -3.3e-35, 65_519.0])),
        ):
            m, e = torch.frexp(x)
            right, n = given_round_to(x, bits), 2**bits
            usual = {
                "this cuts the digits off: round instead": torch.ldexp(torch.trunc(m * n), e - bits),
                "this rounds downwards: torch.round goes to the nearest": torch.ldexp(
                    torch.floor(m * n), e - bits
                ),
                "a half goes to the even neighbour, as torch.round does it": torch.ldexp(
                    torch.floor(m * n + 0.5), e - bits
                ),
                "a half goes to the even neighbour, not away from 0": torch.ldexp(
                    m.sign() * torch.floor(m.abs() * n + 0.5), e - bits
                ),
                "m is below 1: m · 2**bits has `bits` digits; this keeps one more": given_round_to(
                    x, bits + 1
                ),
                "m is at least 1/2: m · 2**bits has `bits` digits; this keeps one less": given_round_to(
                    x, bits - 1
                ),
                "you multiplied by 2**bits: take it off again, as in e − bits": torch.ldexp(
                    torch.round(m * n), e
                ),
                "the exponent is missing: torch.ldexp puts m and e together": torch.round(m * n) / n,
                "these are whole numbers: put the exponent back with torch.ldexp": torch.round(m * n),
                "leading digits are kept, not digits after the point": torch.round(x * n) / n,
                "digits are binary here: these are decimals": torch.round(x, decimals=bits),
                "m has to be rounded, too: these are all digits": x,
                "`decimals` counts decimal digits: take m times 2**bits": torch.ldexp(
                    torch.round(m, decimals=bits), e
                ),
                "2**e of whole numbers has no fractions: use torch.ldexp": torch.round(m * n)
                * 2 ** (e - bits),
                "log2 of 0 is not finite: torch.frexp knows 0, too": torch.where(x == 0, math.nan, right),
            }
            answer = check.run(mine, x, bits)
            check.close(answer, right, f"{kind}, {bits} digits", usual=usual, **EXACT)
            check.that(answer.dtype == torch.float32, "the result is float32, with fewer digits")
    for bits in (8, 11):
        endless = torch.tensor([math.inf, -math.inf, math.nan])
        same = check.run(mine, endless, bits)
        check.close(same, endless, "infinities and nan stay what they are", **EXACT)


@marked("9.3 · a mixed product", given=given_mixed_linear)
def mixed_linear(check: exercise, mine) -> None:
    """Rounded factors, a float32 sum, a rounded result, and a gradient that is rounded on its way."""
    generator = torch.Generator().manual_seed(3)
    for dtype, most in ((torch.bfloat16, 1000), (torch.float16, 4200)):
        # Whole numbers: their products and sums are exact in float32, in whatever order they are added.
        x = torch.randint(-most, most, (2, 3, 5), generator=generator).float()
        weight = torch.randint(-60, 60, (7, 5), generator=generator) / 64
        weight[0, 0], x[0, 0, 0] = 1.00390625 + 2.0**-12, most - 1.0
        a, b = x.to(dtype).float(), weight.to(dtype).float()
        right, products = given_mixed_linear(x, weight, dtype), a[..., None, :] * b  # (2, 3, 7, 5)
        total = torch.zeros(2, 3, 7)
        for part in products.unbind(-1):
            total = (total + part.to(dtype).float()).to(dtype).float()
        usual = {
            "the result is rounded, too": a @ b.T,
            "the weight has to be rounded as well": (a @ weight.T).to(dtype).float(),
            "x has to be rounded as well": (x @ b.T).to(dtype).float(),
            "round x and the weight before the product, too": (x @ weight.T).to(dtype).float(),
            "nothing is rounded here: .to(dtype) rounds": x @ weight.T,
            "the weight has to be rounded, and the result": a @ weight.T,
            "x has to be rounded, and the result": x @ b.T,
            "add up in float32: this rounds every product": products.to(dtype).float().sum(-1),
            "add up in float32: this rounds after every addition": total,
            "add up in float32, round once: this rounds every product, too": (
                products.to(dtype).float().sum(-1).to(dtype).float()
            ),
        }
        answer = check.run(mine, x, weight, dtype)
        if isinstance(answer, Tensor):
            kept = answer.dtype == torch.float32
            check.that(kept, "hand the result back as float32, with .float(), so that others can add to it")
        check.close(answer, right, "round, multiply, add up, round", usual=usual, **EXACT)
        back = torch.arange(42.0).view(2, 3, 7) % 5 - 2
        back[..., 6], weight[6] = 2.0**-26, 0  # float16 makes a 0 of the first
        mine_back, right_back = (_sent_back(f, x, weight, dtype, back) for f in (mine, given_mixed_linear))
        detached = "nothing can be learnt through it: no .detach(), .data or no_grad"
        check.that(all(g is not None for g in mine_back), detached)
        flat = "torch.round has the gradient 0, so nothing can be learnt: round with .to(dtype).float()"
        check.that(all(g.any() for g in mine_back), flat)
        said = "the gradient is rounded on its way back, too: round with .to(dtype).float()"
        for found, wanted in zip(mine_back, right_back, strict=True):
            check.close(found, wanted, said, **EXACT)


def _sent_back(product, x: Tensor, weight: Tensor, dtype: torch.dtype, back: Tensor) -> tuple:
    """The gradients of x and weight when `back` comes from behind; None where nothing arrives."""
    pair = [t.detach().clone().requires_grad_() for t in (x, weight)]
    answer = product(*pair, dtype)
    if not answer.requires_grad:
        return None, None
    return torch.autograd.grad(answer, pair, back, allow_unused=True)


def with_gradients(*rows: list[float]) -> list[nn.Parameter]:
    """Parameters of ones that have these gradients."""
    made = [nn.Parameter(torch.ones(len(row))) for row in rows]
    for parameter, row in zip(made, rows, strict=True):
        parameter.grad = torch.tensor(row)
    return made


@marked("9.4 · unscale", given=given_unscale)
def unscale(check: exercise, mine) -> None:
    """The gradients divided in place, and True where every one of them is finite."""
    inf, nan = math.inf, math.nan
    for scale, rows in ((8.0, ([8.0, -16.0], [4.0])), (2.0**16, ([0.0, 3.0], [-5.0, 1.0, 2.0]))):
        parameters = with_gradients(*rows)
        answer = check.run(mine, parameters, scale)
        told = "True or False is returned: whether all gradients are finite"
        check.that(isinstance(answer, bool | Tensor) and torch.as_tensor(answer).numel() == 1, told)
        for parameter, row in zip(parameters, rows, strict=True):
            right, g = torch.tensor(row) / scale, torch.tensor(row)
            usual = {
                "the gradients stayed as they were: p.grad /= scale changes them in place": g,
                "the scale comes off: divide by it": g * scale,
                "each gradient is divided once": g / scale**2,
                "not by the square root": g / scale**0.5,
                "the gradients are kept: only the scale comes off": torch.zeros_like(g),
            }
            check.that(parameter.grad is not None, "the gradients are kept: only the scale comes off")
            check.close(parameter.grad, right, "each gradient divided by the scale", usual=usual)
            weights = parameter.detach()
            check.close(weights, torch.ones(len(row)), "the weights stay: only the gradients are divided")
        check.that(answer, "True means that all are finite: yours says the opposite, or looks elsewhere")
    for what, rows in (
        ("an infinity in the first parameter", ([1.0, inf], [2.0])),
        ("an infinity in the last parameter", ([1.0, 2.0], [2.0], [inf])),
        ("a negative infinity", ([-inf, 2.0], [2.0])),
        ("a nan", ([1.0, 2.0], [nan, 1.0])),
        ("an infinity beside a negative one", ([inf, -inf], [1.0])),
    ):
        check.that(not check.run(mine, with_gradients(*rows), 4.0), f"{what} is not finite: look at all")


@marked("9.5 · the next scale", given=given_next_scale)
def next_scale(check: exercise, mine) -> None:
    """Halved after an overflow, doubled after `every` good steps in a row, else as it is."""
    for scale, good, finite, every in (
        (16.0, 0, True, 3),
        (16.0, 1, True, 3),
        (16.0, 2, True, 3),
        (16.0, 2, False, 3),
        (16.0, 0, False, 3),
        (1.0, 0, False, 3),
        (3.0, 0, False, 3),
        (1024.0, 6, True, 7),
        (1024.0, 5, True, 7),
        (2.0, 0, True, 1),
    ):
        right, twice, half = given_next_scale(scale, good, finite, every), scale * 2, scale / 2
        usual = {}
        if not finite:
            usual = {
                "an overflow makes the scale smaller: halve it": (twice, 0),
                "after an overflow the counting begins again, at 0": (half, good),
                "an overflow is no good step": (half, good + 1),
                "an overflow is no good step: the count is 0": (half, 1),
                "halve the scale after an overflow, whatever it is": (scale, 0),
                "halve it with /, since // drops what stands behind the point": (scale // 2, 0),
                "an overflow is asked for first: `finite` is False": (scale, good + 1),
            }
            usual |= {"half is enough: the next step tries again": (scale / 4, 0)}
        elif good + 1 == every:
            usual = {
                "this step is a good one, too: with it there are `every` in a row": (scale, good + 1),
                "when the scale is doubled the counting begins again, at 0": (twice, good + 1),
                "when the scale is doubled the counting begins again, at 0 ": (twice, good),
                "the scale is doubled: times 2": (scale + 2, 0),
                "the scale is doubled, not squared": (scale**2, 0),
                "after `every` good steps the scale is doubled": (scale, 0),
                "after good steps the scale grows": (half, 0),
                "the next step counts from 0, not from 1": (twice, 1),
            }
        else:
            usual = {
                "it is doubled after `every` good steps in a row, not after each": (twice, good + 1),
                "it is doubled after `every` good steps in a row, not after one": (twice, 0),
                "a good step counts: good + 1": (scale, good),
                "`finite` is True for a good step": (half, 0),
                "the count goes on until it reaches `every`": (scale, 0),
            }
        answer = check.run(mine, scale, good, finite, every)
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        check.that(pair, "return two things: the scale, the count of good steps")
        said = f"scale {scale:g}, {good} good steps, finite {finite}, every {every}"
        check.close(tuple(answer), right, said, usual=usual)


@marked("9.6 · a scaled step", given=given_scaled_step)
def scaled_step(check: exercise, mine) -> None:
    """backward of the scaled loss, unscale, clip, step; nothing of it where the gradient overflowed."""
    limit, scale, rate = 1.0, 1024.0, 0.125
    for factor in (3.0, 0.25):  # a gradient to clip, and one to leave as it is
        start, parameters, optimizer = _begin(rate)
        slopes = [torch.full_like(w, factor) for w in start]
        norm = float(torch.stack([s.norm() for s in slopes]).norm())
        old = [torch.full_like(w, 7.0) for w in start]

        def after(gradients, start=start):
            return [w - rate * g for w, g in zip(start, gradients, strict=True)]

        def clipped(gradients):
            length = float(torch.stack([g.norm() for g in gradients]).norm())
            return [g * min(1.0, limit / length) for g in gradients]

        right = after(clipped(slopes))
        both = [s * scale + o for s, o in zip(slopes, old, strict=True)]
        usual = {
            "unscale before clipping: the limit is for the gradient as it is": after(
                [g / scale for g in clipped([s * scale for s in slopes])]
            ),
            "the scale never came off: unscale(parameters, scale)": after(
                clipped([s * scale for s in slopes]) if norm > 1 else [s * scale for s in slopes]
            ),
            "the scale never came off: unscale(parameters, scale) before clipping": after(
                clipped([s * scale for s in slopes])
            ),
            "the loss is multiplied by the scale before backward": after(
                clipped([s / scale for s in slopes])
            ),
            "the gradient of the step before is still there: optimizer.zero_grad()": after(
                clipped([b / scale for b in both])
            ),
            "the weights did not move: optimizer.step()": start,
            "the optimiser steps once": after([2 * g for g in clipped(slopes)]),
        }
        if norm > 1:
            usual["clip to the limit, before the step"] = after(slopes)
            alone = [s.clamp(-limit, limit) for s in slopes]
            usual["clip the length of all gradients together, not each number"] = after(alone)
        loss = sum(factor * p.sum() for p in parameters)
        try:
            answer = check.run(partial(mine, loss, optimizer, parameters, scale, limit))  # no copies of these
        except TypeError:
            gone = "optimizer.zero_grad() comes before backward: here it takes the new gradients away"
            check.that(all(p.grad is not None for p in parameters), gone)
            raise
        moved = [p.detach() for p in parameters]
        said = "scale, backward, unscale, clip, step"
        named = any(difference(moved, wrong) is None for wrong in usual.values())
        for mine_now, wanted in [(moved, right)] if named else zip(moved, right, strict=True):
            check.close(mine_now, wanted, said, usual=usual if named else None)
        told = "return whether the step was taken, what unscale says: True or False"
        check.that(isinstance(answer, bool | Tensor) and torch.as_tensor(answer).numel() == 1, told)
        check.that(answer, "this step was taken: return True")
    for plant in (1e30, 1e36):  # times the scale they are infinite in float32
        start, parameters, optimizer = _begin(rate)
        loss = (parameters[0] * plant).sum() + parameters[1].sum()
        answer = check.run(partial(mine, loss, optimizer, parameters, 2.0**100, limit))
        same = all(torch.equal(p.detach(), w) for p, w in zip(parameters, start, strict=True))
        check.that(same, "where the gradient is not finite the weights stay: no optimizer.step() then")
        check.that(not answer, "this step was left out: return False, as unscale does")


def _begin(rate: float) -> tuple[list[Tensor], list[nn.Parameter], torch.optim.Optimizer]:
    """Two weights, copies of them as parameters that have a gradient from before, and an optimiser."""
    start = [random(3, 2, seed=1), random(5, seed=2)]
    parameters = [nn.Parameter(w.clone()) for w in start]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 7.0)
    return start, parameters, torch.optim.SGD(parameters, lr=rate)


@marked("9.7 · where it began", given=given_bad_parts)
def bad_parts(check: exercise, mine) -> None:
    """Names of modules with outputs that are not finite, as they are computed; hooks go away again."""
    tokens = torch.arange(6)[None]
    where = {"blocks.0.attn.proj.weight": math.nan, "blocks.1.mlp.up.weight": math.inf}
    where |= {"token_embedding.weight": -math.inf, "head.weight": math.nan, "": 0.0}
    for name, value in where.items():
        model = _small()
        if name:
            model.get_parameter(name).data[2, 1] = value
        seen = []  # of every module: name, its output and its inputs
        hooks = [
            module.register_forward_hook(partial(_write_down, seen, at))
            for at, module in model.named_modules()
        ]
        model(tokens)
        for hook in hooks:
            hook.remove()
        model.runs = 0
        every, named = [at for at, _, _ in seen], [at for at, _ in model.named_modules() if at]
        bad = [at for at, out, _ in seen if not out.isfinite().all()]
        right = [at for at in bad if at]
        leaves = [at for at in right if not any(other.startswith(f"{at}.") for other in named)]
        starts = [
            at for at, _, given in seen if at and given.is_floating_point() and not given.isfinite().all()
        ]
        weights = [at.rpartition(".")[0] for at, w in model.named_parameters() if not w.isfinite().all()]
        usual = {
            "the model itself has an empty name: leave it out": bad,
            "every name is the loop's last: bind it, as in `def look(module, inputs, output, name=name)`": [
                named[-1]
            ]
            * len(right),
            "every name is the loop's last: bind it with `name=name`": [named[-1]] * len(bad),
            "infinity is not finite, either: use isfinite": [
                at for at, out, _ in seen if at and out.isnan().any()
            ],
            "nan is not finite, either: use isfinite; and hooks stay until the model has run": [
                at for at, out, _ in seen if at and out.isinf().any()
            ],
            "one bad number is enough: `not output.isfinite().all()`": [
                at for at, out, _ in seen if at and not out.isfinite().any()
            ],
            "in the order in which they are computed: let the hook itself append the name": [
                at for at in named if at in right
            ],
            "every output that is not finite is asked for, not only where it began": right[:1],
            "blocks and their parts count, too, not only the innermost modules": leaves,
            "the output is asked for, not the input": starts,
            "the output is asked for, not the weights": weights,
            "these are the ones that are finite": [at for at in every if at and at not in right],
            "the first comes first": right[::-1],
            "the whole name is asked for, as in named_modules": [at.rpartition(".")[2] for at in right],
            "these are all modules: look at what they give": [at for at in every if at],
        }
        answer = check.run(mine, model, tokens)
        kept = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        check.that(model.runs, "no hook can see anything: the model has to run, `model(tokens)`")
        check.that(isinstance(answer, list), "return a list of names, an empty one where all is well")
        check.that(all(isinstance(at, str) for at in answer), "names are asked for: strings, not modules")
        usual = {said: slip for said, slip in usual.items() if slip != right}
        for said, slip in usual.items():
            check.that(answer != slip, said)
        check.that(answer == right, f"the first bad output is that of {right[0] if right else 'nobody'}")
        check.that(not kept, "the hooks are still there: keep what register_forward_hook returns, .remove()")


def _write_down(seen: list, at: str, module: nn.Module, given: tuple, output: Tensor) -> None:
    """A hook that keeps what a module read and gave."""
    seen.append((at, output, given[0]))


class _Counted(GPT):
    """A GPT that knows how often it was run."""

    runs = 0

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits."""
        self.runs += 1
        return super().forward(tokens)


def _small() -> GPT:
    """A GPT whose parts are computed in another order than they are named."""
    model = _Counted(
        ModelConfig(vocab_size=7, context_length=6, n_layer=2, n_head=1, n_embd=4, tied_head=False)
    )
    model._modules = dict(reversed(model._modules.items()))
    return model


@marked("9.8 · rounding by chance", given=given_stochastic_round)
def stochastic_round(check: exercise, mine) -> None:
    """One of the two neighbours, so often that the mean is right."""
    for bits, value in ((8, 1.003), (3, 2.6), (8, -0.1), (8, 300.5), (5, -7.9)):
        x = torch.full((20_000,), value)
        m, e = torch.frexp(x)
        low, high = (torch.ldexp(f(m * 2**bits), e - bits)[0].item() for f in (torch.floor, torch.ceil))
        nearest, gap = given_round_to(x, bits)[0].item(), high - low
        answer = check.run(mine, x, bits, torch.Generator().manual_seed(1))
        whole = isinstance(answer, Tensor) and answer.shape == x.shape
        check.that(whole, "return a tensor of the shape of x")
        found = sorted({*answer.tolist()})
        share = (answer == high).float().mean().item()
        check.that(found != [x[0].item()], "nothing is rounded here")
        upwards = value < 0 and found[-1] > high + gap / 2
        check.that(not upwards, "below 0 torch.trunc goes upwards: torch.floor goes down everywhere")
        outside = "a number goes to one of its two neighbours, and to no third"
        check.that(all(low - gap / 9 <= n <= high + gap / 9 for n in found), outside)
        on_grid = all(min(abs(n - low), abs(n - high)) < gap / 1e4 for n in found)
        check.that(on_grid, "chance is added before rounding: what comes out has no more digits than `bits`")
        alone = "every number goes the same way: draw one random number for each, torch.rand(x.shape, …)"
        check.that(len(found) == 2 or found != [nearest], "this is rounding to the nearest: where is chance?")
        check.that(len(found) == 2, alone)
        wanted = (value - low) / gap
        near = 0.02  # five times what 20,000 draws leave to chance
        if abs(share - 0.5) < near < abs(wanted - 0.5):
            check.that(False, "both neighbours are equally likely here: the nearer one comes more often")
        if abs(share - 0.5 - wanted) < near:
            check.that(False, "torch.floor after chance is added: torch.round adds another half")
        if abs(share - (1 - wanted)) < near < abs(share - wanted):
            check.that(False, "turned over: the nearer neighbour comes more often")
        check.that(abs(share - wanted) < near, "on average nothing may be lost: the mean has to be x")
    exact = torch.tensor([0.0, 1.0, -2.5, 384.0])
    for seed in range(20):
        answer = check.run(mine, exact, 8, torch.Generator().manual_seed(seed))
        check.close(answer, exact, "a number that fits stays as it is", **EXACT)
    draws = [mine(random(50, seed=2), 4, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    check.that(torch.equal(draws[0], draws[1]), "the same generator gives the same result: draw from it")
    check.that(not torch.equal(draws[0], draws[2]), "draw from the generator that is handed in")
