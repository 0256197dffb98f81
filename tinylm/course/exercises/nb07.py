"""Exercises of notebook 07_tokenizers."""

from typing import Any

import numpy as np

from tinylm.course.checks import Check
from tinylm.course.slips import Lesson, call
from tinylm.text.tokenizers import END_OF_TEXT, BPETokenizer

lesson = Lesson(
    __file__,
)


class Shown(str):
    """What a list looks like, so that a message shows all of it."""

    __repr__ = str.__str__


def listed(check: Check, answer: Any, *case: Any) -> Any:
    """Return the list as it looks. A tuple or a dictionary is left to the slips."""
    found = call(check, answer, *case)
    cure = ".tolist() makes one" if isinstance(found, np.ndarray) else "list(...) makes one"
    told = f"a list is asked for, and this is of type {type(found).__name__}"
    told += "" if isinstance(found, str | int) else f": {cure}"
    check.that(isinstance(found, list | tuple | dict), told)
    plain = isinstance(found, list)
    return Shown([i.item() if isinstance(i, np.integer) else i for i in found] if plain else found)


def counted(check: Check, answer: Any, counts: Any) -> Any:
    """Return the counts, which must be a dictionary."""
    found = call(check, answer, counts)
    told = "a dictionary is asked for: the pair is the key, how often it occurs is the value"
    check.that(isinstance(found, dict), told)
    return found


to_bytes = lesson.exercise(
    "to_bytes",
    run=listed,
    cases=[("é",), ("abc",), ("",), ("Grüße, Ναι! 南瓜 🎃\n",)],
)

count_pairs = lesson.exercise(
    "count_pairs",
    run=counted,
    cases=[([*b"abracadabra"],), ([5, 5, 5, 5],), ([3, 300, 7, 3, 300, 300, 9],), ([4, 2],), ([8],), ([],)],
)

merge = lesson.exercise(
    "merge",
    run=listed,
    cases=[
        ([7, 1, 2, 9, 1, 2], (1, 2), 300),
        ([5, 5, 5], (5, 5), 256),
        ([4, 4, 3, 1, 2, 1, 2, 2, 1], (1, 2), 8),
        ([1, 2, 1], (2, 1), 257),
        ([6], (6, 6), 256),
        ([], (1, 2), 256),
        ([11, 2, 5], (1, 2), 256),
    ],
)

train = lesson.exercise(
    "train",
    run=lambda check, answer, text, n: listed(check, answer, [*text.encode()], n),
    cases=[
        ("abracadabra", 4),
        ("cdcdabab", 3),
        ("aaabdaaabacaaab", 5),
        ("she sells sea shells", 6),
        ("acab", 2),
        ("abc", 5),
    ],
)

a, b, c, d = b"abcd"
encode = lesson.exercise(
    "encode",
    run=listed,
    cases=[  # in the first, nearly every slip gives a list of its own
        ([*b"ddbddadbcaadd"], [(d, d), (d, b), (d, 257), (a, d), (256, 259), (256, a), (c, a)]),
        ([a, b, c], [(b, c), (a, b)]),
        ([d, a, b, c, d], [(a, b), (256, c), (c, d), (257, 258)]),
        ([a, b, c, d], [(c, d), (a, b), (b, c)]),
        ([*b"abracadabra, a cab"], train.given([*b"abracadabra"], 5)),
        ([*b"a bad cab sells shells"], train.given([*b"she sells sea shells"], 8)),
        ([a, b, a, b, b, c, b, c, b, c], [(a, b), (b, c), (256, 257)]),
        ([a, a, a, a, a], [(a, a), (256, 256)]),
        ([], [(a, b)]),
        ([c], [(a, b)]),
    ],
)

pumpkin = "🎃".encode()
pieces = [bytes([i]) for i in range(256)]
pieces += [b"pump", b"kin", b" caf\xc3", pumpkin[:2], b"ed", "né".encode()]
rows = [[256, 257], [261, 260], [258, 0xA9], [97, 259, *pumpkin[2:]], [], [pumpkin[0]], [97, 0xFF, 98]]
decode = lesson.exercise(
    "decode",
    cases=[(row, pieces) for row in [*rows, [260, 97, 260]]],
)

count_in_words = lesson.exercise(
    "count_in_words",
    run=counted,
    cases=[
        ({(1, 2, 3): 5, (2, 3): 7, (4,): 9, (3, 1, 2): 1},),
        ({(1, 2, 1, 2): 3, (5, 5, 5): 2, (): 4, (2, 1): 6, (5, 5): 1},),
        ({(7,): 2},),
    ],
)

join_documents = lesson.exercise(
    "join_documents",
    run=listed,
    cases=[  # in the first, the end is no byte, not 256 and not the last id
        (["ab", "c", "dd"], BPETokenizer("a b\nd d", (END_OF_TEXT, "<|pad|>"))),
        (["x <|endoftext|> y", "z"], BPETokenizer("")),
        (["one", "", " x \n"], BPETokenizer("o n\non e", ("<|pad|>", END_OF_TEXT, "<|im_end|>"))),
        ([], BPETokenizer("")),
    ],
)

bits_per_byte = lesson.exercise(
    "bits_per_byte",
    cases=[  # in the last, e to the power of all nats is too large for a float
        (3.1, 4, "two pumpkins"),
        (2.5, 7, "größere Kürbisse"),
        (1.75, 3, "南瓜 🎃"),
        (4.0, 400, "A pumpkin grows. " * 80),
    ],
)
