"""Exercises of notebook 14_modern_blocks."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import learnable, learns, module, numbered, random, same_weights
from tinylm.course.slips import Lesson

lesson = Lesson(__file__)
lesson.names |= {"GPT": nb03.GPT.given}

rms_norm = lesson.exercise(
    "rms_norm",
    run=learnable,
    cases=[
        (scale * random(*shape) + shift, random(shape[-1], seed=8), *epsilon)
        for shape, scale, shift, epsilon in (
            ((5, 7), 1.0, 1.0, ()),
            ((2, 3, 6), 0.003, 0.0, ()),
            ((4, 5), 1.0, 0.5, (0.5,)),
        )
    ],
    forbid=("rms_norm", "RMSNorm"),
)

rotate = lesson.exercise(
    "rotate",
    run=learnable,
    cases=[
        (random(1, 2), torch.tensor([1])),
        (random(2, 3, 5, 8), torch.arange(5)),
        (random(3, 6, seed=1), torch.tensor([4, 0, 17])),
        (random(2, 4, 6, seed=2), torch.arange(7, 11), 50.0),
    ],
    rtol=1e-3,
    atol=1e-5,
)


def gated(check: Check, answer: Callable[..., Any], sizes: tuple[int, ...], x: torch.Tensor) -> Any:
    """Return what the MLP returns, once its width is right."""
    up, asked = getattr(answer(*sizes), "up", None), check.given(*sizes).up.out_features
    wide = getattr(up, "out_features", asked)
    three = f"three matrices as large as two of 4 · {sizes[0]}, in steps of 8, rounded up"
    told = f"by default, `up` should make {asked} numbers, and makes {wide}: {three}"
    if len(sizes) > 1:
        told = f"n_inner is given here: use it, {asked}, and not {wide}"
    check.that(wide == asked, told)
    return module(check, answer, sizes, x)


SwiGLU = lesson.exercise(
    "SwiGLU",
    run=gated,
    cases=[((6,), random(2, 3, 6)), ((10,), random(2, 3, 10, seed=1)), ((5, 7), random(2, 3, 5, seed=2))],
)

cache_bytes = lesson.exercise(
    "cache_bytes",
    cases=[(3, 5, 7, 11), (3, 5, 7, 11, 13), (2, 3, 5, 7, 11, 4), (1, 1, 1, 1, 1, 1)],
)

grouped_attention = lesson.exercise(
    "grouped_attention",
    run=learnable,
    cases=[
        tuple(random(2, heads, rows, 4, seed=seed) for seed, (heads, rows) in enumerate(shapes))
        for shapes in (
            ((6, 5), (2, 5), (2, 5)),
            ((4, 1), (2, 6), (2, 6)),
            ((3, 2), (1, 7), (1, 7)),
            ((2, 4), (2, 4), (2, 4)),
        )
    ]
    + [(torch.zeros(1, 2, 3, 4), random(1, 1, 3, 4), random(1, 1, 3, 4, seed=1))],
)

qk_scores = lesson.exercise(
    "qk_scores",
    run=learnable,
    cases=[
        (scale * random(2, 3, 5, 4), random(2, 3, 7, 4, seed=1), *random(2, 4, seed=2))
        for scale in (1.0, 30.0)
    ],
    rtol=1e-3,
    atol=1e-5,
)


def known(error: NameError, answer: Any) -> str:
    """Return what to do about a name that a class's methods do not know."""
    if error.name in inspect.signature(answer).parameters:
        return f"only __init__ knows `{error.name}`: keep it there, as self.{error.name}"
    return f"your class uses `{error.name}`, which this notebook does not have: define it, or import it"


def attends(check: Check, answer: Any, part: str, sizes: tuple[Any, ...], pieces: Any, x: Any) -> Any:
    """Return a part of what a layer gives for a text in pieces: the outputs, or what its cache holds."""
    check.attempted(getattr(answer, "forward", ...))
    try:
        mine, ours = answer(*sizes), numbered(check.given(*sizes))
        same_weights(check, mine, ours)
        cache: Any = None if pieces is None else {}
        more = () if cache is None else (cache,)
        outputs = [check.run(mine, piece, *more) for piece in x.split(pieces or x.shape[1], dim=1)]
    except NameError as error:
        check.that(not error.name, known(error, answer))
        raise
    told = "return one tensor: the cache is changed in place"
    check.that(all(isinstance(out, torch.Tensor) for out in outputs), told)
    if cache is None and difference(outputs[0], ours(x)) is None:
        learns(check, mine, outputs[0])
    if part == "outputs":
        return torch.cat([out.detach() for out in outputs], dim=1)
    told = 'nothing is kept: put all keys and values into the cache, under "k" and "v"'
    check.that({"k", "v"} <= cache.keys(), told)
    return cache[part].detach()


PLAIN, NORMED = (12, 3, 1), (16, 4, 2, True, 50.0)
GroupedQueryAttention = lesson.exercise(
    "GroupedQueryAttention",
    run=attends,
    cases=[
        ("outputs", PLAIN, None, random(2, 5, 12)),
        ("outputs", NORMED, None, random(3, 4, 16, seed=1)),
        *(
            (part, sizes, pieces, random(2, sum(pieces), sizes[0], seed=3))
            for part in ("outputs", "k", "v")
            for sizes, pieces in ((PLAIN, [1, 1, 1]), (NORMED, [3, 1, 2]), ((8, 2, 2), [4, 1]))
        ),
    ],
    rtol=1e-3,
    atol=1e-4,
)

SIZES = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd", "n_kv_head", "n_inner")
SIZES += ("qk_norm", "base")


def modern(check: Check, answer: Any, sizes: tuple[Any, ...], pieces: Any, tokens: torch.Tensor) -> Any:
    """Return the logits of a text, whole or in pieces with caches. Every part must be a new one."""
    check.attempted(getattr(answer, "forward", ...))
    given = inspect.signature(answer).parameters
    lacks = next((name for name in SIZES[5:] if name not in given), "")
    check.that(not lacks, f"the contract calls an argument `{lacks}`, and so do the cells below")

    def made(kind: Any) -> Any:
        return lambda *values: kind(**dict(zip(SIZES, values, strict=True)))

    try:
        mine, ours = made(answer)(*sizes), numbered(made(check.given)(*sizes))
        told = "the position table is still there: `del self.position_embedding`"
        check.that(getattr(mine, "position_embedding", None) is None, told)
        parts = dict(mine.named_modules())
        for name, part in ours.named_modules():
            old = "LayerNorm" if "norm" in name else {"attn": "CausalSelfAttention", "mlp": "MLP"}
            olds = old if isinstance(old, str) else old.get(name.rpartition(".")[2], "")
            same = type(parts.get(name, part)).__name__ == olds
            check.that(not same, f"`{name}` is still 03's: put the new part there")
        blocks = [*getattr(mine, "blocks", [])]
        alone = all(block.attn_norm is not block.mlp_norm for block in blocks)
        check.that(alone, "make two norms, not one with two names")
        same_weights(check, mine, ours)
        caches: Any = None if pieces is None else [{} for _ in range(sizes[2])]
        more = () if caches is None else (caches,)
        outputs = [check.run(mine, piece, *more) for piece in tokens.split(pieces or len(tokens[0]), dim=1)]
    except NameError as error:
        check.that(not error.name, known(error, answer))
        raise
    check.that(all(isinstance(out, torch.Tensor) for out in outputs), "return the logits alone")
    if caches is None and difference(outputs[0], ours(tokens)) is None:
        learns(check, mine, outputs[0])
    return torch.cat([out.detach() for out in outputs], dim=1)


ModernGPT = lesson.exercise(
    "ModernGPT",
    run=modern,
    cases=[
        ((11, 7, 2, 3, 12, 1, 5, False, 10_000.0), None, nb03.texts(2, 5, 11, 5)),
        ((13, 4, 3, 4, 16, 2, 7, True, 50.0), None, nb03.texts(2, 4, 13, 4)),
        ((13, 9, 2, 2, 8, 1, 7, True, 50.0), [2, 1, 3], nb03.texts(2, 6, 13, 4)),
        ((11, 9, 3, 2, 8, 2, None, False, 10_000.0), [1, 1, 1], nb03.texts(2, 3, 11, 4)),
    ],
    rtol=1e-3,
    atol=1e-4,
)


def hunted(check: Check, answer: Any, part: str, heads: int, pieces: list[int], zero: bool) -> Any:
    """Return a part of what a function gives for texts in pieces, all of which share one cache."""
    q, k, v = (random(2, heads, sum(pieces), 4, seed=seed) for seed in (1, 2, 3))
    if zero:
        q = 0 * q  # every score is exactly 0
    cache: dict[str, Any] = {}
    parts = zip(*(x.split(pieces, dim=2) for x in (q, k, v)), strict=True)
    outputs = [check.run(answer, *each, cache) for each in parts]
    if part == "output":
        return torch.cat(outputs, dim=2)
    told = 'nothing is kept: put all keys and values into the cache, under "k" and "v"'
    check.that({"k", "v"} <= cache.keys(), told)
    return cache[part]


mended = lesson.exercise(
    "mended",
    run=hunted,
    cases=[
        ("output", 2, [5], True),
        *((part, 3, pieces, False) for part in ("output", "k", "v") for pieces in ([4], [3, 1, 1], [2, 3])),
        ("output", 2, [2, 2], True),
    ],
)

mean_scores = lesson.exercise(
    "mean_scores",
    cases=[
        (random(3, 8), random(3, 8, seed=1), torch.arange(5)),
        (random(5, 6, seed=2), random(5, 6, seed=3), torch.tensor([0, 7, 30, 2])),
        (torch.ones(1, 4), torch.ones(1, 4), torch.arange(3)),
    ],
    rtol=1e-3,
    atol=1e-5,
)
