"""Exercises of notebook 12_gpt2."""

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tinylm.course.checks import Check
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call

lesson = Lesson(__file__)
lesson.names["gpt2_name"] = nb03.gpt2_name.given
PARTS = ("token table", "positions", "attention", "MLPs", "norms")


def counted(check: Check, answer: Any, part: str, *sizes: int) -> Any:
    """Return the count of one part."""
    found = call(check, answer, *sizes)
    check.that(isinstance(found, dict), "return a dictionary of five counts")
    odd = ", ".join(sorted(map(str, found.keys() ^ {*PARTS})))
    check.that(not odd, f"the names are {', '.join(PARTS)}: yours differ in {odd}")
    return found[part]


parameters = lesson.exercise(
    "parameters",
    run=counted,
    cases=[(part, *sizes) for sizes in ((211, 31, 4, 22), (50257, 1024, 12, 768)) for part in PARTS],
)


def openai_tensors(layers: tuple[int, int], C: int, V: int, T: int) -> dict[str, torch.Tensor]:
    """Return tensors under OpenAI's names, all different, with the masks that the file also holds."""
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C), "ln_f.weight": (C,), "ln_f.bias": (C,)}
    for n in layers:
        parts = {"ln_1": (C,), "ln_2": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C)}
        parts |= {"mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}
        for part, shape in parts.items():
            shapes |= {f"h.{n}.{part}.weight": shape, f"h.{n}.{part}.bias": shape[-1:]}
        shapes |= {f"h.{n}.attn.bias": (1, 1, T, T), f"h.{n}.attn.masked_bias": (1,)}
    return {name: random(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}


def translated(check: Check, answer: Any, theirs: dict[str, torch.Tensor], part: str) -> Any:
    """Return the tensors whose names have this part in them, or all names."""
    ours = call(check, answer, theirs)
    check.that(isinstance(ours, dict), "return a dictionary: names and tensors")
    return {name: ours[name] for name in ours if re.search(part, name)} if part else sorted(map(str, ours))


translate = lesson.exercise(
    "translate",
    run=translated,
    cases=lambda: [
        (openai_tensors(layers, C, V, T), part)
        for layers, C, V, T in (((0, 1), 6, 11, 7), ((0, 11), 4, 4, 5))
        for part in ("", "embedding|head", "qkv", "attn", ".")
    ],
)


class Killed(Exception):
    """What stops a run in the middle of a shard."""


PIECES = [["abc", "de"], ["fghij"], ["k", "lm", "nop", "q"], ["rs", "tuvwx"]]
END = 50256


def letters(document: str) -> list[int]:
    """Return an id for each letter, up to some ten thousand, which one byte cannot hold."""
    return [401 * (ord(letter) - 96) for letter in document]


def shards(check: Check, answer: Any, event: Any, part: str) -> Any:
    """Return one part of what is seen of a run that is killed at this event, and of the next run.

    event: the first "rename", or the number of a document; 0 for a run that is not killed."""
    asked: list[str] = []

    def encode(document: str) -> list[int]:
        asked.append(document)
        if len(asked) == event:
            raise Killed("the machine was switched off")
        return letters(document)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, seen = Path(name), {}
        rename = mock.Mock(wraps=os.replace, side_effect=Killed if event == "rename" else None)
        try:
            with mock.patch.multiple(os, replace=rename, rename=rename):
                paths = call(check, answer, PIECES, encode, END, folder)
        except Killed:
            whole, n = sorted(path.name for path in folder.glob("*.bin")), len(asked)
            paths = call(check, answer, PIECES, encode, END, folder)
            finished = [text for piece in PIECES[: len(whole)] for text in piece]
            seen = {"whole": whole, "again": [text for text in finished if text in asked[n:]]}
        except OSError as error:
            raise type(error)(str(error).replace(name, "folder")) from None
        check.that(isinstance(paths, list | tuple), "return the list of all paths")
        seen["paths"] = [str(path).replace(name, "folder") for path in paths]
        seen["files"] = {path.name: ids(path.read_bytes()) for path in sorted(folder.glob("*.bin"))}
        seen["left"] = sorted(path.name for path in folder.glob("*") if path.suffix != ".bin")
    return seen.get(part, "no kill was noticed")


def ids(data: bytes) -> str:
    """Return how many bytes these are, and the ids in them."""
    return f"{len(data)} bytes: {np.frombuffer(data[: len(data) // 2 * 2], '<u2').tolist()}"


write_shards = lesson.exercise(
    "write_shards",
    run=shards,
    cases=[
        *((0, part) for part in ("files", "paths", "left")),
        *(("rename", part) for part in ("whole", "files")),
        *((5, part) for part in ("whole", "again", "files", "paths")),
    ],
)

MAGIC, HEADER = 20240520, 256  # of llm.c's files: what they begin with, and how many numbers


def published(path: Path, ids: np.ndarray, *header: int) -> Path:
    """Write ids as llm.c does: a header of 256 numbers of four bytes, unless it is empty; two bytes an id."""
    numbers = np.array([*header, *[0] * (HEADER - len(header))] if header else [], dtype="<i4")
    path.write_bytes(numbers.tobytes() + ids.astype("<u2").tobytes())
    return path


def opened(check: Check, answer: Any, _: str, count: int, *header: int) -> Any:
    """Return what is seen of the array, or which error the file raises."""
    tokens = np.random.default_rng(count).integers(2**15, 2**16, size=count)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = published(Path(folder, "shard.bin"), tokens, *header)
        try:
            found = call(check, answer, path)
        except (ValueError, LookupError, OSError, AssertionError) as error:
            return f"raises {type(error).__name__}"
        if header != (MAGIC, 1, count):
            return "is opened"
        check.that(isinstance(found, np.ndarray), "return the array of ids")
        mapped = isinstance(found, np.memmap)
        return [str(found.dtype), np.array(found).tolist(), mapped, bool(found.flags.writeable)]


open_published = lesson.exercise(
    "open_published",
    run=opened,
    cases=[
        *((f"has {n} ids", n, MAGIC, 1, n) for n in (400, 1, 1300)),
        ("begins with another number", 3000, 20240801, 1, 3000),
        ("is of version 2", 3000, MAGIC, 2, 3000),
        ("has fewer ids than its header says", 3000, MAGIC, 1, 3001),
        ("has more ids than its header says", 3000, MAGIC, 1, 2999),
        ("is plain ids without a header", 3000),
        ("is empty", 0),
    ],
)


def sides(check: Check, answer: Any, one_in: int, space: str) -> Any:
    """Return the sides of many documents with this white space."""
    texts = [f"Page{n % 60} has number {n} of the wéb. " + "word " * (n % 7) for n in range(200)]
    found = [check.run(answer, text.replace(" ", space), one_in) for text in texts]
    check.that(all(isinstance(side, bool | np.bool_) for side in found), "return True or False")
    return [bool(side) for side in found]


set_aside = lesson.exercise(
    "set_aside",
    run=sides,
    cases=[(one_in, space) for one_in in (10, 3, 7) for space in (" ", "\n\n ")],
    forbid=("random", "default_rng", "shuffle", "manual_seed"),
)


def planned(check: Check, answer: Any, tokens: int, T: int, cards: int, fits: int) -> Any:
    """Return the plan, or whether a ValueError says that there is none."""
    if tokens % (T * cards):
        try:
            answer(tokens, T, cards, fits)
        except ValueError:
            return "a ValueError"
        return "no ValueError"
    found = call(check, answer, tokens, T, cards, fits)
    pair = isinstance(found, tuple | list) and len(found) == 2
    check.that(pair, "return two whole numbers: rows at once, and how many times")
    whole = all(isinstance(n, int | np.integer) for n in found)
    check.that(whole, f"whole numbers, not {tuple(found)}: // divides without a remainder")
    return found


batch_plan = lesson.exercise(
    "batch_plan",
    run=planned,
    cases=[
        (524288, 1024, 1, 16),
        (524288, 1024, 8, 48),
        (524288, 1024, 2, 300),
        (360360, 30, 7, 20),
        (360360, 30, 1, 19),
        (720, 8, 3, 1),
        (524288, 1024, 3, 16),
        (524288, 1000, 1, 16),
    ],
)


def share(check: Check, answer: Any, *case: list[tuple[int, float]]) -> Any:
    """Return the share, which must not be None where the goal is never reached."""
    if check.given(*case) < math.inf:
        return call(check, answer, *case)
    found = answer(*map(list, case))
    check.that(found is not None, "never reached is math.inf: None came back")
    return found


BASELINE = [(100, 5.0), (200, 4.1), (300, 3.6), (400, 3.2), (500, 3.3)]
EXACT = [(50, 4.5), (150, 3.8), (275, 3.3), (350, 3.25), (400, 3.15), (440, 3.05), (470, 3.28), (490, 3.4)]

share_needed = lesson.exercise(
    "share_needed",
    run=share,
    cases=[
        (BASELINE, EXACT),
        (BASELINE, [(60, 4.5), (120, 3.9), (240, 3.31), (360, 2.9), (480, 3.0)]),
        (BASELINE, [(100, 2.0), (200, 1.9)]),
        (BASELINE, [(70, 3.1), (140, 3.6), (210, 3.2)]),
        (BASELINE, [(100, 5.0), (500, 3.4)]),
    ],
)
