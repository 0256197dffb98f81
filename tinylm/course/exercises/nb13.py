"""Exercises of notebook 13_evaluation."""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Case, Lesson, call

lesson = Lesson(__file__)


def two(first: str, second: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Return settings of an exercise that asks for two numbers; the first is compared in all cases first."""

    def run(check: Check, answer: Any, part: str, *case: Any) -> Any:
        found = call(check, answer, *case)
        pair = isinstance(found, tuple | list | np.ndarray) and len(found) == 2
        check.that(pair, f"return two numbers: the {first} and the {second}")
        return found[part == second and 1]

    return {"run": run, "cases": [(part, *case) for part in (first, second) for case in cases]}


def documents(k: int) -> Case:
    """Return the nats and the token counts of k documents of unequal length."""
    draw = np.random.default_rng(k)
    counts = draw.integers(1, 200, size=k)
    return counts * draw.uniform(1, 4, size=k), counts


loss_and_error = lesson.exercise(
    "loss_and_error",
    **two("loss", "error", [documents(3), documents(7), documents(40)]),
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


def items(N: int, E: int) -> Case:
    """Return scores and labels of N items with E endings, and the lengths of the endings."""
    draw = np.random.default_rng(N)
    lengths, labels = draw.integers(3, 60, size=(N, E)), draw.integers(E, size=N)
    return -(lengths**0.5) * draw.uniform(2, 9, size=(N, E)), labels, lengths


TIED = np.array([[-4.0, -4.0, -4.0, -4.0], [-3.0, -3.0, -5.0, -6.0], [-2.0, -1.0, -1.0, -3.0]])

accuracy = lesson.exercise(
    "accuracy",
    cases=[
        *(items(N, E)[:n] for N, E in ((60, 4), (35, 3), (1, 5)) for n in (2, 3)),
        (TIED, np.array([3, 1, 1])),
    ],
)

interval = lesson.exercise(
    "interval",
    **two("lower end", "upper end", [(7, 10), (29, 30), (0, 5), (6, 6), (2911, 10042, 1.0), (11, 40, 2.5)]),
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

STORE = [
    "The cat sat on the mat. Then the dog, which was old, sat on the mat too!",
    "Nobody saw the bird that flew over the old mill",
    "in the evening they all went home and slept.",
    "Now here comes a cat that sat on the mat, and flew over nothing.",
]
TEXTS = (
    (
        "On the mat, on the mat, on the mat, on the mat the old mill as in every old spring flew over the "
        "Old Mill in the evening they all went all went home: and slept, and slept in the evening.",
        3,
    ),  # every usual mistake gives another number here
    ("THE CAT sat on: the mat, then nobody saw the moon.", 3),
    ("On the mat, on the mat, on the mat the cat sat", 3),
    ("Over the old mill in the evening they went", 4),
    ("the bird that flew over the old mill in May", 5),
    ("A quite other story of a king", 2),
    ("the cats sat on the mattress", 3),
    ("The mat on the dog was not old, which sat on", 3),
    ("There was no where to go", 2),
    ("Nobody saw the bird that flew over the old mill", 8),
)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def share(check: Check, answer: Any, text: str, n: int) -> Any:
    """Return the share of the rows, which must not be True or False."""
    found = call(check, answer, text, STORE, n)
    told = "a share is asked for, not whether there is any overlap"
    check.that(not isinstance(found, bool | np.bool_), told)
    return found


lesson.names["words"] = words
overlap = lesson.exercise(
    "overlap",
    run=share,
    cases=TEXTS,
)
