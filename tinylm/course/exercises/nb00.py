"""Exercises of notebook 00_start_here."""

import functools
from types import SimpleNamespace
from typing import Any

import torch

from tinylm.course.checks import Check
from tinylm.course.slips import Lesson, call
from tinylm.runs.paths import open_checkpoint
from tinylm.storage.weights import Checkpoint

lesson = Lesson("00", "import torch")


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
    "0.1 · the writer",
    """
    def write(text, n, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(n):
            drawn = torch.multinomial(chances(text), 1, generator=generator)
            text += tokenizer.decode([int(drawn)])
        return text
    """,
    run=written,
    cases=[("to be", 12, 3), ("the king ", 5, 8)],
    said="the package writes something else after {0!r}, from the same seed",
    slips="""
    for _ in -> start = text ⏎ for _ in && return text -> return text[len(start):] :: the given beginning
    text += -> text = :: the given beginning
    text += tokenizer.decode([int(drawn)]) -> text = tokenizer.decode([int(drawn)]) + text
        :: the given beginning
    for _ in range(n): -> for _ in range(n): ⏎     generator = torch.Generator().manual_seed(seed)
        :: the generator is made anew for each character: make it once, before the loop
    for _ in -> p = chances(text) ⏎ for _ in && multinomial(chances(text) -> multinomial(p
        :: ask `chances` again for each character: the text has grown
    = generator = torch.Generator().manual_seed(seed)
        ⏎ drawn = torch.multinomial(chances(text), n, replacement=True, generator=generator)
        ⏎ return text + tokenizer.decode(drawn.tolist())
        :: ask `chances` again for each character: the text has grown
    torch.multinomial(chances(text), 1, generator=generator) -> chances(text).argmax()
        :: this is always the likeliest character: draw one, by its probability
    .manual_seed(seed) -> .manual_seed(0) :: does not use its argument `seed`
    1, generator=generator -> 1 :: the same seed must give the same text
    manual_seed(seed) -> manual_seed(seed) ⏎ generator.seed() :: the same seed must give the same text
    range(n) -> range(n - 1) :: characters were added, not
    return text ->  && text += tokenizer.decode([int(drawn)]) -> return text + tokenizer.decode([int(drawn)])
        :: 1 character was added, not
    tokenizer.decode([int(drawn)]) -> str(int(drawn)) :: not among the 39 characters
    return text -> print(text) :: is `return` missing?
    return text -> return text, drawn :: what comes back is a text
    torch.multinomial(chances(text), 1, generator=generator)
        -> torch.multinomial(chances(text)[1:], 1, generator=generator) + 1
    """,
)

days = lesson.exercise(
    "0.2 · from tokens to days",
    """
    def days(tokens, tokens_per_second):
        seconds = tokens / tokens_per_second
        return seconds / (24 * 60 * 60)
    """,
    cases=[(2e9, 5_000), (3_000_000, 70)],
    said="tokens divided by tokens per second are seconds, and a day has 86,400",
    slips="""
    / (24 * 60 * 60) ->  :: these are seconds: how many make a day?
    24 * 60 * 60 -> 60 * 60 :: these are hours: how many make a day?
    24 * 60 * 60 -> 60 :: these are minutes: how many make a day?
    24 * 60 * 60 -> 24 :: you divided seconds by 24: only hours become days like that
    24 * 60 * 60 -> 24 * 60 :: you divided seconds by 24 · 60: only minutes become days like that
    24 * 60 * 60 -> 60 * 60 * 60 :: a day has 24 hours, not 60
    24 * 60 * 60 -> 12 * 60 * 60 :: a day has 24 hours, not 12
    24 * 60 * 60 -> 7 * 24 * 60 * 60 :: these are weeks: how many days is that?
    / (24 -> * (24 :: seconds become days by division, not by multiplication
    tokens / -> tokens * :: divide tokens by tokens_per_second: their product is no time
    tokens / tokens_per_second -> tokens_per_second / tokens
        :: upside down: divide tokens by tokens_per_second
    tokens / tokens_per_second -> tokens_per_second / tokens && / (24 * 60 * 60) ->
        :: upside down, and not in days: divide tokens by tokens_per_second
    / (24 -> // (24 :: a number of days may have decimals: / divides, // cuts them off
    return seconds / (24 * 60 * 60) -> return round(seconds / (24 * 60 * 60))
        :: don't round: a number of days may have decimals
    return seconds / (24 * 60 * 60) -> return str(seconds / (24 * 60 * 60))
        :: your answer is a string
    = return 2e9 / 5_000 / 86_400 :: does not use its argument `tokens`
    return -> days = :: is `return` missing?
    """,
)
