"""Exercises of notebook 02_attention."""

from typing import Any

import torch

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import gradients, learnable, module, random
from tinylm.course.slips import Lesson, call

lesson = Lesson(__file__)


def boolean(check: Check, answer: Any, T: int) -> Any:
    """Return the mask, which must be a tensor of booleans."""
    mask = call(check, answer, T)
    check.that(isinstance(mask, torch.Tensor), "a tensor is asked: torch.ones(T, T) makes one")
    check.that(
        not mask.is_floating_point() or not mask.isinf().any(),
        "these are scores with −∞: True and False are asked",
    )
    check.that(mask.dtype == torch.bool, "these are numbers: .bool() makes True and False of them")
    return mask


causal_mask = lesson.exercise("causal_mask", run=boolean, cases=[(5,), (3,)])


def tensor(check: Check, answer: Any, *case: Any) -> Any:
    """Return a tensor of shape (D,), and not the weights."""
    out, (_, t, W_q, *_) = call(check, answer, *case), case
    check.that(isinstance(out, torch.Tensor), "a tensor of shape (D,) is asked")
    told = "these are the weights: average the values with them"
    check.that(out.shape != (t + 1,) or t + 1 == W_q.shape[1], told)
    return out


def words(T: int, C: int, D: int, t: int, seed: int) -> tuple[Any, ...]:
    """Return x, t and the three matrices."""
    return random(T, C, seed=seed), t, *random(3, C, D, seed=seed + 9)


attend_one = lesson.exercise(
    "attend_one",
    run=tensor,
    cases=[words(6, 4, 3, 3, 0), words(5, 3, 7, 2, 1), words(5, 3, 7, 0, 1)],
)


def two_things(check: Check, function: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    """Return the weights and the results, in this order."""
    answer = call(check, function, q, k, v)
    check.that(isinstance(answer, tuple) and len(answer) == 2, "return two things: results and weights")
    if difference(answer, check.given(q, k, v)) is None:
        gradients(check, function, q, k, v)
    return {"weights": answer[1], "results": answer[0]}


def qkv(*shape: int) -> tuple[torch.Tensor, ...]:
    """Return queries, keys and values of this shape."""
    return tuple(random(3, *shape, seed=shape[-1]))


attention = lesson.exercise(
    "attention",
    run=two_things,
    cases=[qkv(5, 3), qkv(2, 3, 4, 7)],
    forbid=("scaled_dot_product_attention", "explicit_attention", "fused_attention"),
)

Head = lesson.exercise(
    "Head",
    run=module,
    cases=[((6, 3), random(2, 5, 6)), ((5, 7), random(3, 4, 5, seed=1))],
)


def several(check: Check, answer: Any, sizes: tuple[int, int], x: torch.Tensor) -> Any:
    """Return the module's output; n_head different heads must be in a ModuleList."""
    heads = getattr(answer(*sizes), "heads", None)
    listed = isinstance(heads, list | tuple)
    check.that(not listed, "a plain list hides its parameters from torch: use torch.nn.ModuleList")
    check.that(heads is None or len(heads) == sizes[1], "as many heads as n_head says")
    alone = heads is None or len({id(head) for head in heads}) == sizes[1]
    check.that(alone, "your heads are one and the same object: make a new Head each time")
    return module(check, answer, sizes, x)


MultiHead = lesson.exercise(
    "MultiHead",
    run=several,
    cases=[((6, 3), random(2, 5, 6)), ((10, 2), random(3, 4, 10, seed=1))],
)


def cut(check: Check, answer: Any, x: torch.Tensor, H: int) -> Any:
    """Return the tensor of heads; a wrong shape is named."""
    out, (B, T, C) = learnable(check, answer, x, H), x.shape
    D = C // H
    check.that(isinstance(out, torch.Tensor), "one tensor is asked, (B, H, T, D), and not a list of heads")
    shapes = {
        (B, T, H, D): "T still stands in front of H: transpose(1, 2) exchanges them",
        (B, H, D, T): "H in front of T, and D stays last: transpose(1, 2) exchanges H and T",
        (B, D, T, H): "the heads come second, D last: cut into (B, T, H, D), then bring H in front of T",
        (B, T, D, H): "the heads come second: cut into (B, T, H, D), then bring H in front of T",
        (H, B, T, D): "the texts come first, (B, H, T, D)",
        (B, T, C): "nothing is cut: (B, H, T, D) has four dimensions",
        (B, H, T, H): "D = C / H: the numbers are shared among the heads",
    }
    check.that(out.shape not in shapes, shapes.get(tuple(out.shape), ""))
    fixed = out.ndim == 4 and out.shape[::2] == (B, T) and out.shape[1] != H
    check.that(not fixed, "as many heads as n_head says: yours are always the same number")
    return out


split_heads = lesson.exercise(
    "split_heads",
    run=cut,
    cases=[(random(2, 5, 21), 3), (random(3, 4, 12, seed=1), 2)],
)


def one_number(check: Check, answer: Any, weights: torch.Tensor, n: int) -> Any:
    """Return the answer, which must be a single number."""
    found = call(check, answer, weights, n)
    several = getattr(found, "ndim", 0) == 1 or isinstance(found, list)
    check.that(not several, "that is one weight for each position: one number is asked, their mean")
    return found


looks_back = lesson.exercise(
    "looks_back",
    run=one_number,
    cases=[
        (random(T, T, seed=seed).softmax(-1), n)
        for T, n, seed in ((9, 3, 0), (7, 1, 0), (6, 0, 2), (8, 2, 3))
    ],
)
