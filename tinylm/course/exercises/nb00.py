"""Exercises of notebook 00_start_here."""

import functools
from types import SimpleNamespace
from typing import Any

import torch

from tinylm.course.checks import Check
from tinylm.course.slips import Lesson, call
from tinylm.runs.paths import open_checkpoint
from tinylm.storage.weights import Checkpoint

lesson = Lesson(__file__)


@functools.cache
def shipped() -> Checkpoint:
    """Return the model that came with the course."""
    return open_checkpoint("shakespeare_char")


@functools.cache
@torch.no_grad()
def chances(text: str) -> torch.Tensor:
    """Return how probable each character is to come next, as the notebook's function does."""
    tokens = torch.tensor(shipped().tokenizer.encode(text))
    return torch.softmax(shipped().model(tokens[None])[0, -1], dim=-1)


def decode(ids: list[int]) -> str:
    """Return the characters with these ids."""
    return shipped().tokenizer.decode(ids)


lesson.names |= {"chances": chances, "tokenizer": SimpleNamespace(decode=decode)}


def written(check: Check, answer: Any, text: str, n: int, seed: int) -> Any:
    """Return the text, which must begin as it was given, have n characters more, and be the same twice."""
    found = call(check, answer, text, n, seed)
    check.that(isinstance(found, str), "what comes back is a text: the beginning and what was drawn")
    check.that(found.startswith(text), f"return the whole text: the given beginning `{text}` is missing")
    added = len(found) - len(text)
    check.that(added == n, f"{added} character{' was' if added == 1 else 's were'} added, not {n}")
    same = found == call(check, answer, text, n, seed)
    check.that(same, "the same seed must give the same text: draw with a generator that has this seed")
    return found


write = lesson.exercise(
    "write",
    kept=False,
    run=written,
    cases=[("to be", 12, 3), ("the king ", 5, 8)],
)

days = lesson.exercise(
    "days",
    cases=[(2e9, 5_000), (3_000_000, 70)],
)
