"""Exercises of notebook 13_evaluation."""

import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Case, Lesson, call
from tinylm.text.choices import Choice

lesson = Lesson(__file__)


def quietly(check: Check, answer: Any, *case: Any) -> Any:
    """Return what the answer returns, without warnings: a wrong answer may divide by 0, and so may a slip."""
    with warnings.catch_warnings(action="ignore"):
        return call(check, answer, *case)


def two(first: str, second: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Return settings of an exercise that asks for two numbers; the first is compared in all cases first."""

    def run(check: Check, answer: Any, part: str, *case: Any) -> Any:
        found = quietly(check, answer, *case)
        pair = isinstance(found, tuple | list | np.ndarray) and len(found) == 2
        check.that(pair, f"return two numbers: the {first} and the {second}")
        return found[part == second and 1]

    return {"run": run, "cases": [(part, *case) for part in (first, second) for case in cases]}


interval = lesson.exercise(
    "interval",
    **two("lower end", "upper end", [(7, 10), (29, 30), (0, 5), (6, 6), (2911, 10042, 1.0), (11, 40, 2.5)]),
)

PIECE, VOCABULARY = re.compile(r" \S{1,5}|\S{1,2}|\s"), 97


def encode(text: str) -> np.ndarray:
    """Return ids of pieces of words, (T,): after a space pieces are longer, so without it there are more."""
    return np.array(
        [zlib.crc32(piece.encode()) % VOCABULARY for piece in PIECE.findall(text)], dtype=np.int64
    )


def causal(tokens: torch.Tensor) -> torch.Tensor:
    """Return logits (B, T, V), each computed from the tokens up to its own position."""
    if not isinstance(tokens, torch.Tensor):
        raise TypeError("the model reads tensors: torch.as_tensor(ids)")
    if tokens.ndim != 2:
        raise ValueError(f"the model reads a batch of sequences, (B, T), and yours is {tuple(tokens.shape)}")
    table = (3 * random(101, VOCABULARY, seed=13)).requires_grad_()  # as weights do
    return table[(tokens * (1 + torch.arange(tokens.size(1)) % 5)).cumsum(-1) % 101]


def scored(check: Check, answer: Any, context: str, ending: str) -> Any:
    """Return the score of the ending, which must be a float where it is right."""
    found = call(check, answer, causal, encode, context, ending)
    if isinstance(found, torch.Tensor):
        right = difference(found, check.given(causal, encode, context, ending), rtol=1e-5) is None
        check.that(not right, "one float is asked for, and this is a tensor: .item()")
    return found


score = lesson.exercise(
    "score",
    run=scored,
    cases=[
        ("One day at 5 he", "carried the kite to the library, as on every other day."),
        ("Luke had a kite.\nHe took it", "to the library every day."),
        ("At last they came home", "and slept"),
        (" One day the drum was gone.\n", "Luke was sad."),
        ("A", "b"),
        ("So he told of it", "day after day, " * 30 + "until all of them knew it by heart."),  # e^-745 is 0
    ],
    rtol=1e-5,
)


def answered(N: int) -> list[Case]:
    """Return what two models made of the same N items: right or wrong, and their losses."""
    draw = np.random.default_rng(N)
    easy = draw.random(N)
    a, b = easy < 0.8, (easy < 0.7) ^ (draw.random(N) < 0.1)
    a[0], b[0], a[1], b[1] = True, False, False, True
    return [(a, b), (easy * 3 + draw.random(N), easy * 3)]


paired = lesson.exercise(
    "paired",
    **two("mean", "error", [case for N in (10, 41, 300) for case in answered(N)]),
)


def pool(N: int) -> list[Choice]:
    """Return N items of four endings."""
    draw, nouns = np.random.default_rng(N), ["kite", "drum", "old lantern", "train", "blue hoop", "goat"]
    four = [tuple(f"took the {noun} home." for noun in draw.permutation(nouns)[:4]) for _ in range(N)]
    return [Choice(f"Story {i}. One day he", four[i], int(draw.integers(4)), str(i)) for i in range(N)]


def scorer(seed: int, N: int) -> Callable[[Choice], np.ndarray]:
    """Return a function from an item of `pool(N)` to its four scores. The first items are easier."""
    rows, easy = np.random.default_rng(seed).normal(size=(N, 4)), np.random.default_rng(N).random(N)
    for i, item in enumerate(pool(N)):
        rows[i, item.label] += 5 * (easy[i] < 0.4 + 0.4 * (i < N // 3)) + 2 * (seed % 2)
    return lambda item: rows[int(item.name)].copy()


GAMES = (1, 2, 120, 50, 3), (3, 4, 90, 31, 8), (2, 2, 120, 40, 5)  # in the last one a model meets itself

mended = lesson.exercise(
    "mended",
    run=quietly,
    cases=lambda: [(scorer(a, N), scorer(b, N), pool(N), n, seed) for a, b, N, n, seed in GAMES],
)


def other(tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of a second model, which agrees with `causal` to some degree."""
    return causal(tokens) + 2 * random(VOCABULARY, VOCABULARY, seed=14)[tokens % VOCABULARY]


def answerable(N: int) -> list[Choice]:
    """Return N items of which `causal` has about two thirds right."""
    draw, items = np.random.default_rng(N), pool(N)
    scores = [[score.given(causal, encode, item.context, e) for e in item.endings] for item in items]
    best = np.where(draw.random(N) < 0.6, np.argmax(scores, axis=1), [item.label for item in items])
    return [replace(item, label=int(label)) for item, label in zip(items, best, strict=True)]


def entry(check: Check, answer: Any, name: str, *case: Any) -> Any:
    """Return one entry of the dictionary that the answer returns."""
    found = call(check, answer, *case)
    told = 'return a dictionary with the keys "first", "second" and "difference"'
    check.that(isinstance(found, dict) and {*found} == {*ENTRIES}, told)
    return found[name]


ENTRIES, DRAWN = ("first", "second", "difference"), ((30, 24, 2), (24, 18, 6))

compare = lesson.exercise(
    "compare",
    run=entry,
    cases=lambda: [(e, causal, other, encode, answerable(N), n, k) for e in ENTRIES for N, n, k in DRAWN],
)


def documents(k: int) -> Case:
    """Return the nats and the token counts of k documents of unequal length."""
    draw = np.random.default_rng(k)
    counts = draw.integers(1, 200, size=k)
    return counts * draw.uniform(1, 4, size=k), counts


loss_and_error = lesson.exercise(
    "loss_and_error",
    **two("loss", "error", [documents(3), documents(7), documents(40)]),
)

SEPARATE = [(0.7, 0.6, 100), (0.5, 0.9, 40), (0.299, 0.294, 10042)]
SAME = [(0.7, 0.6, 100, 0.3), (0.2, 0.5, 60, 0.4), (0.299, 0.294, 10042, 0.05), (0.9, 0.8, 50, 0.15)]

errors_apart = lesson.exercise("errors_apart", cases=SEPARATE + SAME)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())
