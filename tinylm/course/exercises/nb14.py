"""Exercises of notebook 14_modern_blocks."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tinylm.course import diagrams, flows, style
from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import learnable, learns, module, numbered, random, same_weights
from tinylm.course.slips import Lesson
from tinylm.storage.layouts import LAYOUTS

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
        (random(1, 4), torch.tensor([2])),
        (random(2, 3, 5, 8), torch.arange(5)),
        (random(3, 6, seed=1), torch.tensor([4, 0, 17])),
        (random(2, 4, 6, seed=2), torch.arange(7, 11), 50.0),
    ],
    rtol=1e-3,
    atol=1e-5,
)


def gated(check: Check, answer: Callable[..., Any], sizes: tuple[int, ...], x: torch.Tensor) -> Any:
    """Return what the MLP returns, once its width is right."""
    mine = answer(*sizes)
    up, asked = getattr(mine, "up", None), check.given(*sizes).up.out_features
    check.that(up is None or hasattr(mine, "gate"), "`gate` is missing: a third matrix, beside `up`")
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
        (scale * random(2, 3, 5, 6), random(2, 3, 7, 6, seed=1), *random(2, 6, seed=2))
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
        told = f"make it an nn.Module: class {answer.__name__}(nn.Module), and super().__init__() in __init__"
        check.that(isinstance(mine, nn.Module), told)
        same_weights(check, mine, ours)
        if pieces is not None:
            check.run(mine, x[:, :2], {})  # another text, of which nothing may stay in the layer
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
    told = 'nothing is kept: put all keys and values into the cache that was given, under "k" and "v"'
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
    check.attempted({"__init__", "forward"} & vars(answer).keys() or None)
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
        normed = any(name.endswith("q_norm.weight") for name, _ in mine.named_parameters())
        told = "qk_norm is an argument: give it to the attention"
        check.that(normed == sizes[SIZES.index("qk_norm")], told)
        same_weights(check, mine, ours)
        n, most = (len([*kind.parameters()]) for kind in (mine, ours))
        told = "two parts share their weights: make new ones for each block, inside the loop"
        check.that(n >= most, told)
        told = "the head stays tied to token_embedding: replace nothing but the named parts"
        check.that(n == most, told)
        caches: Any = None if pieces is None else [{} for _ in range(sizes[2])]
        more = () if caches is None else (caches,)
        if caches:
            check.run(mine, tokens[:, :2], [{} for _ in caches])  # another text, of which nothing may stay
        outputs = [check.run(mine, piece, *more) for piece in tokens.split(pieces or len(tokens[0]), dim=1)]
    except NameError as error:
        check.that(not error.name, known(error, answer))
        raise
    check.that(all(isinstance(out, torch.Tensor) for out in outputs), "return the logits alone")
    logits = torch.cat([out.detach() for out in outputs], dim=1)
    wanted: Any = None if caches is None else [{} for _ in caches]
    if difference(logits, ours(tokens, wanted), rtol=1e-3, atol=1e-4) is None:
        if caches is None:
            learns(check, mine, outputs[0])
        alike = difference(caches, wanted, rtol=1e-3, atol=1e-4) is None
        check.that(alike, "caches[i] belongs to block i")
    return logits


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


class Comparing(TorchFunctionMode):
    """Notice whether scores are compared. A mask may be: it has no more than two values."""

    found = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = args[0] if args else None
        if function.__name__.strip("_") in ("eq", "ne", "bool", "isclose", "logical_not"):
            self.found |= isinstance(first, torch.Tensor) and len({*first.flatten().tolist()}) > 2
        return function(*args, **(kwargs or {}))


def hunted(check: Check, answer: Any, part: str, heads: int, pieces: list[int], zero: bool) -> Any:
    """Return a part of what a function gives for texts in pieces, all of which share one cache."""
    q, k, v = (random(2, heads, sum(pieces), 4, seed=seed) for seed in (1, 2, 3))
    if zero:
        q = 0 * q  # every score is exactly 0
    cache: dict[str, Any] = {}
    parts = [*zip(*(x.split(pieces, dim=2) for x in (q, k, v)), strict=True)]
    outputs = [check.run(answer, *each, cache) for each in parts]
    check.that(all(isinstance(out, torch.Tensor) for out in outputs), "return one tensor, (B, H, T, D)")
    ours: dict[str, Any] = {}
    right = difference(outputs, [check.given(*each, ours) for each in parts]) is None
    if right and part == "output" and not zero:
        with Comparing() as comparing:
            answer(*parts[0], {})
        told = "scores are still hidden by their value: compare positions, never scores"
        check.that(not comparing.found, told)
    if part == "output":
        return torch.cat(outputs, dim=2)
    told = 'nothing is kept: put all keys and values into the cache that was given, under "k" and "v"'
    check.that({"k", "v"} <= cache.keys(), told)
    return cache[part]


mended = lesson.exercise(
    "mended",
    run=hunted,
    cases=[
        ("output", 2, [5], True),
        *((part, 3, pieces, False) for part in ("output", "k", "v") for pieces in ([4], [1, 1, 1], [2, 3])),
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


# Drawings of the notebook, and models of transformers under our names.

PARTS = [("embedding", "tokens and positions", "tokens alone"), ("norm", "LayerNorm", "RMSNorm")]
PARTS += [("attention", "12 heads", "9 heads, rotated, 3 of keys"), PARTS[1]]
PARTS += [("MLP", "GELU, 2 matrices", "SwiGLU, 3 matrices"), ("norm", "LayerNorm", "RMSNorm")]
PARTS += [("head", "tied to the tokens", "tied to the tokens")]


def side_by_side() -> None:
    """Draw GPT-2's parts and SmolLM2's, from the bottom up. What changed is orange."""
    told = "GPT-2 and SmolLM2 side by side, with the same order of boxes from the embedding up to the head; "
    told += "in SmolLM2 all boxes are orange except the head: " + ", ".join(kind for *_, kind in PARTS)
    with diagrams.paper(told + ".", 9.4, 5.8, title="Five years: what changed is orange") as axes:
        for column, (name, times) in enumerate((("GPT-2, 2019", "12 ×"), ("SmolLM2-135M, 2024", "30 ×"))):
            left = 0.75 + 4.7 * column
            diagrams.write(axes, left, 5.55, name, 16, weight="bold")
            frame = {"facecolor": "none", "edgecolor": style.GREY, "linestyle": "--"}
            diagrams.box(axes, left - 0.12, 2.32, 3.84, 2.9, **frame)
            diagrams.write(axes, left - 0.2, 2.32, times, 15, ha="right", weight="bold")
            for row, (part, *kinds) in enumerate(PARTS):
                y = 0.45 + 0.7 * row + 0.12 * ((row > 0) + (row > 4))
                changed = column == 1 and kinds[0] != kinds[1]
                colour = style.tint(style.ORANGE) if changed else style.PALE
                diagrams.box(axes, left, y, 3.6, 0.58, part, kinds[column], facecolor=colour)


def hand(axes: Any, x: float, y: float, angle: float, colour: str = style.BLUE) -> None:
    """Draw a clock whose hand has turned by this angle from three o'clock, against the clock's sense."""
    ring = torch.linspace(0, 2 * math.pi, 60)
    axes.plot(x + 0.36 * ring.cos(), y + 0.36 * ring.sin(), color=style.GREY, linewidth=1, linestyle="-")
    tip = x + 0.36 * math.cos(angle), y + 0.36 * math.sin(angle)
    diagrams.arrow(axes, (x, y), tip, color=colour)


def clocks() -> None:
    """Draw how far three pairs of numbers have turned at each word of the course's sentence."""
    told = (
        "For each word of the sentence three clocks, one for each pair: the hand of pair 0 has turned far, "
    )
    with diagrams.paper(
        told + "that of pair 2 hardly.", 9.4, 3.3, title="Each position turns the hands further"
    ) as axes:
        for t, word in enumerate(flows.SENTENCE):
            diagrams.write(axes, 2.7 + 1.0 * t, 3.05, word, 14, ha="center")
            for i in range(3):
                hand(axes, 2.7 + 1.0 * t, 2.4 - 0.9 * i, t * 10.0**-i)
        for i in range(3):
            diagrams.write(axes, 0.05, 2.4 - 0.9 * i, f"pair {i}, speed {10.0**-i:g}", 14)


def two_hands(query_at: int, key_at: int, pair: int) -> None:
    """Draw how far one pair of a query and of a key has turned, of 8 pairs."""
    speed = 10_000.0 ** (-pair / 8)
    with diagrams.paper("A clock with two hands, a query's and a key's.", 6.4, 1.1) as axes:
        hand(axes, 0.6, 0.55, query_at * speed)
        hand(axes, 0.6, 0.55, key_at * speed, style.VERMILION)
        between = math.degrees((query_at - key_at) * speed)
        diagrams.write(axes, 1.3, 0.55, f"query − key: {between:.1f}° at a speed of {speed:.3f}", 14)


def sharing() -> None:
    """Draw which of nine heads of queries share keys and values, in three ways."""
    told = "Nine heads of queries above; below nine, three or one head of keys and values, joined by lines."
    with diagrams.paper(told, 9.4, 2.2, title="Heads of queries (blue), of keys and values (orange)") as axes:
        for panel, (name, heads) in enumerate(
            {"multi-head": 9, "grouped-query": 3, "multi-query": 1}.items()
        ):
            left, group = 0.1 + 3.15 * panel, 9 // heads
            diagrams.write(axes, left, 1.95, f"{name}: {heads}", 14, weight="bold")
            for h in range(9):
                below = left + 0.32 * (h // group * group + (group - 1) / 2)
                diagrams.line(axes, [left + 0.32 * h + 0.13, below + 0.13], [1.3, 0.4])
                colour = style.tint(style.BLUE)
                diagrams.box(axes, left + 0.32 * h, 1.3, 0.26, 0.4, facecolor=colour)
                if h % group == 0:
                    diagrams.box(axes, below, 0.4, 0.26, 0.4, facecolor=style.tint(style.ORANGE))


def random_model(transformers: Any, name: str, **sizes: int) -> Any:
    """Return a "Llama" or a "Qwen3" of transformers, which is given as a module, with random weights."""
    transformers.utils.logging.set_verbosity_error()
    about = {
        "vocab_size": "vocab_size",
        "context_length": "max_position_embeddings",
        "n_layer": "num_hidden_layers",
    }
    about |= {"n_head": "num_attention_heads", "n_embd": "hidden_size", "n_kv_head": "num_key_value_heads"}
    about |= {"n_inner": "intermediate_size"}
    more = {"head_dim": sizes["n_embd"] // sizes["n_head"], "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
    config = getattr(transformers, f"{name}Config")(**more, **{about[ours]: n for ours, n in sizes.items()})
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def our_names(theirs: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a Llama or Qwen 3 of transformers under our names, with the tied head."""
    layout = LAYOUTS[theirs.config.model_type]
    state = {name: tensor for name, tensor in theirs.state_dict().items() if name != "lm_head.weight"}
    ours = layout.to_ours(state, layout.config_of(theirs.config.to_dict()), theirs.config.model_type)
    return ours | {"head.weight": ours["token_embedding.weight"]}


@torch.no_grad()
def learned_scores(model: Any, ids: torch.Tensor, mean: Any, distances: torch.Tensor) -> torch.Tensor:
    """Return the mean score of all queries and keys of a text at each distance, (8 * 4 heads, M).

    ids (1, T). model: `lightlm_stories` as a ModernGPT. mean: mean_scores. Queries and keys are those before
    the rotation, so each pair is tried at each distance, not only at the one that it has in the text."""
    found, x = [], model.token_embedding(ids)
    for block in model.blocks:
        normed = block.attn_norm(x)
        heads = block.attn.qkv(normed)[0].unflatten(-1, (8, 20))  # (T, heads, D): 4 of q, 2 of k, 2 of v
        for h in range(4):
            q, k = torch.broadcast_tensors(heads[:, None, h], heads[None, :, 4 + h // 2])
            found.append(mean(q.flatten(0, 1), k.flatten(0, 1), distances))
        x = x + block.attn(normed)
        x = x + block.mlp(block.mlp_norm(x))
    return torch.stack(found)
