"""Exercises of notebook 09_precision."""

from typing import Any

import torch
from torch import Tensor, nn

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT

lesson = Lesson(__file__)
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
    "limits",
    run=several,
    cases=[(5, 10), (3, 2), (8, 7), (4, 3), (8, 23), (9, 5)],
    rtol=1e-12,
    atol=0.0,
)


def single(check: Check, answer: Any, x: Tensor, bits: int) -> Any:
    """Return the rounded tensor, which must be in float32."""
    found = call(check, answer, x, bits)
    kept = getattr(found, "dtype", torch.float32) == torch.float32
    check.that(kept, "the result is float32, with fewer digits: .float()")
    return found


round_to = lesson.exercise(
    "round_to",
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
    **EXACT,
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
    "mixed_linear",
    run=multiplied,
    cases=factors,
    **EXACT,
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
    "unscale",
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
)


next_scale = lesson.exercise(
    "next_scale",
    run=several,
    cases=[
        *((16.0, good, True, 3) for good in range(3)),
        *((scale, good, False, 3) for scale, good in ((16.0, 2), (16.0, 0), (1.0, 0), (3.0, 0))),
        (1024.0, 6, True, 7),
        (1024.0, 5, True, 7),
        (2.0, 0, True, 1),
    ],
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
    "scaled_step",
    run=stepped,  # a gradient to clip, two to leave as they are, two that overflow
    cases=[((3, 3), 8), ((0.25, 0.25), 8), ((1e30, 1), 2.0**100), ((1e36, 1), 2.0**100), ((0.01, 0.01), 4)],
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
    "bad_parts",
    run=named,
    cases=[
        ("blocks.0.attn.proj.weight", NAN),
        ("blocks.1.mlp.up.weight", 3e38),
        ("blocks.1.mlp_norm.weight", INF),
        ("token_embedding.weight", -INF),
        ("head.weight", NAN),
        ("", 0.0),
    ],
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
    "stochastic_round",
    run=drawn,
    cases=[
        *((value, bits, 10_000) for value, bits in ((1.003, 8), (2.9, 3), (-7.7, 5))),
        *((value, 8, 20) for value in (0.0, 1.0, -2.5, 384.0)),
    ],
    rtol=0.0,
    atol=0.03,  # four times what 10,000 draws leave to chance
)
