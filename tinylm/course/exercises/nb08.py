"""Checks of notebook 08_tinystories, and what it goes on with where a part is blank."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises.nb02 import random
from tinylm.text import recall
from tinylm.text.toyworld.world import Grade

LARGEST = 2**16 - 1  # what two bytes hold


def given_to_ids(text, separator, tokenizer):
    """The ids of each document between the separators, each followed by the end of text."""
    ids = []
    for piece in text.split(separator):
        if document := piece.strip():
            ids += [*tokenizer.encode(document).tolist(), tokenizer.end_of_text]
    return ids


def given_store(ids, path):
    """Writes the ids as two bytes each, and opens the file as a read-only array."""
    if ids.min() < 0 or ids.max() > LARGEST:
        raise ValueError(f"ids must be from 0 to {LARGEST}")
    ids.astype(np.uint16).tofile(path)
    return np.memmap(path, dtype=np.uint16, mode="r")


def given_random_batch(ids, batch_size, context_length, generator):
    """Rows from places drawn at random, as tokens and targets."""
    begins = torch.randint(len(ids) - context_length, (batch_size,), generator=generator).tolist()
    rows = np.stack([ids[i : i + context_length + 1] for i in begins])
    rows = torch.from_numpy(rows.astype(np.int64))
    return rows[:, :-1], rows[:, 1:]


def given_updates(iterations, rows, context_length, accumulated):
    """How often the weights moved, and how many tokens were read, when an iteration is one micro-batch."""
    return iterations // accumulated, iterations * rows * context_length


@torch.no_grad()
def given_tell(model, end, limit, generator):
    """The ids of one story, drawn one after the other until its end or the limit."""
    row = [end]
    while len(row) <= limit:
        chances = torch.softmax(model(torch.tensor([row]))[0, -1], dim=0)
        drawn = torch.multinomial(chances, 1, generator=generator).item()
        if drawn == end:
            break
        row.append(drawn)
    return row[1:]


@torch.no_grad()
def given_nats_per_story(model, stories, end):
    """The mean over stories of the summed surprise of a story's ids and its end."""
    total = 0.0
    for story in stories:
        row = torch.tensor([end, *story, end])
        total += F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum").item()
    return total / len(stories)


def given_shares(stories, grade):
    """The share that is grammatical and the share that is faithful, each with its standard error."""
    grades = [grade(story) for story in stories]
    found = {}
    for name in ("grammatical", "faithful"):
        p = sum(getattr(one, name) for one in grades) / len(grades)
        found[name] = p, math.sqrt(p * (1 - p) / len(grades))
    return found


def given_recalled(tokens, targets, rare, end):
    """Which targets are rare and stand among the tokens of their story so far: bool (B, T)."""
    return recall.recalled(tokens, targets, rare, end)


class Bytes:
    """A tokenizer for the checks, whose ids are bytes, and whose end of text is an id of its own."""

    def __init__(self, end_of_text: int) -> None:
        self.end_of_text = end_of_text

    def encode(self, text: str) -> np.ndarray:
        """The bytes as ids: whatever stands in a text is text."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Any) -> str:
        """The text, and the end of text by its name."""
        return "".join("<|endoftext|>" if i == self.end_of_text else chr(i) for i in ids)


@marked("8.1 · a file becomes ids", given=given_to_ids)
def to_ids(check: exercise, mine) -> None:
    """The ids of each document without its separator and outer white space, each with its end."""
    mark = "<|endoftext|>"
    for separator, text, end in (
        (mark, f"\nA cat.\nIt ran.\n{mark}\nA dog.\n{mark}\nAn owl.\n{mark}\n", 300),
        (mark, f"Ab{mark}{mark}\n c\n{mark}\nd{mark}e", 999),
        ("\n\n", "One ran.\nTwo.\n\nThree.\n\n", 256),
        (mark, f"\tTwo.\r\n{mark}\r\nTwo.\r\n{mark}\nOne.", 256),
        (mark, f"\n{mark}\n", 300),
    ):
        tokenizer = Bytes(end)
        pieces = text.split(separator)
        trimmed, kept = [piece.strip() for piece in pieces], [p.strip() for p in pieces if p.strip()]

        def ids(words: list[str], *ends: int, encode: Callable = tokenizer.encode) -> list[int]:
            return [i for word in words for i in [*encode(word).tolist(), *ends]]

        def cut(separator: str, strip: Callable[[str], str] = str.strip, text: str = text) -> list[str]:
            return [word for piece in text.split(separator) if (word := strip(piece))]

        right = ids(kept, end)
        letters = tokenizer.encode(separator).tolist()
        usual = {
            "a text without stories has no ids, and no end": None if kept else [end],
            "the end is one id, tokenizer.end_of_text: here it is spelled as text": ids(kept, *letters),
            "the end is one id: here its name is spelled as text": ids([p + mark for p in kept]),
            "after each story stands tokenizer.end_of_text": ids(kept),
            "the last story has an end too": right[:-1],
            "the end comes after a story, not before it": [
                i for word in kept for i in [end, *tokenizer.encode(word).tolist()]
            ],
            "strip() takes the newlines at a story's ends away": ids([p for p in pieces if p.strip()], end),
            "strip() is missing, and so is the look for empty pieces": ids(pieces, end),
            "a piece that is empty after strip() is no story, so it has no end": ids(trimmed, end),
            "the separators were encoded too: cut the text at them first": [*ids([text]), end],
            "the separators were encoded too, and no end stands anywhere": ids([text]),
            "an end after each story, not only one at the end": [*ids(kept), end],
            "the id is tokenizer.end_of_text, another tokenizer has another one": ids(kept, 50256),
            "0 is a token of the vocabulary: the end is tokenizer.end_of_text": ids(kept, 0),
            "newlines inside a story stay": ids([p.replace("\n", "") for p in kept], end),
            "newlines inside a story stay: it is not cut at them": ids(
                [line for p in kept for line in p.split("\n")], end
            ),
            "the last piece is a story too, if it is not empty": ids(kept[:-1], end),
            "only the first story is there: return after the loop": ids(kept[:1], end),
            "only the last story is there: the row begins before the loop": ids(kept[-1:], end),
            "two ends between stories: only one stands after each": ids(kept, end, end),
            "numpy's + adds the end to each id: make a list first": [
                i + end for word in kept for i in tokenizer.encode(word).tolist()
            ],
            "a story may come twice: each stands in the row as often as in the file": ids(
                [*dict.fromkeys(kept)], end
            ),
            "strip() without an argument takes all white space away: blanks and tabs too": ids(
                cut(separator, lambda piece: piece.strip("\n")), end
            ),
            "white space goes at both ends of a story: this is rstrip": ids(cut(separator, str.rstrip), end),
            "white space goes at both ends of a story: this is lstrip": ids(cut(separator, str.lstrip), end),
            "cut at `separator`, which is not the same in every file": ids(cut(mark), end),
            "cut at `separator` alone: strip() takes the newlines around it away": ids(
                cut(f"\n{separator}\n"), end
            ),
        }
        try:
            answer = check.run(mine, text, separator, tokenizer)
        except ValueError as error:
            said = "numpy's + adds number to number: .tolist() makes a list of the ids first"
            check.that("broadcast" not in str(error), said)
            raise
        answer = answer.tolist() if isinstance(answer, np.ndarray | Tensor) else answer
        check.that(isinstance(answer, list), "one list of ids is asked for")
        check.that(not any(isinstance(i, str) for i in answer), "ids are asked for: encode each story")
        nested = any(isinstance(i, list | tuple | np.ndarray) for i in answer)
        check.that(not nested, "one list for all stories: += adds the ids of a story, append adds a list")
        about = f"{short(text)} cut at {separator!r}"
        if not any(answer == wrong for wrong in usual.values()):
            number = f"your list has {len(answer)} ids, {len(right)} are expected of {about}"
            check.that(len(answer) == len(right), number)
        check.close(answer, right, f"of {about}", usual=usual)


def short(text: str) -> str:
    """A text in quotation marks, its end left out where it is long."""
    return repr(text if len(text) < 40 else f"{text[:39]}…")


@marked("8.2 · ids on a disk", given=given_store)
def store(check: exercise, mine) -> None:
    """Two bytes an id in a new file; what does not fit is refused first; a read-only memmap comes back."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for number, row in enumerate(([5, 0, 4095, 50256, LARGEST, 7], list(range(300, 900)))):
            path, ids = Path(folder, f"{number}.bin"), np.array(row)
            before = ids.copy()
            try:
                answer = check.run(mine, ids, path)
            except (ValueError, OSError, AssertionError) as error:
                written = path.is_file()
                if not written and not isinstance(error, OSError) and _takes(mine, Path(folder, "inner.bin")):
                    check.that(False, "0 and 65,535 both fit: refuse only what lies outside")
                check.that(written or not isinstance(error, OSError), "no file is at `path`: write it first")
                if written:
                    _check_file(check, path.read_bytes(), ids)
                    fits = "data-type size" not in str(error)
                    check.that(fits, "np.memmap must read what was written: dtype=np.uint16")
                raise
            check.that(path.is_file(), "there is no file at `path`: write it first")
            data = path.read_bytes()
            check.that(np.array_equal(ids, before), "your function changes the ids that it was given")
            _check_file(check, data, ids)
            _check_map(check, answer, ids)
            del answer  # a file that is open cannot be replaced everywhere
        _check_replaced(check, mine, path, ids)
        for wrong in (LARGEST + 1, 70_000, -1):
            path = Path(folder, f"wrong{wrong}.bin")
            try:
                mine(np.array([5, wrong, 7]), path)
            except ValueError:
                check.that(not path.exists(), f"{wrong:,} is refused, but only after the file was written")
            except (NameError, TypeError, AttributeError):
                raise
            except Exception as error:
                name = type(error).__name__
                check.that(False, f"{wrong:,} is refused with {name}: refuse it with a ValueError")
            else:
                check.that(False, f"{wrong:,} does not fit in two bytes: raise ValueError before you write")


def _takes(mine: Callable, path: Path) -> bool:
    """Whether ids that lie well inside are stored."""
    try:
        return mine(np.array([5, 7]), path) is not None
    except Exception:
        return False


def _check_replaced(check: exercise, mine: Callable, path: Path, old: np.ndarray) -> None:
    """A second call with the same path leaves the second row alone."""
    new, replaced = old[5:40] + 1, "a file that is there is replaced"
    try:
        check.run(mine, new, path)
    except FileExistsError:
        check.that(False, f"{replaced}, and not refused")
    data = path.read_bytes()
    both = old.astype("<u2").tobytes() + new.astype("<u2").tobytes()
    check.that(data != both, f"{replaced}: here the ids were written behind those of an earlier call")
    check.that(data == new.astype("<u2").tobytes(), f"{replaced}: here something of it is left")


def _check_file(check: exercise, data: bytes, ids: np.ndarray) -> None:
    """The bytes of the file: what usually stands there instead is named."""
    size, n = len(data), len(ids)
    named = {
        "these are eight bytes for each id: .astype(np.uint16) comes before .tofile": ids.astype("<i8"),
        "these are four bytes for each id: np.uint16 has two": ids.astype("<i4"),
        "this is one byte for each id, which ends at 255: np.uint16": ids.astype("u1"),
        "the two bytes of each id are turned over": ids.astype(">u2"),
        "the ids were written as floating-point numbers": ids.astype("<f4"),
    }
    for mistake, wrong in named.items():
        check.that(data != wrong.tobytes(), mistake)
    check.that(not data.startswith(b"\x93NUMPY"), "np.save writes a header first: .tofile writes ids only")
    text = size > 0 and all(byte in b"0123456789.e+-, \r\n[]" for byte in data) and data[:1].isdigit()
    check.that(not text, "the file holds digits as text: .tofile writes the numbers themselves")
    check.that(size == 2 * n, f"the file has {size:,} bytes for {n:,} ids: two for each are expected")
    check.that(data == ids.astype("<u2").tobytes(), "the file does not hold these ids")


def _check_map(check: exercise, answer: Any, ids: np.ndarray) -> None:
    """What was returned: a read-only memmap of uint16."""
    is_path = isinstance(answer, str | Path)
    check.that(not is_path, "return the opened array, not the path")
    check.that(isinstance(answer, np.ndarray), "return the memory-mapped array: np.memmap(path, …)")
    read = "this array lies in memory: np.memmap reads only what is asked for"
    check.that(isinstance(answer, np.memmap), read)
    said = "np.memmap takes single bytes for ids: give it dtype=np.uint16"
    check.that(answer.dtype != np.uint8, said)
    check.that(answer.dtype != np.int16, "above 32,767 these are negative: np.uint16, not np.int16")
    check.that(answer.dtype == np.uint16, f"its dtype is {answer.dtype}: np.uint16, as it was written")
    check.that(not answer.flags.writeable, 'whoever opens it could overwrite the file: mode="r"')
    check.close(np.asarray(answer), ids.astype(np.uint16), "the opened ids are not those that were given")


@marked("8.3 · a batch from the file", given=given_random_batch)
def random_batch(check: exercise, mine) -> None:
    """Rows from anywhere, each place equally likely, and no more of the file; targets one further."""
    for n, B, T in ((17, 6, 4), (9, 3, 8)):
        places = np.random.default_rng(n).permutation(40000)[:n]  # every id once: it tells its place
        ids = places.astype(np.uint16)
        ids.flags.writeable = False
        place = {int(value): i for i, value in enumerate(places)}
        seen: list[int] = []
        for seed in range(60):
            generator = torch.Generator().manual_seed(seed)
            answer = _drawn(check, mine, ids, B, T, generator, n)
            pair = isinstance(answer, tuple | list) and len(answer) == 2
            check.that(pair, "return two things: tokens, targets")
            tokens, targets = answer
            both = isinstance(tokens, Tensor) and isinstance(targets, Tensor)
            check.that(both, "tokens and targets are tensors: torch.from_numpy")
            if tokens.shape == (T, B) != (B, T):
                check.that(False, "the rows are turned: (B, T) is asked for, one row for each beginning")
            longer = tokens.shape == (B, T + 1) or tokens.shape == (B, T - 1)
            check.that(not longer, f"a row has {T} tokens: cut {T} + 1 ids, then leave one out at an end")
            once = tokens.shape == (n - T, T) != (B, T)
            check.that(not once, "randperm gives each place once at most: randint may draw a place again")
            right = torch.zeros(B, T, dtype=torch.int64)
            check.close(tuple(tokens.shape), tuple(right.shape), "the shape of the tokens, (B, T)")
            check.close(tuple(targets.shape), tuple(right.shape), "the shape of the targets, (B, T)")
            int64 = tokens.dtype == targets.dtype == torch.int64
            check.that(int64, f"an embedding wants int64, not {tokens.dtype}: .astype(np.int64)")
            known = all(value in place for value in tokens[:, 0].tolist())
            check.that(known, "these are not the ids of the file: a row is ids[i : i + T + 1]")
            begins = [place[value] for value in tokens[:, 0].tolist()]
            for row, target, i in zip(tokens, targets, begins, strict=True):
                usual = {
                    "tokens come first, targets second": ids[(np.arange(T) + i - 1) % n],
                    "the targets are the tokens themselves: they begin one further": ids[i : i + T],
                    "the targets are two further: one is asked for": ids[(np.arange(T) + i + 2) % n],
                }
                check.close(row, torch.from_numpy(ids[i : i + T].astype(np.int64)), "a row of neighbours")
                wanted = torch.from_numpy(ids[i + 1 : i + T + 1].astype(np.int64))
                usual = {said: wrong.astype(np.int64) for said, wrong in usual.items() if len(wrong) == T}
                check.close(target, wanted, "the target of an id is the id after it", usual=usual)
            again = _drawn(check, mine, ids, B, T, torch.Generator().manual_seed(seed), n)[0]
            check.that(torch.equal(again, tokens), "the same seed gives other rows: use the generator")
            seen += begins
        possible = n - T
        one = all(len(set(seen[k : k + B])) == 1 for k in range(0, len(seen), B))
        check.that(not (one and possible > 1), "all rows of a batch are the same: draw a place for each")
        still = all(seen[k : k + B] == seen[:B] for k in range(0, len(seen), B))
        check.that(not (still and possible > 1), "every batch is the same: draw its rows from `generator`")
        whole = possible > 2 and all(i % T == 0 for i in seen)
        check.that(not whole, "a row may begin anywhere, not only at multiples of the context")
        missing = sorted({*range(possible)} - {*seen})
        last = missing == [possible - 1]
        check.that(not last, "the last possible row is never read: randint leaves its upper end out")
        check.that(missing != [0], "the first id is never read: places count from 0")
        check.that(not missing, "some places are never read: each row that fits is equally likely")
        one_generator = torch.Generator().manual_seed(n)
        draws = [_drawn(check, mine, ids, B, T, one_generator, n)[0] for _ in range(5)]
        anew = possible > 1 and all(torch.equal(draw, draws[0]) for draw in draws)
        check.that(not anew, "the second batch is the first again: draw from the generator that is given")
    endless = np.broadcast_to(np.uint16(7), 2**46).view(Endless)
    try:
        check.run(mine, endless, 2, 3, torch.Generator().manual_seed(0))
    except (MemoryError, RuntimeError, ValueError):
        said = "the whole file is copied into memory: cut the rows first, then .astype(np.int64)"
        check.that(False, said)


class Endless(np.ndarray):
    """A file of ids that no memory holds: all its ids are one number in memory, and it cannot be walked."""

    def __iter__(self) -> Any:
        """The ids of a row; MemoryError for the file."""
        if self.size > 2**40:
            raise MemoryError
        return super().__iter__()


def _drawn(
    check: exercise, mine: Callable, ids: np.ndarray, B: int, T: int, generator: torch.Generator, n: int
) -> Any:
    """A batch of the answer's. An error that comes of a row that does not fit is told as such."""
    try:
        return check.run(mine, ids, B, T, generator)
    except (ValueError, RuntimeError) as error:
        uneven = any(word in str(error) for word in ("same shape", "equal size", "inhomogeneous"))
        said = f"a row runs over the end of {n} ids: the last one with a target begins at {n} − {T} − 1"
        check.that(not uneven, said)
        kind = "uint16" in str(error) or "UInt16" in str(error) or "not implemented" in str(error)
        check.that(not kind, "torch can hardly compute with uint16: .astype(np.int64) first")
        raise


@marked("8.4 · updates and tokens", given=given_updates)
def updates(check: exercise, mine) -> None:
    """iterations // accumulated updates; iterations · rows · context tokens."""
    for n, B, T, k in ((96, 3, 10, 8), (103, 3, 10, 8), (40_000, 32, 256, 32), (20_000, 16, 128, 5)):
        moved, read = given_updates(n, B, T, k)
        usual = {
            "the weights move once for `accumulated` iterations: divide": (n, read),
            "tokens first? The order is updates, tokens": (read, moved),
            "the accumulated ones are already counted among the iterations": (moved, read * k),
            "the accumulated ones are counted twice": (n, read * k),
            "these are the tokens of the updates' last micro-batches alone": (moved, read // k),
            "these are the tokens of one update": (moved, B * T * k),
            "these are the tokens of one iteration": (moved, B * T),
            "a row has context_length tokens": (moved, n * B),
            "an iteration has several rows": (moved, n * T),
            "divide by what is accumulated: this multiplies": (n * k, read),
            "updates are those that accumulate, not those of a row": (n // B, read) if k != B else None,
            "a whole number is asked for: // divides whole numbers": (n / k, float(read)),
            "iterations left over at the end move nothing: // rounds down": (moved + 1, read),
            "iterations left over at the end are read, too": (moved, moved * k * B * T),
            "your numbers are those of the published recipe: use the arguments": (
                (1250, 327_680_000) if n != 40_000 else None
            ),
            "two numbers are asked for: updates, tokens": moved,
            "two numbers are asked for, and the updates are missing": read,
        }
        answer = check.run(mine, n, B, T, k)
        answer = tuple(answer) if isinstance(answer, list | tuple | Tensor) else answer
        said = f"for {n:,} iterations of {B} × {T} tokens, {k} accumulated"
        check.close(answer, (moved, read), said, usual={a: b for a, b in usual.items() if b is not None})


class Chain:
    """A model for the checks: what follows an id depends on that id alone, by a table of logits (V, V)."""

    def __init__(self, check: exercise, table: Tensor, begin: int) -> None:
        self.check, self.table, self.begin, self.calls = check, table, begin, 0
        self.read = torch.zeros(1, 0, dtype=torch.int64)  # by the last call

    def __call__(self, tokens: Tensor) -> Tensor:
        """The logits (1, T, V) for tokens (1, T)."""
        self.calls += 1
        is_row = isinstance(tokens, Tensor) and tokens.dim() == 2 and tokens.size(0) == 1
        said = "the model reads a tensor (1, T): torch.tensor([row]) makes one of a list"
        self.check.that(is_row, said)
        self.check.that(tokens.size(1) > 0, "the model has nothing to read: the row begins with [end]")
        whole = torch.equal(tokens[:, :-1], self.read)
        self.check.that(whole, "the model reads the whole row so far, not its last id alone")
        self.read = tokens.clone()
        begins = int(tokens[0, 0]) == self.begin
        self.check.that(begins, "the row begins with `end`: what follows an end is a story's beginning")
        self.check.that(self.calls < 400, "the loop never ends: stop at `end`, and at `limit` ids")
        return self.table[tokens]  # (1, T, V)

    def eval(self) -> "Chain":
        """As a module has it."""
        return self


@marked("8.5 · tell a story", given=given_tell)
def tell(check: exercise, mine) -> None:
    """Ids drawn from the model until its end, which is not returned, or the limit."""
    sure = 60.0
    follow = {5: 2, 2: 4, 4: 1, 1: 5, 0: 3, 3: 0}  # 5 is the end, 0 and 3 never end
    table = torch.stack([sure * F.one_hot(torch.tensor(follow[i]), 6) - 30 for i in range(6)])
    endless = table.clone()
    endless[1] = sure * F.one_hot(torch.tensor(2), 6) - 30
    for end, logits, limit, right in ((5, table, 9, [2, 4, 1]), (5, endless, 7, [2, 4, 1, 2, 4, 1, 2])):
        full = [2, 4, 1] * 4
        usual = {
            "the end itself is no part of the story: leave it out at the end": [*right[:3], 5],
            "the first id is `end`, which only begins the row: leave it out": [5, *right],
            "neither the `end` at the beginning nor the one at the end belongs to the story": [5, 2, 4, 1, 5],
            "it goes on after its end: stop when `end` is drawn": ([2, 4, 1, 5, 2, 4, 1, 5, 2]),
            "one id too many: at most `limit` are asked for": full[: limit + 1],
            "one id too few: `limit` ids are allowed": full[: limit - 1],
            "only the first id is there: the loop goes on until the end": [2],
            "the first id of the story is missing": right[1:],
            "the last id is missing": right[:-1],
            "the last place says what comes next, [0, -1]: this is the first": right[:1] * limit,
            "what follows an end is another story: stop at the first end": [2, 4, 1, 2, 4, 1, 2],
            "what follows an end is another story, so stop at the first end": full[:limit],
        }
        generator = torch.Generator().manual_seed(0)
        try:
            answer = check.run(mine, Chain(check, logits, end), end, limit, generator)
        except RuntimeError as error:
            told = "torch.multinomial wants probabilities: softmax makes them of logits"
            check.that("probability tensor" not in str(error), told)
            raise
        check.that(not isinstance(answer, str), "ids are asked for, not text")
        check.that(isinstance(answer, list), "a list of ids is asked for")
        whole = not any(isinstance(i, Tensor) for i in answer)
        check.that(whole, "multinomial gives a tensor: .item() makes a number of it")
        if not any(answer == wrong for wrong in usual.values()):
            forbidden = len(answer) == limit > 3 and answer[:3] == right and end not in answer
            check.that(not forbidden, "the end may be drawn like any id: without it no story stops")
            number = f"your story has {len(answer)} ids, {len(right)} are expected"
            check.that(len(answer) == len(right), f"{number} with a limit of {limit}")
        check.close(answer, right, f"with a limit of {limit}", usual=usual)
    _check_draws(check, mine)


def _check_draws(check: exercise, mine: Callable) -> None:
    """Half of the stories are [0], a quarter each [1] and []: as often as the probabilities say."""
    chances = torch.tensor([[1e-9, 1e-9, 1.0], [1e-9, 1e-9, 1.0], [0.5, 0.25, 0.25]])
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(300):
        found.append([int(i) for i in mine(Chain(check, chances.log(), 2), 2, 5, generator)])
    share = [found.count(story) / 300 for story in ([0], [1], [])]
    if max(share) == 1:
        fresh = [torch.Generator().manual_seed(seed) for seed in range(20)]
        told = [mine(Chain(check, chances.log(), 2), 2, 5, one) for one in fresh]
        seeded = torch.equal(fresh[0].get_state(), fresh[1].get_state())
        check.that(not seeded, "your function seeds the generator, so each story is the first: leave it")
        anew = any(story != told[0] for story in told)
        check.that(not anew, "a generator made anew tells the first story again: draw from the given one")
    check.that(max(share) < 1, "always the same story: draw with torch.multinomial, no argmax")
    said = "the draws do not follow the model: softmax of the last place's logits, nothing else"
    check.that(all(abs(p - q) < 0.1 for p, q in zip(share, (0.5, 0.25, 0.25), strict=True)), said)
    same = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    rows = [[mine(Chain(check, chances.log(), 2), 2, 5, one) for _ in range(20)] for one in same]
    check.that(rows[0] == rows[1], "the same seed tells other stories: give multinomial the generator")


@marked("8.6 · nats per story", given=given_nats_per_story)
def nats_per_story(check: exercise, mine) -> None:
    """Summed over a story and its end, averaged over stories; the first id follows an end."""
    for V, lengths, seed in ((7, (5, 3, 1), 1), (12, (6, 2, 3), 2), (9, (200, 4), 3)):
        end = V - 1
        generator = torch.Generator().manual_seed(seed)
        stories = [torch.randint(V - 1, (n,), generator=generator).tolist() for n in lengths]
        table = random(V, V, seed=seed) * 2

        def model(tokens: Tensor, table: Tensor = table, end: int = end) -> Tensor:
            check.that(tokens.dim() == 2, "the model reads a tensor (B, T): row[None] makes one of a row")
            inside = bool((tokens[:, 1:-1] == end).any())  # the model may read the last one, too
            check.that(not inside, "an `end` stands inside a row: each story is a row of its own")
            return table[tokens]  # (B, T, V)

        def cost(row: list[int], table: Tensor = table) -> Tensor:
            """The nats of each id but the first."""
            targets = torch.tensor(row[1:])
            return F.cross_entropy(table[torch.tensor(row[:-1])], targets, reduction="none")

        n = len(stories)
        each = [cost([end, *story, end]) for story in stories]
        total = float(sum(one.sum() for one in each))
        count = sum(len(one) for one in each)
        no_end = float(sum(cost([end, *story]).sum() for story in stories))
        no_begin = float(sum(cost([*story, end]).sum() for story in stories))
        inside = float(sum(cost(story).sum() for story in stories if len(story) > 1))
        chance = float(sum((-one).exp().sum() for one in each))
        usual = {
            "nats per story, not per token: sum within a story": total / count,
            "a mean within each story is nats per token: reduction='sum'": float(
                sum(one.mean() for one in each)
            )
            / n,
            "the mean over the stories is asked for: divide by their number": total,
            "the means within the stories were added up": float(sum(one.mean() for one in each)),
            "the end of the story is a target too": no_end / n,
            "the first id has a cost too: it follows an `end`": no_begin / n,
            "the first id and the end have a cost too: a row is [end, *story, end]": inside / n,
            "nats are −ln p: the sign is wrong": -total / n,
            "these are probabilities: nats are −ln p": chance / n,
            "these are bits: nats are asked for": total / math.log(2) / n,
            "only the last story counts here: add up": float(each[-1].sum()),
            "only the last story counts here: add up, then divide": float(each[-1].sum()) / n,
            "one number is asked for, not one for each story": [float(one.sum()) for one in each],
            "only the first story counts here: return after the loop": float(each[0].sum()),
            "only the first story counts here: return after the loop, and divide there": float(each[0].sum())
            / n,
            "one end closes a story: here are two": float(
                sum(cost([end, *story, end, end]).sum() for story in stories)
            )
            / n,
            "the targets are the ids that were read: they begin one further": float(
                sum(_own_cost(table, [end, *story]) for story in stories)
            )
            / n,
            "the mean over the stories is asked for, not the median": median(
                float(one.sum()) for one in each
            ),
            "a product of so many probabilities is 0 to a computer: add up their logarithms": math.inf,
        }
        squeezed = [
            F.cross_entropy(table[torch.tensor([end, *s])].softmax(-1), torch.tensor([*s, end])).item()
            * (len(s) + 1)
            for s in stories
        ]
        usual["cross_entropy wants logits: no softmax before it"] = sum(squeezed) / n
        own = [list(story) for story in stories]
        try:
            answer = check.run(mine, model, own, end)
        except ValueError as error:  # math.log(0.0), in the words of two versions
            zero = "math domain" in str(error) or "positive input" in str(error)
            said = "a product of so many probabilities is 0 to a computer: add up their logarithms"
            check.that(not zero, said)
            raise
        check.that(own == stories, "your function changes the stories that it was given: make new lists")
        plain = not isinstance(answer, Tensor) or answer.dim() > 0
        check.that(plain, "a number is asked for, and this is a tensor: .item() makes one of it")
        check.close(answer, total / n, f"for {n} stories", usual=usual, rtol=1e-3)


def _own_cost(table: Tensor, row: list[int]) -> float:
    """The nats of a row, if each id were the target of itself."""
    ids = torch.tensor(row)
    return F.cross_entropy(table[ids], ids, reduction="sum").item()


@marked("8.7 · what is recalled", given=given_recalled)
def recalled(check: exercise, mine) -> None:
    """Rare targets whose id stands in their own story, in their own row, up to their own place."""
    for B, T, V, seed in ((3, 23, 11, 1), (1, 7, 5, 2), (5, 31, 13, 3)):
        generator, end = torch.Generator().manual_seed(seed), V - 1
        row = torch.randint(V - 1, (B, T + 1), generator=generator)  # (B, T + 1)
        row = row.masked_fill(torch.rand(B, T + 1, generator=generator) < 0.12, end)
        rare = torch.rand(V, generator=generator) < 0.6  # (V,)
        rare[end], rare[0] = False, True
        row[0, :3] = 0  # the same id twice, side by side: a target that is its own token
        tokens, targets = row[:, :-1], row[:, 1:]
        right = given_recalled(tokens, targets, rare, end)
        same = targets[:, :, None] == tokens[:, None, :]  # (B, T, T)
        stories = (tokens == end).cumsum(-1)
        late = torch.cat([torch.zeros(B, 1, dtype=torch.long), stories[:, :-1]], dim=1)  # end ends its story
        own, own_late = (n[:, :, None] == n[:, None, :] for n in (stories, late))
        anyone = (targets[:, :, None, None] == tokens[None, None]).any(-1).any(-1)
        kept, ended = rare[targets], (targets == end).cumsum(-1)
        by_targets = ended[:, :, None] == ended[:, None, :]
        among = ((targets[:, :, None] == targets[:, None, :]) & own).tril(-1).any(-1)
        usual = {
            "also a target that is not rare counts here: & rare[targets]": (same & own).tril().any(-1),
            "rare is asked of the target: rare[targets], not rare[tokens]": (same & own).tril().any(-1)
            & rare[tokens],
            "rare is turned over": (same & own).tril().any(-1) & ~kept,
            "an earlier story counts here: it is another child's": same.tril().any(-1) & kept,
            "the token at the target's own place counts too": (same & own).tril(-1).any(-1) & kept,
            "this looks ahead, where each target stands: up to its own place, in its own row": (
                same & own
            ).any(-1)
            & kept,
            "this looks ahead, and into other stories": same.any(-1) & kept,
            "this finds a token in another row": anyone & kept,
            "number the stories by the tokens, not by the targets": (same & by_targets).tril().any(-1) & kept,
            "look among the tokens: a row's first token is no target": among & kept,
            "all rare targets are marked: they must stand in the story before": kept,
            "the token `end` itself belongs to the story that it begins": (same & own_late).tril().any(-1)
            & kept,
            "this says which are new: turn it over, rare ones only": kept & ~right,
            "True stands where it must be False, and False where it must be True": ~right,
        }
        answer = check.run(mine, tokens, targets, rare, end)
        check.that(isinstance(answer, Tensor), "a tensor (B, T) is asked for")
        said = f"its dtype is {answer.dtype}: True and False are asked for, torch.bool"
        check.that(answer.dtype == torch.bool, said)
        check.close(answer, right, f"for {B} rows of {T} tokens", usual=usual)


@marked("8.8 · grade stories", given=given_shares)
def shares(check: exercise, mine) -> None:
    """Each share of all stories, with sqrt(p (1 − p) / n)."""
    kinds = {"a": Grade(True, True, ""), "b": Grade(True, False, ""), "c": Grade(False, False, "")}
    for stories in (list("aaabbbbbcc"), list("abbcc" * 5), ["a"] * 4):
        n = len(stories)
        g, f = (sum(kinds[s][k] for s in stories) / n for k in (0, 1))

        def pairs(error: Callable, g: float = g, f: float = f) -> dict:
            return {"grammatical": (g, error(g)), "faithful": (f, error(f))}

        right = pairs(lambda p, n=n: math.sqrt(p * (1 - p) / n))
        ways: dict[str, Callable] = {
            "the error is missing its root: math.sqrt": lambda p, n=n: p * (1 - p) / n,
            "the error falls with the number of stories: divide by n inside the root": lambda p: math.sqrt(
                p * (1 - p)
            ),
            "n stands inside the root": lambda p, n=n: math.sqrt(p * (1 - p)) / n,
            "p (1 − p): this is p (1 + p)": lambda p, n=n: math.sqrt(p * (1 + p) / n),
            "p times (1 − p), not p alone": lambda p, n=n: math.sqrt(p / n),
            "the error does not fall to 1/√n only: p (1 − p) belongs to it": lambda p, n=n: 1 / math.sqrt(n),
            "divide by n here, not by n − 1": lambda p, n=n: math.sqrt(p * (1 - p) / (n - 1)),
            "the standard error is asked for, without the 1.96 of an interval": lambda p, n=n: (
                1.96 * math.sqrt(p * (1 - p) / n)
            ),
            "the standard error is asked for, without the factor 2 of an interval": lambda p, n=n: (
                2 * math.sqrt(p * (1 - p) / n)
            ),
            "p times (1 − p) has no square": lambda p, n=n: math.sqrt(p * (1 - p) ** 2 / n),
        }
        usual = {said: pairs(way) for said, way in ways.items()}
        e, d = right["grammatical"][1], right["faithful"][1]
        inside = f / g if g else 0.0
        usual |= {
            "faithful is a share of all stories, not of the grammatical ones": {
                "grammatical": (g, e),
                "faithful": (inside, math.sqrt(max(inside * (1 - inside), 0.0) / n)),
            },
            "faithful is a share of all stories: divide both by the same n": {
                "grammatical": (g, e),
                "faithful": (inside, math.sqrt(max(inside * (1 - inside), 0.0) / max(g * n, 1))),
            },
            "shares are asked for, not per cent": {"grammatical": (100 * g, 100 * e)}
            | {"faithful": (100 * f, 100 * d)},
            "// rounds a share down to a whole number: divide with /": {
                "grammatical": (g // 1, 0.0),
                "faithful": (f // 1, 0.0),
            },
            "shares are asked for: divide the numbers by n": {
                "grammatical": (g * n, e),
                "faithful": (f * n, d),
            },
            "each share has its own error, and these are both that of the grammatical ones": {
                "grammatical": (g, e),
                "faithful": (f, e),
            },
            "the share and its error, in this order": {"grammatical": (e, g), "faithful": (d, f)},
            "the two names are exchanged": {"grammatical": (f, d), "faithful": (g, e)},
            "these are the shares that are wrong": {"grammatical": (1 - g, e), "faithful": (1 - f, d)},
            "every grade counts as true: ask for its .grammatical and its .faithful": {
                "grammatical": (1.0, 0.0),
                "faithful": (1.0, 0.0),
            },
            "the standard error of each share is missing": {"grammatical": g, "faithful": f},
        }
        graded: list[str] = []

        def grade(story: str, graded: list[str] = graded) -> Grade:
            graded.append(story)
            return kinds[story]

        try:
            answer = check.run(mine, list(stories), grade)
        except ValueError as error:  # the root of a negative number, in the words of two versions
            negative = "math domain" in str(error) or "nonnegative input" in str(error)
            check.that(not negative, "p (1 − p) is negative: p is a share between 0 and 1, no per cent")
            raise
        answer = (
            {k: tuple(v) if isinstance(v, list) else v for k, v in answer.items()}
            if isinstance(answer, dict)
            else answer
        )
        said = 'a dictionary is asked for: {"grammatical": (share, error), "faithful": (share, error)}'
        check.that(isinstance(answer, dict), said)
        check.that(graded, "grade(story) was never called")
        first = answer.get("grammatical")
        share = first[0] if isinstance(first, tuple) and first else first
        hundred = isinstance(share, int | float) and g > 0 and abs(share - 100 * g) < 1e-6 < abs(n - 100)
        check.that(not hundred, "shares are asked for, not per cent")
        check.close(answer, right, f"for {n} stories", usual=usual)
