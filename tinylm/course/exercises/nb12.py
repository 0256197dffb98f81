"""Checks of notebook 12_gpt2, and what it goes on with where a part is blank."""

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from torch import Tensor

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises.nb02 import random
from tinylm.storage.export import gpt2_name

PARTS = ("token table", "positions", "attention", "MLPs", "norms")
MAGIC, VERSION, HEADER = 20240520, 1, 256  # of llm.c's files: what they begin with, and how many numbers


def given_parameters(V, T, L, C):
    """How many numbers each part of a GPT-2 learns; the head is the token table once more."""
    attention = (C * 3 * C + 3 * C) + (C * C + C)
    mlp = (C * 4 * C + 4 * C) + (4 * C * C + C)
    counts = V * C, T * C, L * attention, L * mlp, (2 * L + 1) * 2 * C
    return dict(zip(PARTS, counts, strict=True))


def given_translate(theirs):
    """OpenAI's tensors under our names, c_* turned over, without masks, the head tied to the tokens."""
    kept = {n: w for n, w in theirs.items() if not n.endswith((".attn.bias", ".attn.masked_bias"))}
    ours = {gpt2_name(n): w.t() if re.search(r"\.c_\w+\.weight$", n) else w for n, w in kept.items()}
    return ours | {"head.weight": ours["token_embedding.weight"]}


def given_write_shards(pieces, encode, end, folder):
    """A file of ids for each piece that has none yet; each appears whole."""
    paths = []
    for n, documents in enumerate(pieces):
        path = folder / f"{n:04d}.bin"
        if not path.exists():
            ids = [i for document in documents for i in (*encode(document), end)]
            draft = path.with_suffix(".part")
            np.array(ids, dtype=np.uint16).tofile(draft)
            os.replace(draft, path)
        paths.append(path)
    return paths


def given_open_published(path):
    """The ids of one of llm.c's files, memory-mapped; another file is refused."""
    header = np.fromfile(path, dtype=np.int32, count=HEADER)
    if len(header) < HEADER or header[0] != MAGIC or header[1] != VERSION:
        raise ValueError(f"{path.name} is not in llm.c's format")
    if path.stat().st_size != 4 * HEADER + 2 * int(header[2]):
        raise ValueError(f"{path.name} is not whole")
    return np.memmap(path, dtype=np.uint16, mode="r", offset=4 * HEADER)


def given_set_aside(document, one_in):
    """Whether a document is for validation: its words decide, and nothing else."""
    words = " ".join(document.split())
    return int.from_bytes(hashlib.sha256(words.encode("utf-8")).digest(), "big") % one_in == 0


def given_batch_plan(tokens_per_step, context_length, cards, fits):
    """(rows at once, how many times) on each card, so that a step reads exactly so many tokens."""
    each, left = divmod(tokens_per_step, context_length * cards)  # rows of a card in a step
    if left:
        raise ValueError(f"{tokens_per_step} tokens are no whole number of rows on {cards} cards")
    at_once = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)
    return at_once, each // at_once


def given_share_needed(baseline, fast):
    """The share of the baseline's tokens after which `fast` is as good as the baseline's end."""
    tokens, goal = baseline[-1]
    return next((read / tokens for read, loss in fast if loss <= goal), math.inf)


@marked("12.1 · parameters by part", given=given_parameters)
def parameters(check: exercise, mine) -> None:
    """Five counts, as they are in the model."""
    for V, T, L, C in ((211, 31, 4, 22), (50257, 1024, 12, 768), (97, 50, 5, 14)):
        right, answer = given_parameters(V, T, L, C), check.run(mine, V, T, L, C)
        check.that(isinstance(answer, dict), "return a dictionary of five counts")
        odd = sorted(map(str, answer.keys() ^ right.keys()))
        check.that(not odd, f"the names are {', '.join(PARTS)}: yours differ in {', '.join(odd)}")
        for name, wrongs in _wrong_counts(V, T, L, C).items():
            usual = {f"{name}: {said}": value for said, value in wrongs.items() if value != right[name]}
            check.close(answer[name], right[name], f"the count of the {name}", usual=usual)


def _wrong_counts(V: int, T: int, L: int, C: int) -> dict[str, dict[str, int]]:
    """What people count instead, by the name of the part."""
    attention, mlp, norm = 4 * C * C + 4 * C, 8 * C * C + 5 * C, 2 * C
    each = f"each of the {L} blocks has its own"
    return {
        "token table": {
            "the head is the same table, and counts nothing": 2 * V * C,
            "V rows of C numbers each": V,
            "a table that is looked up has no bias": V * C + C,
        },
        "positions": {
            "a vector of C numbers for each of the T positions": T,
            "the table is added before the first block, once": L * T * C,
            "T positions, not V": V * C,
        },
        "attention": {
            each: attention,
            "each matrix has a bias, as long as its output": L * 4 * C * C,
            "the projection behind the heads, C → C, is missing": L * (3 * C * C + 3 * C),
            "query, key and value are one matrix each, C → C: three together": L * 2 * (C * C + C),
            "the bias of q, k and v together has 3 · C numbers": L * (4 * C * C + 2 * C),
            "the bias of the projection is missing": L * (4 * C * C + 3 * C),
            "the bias of q, k and v is missing": L * (4 * C * C + C),
            "the norms have an entry of their own": L * (attention + norm),
        },
        "MLPs": {
            each: mlp,
            "each matrix has a bias, as long as its output": L * 8 * C * C,
            "there are two matrices, C → 4 · C and 4 · C → C": L * (4 * C * C + 4 * C),
            "a bias is as long as the output: 4 · C, then C": L * (8 * C * C + 8 * C),
            "the first bias has 4 · C numbers": L * (8 * C * C + 2 * C),
            "the second matrix has a bias too, of C numbers": L * (8 * C * C + 4 * C),
            "the first matrix has a bias too, of 4 · C numbers": L * (8 * C * C + C),
            "the norms have an entry of their own": L * (mlp + norm),
        },
        "norms": {
            "each has a gain and a bias, C numbers each": (2 * L + 1) * C,
            "one more stands behind the last block": 2 * L * norm,
            "a block has two, one before attention and one before the MLP": (L + 1) * norm,
            "a block has two, and one more stands behind the last block": L * norm,
            "two in each block and one at the end": 3 * norm,
        },
    }


def openai_tensors(n_layer: int, C: int, V: int, T: int) -> dict[str, Tensor]:
    """Tensors by OpenAI's names, all different, with the masks that the file holds too."""
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C), "ln_f.weight": (C,), "ln_f.bias": (C,)}
    for n in range(n_layer):
        parts = {"ln_1": (C,), "ln_2": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C)}
        parts |= {"mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}
        for part, shape in parts.items():
            shapes |= {f"h.{n}.{part}.weight": shape, f"h.{n}.{part}.bias": shape[-1:]}
        shapes |= {f"h.{n}.attn.bias": (1, 1, T, T), f"h.{n}.attn.masked_bias": (1,)}
    return {name: random(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}


@marked("12.2 · OpenAI's weights become yours", given=given_translate)
def translate(check: exercise, mine) -> None:
    """Every weight under our name, in torch's order, and nothing that is no weight."""
    for n_layer, C, V, T in ((2, 6, 11, 7), (12, 4, 4, 5)):
        theirs = openai_tensors(n_layer, C, V, T)
        before = {name: tensor.clone() for name, tensor in theirs.items()}
        right, answer = given_translate(theirs), check.run(mine, theirs)
        kept = theirs.keys() == before.keys() and all(theirs[n].equal(before[n]) for n in before)
        check.that(kept, "`theirs` belongs to the caller: make a new dictionary")
        check.that(isinstance(answer, dict), "return a dictionary: names and tensors")
        _check_names(check, {*map(str, answer)}, right.keys())
        for name, tensor in right.items():
            _check_tensor(check, name, answer[name], tensor)


def _check_names(check: exercise, mine: set[str], right: Any) -> None:
    """All of ours, and none besides: what is usual is named."""
    missing, strange = sorted(right - mine), sorted(mine - right)
    masks = [name for name in strange if name.endswith((".attn.bias", ".attn.masked_bias"))]
    check.that(not masks, f"{', '.join(masks[:1])} is a mask and no weight: leave it out")
    as_theirs = [name for name in strange if name.startswith(("h.", "w", "ln_"))]
    check.that(not as_theirs, f"{', '.join(as_theirs[:1])} is OpenAI's name: gpt2_name(name) gives ours")
    said = "head.weight is missing: GPT-2's head is its token table, so the file has it once"
    check.that("head.weight" not in missing, said)
    lost = [name for name in missing if name.endswith("attn.qkv.bias")]
    said = "the mask is called h.0.attn.bias; h.0.attn.c_attn.bias, which ends alike, is a weight"
    check.that(not lost or len(missing) > len(lost), said)
    only = missing and all(name.endswith(".bias") for name in missing)
    check.that(not only, f"biases are weights, {missing[:1]} is missing: only the masks are left out")
    check.that(not missing, f"{', '.join(missing[:2])} is missing")
    check.that(not strange, f"{', '.join(strange[:2])} is no name of ours")


def _check_tensor(check: exercise, name: str, mine: Any, right: Tensor) -> None:
    """One tensor: turned over where it must be, and nowhere else."""
    check.that(isinstance(mine, Tensor), f"{name} should be a tensor")
    table = name in ("token_embedding.weight", "position_embedding.weight", "head.weight")
    turned = right.t() if right.ndim == 2 else right
    if table:
        same = mine.shape == turned.shape and mine.equal(turned) and not mine.equal(right)
        check.that(not same, f"{name} is a table of rows that is looked up: it is not turned over")
    elif right.ndim == 2:
        shape = tuple(right.shape)
        said = f"{name} is not turned over: OpenAI's layer computes x @ W, torch's x @ W.T"
        square = f"{name} is square, so its shape cannot tell: it is turned over like the others"
        same = mine.shape == turned.shape and mine.equal(turned)
        check.that(not same, square if shape[0] == shape[1] else said)
        poured = mine.shape == right.shape and mine.equal(turned.reshape(shape))
        said = f"{name} has the shape, but reshape keeps the order of the numbers: .t() turns it over"
        check.that(not poured, said)
    check.that(mine.shape == right.shape, f"{name} is {tuple(mine.shape)}, expected {tuple(right.shape)}")
    check.close(mine.detach(), right, f"the numbers of {name}")


class _Killed(Exception):
    """What stops a run in the middle of a document, in the check."""


class Encoder:
    """An encoder of letters for the check: it notes what it is asked for, and is killed when it is told."""

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at, self.asked = dies_at, []

    def __call__(self, document: str) -> list[int]:
        """The ids of the document."""
        self.asked.append(document)
        if len(self.asked) == self.dies_at:
            raise _Killed("the machine was switched off")
        return letters(document)


def letters(document: str) -> list[int]:
    """An id for each letter, up to some ten thousand, which one byte cannot hold."""
    return [401 * (ord(letter) - 96) for letter in document]


@contextmanager
def renames() -> Iterator[list[str]]:
    """Inside, the names that files get by being renamed are noted."""
    names: list[str] = []

    def noting(rename: Callable) -> Callable:
        def run(source: Any, target: Any, **named: Any) -> None:
            names.append(Path(target).name)
            return rename(source, target, **named)

        return run

    with mock.patch.multiple(os, replace=noting(os.replace), rename=noting(os.rename)):
        yield names


PIECES = [["abc", "de"], ["fghij"], ["k", "lm", "nop", "q"], ["rs", "tuvwx"]]
END = 50256


def copies() -> list[list[str]]:
    """The pieces, for an answer that changes what it is given."""
    return [[*piece] for piece in PIECES]


@marked("12.3 · shards that survive a kill", given=given_write_shards)
def write_shards(check: exercise, mine) -> None:
    """A file a piece, whole or not there; what is there is not made again."""
    contents = [[i for d in piece for i in (*letters(d), END)] for piece in PIECES]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name, "whole")
        folder.mkdir()
        encoder = Encoder()
        with renames() as renamed:
            answer = check.run(mine, copies(), encoder, END, folder)
        _check_shards(check, folder, contents)
        wanted = [folder / f"{n:04d}.bin" for n in range(len(PIECES))]
        listed = isinstance(answer, list | tuple) and [*map(str, answer)] == [*map(str, wanted)]
        check.that(listed, "return the list of all paths, in the order of the pieces")
        others = sorted({path.name for path in folder.iterdir()} - {path.name for path in wanted})
        check.that(not others, f"{', '.join(others)} is left over: os.replace(draft, path) renames the draft")
        half = "killed while it writes, it leaves half a file under the final name: write a draft first, "
        check.that({*renamed} >= {path.name for path in wanted}, half + "then os.replace(draft, path)")
        _check_killed(check, mine, Path(name), contents)


def _check_shards(check: exercise, folder: Path, contents: list[list[int]]) -> None:
    """The bytes of every file: what usually stands there instead is named."""
    for n, row in enumerate(contents):
        path, ids = folder / f"{n:04d}.bin", np.array(row)
        found = sorted(p.name for p in folder.iterdir())
        there = f"there is no {path.name} in the folder, which holds {', '.join(found) or 'nothing'}"
        check.that(path.is_file(), there)
        data, without = path.read_bytes(), ids[ids != END]
        documents = [letters(d) for d in PIECES[n]]
        named = {
            "eight bytes for each id: np.array(ids, dtype=np.uint16)": ids.astype("<i8"),
            "four bytes for each id: np.uint16 has two": ids.astype("<i4"),
            "one byte for each id, which ends at 255: np.uint16": ids.astype("u1"),
            "floating-point numbers: np.uint16": ids.astype("<f8"),
            "`end` after each document is missing": without.astype("<u2"),
            "`end` stands after each document, not only after the last": np.append(without, END).astype(
                "<u2"
            ),
            "`end` stands after each document, not before it": np.array(
                [i for d in documents for i in (END, *d)], dtype="<u2"
            ),
            "only the last document of the piece is there": np.array([*documents[-1], END], dtype="<u2"),
            "only the first document of the piece is there": np.array([*documents[0], END], dtype="<u2"),
            "all pieces together stand in this file": np.array([i for r in contents for i in r], dtype="<u2"),
            "the pieces before stand in it too: the ids begin anew with each": np.array(
                [i for r in contents[: n + 1] for i in r], dtype="<u2"
            ),
        }
        for mistake, wrong in named.items():
            check.that(data != wrong.tobytes() or data == ids.astype("<u2").tobytes(), mistake)
        check.that(
            not data.startswith(b"\x93NUMPY"), "np.save writes a header first: .tofile writes ids only"
        )
        size = f"{path.name} has {len(data)} bytes, {2 * len(ids)} are expected for {len(ids)} ids"
        check.that(len(data) == 2 * len(ids), size)
        check.that(data == ids.astype("<u2").tobytes(), f"{path.name} does not hold the ids of its piece")


def _check_killed(check: exercise, mine: Callable, home: Path, contents: list[list[int]]) -> None:
    """Stopped in each document and begun again: the same files, and nothing done twice."""
    documents = [(n, d) for n, piece in enumerate(PIECES) for d in piece]
    for dies_at, (piece, _) in enumerate(documents, start=1):
        folder = home / f"killed{dies_at}"
        folder.mkdir()
        first = Encoder(dies_at)
        try:
            mine(copies(), first, END, folder)
            check.that(False, "an error of `encode` must not be swallowed: let it go through")
        except _Killed:
            pass
        finished = {f"{n:04d}.bin" for n in range(len(PIECES))}
        done = finished & {path.name for path in folder.iterdir()}
        half = f"{piece:04d}.bin"
        check.that(half not in done, f"killed in piece {piece}, {half} is there and not whole: write a draft")
        early = "each piece is written when it is encoded: killed in piece {}, {} files were there"
        check.that(len(done) == piece, early.format(piece, len(done)))
        again = Encoder()
        mine(copies(), again, END, folder)
        twice = [d for d in again.asked if d in {d for n, d in documents if n < piece}]
        said = "what is there is not made again: look at path.exists() before you encode"
        check.that(not twice, said)
        _check_shards(check, folder, contents)


@marked("12.4 · a published shard", given=given_open_published)
def open_published(check: exercise, mine) -> None:
    """The ids behind the header, on the disk; no other file is taken for one."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for n, count in enumerate((400, 1, 1300)):
            ids = np.random.default_rng(n).integers(2**15, 2**16, size=count)
            path = published(Path(folder, f"{n}.bin"), ids)
            answer = check.run(mine, path)
            check.that(isinstance(answer, np.ndarray), "return the array of ids")
            _check_published(check, answer, ids)
            said = "this array lies in memory: np.memmap(path, …, offset=…) reads only what is asked for"
            check.that(isinstance(answer, np.memmap), said)
            check.that(not answer.flags.writeable, 'whoever opens it could overwrite the file: mode="r"')
            del answer
        ids = np.arange(3000) % 5000
        wrongs = {
            "begins with another number": {"magic": 20240801},
            "is of version 2": {"version": 2},
            "has fewer ids than its header says": {"count": 3001},
            "has more ids than its header says": {"count": 2999},
            "is plain ids without a header": ids.astype("<u2"),
            "is empty": ids[:0],
        }
        for n, (what, header) in enumerate(wrongs.items()):
            path = Path(folder, f"wrong{n}.bin")
            if isinstance(header, np.ndarray):
                header.tofile(path)
            else:
                published(path, ids, **header)
            try:
                mine(path)
            except ValueError:
                continue
            except (NameError, TypeError, AttributeError, AssertionError):
                raise
            except Exception as error:
                name = type(error).__name__
                check.that(False, f"a file that {what} is refused with {name}: raise a ValueError")
            check.that(False, f"a file that {what} is taken: raise a ValueError")


def published(
    path: Path, ids: np.ndarray, *, magic: int = MAGIC, version: int = VERSION, count: int | None = None
) -> Path:
    """Write ids as llm.c does: a header of 256 numbers of four bytes, then two bytes an id."""
    header = np.zeros(HEADER, dtype="<i4")
    header[:3] = magic, version, len(ids) if count is None else count
    path.write_bytes(header.tobytes() + ids.astype("<u2").tobytes())
    return path


def _check_published(check: exercise, answer: np.ndarray, ids: np.ndarray) -> None:
    """What was opened: its type, its length, its numbers."""
    check.that(answer.dtype != np.int16, "above 32,767 these are negative: np.uint16, not np.int16")
    check.that(answer.dtype != np.uint8, "these are single bytes: dtype=np.uint16")
    check.that(answer.dtype != np.int32, "ids have two bytes each, only the header four: dtype=np.uint16")
    check.that(answer.dtype == np.uint16, f"its dtype is {answer.dtype}: np.uint16")
    more = len(answer) - len(ids)
    said = "the header is still in front: it has 256 numbers of four bytes, so offset=1024"
    check.that(more != 2 * HEADER, said)
    said = "offset counts bytes: 256 numbers of four bytes are 1,024"
    check.that(more not in (HEADER, HEADER * 3 // 2), said)
    check.that(answer.shape == ids.shape, f"{answer.shape} ids, expected {ids.shape}")
    check.close(np.asarray(answer), ids.astype(np.uint16), "the ids of the file")


@marked("12.5 · set aside for good", given=given_set_aside)
def set_aside(check: exercise, mine) -> None:
    """By sha256 of the words, and by nothing else."""
    documents = [f"Page {n} of the wéb.\n" + "word " * (n % 7) for n in range(400)]
    check.forbid(mine, "random", "default_rng", "shuffle", "manual_seed")
    said = "Python's own hash() of a text is another one in each process: use hashlib.sha256"
    check.that("hash" not in _names(mine), said)
    for one_in in (10, 3, 7):
        answers = [check.run(mine, document, one_in) for document in documents]
        check.that(all(isinstance(a, bool | np.bool_) for a in answers), "return True or False")
        again = [mine(document, one_in) for document in documents[::-1]][::-1]
        check.that(answers == again, "the same document came to another side when it was asked again")
        _check_sides(check, documents, [bool(a) for a in answers], one_in)
        spaced = [mine(document.replace(" ", "\n\n ") + "\n", one_in) for document in documents]
        said = 'a copy with other white space came to the other side: " ".join(document.split()) first'
        check.that([bool(a) for a in spaced] == [bool(a) for a in answers], said)


def _check_sides(check: exercise, documents: list[str], answers: list[bool], one_in: int) -> None:
    """The sides of many documents: what is usual is named, by the sides that it gives."""

    def sides(
        change: Callable[[str], str] = lambda words: words,
        how: str = "sha256",
        part: slice = slice(None),
        order: str = "big",
        rest: int = 0,
    ) -> list[bool]:
        texts = (change(" ".join(document.split())) for document in documents)
        numbers = (int.from_bytes(hashlib.new(how, text.encode()).digest()[part], order) for text in texts)
        return [number % one_in == rest for number in numbers]

    right, plain = sides(), [int.from_bytes(hashlib.sha256(d.encode()).digest(), "big") for d in documents]
    named = {
        "turned over: True is for the few that are set aside": [not side for side in right],
        'the bytes are read from the wrong end: "big"': sides(order="little"),
        "all of the digest is one number: this takes its first 8 bytes": sides(part=slice(8)),
        "all of the digest is one number: this takes its last byte": sides(part=slice(31, 32)),
        "all of the digest is one number: this takes its first byte": sides(part=slice(1)),
        "sha256, not md5": sides(how="md5"),
        "sha256, not sha1": sides(how="sha1"),
        'a copy with other white space must stay here: " ".join(document.split()) first': [
            number % one_in == 0 for number in plain
        ],
        'strip() takes the outer white space alone: " ".join(document.split()) all of it': [
            int.from_bytes(hashlib.sha256(d.strip().encode()).digest(), "big") % one_in == 0
            for d in documents
        ],
        "the words are joined by one space, not by nothing": sides(lambda words: words.replace(" ", "")),
        "the words as they are: this changed them before (lower?)": sides(str.lower),
        "the whole text decides, not its first word": sides(lambda words: words.split()[0]),
        "divisible means that the rest is 0, not 1": sides(rest=1),
        "its length says little about a text: many have the same": [len(d) % one_in == 0 for d in documents],
    }
    for mistake, wrong in named.items():
        check.that(answers != wrong or wrong == right, mistake)
    wrong = sum(a != b for a, b in zip(answers, right, strict=True))
    n = f"{sum(answers)} of {len(documents)} are set aside for one in {one_in}"
    check.that(not wrong, f"{n}, and {wrong} documents are on the other side")


def _names(function: Any) -> tuple[str, ...]:
    return getattr(getattr(function, "__code__", None), "co_names", ())


@marked("12.6 · half a million tokens", given=given_batch_plan)
def batch_plan(check: exercise, mine) -> None:
    """(rows at once, how many times), exactly, with as many rows at once as fit."""
    for tokens, T, cards, fits in (
        (524288, 1024, 1, 16),
        (524288, 1024, 8, 48),
        (524288, 1024, 2, 300),
        (360360, 30, 7, 20),
        (360360, 30, 1, 19),
        (720, 8, 3, 1),
    ):
        each = tokens // T // cards
        right = given_batch_plan(tokens, T, cards, fits)
        answer = check.run(mine, tokens, T, cards, fits)
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        check.that(pair, "return two whole numbers: rows at once, and how many times")
        answer = tuple(answer)
        whole = all(isinstance(n, int | np.integer) for n in answer)
        check.that(whole, f"whole numbers, not {answer}: // divides without a rest")
        about = f"{tokens:,} tokens in rows of {T} on {cards} card{'s' * (cards > 1)} with room for {fits}"
        rows, times = answer
        usual = {
            "rows at once come first, how many times second": right[::-1],
            "all cards work at once: each has only its own share of the rows": given_batch_plan(
                tokens, T, 1, fits
            ),
            "tokens are no rows: a row has context_length of them": given_batch_plan(tokens, 1, cards, fits),
            "one row at a time is exact, and slow: as many as fit": (1, each),
        }
        usual = {said: wrong for said, wrong in usual.items() if wrong != right}
        for said, wrong in usual.items():
            check.that(answer != wrong, said)
        read = rows * times * T * cards
        check.that(rows <= fits, f"{rows} rows at once do not fit: {about}")
        exact = (
            f"{rows} × {times} rows are {read:,} tokens on all cards, and {tokens:,} are asked for: {about}"
        )
        check.that(read == tokens, exact)
        check.that(rows == right[0], f"{right[0]} rows at once would fit too, yours are {rows}: {about}")
    for tokens, T, cards in ((524288, 1024, 3), (524288, 1000, 1)):
        try:
            mine(tokens, T, cards, 16)
        except ValueError:
            continue
        check.that(
            False,
            f"{tokens:,} tokens in rows of {T} on {cards} cards is impossible: raise a ValueError",
        )


@marked("12.7 · to the same loss", given=given_share_needed)
def share_needed(check: exercise, mine) -> None:
    """The first point of `fast` that is as low as the baseline's last, as a share of its tokens."""
    baseline = [(100, 5.0), (200, 4.1), (300, 3.6), (400, 3.2), (500, 3.3)]
    for fast, name in (
        (
            [
                (50, 4.5),
                (150, 3.8),
                (275, 3.3),
                (350, 3.25),
                (400, 3.15),
                (440, 3.05),
                (470, 3.28),
                (490, 3.4),
            ],
            "reached exactly",
        ),
        ([(60, 4.5), (120, 3.9), (240, 3.31), (360, 2.9), (480, 3.0)], "reached between"),
        ([(100, 2.0), (200, 1.9)], "at once"),
        ([(70, 3.1), (140, 3.6), (210, 3.2)], "a lucky point"),
    ):
        tokens, goal = baseline[-1]
        hit = next(n for n, (_, loss) in enumerate(fast) if loss <= goal)
        lowest, below = min(loss for _, loss in baseline), [r for r, loss in fast if loss < goal]
        reach = [r for r, loss in fast if loss <= lowest]
        usual = {
            "the goal is the baseline's last loss: its lowest is a lucky point of a noisy curve": (
                reach[0] / tokens if reach else math.inf
            ),
            "as low as the goal is enough: <=": below[0] / tokens if below else math.inf,
            "a share of the baseline's tokens, not of its own": fast[hit][0] / fast[-1][0],
            "this is the number of tokens: divide by the baseline's": fast[hit][0],
            "turned over: its tokens by the baseline's": tokens / fast[hit][0],
            "points are counted here: the tokens stand in them": (hit + 1) / len(baseline),
            "points are counted here, from 0: the tokens stand in them": hit / len(baseline),
            "the first such point, not the last": [r for r, x in fast if x <= goal][-1] / tokens,
            "this is what is saved: what is needed is asked for": 1 - fast[hit][0] / tokens,
            "the losses are divided here: tokens are asked for": fast[hit][1] / goal,
            "this is the end of `fast`: when was it first as low?": fast[-1][0] / tokens,
            "where `fast` is lowest is later than where it is low enough": (
                min(fast, key=lambda point: point[1])[0] / tokens
            ),
            "every point of the baseline is compared: only its last one counts": next(
                (a / tokens for (a, x), (_, y) in zip(fast, baseline, strict=False) if x <= y), math.inf
            ),
        }
        right = fast[hit][0] / tokens
        usual = {said: value for said, value in usual.items() if not math.isclose(value, right)}
        check.close(check.run(mine, baseline, fast), right, f"of a run that is {name}", usual=usual)
    never = mine(baseline, [(100, 5.0), (500, 3.4)])
    check.that(never is not None, "never reached is math.inf: None came back")
    check.that(never == math.inf, f"a run that never is as low needs math.inf, not {never}")
