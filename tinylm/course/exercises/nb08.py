"""Exercises of notebook 08_tinystories."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.course.checks import Check, Ended
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.text.toyworld.world import Grade

lesson = Lesson(__file__)


def looking(check: Check, answer: Any, look: Callable[..., Any], *case: Any) -> Any:
    """Return what this look at the answer observes."""
    return look(check, answer, *case)


class Bytes:
    """A tokenizer whose ids are bytes, with an id of its own for the end of text."""

    def __init__(self, end_of_text: int) -> None:
        self.end_of_text = end_of_text

    def encode(self, text: str) -> np.ndarray:
        """Return the bytes as ids: every character of a text is text."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)


def one_list(check: Check, answer: Any, *case: Any) -> Any:
    """Return the ids and how many there are."""
    ids = call(check, answer, *case)
    ids = ids.tolist() if isinstance(ids, np.ndarray | Tensor) else ids
    check.that(isinstance(ids, list), "return one list of ids")
    nested = any(isinstance(i, list | tuple | np.ndarray) for i in ids)
    check.that(not nested, "one list for all stories: += adds the ids of a story, append adds a list")
    return {"number of ids": len(ids), "ids": ids}


MARK = "<|endoftext|>"

to_ids = lesson.exercise(
    "to_ids",
    run=one_list,
    cases=[
        (f"\nA cat.\nIt ran.\n{MARK}\nA dog.\n{MARK}\nAn owl.\n{MARK}\n", MARK, Bytes(300)),
        (f"Ab{MARK}{MARK}\n c\n{MARK}\nd{MARK}e", MARK, Bytes(999)),
        ("One ran.\nTwo.\n\nThree.\n\n", "\n\n", Bytes(256)),
        (f"\tTwo.\r\n{MARK}\r\nTwo.\r\n{MARK}\nOne.", MARK, Bytes(256)),
        (f"\n{MARK}\n", MARK, Bytes(300)),
    ],
)


def written(check: Check, answer: Any, *rows: list[int]) -> Any:
    """Return what is in the folder after these rows were stored at one path, one after the other."""
    fit, sure = (all(low <= i <= high for i in rows[-1]) for low, high in ((0, 65_535), (1, 65_534)))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path, refused = Path(folder, "ids.bin"), ""
        try:
            for row in rows:
                call(check, answer, np.array(row), path)
        except (Ended, NameError, TypeError, AttributeError):
            raise
        except Exception as error:
            if sure and not path.is_file() and not isinstance(error, OSError):
                raise
            refused = type(error).__name__
        found = {"files": ", ".join(sorted(p.name for p in Path(folder).iterdir()))}
        if not fit:
            return {"refused with": refused, **found}
        data = path.read_bytes() if path.is_file() else b""
        return {**found, "number of bytes": len(data), "bytes": np.frombuffer(data, np.uint8)}


def opened(check: Check, answer: Any, row: list[int]) -> Any:
    """Return what kind of array came back, and its ids."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        array = call(check, answer, np.array(row), Path(folder, "ids.bin"))
        check.that(isinstance(array, np.ndarray), "return the opened array, np.memmap(path, …), not the path")
        can = "can be overwritten" if array.flags.writeable else "read-only"
        return {"array": f"{type(array).__name__} of {array.dtype}, {can}", "ids": np.array(array)}


store = lesson.exercise(
    "store",
    run=looking,
    cases=[
        (written, [*range(300, 900)]),
        (written, [5, 0, 4095, 50256, 65_535, 7]),
        (written, [*range(300, 900)], [*range(301, 336)]),
        (written, [5, 65_536, 7]),
        (written, [5, 70_000, 7]),
        (written, [5, -1, 7]),
        (opened, [5, 0, 4095, 50256, 65_535, 7]),
    ],
)


class Endless(np.ndarray):
    """A file of ids too large for any memory: all its ids are one number, and nobody can walk over them."""

    def __iter__(self) -> Any:
        """Return an iterator over the ids of a row. Raise MemoryError for the whole file."""
        if self.size > 2**40:
            raise MemoryError
        return super().__iter__()


def drawn(check: Check, answer: Any, n: int, B: int, T: int, generator: torch.Generator) -> Any:
    """Return tokens and targets of one batch from a file of n ids: place i has the id i² + 100."""
    ids = np.arange(n, dtype=np.uint16) ** 2 + 100
    ids.flags.writeable = False
    try:
        pair = check.run(answer, ids, B, T, generator)
    except (IndexError, RuntimeError, ValueError) as error:
        over = re.search("same shape|equal size|inhomogeneous|out of bounds", str(error))
        last = f"the last row that has a target begins at {n} − {T} − 1"
        check.that(not over, f"a row runs past the end of {n} ids: {last}")
        raise
    check.that(isinstance(pair, tuple | list) and len(pair) == 2, "return two things: tokens, targets")
    both = all(isinstance(part, Tensor) for part in pair)
    check.that(both, "tokens and targets are tensors: torch.from_numpy makes one of an array")
    return pair


def one_batch(check: Check, answer: Any, n: int, B: int, T: int) -> Any:
    """Return the shapes of a batch, and how far apart neighbours, tokens and targets are in the file."""
    tokens, targets = drawn(check, answer, n, B, T, torch.Generator().manual_seed(n))
    shapes = [f"{tuple(part.shape)} of {part.dtype}" for part in (tokens, targets)]
    fit = shapes == [f"{(B, T)} of torch.int64"] * 2
    a, b = ((part - 100).double().sqrt() if fit else torch.zeros(2) for part in (tokens, targets))
    gaps = ("from token to token", a.diff()), ("from token to target", b - a)
    apart = {name: str(gap.unique().tolist()) for name, gap in gaps}
    return {"tokens": shapes[0], "targets": shapes[1], **apart}


def how_drawn(check: Check, answer: Any, n: int, B: int, T: int) -> Any:
    """Return which batches and rows differ."""
    one, again, other = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    first, second, same, others = (drawn(check, answer, n, B, T, g)[0] for g in (one, one, again, other))
    return {
        "the same seed gives the same rows": torch.equal(first, same),
        "the next batch is another one": not torch.equal(first, second),
        "another seed gives other rows": not torch.equal(first, others),
        "the rows of a batch differ": not torch.equal(first, first[:1].expand_as(first)),
    }


def where_drawn(check: Check, answer: Any, n: int, B: int, T: int) -> Any:
    """Return at which places rows begin, and whether one place is drawn far more often than the others."""
    seeds = (torch.Generator().manual_seed(seed) for seed in range(60))
    begins = torch.cat([drawn(check, answer, n, B, T, seed)[0][:, 0] for seed in seeds])
    places, counts = begins.unique(return_counts=True)
    often = bool(counts.max() > 2 * counts.double().mean())
    return {"places": (places - 100).double().sqrt().tolist(), "one place is drawn too often": often}


def how_much(check: Check, answer: Any, B: int, T: int) -> Any:
    """Return whether the answer reads the whole file."""
    try:
        check.run(answer, np.broadcast_to(np.uint16(7), 2**46).view(Endless), B, T, torch.Generator())
    except (MemoryError, RuntimeError, ValueError):
        return {"the whole file is copied": True}
    return {"the whole file is copied": False}


random_batch = lesson.exercise(
    "random_batch",
    run=looking,
    cases=[
        *[(look, 17, 6, 4) for look in (one_batch, how_drawn, where_drawn)],
        *[(look, 9, 3, 8) for look in (one_batch, where_drawn)],
        (how_much, 2, 3),
    ],
)


updates = lesson.exercise(
    "updates",
    cases=[(96, 3, 10, 8), (103, 3, 10, 8), (40_000, 32, 256, 32), (20_000, 16, 128, 5)],
)


class Chain(nn.Module):
    """A model that looks only at the last id: a table (V, V) of logits, or (1, V) for all ids alike."""

    def __init__(self, check: Check, table: Tensor) -> None:
        super().__init__()
        self.check, self.table, self.calls = check, table, 0
        self.read = torch.zeros(1, 0, dtype=torch.int64)  # by the last call

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits (1, T, V) for tokens (1, T)."""
        that, self.calls = self.check.that, self.calls + 1
        is_row = isinstance(tokens, Tensor) and tokens.dim() == 2 and tokens.size(0) == 1
        that(is_row, "the model reads a tensor (1, T): torch.tensor([row]) makes one of a list")
        that(tokens.size(1) > 0, "the model has nothing to read: the row begins with [end]")
        whole = torch.equal(tokens[:, :-1], self.read) or torch.equal(tokens, self.read)
        that(whole, "the model reads the whole row so far, not its last id alone")
        begins = int(tokens[0, 0]) == self.table.size(1) - 1
        that(begins, "the row begins with `end`: a story's beginning follows an end")
        that(self.calls < 400, "the loop never ends: stop at `end`, and at `limit` ids")
        self.read = tokens.clone()
        return F.embedding(tokens % len(self.table), self.table)  # (1, T, V), and faster than an index


def sure(check: Check, answer: Any, follow: tuple[int, ...], limit: int) -> Any:
    """Return the story from a model in which follow[i] always follows i."""
    model = Chain(check, 60.0 * F.one_hot(torch.tensor(follow), 6) - 30)
    story = check.run(answer, model, 5, limit, torch.Generator().manual_seed(0))
    check.that(isinstance(story, list), "return a list of ids")
    numbers = not any(isinstance(i, Tensor) for i in story)
    check.that(numbers, "multinomial gives a tensor: .item() makes a number of it")
    asked = "the model is asked again after the end"
    return {"number of ids": len(story), "story": story, asked: model.calls > len(story) + 1}


def draws(check: Check, answer: Any) -> Any:
    """Return how stories of one id differ, and whether id 0 has its half where 1,999 others share the rest.

    A temperature moves much of that rest: at 1.05 id 0 already comes 41 times out of 100."""
    flat = torch.cat([torch.linspace(1.1, 0.9, 2000), torch.zeros(1)])[None].log()  # no two alike
    steep = flat + torch.tensor([1817.2, *[1.0] * 2000]).log()

    def told(table: Tensor, generator: torch.Generator, n: int) -> list[Any]:
        return [check.run(answer, Chain(check, table), 2000, 1, generator) for _ in range(n)]

    one, again, other = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    stories, same, others = (told(flat, generator, 9) for generator in (one, again, other))
    share = told(steep, one, 600).count([0]) / 600
    often = "too often" if share > 0.55 else "too rarely" if share < 0.45 else "half of the time"
    return {
        "the same seed tells the same stories": same == stories,
        "the stories differ": (differ := any(story != stories[0] for story in stories)),
        "another seed tells other stories": same != others,
        "the function seeds the generator": torch.equal(again.get_state(), other.get_state()),
        "id 0 is drawn": often if differ else "always or never",
    }


tell = lesson.exercise(
    "tell",
    run=looking,
    cases=[(sure, (3, 5, 4, 0, 1, 2), 9), (sure, (3, 2, 4, 0, 1, 2), 7), (draws,)],
)


def a_number(check: Check, answer: Any, V: int, lengths: tuple[int, ...], seed: int) -> Any:
    """Return the nats per story under a table of logits, for stories of these lengths."""
    end, table, generator = V - 1, random(V, V, seed=seed) * 2, torch.Generator().manual_seed(seed)
    stories = [torch.randint(end, (n,), generator=generator).tolist() for n in lengths]

    def model(tokens: Tensor) -> Tensor:
        check.that(tokens.dim() == 2, "the model reads a tensor (B, T): row[None] makes one of a row")
        inside = bool((tokens[:, 1:-1] == end).any())  # the model may read the last one, too
        check.that(not inside, "an `end` is inside a row: read each story in a row of its own")
        return F.embedding(tokens, table)  # (B, T, V)

    found = call(check, answer, model, stories, end)
    single = isinstance(found, Tensor) and found.dim() == 0
    check.that(not single, "return a number: this is a tensor, and .item() makes a number of it")
    return found


nats_per_story = lesson.exercise(
    "nats_per_story",
    run=a_number,
    cases=[(7, (5, 3, 1), 1), (12, (6, 2, 3), 2), (9, (200, 4), 3)],
    rtol=1e-3,
)


def rows_of_stories(B: int, T: int, V: int, seed: int) -> tuple[Any, ...]:
    """Return tokens, targets, rare and end."""
    generator, end = torch.Generator().manual_seed(seed), V - 1
    row = torch.randint(end, (B, T + 1), generator=generator)  # (B, T + 1)
    row = row.masked_fill(torch.rand(B, T + 1, generator=generator) < 0.12, end)
    rare = torch.rand(V, generator=generator) < 0.6  # (V,)
    rare[end], rare[0] = False, True
    row[0, :3] = 0  # the same id twice, side by side: a target that is its own token
    return row[:, :-1], row[:, 1:], rare, end


def booleans(check: Check, answer: Any, *case: Any) -> Any:
    """Return the tensor, which must be one of True and False."""
    found = call(check, answer, *case)
    check.that(isinstance(found, Tensor), "return a tensor (B, T)")
    check.that(found.dtype == torch.bool, f"its dtype is {found.dtype}: return True and False, torch.bool")
    return found


recalled = lesson.exercise(
    "recalled",
    run=booleans,
    cases=[rows_of_stories(*sizes) for sizes in ((3, 23, 20, 100), (1, 7, 5, 2), (5, 31, 13, 3))],
)


def dictionary(check: Check, answer: Any, *case: Any) -> Any:
    """Return the shares and errors by name."""
    found = call(check, answer, *case)
    told = 'return a dictionary: {"grammatical": (share, error), "faithful": (share, error)}'
    check.that(isinstance(found, dict), told)
    return found


GRADES = {"a": Grade(True, True, ""), "b": Grade(True, False, ""), "c": Grade(False, False, "")}

shares = lesson.exercise(
    "shares",
    run=dictionary,
    cases=[(list(grades), GRADES.__getitem__) for grades in ("aaabbbbbcc", "abbcc" * 5, "aaaa")],
)
