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

lesson = Lesson("08", "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F")


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
END, IDS = "tokenizer.end_of_text", "[*tokenizer.encode(story).tolist()"
ROW, STORY, SPLIT = f"{IDS}, {END}]", "if story := piece.strip():", "text.split(separator)"

to_ids = lesson.exercise(
    "8.1 · a file becomes ids",
    """
    def to_ids(text, separator, tokenizer):
        ids = []
        for piece in text.split(separator):
            if story := piece.strip():
                ids += [*tokenizer.encode(story).tolist(), tokenizer.end_of_text]
        return ids
    """,
    run=one_list,
    cases=[
        (f"\nA cat.\nIt ran.\n{MARK}\nA dog.\n{MARK}\nAn owl.\n{MARK}\n", MARK, Bytes(300)),
        (f"Ab{MARK}{MARK}\n c\n{MARK}\nd{MARK}e", MARK, Bytes(999)),
        ("One ran.\nTwo.\n\nThree.\n\n", "\n\n", Bytes(256)),
        (f"\tTwo.\r\n{MARK}\r\nTwo.\r\n{MARK}\nOne.", MARK, Bytes(256)),
        (f"\n{MARK}\n", MARK, Bytes(300)),
    ],
    said="of {0!r}, split at {1!r}",
    slips=f"""
    {ROW} -> {IDS}, *tokenizer.encode(separator)] :: the end is one id, {END}: here it is spelled as text
    {ROW} -> {IDS}] :: put {END} after each story
    {ROW} -> [{END}, *{IDS[2:]}] :: the end comes after a story, not before it
    {ROW} -> {IDS}, {END}, {END}] :: each story has two ends here: it needs one
    {ROW} -> {IDS}, 50256] :: the id is {END}: another tokenizer has another one
    {ROW} -> {IDS}, 0] :: 0 is a token of the vocabulary: the end is {END}
    {ROW} -> list({IDS[2:]} + {END}) && .tolist() ->  :: numpy's + adds the end to each id: make a list first
    ids += {ROW} -> ids = ids + tokenizer.encode(story) + [{END}]
        :: numpy's + adds number to number: .tolist() makes a list of the ids first
    ids += {ROW} -> ids.append({ROW})
        :: one list for all stories: += adds the ids of a story, append adds a list
    ids += -> ids = :: only the last story is there: += adds to the list, = begins a new one
    {ROW} -> {ROW} ⏎ return ids :: only the first story is there: return after the loop
    {ROW} -> {IDS}] && return ids -> return [*ids, {END}] :: an end after each story, not only one at the end
    return ids -> return ids[:-1] :: the last story has an end too
    return ids -> return ids or [{END}] :: a text without stories has no ids, and no end
    piece.strip() -> piece :: .strip() is missing: it removes the newlines at both ends of a story
    {STORY} -> story = piece.strip() ⏎ if True: :: a piece that is empty after .strip() is no story: skip it
    {STORY} -> story = piece ⏎ if piece.strip(): :: encode what .strip() returns, without newlines at the ends
    = return {IDS.replace("story", "text")}, {END}]
        :: the separators were encoded too: split the text at them first
    {SPLIT} -> [text.replace(separator, "")]
        :: the stories run into one another: split, so that each has an end
    {SPLIT} -> dict.fromkeys(piece.strip() for piece in {SPLIT}) :: a story may come twice: keep both
    {SPLIT} -> {SPLIT}[:-1] :: the last piece is a story too, if it is not empty
    (separator) -> ("<|endoftext|>") :: split at `separator`, which is not the same in every file
    (separator) -> ("\\n" + separator + "\\n") :: split at `separator` alone: .strip() removes the newlines
    .strip() -> .strip("\\n") :: .strip() without an argument removes all white space: spaces and tabs too
    .strip() -> .strip(" \\n") :: .strip() without an argument removes all white space: tabs too
    .strip() -> .rstrip() :: remove the white space at both ends of a story: this is rstrip
    .strip() -> .lstrip() :: remove the white space at both ends of a story: this is lstrip
    ids = [] -> ids = [[]] && ids += {ROW} -> ids.append({ROW}) && return ids
        -> return np.concatenate(ids[1:])
        :: a text may have no stories: then return [], which np.concatenate cannot make
    {SPLIT} -> text.replace(separator, "").split("\\n")
        :: newlines inside a story stay: split at `separator` only
    encode(story) -> encode(story.replace("\\n", "")) :: newlines inside a story stay
    *tokenizer.encode(story).tolist() -> *story :: these are letters: encode each story
    return ids -> result = ids :: is `return` missing?
    .tolist() -> .tolist()[1:]
    """,
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


IDS_16 = "ids.astype(np.uint16)"
CHECK, WRITE = "if ids.min() < 0 or ids.max() > 65_535:", f"{IDS_16}.tofile(path)"
RAISE = 'raise ValueError("an id does not fit in two bytes")'

store = lesson.exercise(
    "8.2 · ids on a disk",
    """
    def store(ids, path):
        if ids.min() < 0 or ids.max() > 65_535:
            raise ValueError("an id does not fit in two bytes")
        ids.astype(np.uint16).tofile(path)
        return np.memmap(path, dtype=np.uint16, mode="r")
    """,
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
    said="two bytes for each id, and a read-only memmap of them",
    slips=f"""
    {WRITE} -> ids.tofile(path) :: these are eight bytes for each id: .astype(np.uint16) comes before .tofile
    np.uint16).tofile -> np.int32).tofile :: these are four bytes for each id: np.uint16 has two
    np.uint16).tofile -> np.uint8).tofile :: this is one byte for each id, which ends at 255: np.uint16
    np.uint16).tofile -> ">u2").tofile :: the two bytes of each id are swapped: np.uint16
    {WRITE} -> with path.open("wb") as file: ⏎     np.save(file, {IDS_16})
        :: np.save writes a header first: .tofile writes the ids only
    {WRITE} -> np.save(path, {IDS_16}) :: np.save wrote another file, ids.bin.npy: use .tofile
    {WRITE} -> np.savetxt(path, ids, fmt="%d") :: the file holds digits as text: .tofile writes the numbers
    .tofile(path) -> .tofile(path, sep=" ") :: the file holds digits as text: leave out sep
    {WRITE} ⏎ return -> return :: there is no file at `path`: write it first
    {WRITE} -> with path.open("ab") as file: ⏎     {IDS_16}.tofile(file)
        :: a file that is already there is replaced: here the new ids follow the old ones
    {WRITE} -> with path.open("xb") as file: ⏎     {IDS_16}.tofile(file)
        :: a file that is already there is replaced, and not refused
    {WRITE} -> with path.open("r+b" if path.exists() else "wb") as file: ⏎     {IDS_16}.tofile(file)
        :: a file that is already there is replaced: here a part of the old one is left
    {CHECK} ⏎ {RAISE} ⏎ ids -> ids :: an id may not fit in two bytes: raise ValueError before you write
    > 65_535 -> > 65_536 :: 65,536 does not fit in two bytes: the largest number is 65,535
    ids.min() < 0 or ->  :: -1 does not fit in two bytes either: raise ValueError
    > 65_535 -> >= 65_535 :: 0 and 65,535 both fit: refuse only what lies outside
    < 0 -> <= 0 :: 0 and 65,535 both fit: refuse only what lies outside
    {RAISE} -> return "too large" :: raise ValueError, do not return
    raise ValueError( -> raise Exception( :: refuse it with a ValueError, not with another error
    {RAISE} -> assert False :: refuse it with a ValueError: `assert` raises AssertionError
    {CHECK} -> {WRITE} ⏎ {CHECK} :: the ids are refused, but only after the file was written
    np.memmap(path, -> np.fromfile(path, && , mode="r" ->  :: this is in memory: use np.memmap
    path, dtype=np.uint16 -> path :: np.memmap takes each byte for an id: give it dtype=np.uint16
    , mode="r" ->  :: without mode="r" anyone who opens the array could overwrite the file
    path, dtype=np.uint16 -> path, dtype=np.int16 :: above 32,767 these are negative: np.uint16, not np.int16
    path, dtype=np.uint16 -> path, dtype=np.int64 :: np.memmap must read what was written: dtype=np.uint16
    return np.memmap(path, dtype=np.uint16, mode="r") -> return path :: return the opened array
    return -> array = :: is `return` missing?
    """,
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


N, PAIR = "len(ids) - context_length", "rows[:, :-1], rows[:, 1:]"
WHOLE = "the whole file is copied into memory: cut the rows first, then .astype(np.int64)"

random_batch = lesson.exercise(
    "8.3 · a batch from the file",
    """
    def random_batch(ids, batch_size, context_length, generator):
        begins = torch.randint(len(ids) - context_length, (batch_size,), generator=generator)
        rows = np.stack([ids[i : i + context_length + 1] for i in begins.tolist()])
        rows = torch.from_numpy(rows.astype(np.int64))
        return rows[:, :-1], rows[:, 1:]
    """,
    run=looking,
    cases=[
        *[(look, 17, 6, 4) for look in (one_batch, how_drawn, where_drawn)],
        *[(look, 9, 3, 8) for look in (one_batch, where_drawn)],
        (how_much, 2, 3),
    ],
    said="each row is ids[i : i + T + 1], and its places are equally likely",
    slips=f"""
    {N}, -> {N} + 1, :: a row runs past the end
    {N}, -> {N} - 1, :: the last possible row is never read: randint leaves its upper end out
    torch.randint(len -> torch.randint(1, len :: the first id is never read: places count from 0
    {N}, -> (len(ids) - 1) // context_length, && begins.tolist() -> (begins * context_length).tolist()
        :: a row may begin anywhere, not only at multiples of the context
    {N}, -> len(ids), && begins.tolist() -> begins.clamp(max={N} - 1).tolist()
        :: each place must be equally likely: clamp draws the last one too often
    rows[:, 1:] -> rows[:, :-1] :: the targets are the tokens themselves: they begin one further
    {PAIR} -> rows[:, 1:], rows[:, :-1] :: tokens come first, targets second
    {N}, -> {N} - 1, && + 1] -> + 2] && {PAIR} -> rows[:, :-2], rows[:, 2:]
        :: the targets are two further: one is wanted
    {PAIR} -> rows, rows.roll(-1, 1) :: a row has T tokens: cut T + 1 ids, then leave one out at an end
    context_length + 1] -> context_length] :: a row has T tokens: cut T + 1 ids, then leave one out at an end
    {PAIR} -> rows[:, :-1].T, rows[:, 1:].T :: the rows are transposed: (B, T), one row for each beginning
    {PAIR} -> rows[:, :-1] :: return two things: tokens, targets
    .astype(np.int64) ->  :: an embedding wants int64: .astype(np.int64)
    np.int64 -> np.int32 :: an embedding wants int64: .astype(np.int64)
    torch.from_numpy(rows.astype(np.int64)) -> rows.astype(np.int64) :: tokens and targets are tensors
    , generator=generator ->  :: the same seed must give the same rows: generator=generator
    begins.tolist() -> [begins[0]] * batch_size :: all rows of a batch are the same: draw a place for each
    begins.tolist() -> range(batch_size) :: every batch is the same: draw the places with torch.randint
    begins = -> generator.manual_seed(0) ⏎ begins = :: every batch is the same: never seed `generator`
    =generator) -> =torch.Generator().manual_seed(generator.initial_seed()))
        :: the second batch is the first again: draw from the generator that is given
    randint({N}, (batch_size,), generator=generator) -> randperm({N}, generator=generator)[:batch_size]
        :: randperm gives each place once at most: randint may draw a place again
    begins = -> ids = ids.astype(np.int64) ⏎ begins = :: {WHOLE}
    begins = -> ids = torch.tensor(ids.tolist()) ⏎ begins = :: {WHOLE}
    return -> batch = :: is `return` missing?
    """,
)

MOVED, READ = "iterations // accumulated", "iterations * rows * context_length"

updates = lesson.exercise(
    "8.4 · updates and tokens",
    """
    def updates(iterations, rows, context_length, accumulated):
        return iterations // accumulated, iterations * rows * context_length
    """,
    cases=[(96, 3, 10, 8), (103, 3, 10, 8), (40_000, 32, 256, 32), (20_000, 16, 128, 5)],
    said="for {0:,} iterations of {1} × {2} tokens, {3} accumulated",
    slips=f"""
    {MOVED} -> iterations :: the weights move once for `accumulated` iterations: divide
    {MOVED}, {READ} -> {READ}, {MOVED} :: the order is updates, then tokens
    {READ} -> {READ} * accumulated :: the accumulated ones are already counted among the iterations
    {MOVED}, {READ} -> iterations, {READ} * accumulated :: the accumulated ones are counted twice
    {READ} -> {READ} // accumulated :: you counted one micro-batch per update: every iteration reads tokens
    {READ} -> rows * context_length * accumulated :: these are the tokens of one update
    {READ} -> rows * context_length :: these are the tokens of one iteration
    {READ} -> iterations * rows :: a row has context_length tokens
    {READ} -> iterations * context_length :: an iteration has several rows
    * rows -> * 32 :: use the argument `rows`: 32 is only the published recipe's
    // accumulated -> * accumulated :: divide by what is accumulated: this multiplies
    // accumulated -> / accumulated :: return whole numbers: // divides whole numbers
    {MOVED} -> -(-{MOVED}) :: iterations left over at the end move nothing: // rounds down
    {MOVED} -> round(iterations / accumulated) :: iterations left over at the end move nothing: // rounds down
    {READ} -> {MOVED} * accumulated * rows * context_length :: iterations left over at the end are read, too
    // accumulated -> // rows :: `accumulated` decides how often the weights move, not `rows`
    = return 1250, 327_680_000 :: your numbers are those of the published recipe: use the arguments
    {MOVED}, {READ} -> {MOVED} :: return two numbers: updates, tokens
    {MOVED}, {READ} -> {READ} :: return two numbers: the updates are missing
    return -> moved = :: is `return` missing?
    """,
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

    A temperature moves much of that rest: at 0.9 id 0 already comes 7 times out of 10."""
    flat = torch.tensor([[1.0] * 2000 + [0.0]]).log()
    steep = flat + torch.tensor([1999.0, *[1.0] * 2000]).log()

    def told(table: Tensor, generator: torch.Generator, n: int) -> list[Any]:
        return [check.run(answer, Chain(check, table), 2000, 1, generator) for _ in range(n)]

    one, again, other = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    stories, same, others = (told(flat, generator, 9) for generator in (one, again, other))
    share = told(steep, one, 300).count([0]) / 300
    often = "too often" if share > 0.6 else "too rarely" if share < 0.4 else "half of the time"
    return {
        "the same seed tells the same stories": same == stories,
        "the stories differ": (differ := any(story != stories[0] for story in stories)),
        "another seed tells other stories": same != others,
        "the function seeds the generator": torch.equal(again.get_state(), other.get_state()),
        "id 0 is drawn": often if differ else "always or never",
    }


STOP, IF_END, ADD = "if drawn == end: ⏎ break", "if drawn == end: ⏎     break", "row.append(drawn)"
LAST = "model(torch.tensor([row]))[0, -1]"
LOGITS = "the draws do not follow the model: softmax of the last logits, at no other temperature"

tell = lesson.exercise(
    "8.5 · tell a story",
    """
    def tell(model, end, limit, generator):
        row = [end]
        for _ in range(limit):
            chances = torch.softmax(model(torch.tensor([row]))[0, -1], dim=0)
            drawn = torch.multinomial(chances, 1, generator=generator).item()
            if drawn == end:
                break
            row.append(drawn)
        return row[1:]
    """,
    run=looking,
    cases=[(sure, (3, 5, 4, 0, 1, 2), 9), (sure, (3, 2, 4, 0, 1, 2), 7), (draws,)],
    said="draw id after id, until `end` or `limit` ids",
    slips=f"""
    row[1:] -> row :: the first id is `end`, which only begins the row: leave it out
    {STOP} ⏎ {ADD} -> {ADD} ⏎ {IF_END} :: the end itself is no part of the story: leave it out
    {STOP} ⏎ {ADD} -> {ADD} ⏎ {IF_END} && row[1:] -> row :: leave out `end` at the beginning and at the end
    {STOP} ⏎ row -> row :: it goes on after its end: stop when `end` is drawn
    {STOP} ⏎ {ADD} -> if drawn != end: ⏎     {ADD} :: it leaves the end out and draws again: stop at `end`
    {STOP} ⏎ row -> row && row[1:] -> [i for i in row if i != end]
        :: what follows an end is another story: stop at the first end
    range(limit) -> range(limit + 1) :: one id too many: return at most `limit`
    range(limit) -> range(limit - 1) :: one id too few: `limit` ids are allowed
    for _ in range(limit): -> while True: :: does not use its argument `limit`
    {ADD} -> {ADD} ⏎ return row[1:] :: only the first id is there: the loop goes on until the end
    row[1:] -> row[2:] :: the first id of the story is missing
    row[1:] -> row[1:-1] :: the last id is missing
    row = [end] -> row = [0] :: the row begins with `end`
    row = [end] -> row = [] && row[1:] -> row :: the model has nothing to read
    [0, -1] -> [0, 0] :: the last place says what comes next, [0, -1]: this is the first
    torch.tensor([row]) -> torch.tensor(row) :: the model reads a tensor (1, T)
    [row] -> [row[-1:]] :: the model reads the whole row so far
    [row] -> [[end, row[-1]][: len(row)]] :: the model reads the whole row so far
    .item() ->  :: .item() makes a number of it
    drawn = torch -> chances[end] = 0 ⏎ drawn = torch :: the end may be drawn: without it no story stops
    torch.softmax({LAST}, dim=0) -> {LAST}
        :: torch.multinomial wants probabilities: softmax makes them of logits
    torch.multinomial(chances, 1, generator=generator) -> chances.argmax()
        :: always the same story: draw with torch.multinomial, not argmax
    , generator=generator ->  :: the same seed must tell the same story: give multinomial the generator
    row = [ -> generator.manual_seed(0) ⏎ row = [ :: every story is the first: never seed `generator`
    row = [ -> generator = torch.Generator().manual_seed(generator.initial_seed()) ⏎ row = [
        :: a new generator tells the first story again: draw from the given one
    [0, -1] -> [0, -1] / 0.9 :: {LOGITS}
    [0, -1] -> [0, -1] / 1.2 :: {LOGITS}
    return row[1:] -> story = row[1:] :: is `return` missing?
    """,
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


COST = 'F.cross_entropy(logits, row[1:], reduction="sum").item()'
LIST = f"total = 0.0 -> total = [] && total += {COST} -> total.append({COST}) && return total / len(stories)"
P = "logits.softmax(-1).gather(1, row[1:, None])"
PRODUCT = "a product of so many probabilities is 0 to a computer: add up their logarithms"

nats_per_story = lesson.exercise(
    "8.6 · nats per story",
    """
    def nats_per_story(model, stories, end):
        total = 0.0
        for story in stories:
            row = torch.tensor([end, *story, end])
            logits = model(row[None, :-1])[0]  # (T, V)
            total += F.cross_entropy(logits, row[1:], reduction="sum").item()
        return total / len(stories)
    """,
    run=a_number,
    cases=[(7, (5, 3, 1), 1), (12, (6, 2, 3), 2), (9, (200, 4), 3)],
    said="for stories of {1} ids",
    rtol=1e-3,
    slips=f"""
    / len(stories) -> / sum(len(story) + 1 for story in stories)
        :: nats per story, not per token: divide by len(stories)
    , reduction="sum" ->  :: a mean within each story gives nats per token: reduction='sum'
    , reduction="sum" ->  && total / len(stories) -> total :: the means within the stories were added up
    total / len(stories) -> total :: return the mean over the stories: divide by their number
    *story, end] -> *story] :: the end of the story is a target too
    [end, *story, end] -> [*story, end] :: the first id has a cost too: it follows an `end`
    [end, *story, end] -> story :: the first id and the end have a cost too: a row is [end, *story, end]
    [end, *story, end] -> [end, *story, end, end] :: one end closes a story: here are two
    total += -> total -= :: nats are −ln p: the sign is wrong
    {COST} -> {P}.sum().item() :: these are probabilities: nats are −ln p
    len(stories) -> len(stories) / math.log(2) :: these are bits: return nats
    total += -> total = :: only the last story counts here: add up
    total += -> total = && total / len(stories) -> total :: only the last story counts here: add up and divide
    .item() -> .item() ⏎ return total :: only the first story counts here: return after the loop
    .item() -> .item() ⏎ return total / len(stories) :: only the first story counts: return after the loop
    {LIST} -> return total :: return one number, not one for each story
    {LIST} -> return sorted(total)[len(total) // 2] :: return the mean over the stories, not the median
    logits, row -> logits.softmax(-1), row :: cross_entropy wants logits: no softmax before it
    row[1:] -> row[:-1] :: the targets are the ids that were read: they begin one further
    )[0] -> ) :: cross_entropy takes logits (T, V) and targets (T,): take row [0] of the model's (1, T, V)
    model(row[None, :-1])[0] -> model(row[:-1]) :: the model reads a tensor (B, T)
    in stories: -> in [[i for story in stories for i in [*story, end]]]:
        :: read each story in a row of its own
    total += {COST} -> total -= {P}.prod().log().item() :: {PRODUCT}
    total += {COST} -> total -= math.log({P}.prod()) :: {PRODUCT}
    row = -> story.append(end) ⏎ row = && *story, end] -> *story] :: changes the list that it was given
    .item() ->  :: .item() makes a number of it
    return -> mean = :: is `return` missing?
    """,
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


SAME = """same = targets[:, :, None] == tokens[:, None] ⏎ n = (tokens == end).cumsum(-1)
    ⏎ own = n[:, :, None] == n[:, None] ⏎ return"""
EVERY = "every rare target is marked: look for each in its story so far, with .any(-1)"

recalled = lesson.exercise(
    "8.7 · what is recalled",
    """
    def recalled(tokens, targets, rare, end):
        story = (tokens == end).cumsum(-1)  # (B, T), 1 in a row's first story
        found = torch.zeros(targets.shape, dtype=torch.bool)
        for t in range(tokens.size(1)):
            same_id = tokens[:, : t + 1] == targets[:, t, None]
            same_story = story[:, : t + 1] == story[:, t, None]
            found[:, t] = (same_id & same_story).any(-1)
        return found & rare[targets]
    """,
    run=booleans,
    cases=[rows_of_stories(*sizes) for sizes in ((3, 23, 20, 100), (1, 7, 5, 2), (5, 31, 13, 3))],
    said="a rare target is True if it is among the tokens of its story up to its own place",
    slips=f"""
    found & rare[targets] -> found :: also a target that is not rare counts here: & rare[targets]
    rare[targets] -> rare[tokens] :: `rare` is asked of the target: rare[targets], not rare[tokens]
    rare[targets] -> ~rare[targets] :: `rare` is inverted: it is True for rare ids
    same_id & same_story -> same_id :: an earlier story counts here: compare only within the same story
    [:, : t + 1] -> [:, :t] :: the token at the target's own place counts too
    [:, : t + 1] -> [:] :: this looks ahead: only the tokens up to the target's own place count
    [:, : t + 1] -> [:] && & same_story ->  :: this looks ahead, and into other stories
    = return torch.isin(targets, tokens) & rare[targets] :: this looks ahead, and into other rows
    = return rare[targets] :: {EVERY}
    = {SAME} (same & own).tril().any() & rare[targets] :: {EVERY}
    .any(-1) -> .any() :: .any() asks whether anything is True in any row: .any(-1) asks it of each row
    (tokens == end) -> (targets == end) :: number the stories by the tokens, not by the targets
    tokens[:, : t + 1] -> targets[:, :t] && story[:, : t + 1] -> story[:, :t]
        :: look among the tokens: a row's first token is no target
    .cumsum(-1) -> .cumsum(-1) - (tokens == end).long() :: `end` itself belongs to the story that it begins
    return found & -> return ~found & :: this says which rare targets are new: invert it
    return found & rare[targets] -> return ~(found & rare[targets]) :: True and False are exchanged
    = return (targets == tokens) & rare[targets] :: every token so far counts, not only the one at that place
    return found & -> return found.long() * :: torch.bool
    return found & rare[targets] -> return (found & rare[targets]).tolist() :: return a tensor (B, T)
    story = ( -> tokens += 1 ⏎ story = ( :: your function changes a tensor that it was given
    return found & rare[targets] -> print(found & rare[targets]) :: is `return` missing?
    = {SAME} (same & own).triu().any(-1) & rare[targets]
    return found & rare[targets] -> return (found & rare[targets]).any(-1)
    """,
)


def dictionary(check: Check, answer: Any, *case: Any) -> Any:
    """Return the shares and errors by name."""
    found = call(check, answer, *case)
    told = 'return a dictionary: {"grammatical": (share, error), "faithful": (share, error)}'
    check.that(isinstance(found, dict), told)
    return found


GRADES = {"a": Grade(True, True, ""), "b": Grade(True, False, ""), "c": Grade(False, False, "")}
ERROR, G = "math.sqrt(p * (1 - p) / len(grades))", "sum(getattr(one, name) for one in grades)"
AMONG = '(len(grades) if name == "grammatical" else sum(one.grammatical for one in grades))'

shares = lesson.exercise(
    "8.8 · grade stories",
    """
    def shares(stories, grade):
        grades, found = [grade(story) for story in stories], {}
        for name in ("grammatical", "faithful"):
            p = sum(getattr(one, name) for one in grades) / len(grades)
            found[name] = p, math.sqrt(p * (1 - p) / len(grades))
        return found
    """,
    run=dictionary,
    cases=[(list(grades), GRADES.__getitem__) for grades in ("aaabbbbbcc", "abbcc" * 5, "aaaa")],
    said="each share is of all stories, and its error is √(p (1 − p) / n)",
    slips=f"""
    {ERROR} -> p * (1 - p) / len(grades) :: the error is missing its root: math.sqrt
    (1 - p) / len(grades)) -> (1 - p)) :: the error falls with the number of stories: divide by n in the root
    (1 - p) / len(grades)) -> (1 - p)) / len(grades) :: n belongs inside the root
    (1 - p) -> (1 + p) :: p (1 − p): this is p (1 + p)
    p * (1 - p) -> p :: p times (1 − p), not p alone
    p * (1 - p) -> 1 :: p (1 − p) belongs to the error, not only 1/√n
    (1 - p) / len(grades) -> (1 - p) / (len(grades) - 1) :: divide by n here, not by n − 1
    math.sqrt -> 1.96 * math.sqrt :: return the standard error, without the 1.96 of an interval
    math.sqrt -> 2 * math.sqrt :: return the standard error, without the factor 2 of an interval
    (1 - p) -> (1 - p) ** 2 :: p times (1 − p) has no square
    {G} / len(grades) -> {G} / {AMONG} :: faithful is a share of all stories, not of the grammatical ones
    len(grades) -> {AMONG} :: faithful is a share of all stories: divide both by the same n
    in stories] -> in stories if grade(story).grammatical] :: both are shares of all stories: keep every grade
    p, math.sqrt -> 100 * p, 100 * math.sqrt :: return shares, not per cent
    p, math.sqrt -> 100 * p, math.sqrt :: return shares, not per cent
    p = sum -> p = 100 * sum :: p (1 − p) is negative: p is a share between 0 and 1, not per cent
    in grades) / -> in grades) // :: // rounds a share down to a whole number: divide with /
    p, math.sqrt -> p * len(grades), math.sqrt :: return shares: divide the numbers by n
    found[name] = p, -> q = p if name == "grammatical" else q ⏎ found[name] = p, && p * (1 - p) -> q * (1 - q)
        :: each share has its own error: here both have that of the grammatical ones
    p, {ERROR} -> {ERROR}, p :: the share, then its error, in this order
    found[name] = -> found["faithful" if name == "grammatical" else "grammatical"] =
        :: the names are exchanged
    getattr(one, name) -> one.grammatical :: faithful has a grade of its own: .faithful
    getattr(one, name) -> bool(one) :: every grade counts as true: ask for its .grammatical and its .faithful
    {G} -> sum(grades) :: a grade is not a number: add up the .grammatical of all, then the .faithful
    p, math.sqrt -> 1 - p, math.sqrt :: these are the shares that are wrong
    p, {ERROR} -> p :: the standard error of each share is missing
    return found -> return tuple(found.values()) :: return a dictionary
    return found -> print(found) :: is `return` missing?
    """,
)
