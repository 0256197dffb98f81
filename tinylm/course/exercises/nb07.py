"""Exercises of notebook 07_tokenizers, and what it uses besides: encoders, pairs of ids, a figure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import regex
from IPython.display import HTML, display

from tinylm.course import charts, diagrams, style, widgets
from tinylm.course.checks import Check
from tinylm.course.slips import Lesson, call
from tinylm.errors import CorpusMissing
from tinylm.runs.paths import MINE
from tinylm.text import bpe, corpora
from tinylm.text.documents import split
from tinylm.text.tokenizers import END_OF_TEXT, BPETokenizer, gpt2_tokenizer, tokenizer_named

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

cut_words = lesson.exercise(
    "cut_words",
    run=listed,
    cases=[
        ("the dog's 2 bones,   or 1024?!",),
        ("We'll see: größer ½ x²! १२",),
        ("a  b\n\n c\nd \n",),
        ("snake_case, 3.14 (Ναι)| 南瓜 🎃",),
        ("",),
    ],
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


def in_words(**words: int) -> dict[tuple[int, ...], int]:
    """Return words as they are counted: {(97, 98): 3} for ab=3."""
    return {tuple(word.encode()): n for word, n in words.items()}


train = lesson.exercise(
    "train",
    run=listed,
    cases=[
        (in_words(abracadabra=1), 4),
        (in_words(cdcdabab=1), 3),
        (in_words(low=5, lower=2, newest=6, widest=3), 7),
        (in_words(aaabdaaabacaaab=1), 5),
        (in_words(she=1, sells=1, sea=4, shells=2), 6),
        (in_words(acab=1), 2),
        (in_words(ab=3, ba=1, xy=2), 2),
        (in_words(abc=1), 5),
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
        ([*b"abracadabra, a cab"], train.given(in_words(abracadabra=1), 5)),
        ([*b"a bad cab sells shells"], train.given({tuple(b"she sells sea shells"): 1}, 8)),
        ([a, b, a, b, b, c, b, c, b, c], [(a, b), (b, c), (256, 257)]),
        ([a, a, a, a, a], [(a, a), (256, 256)]),
        ([], [(a, b)]),
        ([c], [(a, b)]),
    ],
)

encode_text = lesson.exercise(
    "encode_text",
    run=listed,
    cases=[  # the second merge of the first crosses from a word into the next
        ("Ab cab, ab", [(b, 32), (b, ord(",")), (a, b), (32, 258), (32, c)]),
        ("a cab; a bad cab's", [(a, b), (c, 256), (32, 257), (32, b)]),
        ("é abab", [(a, b), (195, 169), (256, 256)]),
        ("", [(a, b)]),
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


def encoder(**ids: list[int]) -> Callable[[str], list[int]]:
    """Return an encoder of these words, which makes a new list each time."""
    return lambda word: [*ids[word]]


witnesses = lesson.exercise(
    "witnesses",
    run=listed,
    cases=[
        (
            ["bb", "ab", "a", "cab", "aba", "bab"],
            encoder(a=[1], ab=[7], bb=[2, 2], cab=[3, 7], aba=[7, 1], bab=[2, 7, 2]),
            encoder(a=[1], ab=[1, 2], bb=[2, 2], cab=[3, 7], aba=[1, 7], bab=[2, 5, 2]),
        ),
        (
            ["dog", "cow", "cat", "ant", "bee"],
            encoder(dog=[4, 9], cat=[5, 6, 7], cow=[1, 2], ant=[3], bee=[8, 8, 6]),
            encoder(dog=[4, 9], cat=[5, 8, 5], cow=[3, 2], ant=[3], bee=[8, 6, 6]),
        ),
        (["sun"], encoder(sun=[2]), encoder(sun=[2])),
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


def two_numbers(check: Check, answer: Any, *case: Any) -> Any:
    """Return the pair as a tuple."""
    found = call(check, answer, *case)
    pair = isinstance(found, tuple | list) and len(found) == 2
    check.that(pair, "return two numbers: characters per token, words per 100 tokens")
    return tuple(found)


rule_of_thumb = lesson.exercise(
    "rule_of_thumb",
    run=two_numbers,
    cases=[
        ("one bone,\none cone, and no on-going größe", BPETokenizer("o n\non e")),
        ("a  cab and a cab", BPETokenizer("a b\nĠ a")),
    ],
)


def used(check: Check, answer: Any, n_merges: int, merges: str, texts: Sequence[str]) -> Any:
    """Return the ids that a tokenizer gives to some texts, and the texts that it makes of right ids.

    The right ids are those of the package. The first of them alone may be half a character."""
    check.attempted(getattr(answer, "encode", getattr(answer, "decode", None)))
    for method in ("encode", "decode"):
        check.that(hasattr(answer, method), f"the class needs a method `{method}`")
    made, right = answer(f"#version: 0.2\n{merges}\n"), BPETokenizer(merges)
    rows = [right.encode(text).tolist() for text in texts]
    ids = [check.run(made.encode, text) for text in texts]
    back = [check.run(made.decode, row) for row in [*rows, *(row[:1] for row in rows)]]
    return {"ids": [Shown(row) for row in ids], "texts": back}


TEXTS = ["the other, then\nthe é's", "a cab's 🎃 é", "", "Zoë  then"]
Tokenizer = lesson.exercise(
    "Tokenizer",
    run=used,
    cases=[
        (5, "t h\nth e\nĠ the\nÃ ©\nĠ Ã©", TEXTS),
        (4, "ð Ł\nh e\nĠ Ġ\nt he", TEXTS),
        (1, "a b", ["a cab, ab"]),
    ],
)


# What the notebook uses besides: its texts, what it draws and prints, and encoders that others wrote.
LANGUAGES, STORY = lesson.texts["languages"], lesson.texts["story"]["text"]


def documents(text: corpora.Text) -> tuple[list[str], list[str]]:
    """Return the documents of a corpus: those to learn from, and those to validate."""
    end = corpora.corpus_named(text.name).separator
    return split(text.train, end), split(text.validation, end)


def strange_texts(n: int) -> list[str]:
    """Return n texts of 12 characters each, drawn from all numbers below those that are no characters."""
    draw = np.random.default_rng(7).integers
    return ["".join(map(chr, draw(0, 0xD800, size=12))) for _ in range(n)]


def show_cut(pieces: Sequence[bytes]) -> str:
    """Return tokens as one line: "␣the | ␣girl"."""
    return " | ".join(style.show_bytes(piece) for piece in pieces)


def draw_rows(rows: Sequence[Sequence[int]], pieces: Sequence[bytes], *, title: str) -> None:
    """Draw lists of ids below one another, each as boxes that are as wide as their bytes."""
    told = [f"{len(row)} tokens, {', '.join(pieces[i].decode() for i in row)}" for row in rows]
    with diagrams.paper(f"{len(rows)} rows of boxes: {'; '.join(told)}.", 9.2, 0.75 * len(rows)) as axes:
        for n, row in enumerate(rows):
            left, y = 1.7, 0.75 * (len(rows) - n) - 0.4
            diagrams.write(axes, 0.0, y, f"{len(row):2} tokens")
            for i in row:
                wide = 0.65 * len(pieces[i])
                look = {"facecolor": style.tint(style.ORANGE if i > 255 else style.BLUE)}
                diagrams.box(axes, left + 0.03, y, wide - 0.06, 0.62, pieces[i].decode(), str(i), **look)
                left += wide
        axes.set_title(title)


def pairs_of(tokenizer: BPETokenizer) -> list[tuple[int, int]]:
    """Return a tokenizer's merges as pairs of ids, where an id below 256 is that byte."""
    byte = dict(zip(bpe.LETTERS, bpe.BYTES, strict=True))
    ids, pairs = {bytes([i]): i for i in range(256)}, []
    for line in tokenizer.merges.split("\n"):
        left, right = (bytes(byte[letter] for letter in part) for part in line.split(" "))
        ids[left + right] = 256 + len(pairs)
        pairs.append((ids[left], ids[right]))
    return pairs


def friends_encoder(tokenizer: BPETokenizer) -> Callable[[str], list[int]]:
    """Return an encoder that a friend wrote for the same vocabulary. Its fault is the notebook's hunt."""
    ids = {tokenizer.token_bytes(i): i for i in range(tokenizer.vocab_size - len(tokenizer.special))}

    def encode(word: str) -> list[int]:
        row, rest = [], word.encode()
        while rest:
            n = next(n for n in range(len(rest), 0, -1) if rest[:n] in ids)
            row.append(ids[rest[:n]])
            rest = rest[n:]
        return row

    return encode


def careless(tokenizer: BPETokenizer, text: str) -> list[int]:
    """Encode a text, and obey the names of special tokens that are written in it."""
    named = "|".join(map(regex.escape, tokenizer.special))
    parts = regex.split(f"({named})", text)
    known = [[tokenizer.id_of(p)] if p in tokenizer.special else tokenizer.encode(p) for p in parts]
    return [int(i) for ids in known for i in ids]


def show_chat(tokenizer: BPETokenizer, rows: Mapping[str, Sequence[int]]) -> None:
    """Print the special tokens of some rows of ids, and show the rows in colour, special tokens framed."""
    marks = {tokenizer.id_of(name): name for name in tokenizer.special}
    framed, shown = ", ".join(f".chat [title^='id {i},']" for i in marks), ""
    for name, row in rows.items():
        found = [marks[i] for i in row if i in marks]
        print(f"{name}: {len(row)} tokens, of which special: {', '.join(found) or 'none'}")
        shown += widgets.html_tokens([tokenizer.token_bytes(i) for i in row], row, title=name)
    display(HTML(f"<style>{framed} {{outline: 3px solid}}</style><div class='chat'>{shown}</div>"))


def colour(tokenizer: BPETokenizer, text: str) -> None:
    """Show a text in coloured tokens."""
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token_bytes(i) for i in ids]
    display(HTML(widgets.html_tokens(pieces, ids, title="A story in your tokens")))


def compare(readers: Mapping[str, BPETokenizer]) -> None:
    """Print and draw how many tokens the sentence takes in each language, beside English in the last."""
    lengths = [[len(reader.encode(line)) for line in LANGUAGES.values()] for reader in readers.values()]
    times = [n / lengths[-1][0] for n in lengths[-1]]
    print(" " * 9, *readers, "times English", sep="   ")
    for i, language in enumerate(LANGUAGES):
        counts = "".join(f"{row[i]:{len(name) + 3}}" for name, row in zip(readers, lengths, strict=True))
        print(f"{language:9}{counts}   {times[i]:13.1f}")
    values = {name: (factor, 0.0) for name, factor in zip(LANGUAGES, times, strict=True)}
    named = f"tokens, as a multiple of English ({[*readers][-1]} ids)"
    charts.dots(values, title="The same sentence costs the most in Hindi", xlabel=named)


def tokens_with(tokenizer: BPETokenizer, first: str, last: str) -> int:
    """Return how many tokens hold a whole character from `first` to `last`."""
    texts = map(tokenizer.decode, range(tokenizer.vocab_size))
    return sum(any(first <= character <= last for character in text) for text in texts)


def gpt2_if_here() -> BPETokenizer | None:
    """Return GPT-2's tokenizer, or print in one line why it is not here."""
    try:
        return gpt2_tokenizer()
    except CorpusMissing as error:
        print(error)
        return None


def save_tokenizer(tokenizer: BPETokenizer) -> Any:
    """Save a tokenizer as my_tokenizer, and return what is read back."""
    file = MINE / "my_tokenizer" / "tokenizer.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(tokenizer.to_json()), encoding="utf-8", newline="\n")
    return tokenizer_named(str(file))


def bigram_loss(train: np.ndarray, validation: np.ndarray, V: int, pull: float = 5) -> float:
    """Return the mean nats per token of a bigram table, smoothed towards the counts of single tokens.

    The fewer pairs begin with a token, the more its single counts matter; `pull` says how much."""
    single = (np.bincount(train, minlength=V) + 1) / (len(train) + V)  # (V,)
    seen, times = np.unique(train[:-1] * V + train[1:], return_counts=True)  # each pair as one number
    asked = validation[:-1] * V + validation[1:]
    place = np.searchsorted(seen, asked).clip(max=len(seen) - 1)
    pairs = np.where(seen[place] == asked, times[place], 0)
    firsts = np.bincount(train[:-1], minlength=V)[validation[:-1]]
    return float(-np.log((pairs + pull * single[validation[1:]]) / (firsts + pull)).mean())
