"""Exercises of notebook 05_sampling."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call

lesson = Lesson(__file__)

temperature = lesson.exercise(
    "temperature",
    cases=[(2 * random(7, seed=1), 0.5), (2 * random(7, seed=2), 1.7)],
)


def cut(check: Check, answer: Callable[..., Any], logits: torch.Tensor, limit: float) -> Any:
    """Return the logits that an answer gives, and which of them stay."""
    out = call(check, answer, logits, limit)
    told = "a tensor of logits is asked, with −∞ for what goes, and not which tokens stay or their places"
    check.that(isinstance(out, torch.Tensor) and out.is_floating_point(), told)
    told = "every token keeps its place in the row: return V logits, with −∞ for what goes"
    check.that(out.shape == logits.shape, told)
    return {"stays": out.isfinite(), "logits": out}


def shares(*parts: float) -> torch.Tensor:
    """Return logits (V,) of tokens with these probabilities, none of them ln p itself."""
    return torch.tensor(parts).log() + 3.0


EQUAL = torch.tensor([1.0, 4.0, -2.0, 3.0, 3.0, 0.5])

top_k = lesson.exercise(
    "top_k",
    run=cut,
    cases=[(random(9, seed=4), 3), (-1.0 - random(9, seed=5).abs(), 2), (EQUAL, 2), (EQUAL, 6)],
)

EXACT = shares(0.25, 0.5, 0.125, 0.125)

top_p = lesson.exercise(
    "top_p",
    run=cut,
    cases=[
        (shares(0.06, 0.07, 0.3, 0.02, 0.058, 0.2, 0.035, 0.055, 0.065, 0.05, 0.04, 0.047), 0.6),
        (shares(0.02, 0.01, 0.96, 0.01), 0.9),
        (shares(0.5, 0.05, 0.05, 0.1, 0.3), 0.55),
        (EXACT, float(EXACT.softmax(-1)[1])),
    ],
)

# Parts of the favourite's probability, chosen so that every usual mistake keeps other tokens.
PARTS = (0.37, 0.05, 1.0, 0.55, 0.08, 0.885, 0.14, 0.8, 0.11, 0.25, 0.68, 0.065, 0.95)

min_p = lesson.exercise(
    "min_p",
    run=cut,
    cases=[
        (shares(*PARTS) - 2.5, 0.12),
        (shares(0.02, 0.1, 0.6, 0.28) - 6, 0.2),
        *(
            (torch.tensor([0.0, -5.0, -6.0, -1.0, -80.0]) + top, 0.1)
            for top in (95.0, 1000.0, -120.0, -1000.0)
        ),
        (torch.tensor([1.5, 2.0, 2.0, -1.0]), 1.0),
    ],
)

SAID = (1, 4, *(7, 8, 2) * 50)  # what was said long ago counts too

penalise = lesson.exercise(
    "penalise",
    cases=[
        (2 * random(9, seed=seed), torch.tensor(ids), r)
        for r, seed, ids in ((1.5, 2, (2, 5, 2, 0, 7, 2)), (1.2, 3, (1, 1, 3, 6, 4)), (1.3, 4, SAID))
    ],
)


def remembers(check: Check, answer: Callable[..., Any], sizes: tuple[int, int], x: Any, *more: Any) -> Any:
    """Return the result, and the keys and values; the past must stay as it was."""
    own = copy.deepcopy(more)
    out = nb03.outputs(check, answer, sizes, x, *own)
    told = "your layer changes the past that it was given: torch.cat makes new tensors"
    check.that(difference(own, more) is None, told)
    pair = isinstance(out, tuple | list) and len(out) == 2 and isinstance(out[1], tuple | list)
    check.that(pair and len(out[1]) == 2, "return two things: the result, and the pair (keys, values)")
    return {"result": out[0], "keys": out[1][0], "values": out[1][1]}


def remembered() -> list[tuple[Any, ...]]:
    """Return sizes, x, past and mask for two layers, with and without past and mask."""
    cases: list[tuple[Any, ...]] = []
    for B, T, C, H, before in ((2, 1, 12, 3, 4), (3, 4, 10, 2, 2)):
        past = tuple(random(B, H, before, C // H, seed=seed) for seed in (1, 2))
        hidden = random(B, 1, T, before + T, seed=6) > 0.3
        hidden[..., -T:] |= torch.eye(T).bool()  # each looks at itself at least
        whole = torch.ones(B, 1, 5, 5).tril().bool()
        whole[0, :, 1:, 0] = False
        x = [random(B, size, C, seed=seed) for size, seed in ((5, 3), (T, 4), (T, 5), (5, 7))]
        cases += [
            ((C, H), *case) for case in ((x[0],), (x[1], past), (x[2], past, hidden), (x[3], None, whole))
        ]
    return cases


CausalSelfAttention = lesson.exercise(
    "CausalSelfAttention",
    run=remembers,
    cases=remembered,
    rtol=1e-3,
    atol=1e-4,
)


class Block(nn.Module):
    """The notebook's block around the layer that remembers."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attn_norm, self.mlp_norm = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn, self.mlp = CausalSelfAttention.given(n_embd, n_head), nb03.MLP.given(n_embd)

    def forward(self, x, past=None, mask=None):
        """Return x (B, T, C) after the block, and the layer's keys and values so far."""
        found, kept = self.attn(self.attn_norm(x), past, mask)
        x = x + found
        return x + self.mlp(self.mlp_norm(x)), kept


def small() -> nn.Module:
    """Return a GPT of four blocks that remember, with three heads and a context of 13."""
    model = nb03.GPT.given(vocab_size=11, context_length=13, n_layer=0, n_head=3, n_embd=15)
    model.blocks = nn.ModuleList(Block(15, 3) for _ in range(4))
    return numbered(model)


@torch.no_grad()
def reads(check: Check, answer: Callable[..., Any], start: int, tokens: torch.Tensor) -> Any:
    """Return the logits of the tokens from `start` on, and what each block keeps."""
    model = small()
    past = check.given(model, tokens[:, :start])[1] if start else None
    own, inside = past and [*past], copy.deepcopy(past)
    out = check.run(answer, model, tokens[:, start:], *([past] if past else []))
    same = not past or (len(past) == len(own) and all(a is b for a, b in zip(past, own, strict=True)))
    told = "your function writes into the list of the past that it was given: collect the pairs in a new list"
    check.that(same and difference(past, inside) is None, told)
    told = "return two things: the logits, and the list of what each block keeps"
    check.that(isinstance(out, tuple | list) and len(out) == 2, told)
    logits, kept = out
    told = "the second thing has a pair (keys, values) for each block: collect what the blocks return"
    check.that(isinstance(kept, list | tuple) and len(kept) == len(model.blocks), told)
    check.that(all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in kept), told)
    return {"logits": logits, "keys": [k for k, _ in kept], "values": [v for _, v in kept]}


TOKENS = torch.randint(11, (2, 13), generator=torch.Generator().manual_seed(1))

read = lesson.exercise(
    "read",
    run=reads,
    cases=[(start, TOKENS[:, :end]) for start, end in ((0, 7), (7, 8), (8, 10), (10, 13))],
    rtol=1e-3,
    atol=1e-3,
)


def two_parts(check: Check, answer: Callable[..., Any], padding: torch.Tensor, S: int) -> Any:
    """Return the mask and the positions, in this order."""
    both = call(check, answer, padding, S)
    check.that(isinstance(both, tuple) and len(both) == 2, "return two things: mask, positions")
    exchanged = getattr(both[0], "ndim", 3) == 2 and getattr(both[1], "ndim", 2) == 3
    check.that(not exchanged, "the mask first, then the positions")
    return {"mask": both[0], "positions": both[1]}


padding_mask = lesson.exercise(
    "padding_mask",
    run=two_parts,
    cases=[(torch.tensor([3, 0, 1]), 5), (torch.tensor([0, 2]), 4)],
)
