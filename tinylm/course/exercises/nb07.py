"""Checks of notebook 07_tokenizers, and what it goes on with where a part is blank."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from tinylm.course.checks import difference, exercise, marked
from tinylm.text.tokenizers import END_OF_TEXT, BPETokenizer

Pair = tuple[int, int]


def given_to_bytes(text):
    """The bytes of a text in UTF-8, as a list of whole numbers."""
    return list(text.encode("utf-8"))


def given_count_pairs(ids):
    """How often each pair of neighbours occurs."""
    return Counter(pairwise(ids))


def given_merge(ids, pair, new):
    """A new list in which `new` stands for each occurrence of the pair, found from the left."""
    row, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == tuple(pair)
        row.append(new if found else ids[i])
        i += 2 if found else 1
    return row


def given_train(ids, n_merges):
    """The merges, the most frequent pair first; of equally frequent ones the smallest."""
    return list(learned(ids, n_merges))


def given_encode(ids, merges):
    """The tokens of a row of bytes: the earliest merge that fits, until none does."""
    place = {pair: i for i, pair in reversed([*enumerate(merges)])}
    row = list(ids)
    while fitting := [pair for pair in pairwise(row) if pair in place]:
        first = min(fitting, key=place.__getitem__)
        row = given_merge(row, first, 256 + place[first])
    return row


def given_decode(ids, pieces):
    """The text of the tokens; bytes that are no whole character become the sign �."""
    return b"".join(pieces[i] for i in ids).decode("utf-8", errors="replace")


def given_count_in_words(words):
    """How often each pair of neighbours occurs in all words, each of which occurs so often."""
    counts = Counter()
    for word, times in words.items():
        for pair in pairwise(word):
            counts[pair] += times
    return counts


def given_join_documents(texts, tokenizer):
    """One row of ids: each document's, followed by the id of the end of text."""
    return [i for text in texts for i in [*tokenizer.encode(text).tolist(), tokenizer.end_of_text]]


def given_bits_per_byte(nats, n_tokens, text):
    """Mean nats per token as bits for each byte of the text."""
    return nats * n_tokens / math.log(2) / len(text.encode("utf-8"))


def smallest(counts: Counter[Pair]) -> Pair:
    """The most frequent pair, of equally frequent ones the smallest."""
    return min(counts, key=lambda pair: (-counts[pair], pair))


def largest(counts: Counter[Pair]) -> Pair:
    """Of equally frequent pairs the largest."""
    return max(counts, key=lambda pair: (counts[pair], pair))


def first_met(counts: Counter[Pair]) -> Pair:
    """Of equally frequent pairs the one that was met first."""
    return max(counts, key=counts.__getitem__)


def smallest_left(counts: Counter[Pair]) -> Pair:
    """Of equally frequent pairs one with the smallest left id, whatever stands on its right."""
    return min(counts, key=lambda pair: (-counts[pair], pair[0]))


def smallest_right(counts: Counter[Pair]) -> Pair:
    """Of equally frequent pairs one with the smallest right id."""
    return min(counts, key=lambda pair: (-counts[pair], pair[1]))


def rarest(counts: Counter[Pair]) -> Pair:
    """The least frequent pair."""
    return min(counts, key=lambda pair: (counts[pair], pair))


def learned(
    ids: Iterable[int],
    n_merges: int,
    *,
    count: Callable = given_count_pairs,
    choose: Callable = smallest,
    apply: Callable = given_merge,
    new: Callable[[int], int] = lambda i: 256 + i,
) -> Iterator[Pair]:
    """The merges of the training loop, whose parts can be exchanged for what people write."""
    row = list(ids)
    for i in range(n_merges):
        if not (counts := count(row)):
            return
        yield (pair := choose(counts))
        row = apply(row, pair, new(i))


def row_of(check: exercise, mine: Callable, ids: list[int], *others: Any) -> Any:
    """What the learner's function makes of a list, which it may not change."""
    own = list(ids)
    answer = check.run(mine, own, *others)
    check.that(own == list(ids), "your function changes the list that it was given: make a new one")
    return answer


def same_row(check: exercise, answer: Any, right: list, said: str, usual: dict[str, Any]) -> None:
    """check.close; a row of another length, too, is shown beside the right one with what it was made of."""
    unusual = all(difference(answer, wrong, kinds=False) for wrong in usual.values())
    if isinstance(answer, list) and len(answer) != len(right) and unusual:
        check.that(False, f"{said}: yours is {answer}, {right} is expected")
    check.close(answer, right, said, usual=usual)


@marked("7.1 · bytes", given=given_to_bytes)
def to_bytes(check: exercise, mine) -> None:
    """The whole numbers of text.encode("utf-8")."""
    for text in ("é", "abc", "", "Grüße, Ναι! 南瓜 🎃\n"):
        data = text.encode("utf-8")
        answer = check.run(mine, text)
        kinds = {
            bytes: "that is a bytes object: list(...) makes a list of whole numbers of it",
            str: "a list of whole numbers is asked for, not a text",
            int: "a list is asked for, not a single number",
            bytearray: "that is a bytearray: list(...) makes a list of whole numbers of it",
            np.ndarray: "that is an array: list(...) makes a list of it",
        }
        for kind, said in kinds.items():
            check.that(not isinstance(answer, kind), said)
        other = f"a list is asked for, and that is a {type(answer).__name__}: list(...) makes one of it"
        check.that(isinstance(answer, list), other)
        singly = [character.encode() for character in text]
        usual = {
            "é is character number 233, but UTF-8 writes it as two bytes: text.encode('utf-8')": [233],
            "ord is the number of a character, which may be above 255: encode first": [ord(c) for c in text],
            "that is UTF-16: text.encode('utf-8')": list(text.encode("utf-16")),
            "that is UTF-16 with its two bytes a character: text.encode('utf-8')": list(
                text.encode("utf-16-le")
            ),
            "that is UTF-32: text.encode('utf-8')": list(text.encode("utf-32-le")),
            "utf-8-sig puts three bytes in front: text.encode('utf-8')": list(text.encode("utf-8-sig")),
            "whole numbers, not text: no str, hex or bin": [str(b) for b in data],
            "whole numbers, not hexadecimal text": [hex(b) for b in data],
            "whole numbers, not hexadecimal digits": [f"{b:02x}" for b in data],
            "whole numbers, not the digits of a hexadecimal text": list(data.hex()),
            "whole numbers, not a bytes object for each: list(...) of bytes gives them": [
                bytes([b]) for b in data
            ],
            "whole numbers, not ones and zeros": [bin(b) for b in data],
            "whole numbers, not eight ones and zeros": [f"{b:08b}" for b in data],
            "those are the characters: encode the text first": list(text),
            "all bytes in one list, not a bytes object for each character": singly,
            "all bytes in one list, not a list for each character": [list(part) for part in singly],
            "a byte that is there twice stays twice, and the order stays": sorted({*data}),
            "the order stays": sorted(data),
            "nothing may be lost: no errors='ignore'": [b for b in data if b < 128],
            "nothing may be lost: no errors='replace'": list(text.encode("ascii", errors="replace")),
        }
        check.close(answer, list(data), f"the bytes of {text!r} in UTF-8", usual=usual)


@marked("7.2 · count pairs", given=given_count_pairs)
def count_pairs(check: exercise, mine) -> None:
    """(left, right) -> how often the two stand side by side."""
    for ids in ([*b"abracadabra"], [5, 5, 5, 5], [3, 300, 7, 3, 300, 300, 9], [8], []):
        right = dict(given_count_pairs(ids))
        answer = row_of(check, mine, ids)
        check.that(not isinstance(answer, int), "a dictionary is asked for: pair -> how often")
        pairs = not isinstance(answer, set | list | tuple)
        check.that(pairs, "a dictionary is asked for: the pair is the key, how often it occurs the value")
        pairs = [*pairwise(ids)]
        apart = [pair for i, pair in enumerate(pairs) if i == 0 or pairs[i - 1] != pair or i % 2 == 0]
        usual = {
            "these are single ids: a key is a pair of neighbours": dict(Counter(ids)),
            "every neighbour counts, also (ids[1], ids[2]): go on by one place, not by two": dict(
                Counter(zip(ids[::2], ids[1::2], strict=False))
            ),
            "in 5 5 5 5 the pair (5, 5) stands three times, as it begins at three places": dict(
                Counter(apart)
            ),
            "the last id has no neighbour on its right: do not go round to the first": dict(
                Counter(zip(ids, ids[1:] + ids[:1], strict=True))
            ),
            "the left neighbour stands first in the pair": {pair[::-1]: n for pair, n in right.items()},
            "(1, 2) and (2, 1) are two pairs: do not sort": dict(Counter(tuple(sorted(p)) for p in pairs)),
            "the last pair is missing": dict(Counter(pairs[:-1])),
            "the first pair is missing": dict(Counter(pairs[1:])),
            "one too many: a pair that is met for the first time counts 1": {
                p: n + 1 for p, n in right.items()
            },
            "one too few: a pair that is met for the first time counts 1": {
                p: n - 1 for p, n in right.items()
            },
            "every pair has 1: add up how often it occurs": dict.fromkeys(right, 1),
            "neighbours only, not any two ids of the row": dict(Counter(combinations(ids, 2))),
            "an id is no neighbour of itself": dict(Counter(zip(ids, ids, strict=True))),
            "neighbours stand side by side: this leaves out the one between": dict(
                Counter(zip(ids, ids[2:], strict=False))
            ),
            "how often, not which share": {pair: n / len(pairs) for pair, n in right.items()},
            "a key is a pair (left, right), not a text": {f"{a},{b}": n for (a, b), n in right.items()},
            "a key is a pair (left, right), not a text of both": {
                f"{a}{b}": n for (a, b), n in right.items()
            },
            "only the most frequent pair is there": dict(Counter(pairs).most_common(1)),
        }
        usual = {said: wrong for said, wrong in usual.items() if wrong}
        answer = dict(answer) if isinstance(answer, dict) else answer
        check.close(answer, right, f"the pairs of {ids}", usual=usual)


def _overlapping(ids: list[int], pair: Pair, new: int) -> list[int]:
    row = []
    for i, n in enumerate(ids):
        if (*ids[i : i + 2],) == pair:
            row.append(new)
        elif i == 0 or (*ids[i - 1 : i + 1],) != pair:
            row.append(n)
    return row


def _second_stays(ids: list[int], pair: Pair, new: int) -> list[int]:
    return [new if (*ids[i : i + 2],) == pair else n for i, n in enumerate(ids)]


def _first_only(ids: list[int], pair: Pair, new: int) -> list[int]:
    for i in range(len(ids) - 1):
        if (*ids[i : i + 2],) == pair:
            return [*ids[:i], new, *ids[i + 2 :]]
    return ids


def _either_order(ids: list[int], pair: Pair, new: int) -> list[int]:
    row, i = [], 0
    while i < len(ids):
        found = (*ids[i : i + 2],) in (pair, pair[::-1])
        row.append(new if found else ids[i])
        i += 2 if found else 1
    return row


def _in_twos(ids: list[int], pair: Pair, new: int) -> list[int]:
    row = []
    for i in range(0, len(ids), 2):
        row += [new] if (*ids[i : i + 2],) == pair else ids[i : i + 2]
    return row


@marked("7.3 · merge", given=given_merge)
def merge(check: exercise, mine) -> None:
    """A new list with `new` in the place of each pair."""
    rows = [
        ([7, 1, 2, 9, 1, 2], (1, 2), 300),
        ([5, 5, 5], (5, 5), 256),
        ([4, 4, 3, 1, 2, 1, 2, 2, 1], (1, 2), 8),
    ]
    rows += [([1, 2, 1], (2, 1), 257), ([6], (6, 6), 256), ([], (1, 2), 256), ([11, 2, 5], (1, 2), 256)]
    for ids, pair, new in rows:
        right = given_merge(ids, pair, new)
        backwards = given_merge(ids[::-1], pair[::-1], new)[::-1]
        cut = given_merge(ids[:-1], pair, new)
        usual = {
            "the last id is lost: it has no neighbour, and stays": right[:-1]
            if right[-1:] != [new]
            else right,
            "the last id is there twice: where it belongs to a pair, `new` stands for it already": right
            + ids[-1:]
            if right[-1:] == [new]
            else right,
            "two pairs may not share an id: after a pair go on two places": _overlapping(ids, pair, new),
            "the second id of the pair is still there: go on two places": _second_stays(ids, pair, new),
            "in 5 5 5 the pair is found from the left: [256, 5]": backwards,
            "every occurrence is replaced, not only the first": _first_only(ids, pair, new),
            "the pair at the very end is left as it was": cut + ids[-1:],
            "(1, 2) is not (2, 1): the order matters": _either_order(ids, pair, new),
            "a pair may begin at any place: go on by one place where there is none": _in_twos(ids, pair, new),
            "the pair is gone and `new` is not there": [n for n in right if n != new],
            "only the merged ids are left: all others stay": [n for n in right if n == new],
            "an id alone is no pair: both must stand side by side": [new if n in pair else n for n in ids],
            "the first id of the pair alone is no pair": [new if n == pair[0] else n for n in ids],
            "the id is `new`, not always 256": [256 if n == new else n for n in right],
            "one id stands for the pair: `new` is there twice": [
                m for n in right for m in ([new] * 2 if n == new else [n])
            ],
            "the id after a pair is lost: go on two places, not three": _skipping(ids, pair, new),
        }
        usual |= {"nothing is merged: is ids[i : i + 2] compared with a tuple? [1, 2] is not (1, 2)": ids}
        try:
            answer = row_of(check, mine, ids, pair, new)
        except IndexError as error:
            why = "the last id has no right neighbour, and a row from which an id is deleted ends earlier"
            error.args = (f"{error}, for {ids} and the pair {pair}: {why}",)
            raise
        same_row(check, answer, right, f"for {ids}, the pair {pair} and new = {new}", usual)


def _skipping(ids: list[int], pair: Pair, new: int) -> list[int]:
    row, i = [], 0
    while i < len(ids):
        found = (*ids[i : i + 2],) == pair
        row.append(new if found else ids[i])
        i += 3 if found else 1
    return row


@marked("7.4 · train", given=given_train)
def train(check: exercise, mine) -> None:
    """The pairs in the order of their merges."""
    texts = {"abracadabra": 4, "cdcdabab": 3, "aaabdaaabacaaab": 5, "she sells sea shells": 6, "acab": 2}
    for text, n in texts.items():
        ids = [*text.encode()]
        right = given_train(ids, n)
        top = max(ids) + 1
        row, rows, repeated = ids, [], []
        for i, pair in enumerate(right):
            repeated += [pair] if given_count_pairs(row)[pair] > 1 else []
            row = given_merge(row, pair, 256 + i)
            rows.append(row)
        once = sorted(given_count_pairs(ids).items(), key=lambda item: (-item[1], item[0]))
        usual = {
            "of equally frequent pairs the smallest is taken, not the first that was met": [
                *learned(ids, n, choose=first_met)
            ],
            "where the left ids are the same, too, the smaller right id wins: compare whole pairs": [
                *learned(ids, n, choose=smallest_left)
            ],
            "pairs are compared by their left ids first, and only then by the right ones": [
                *learned(ids, n, choose=smallest_right)
            ],
            "of equally frequent pairs the smallest is taken, not the largest": [
                *learned(ids, n, choose=largest)
            ],
            "count anew after each merge: the new ids make new pairs": [pair for pair, _ in once[:n]],
            "count anew after each merge, in the order of first sight too": [
                pair for pair, _ in given_count_pairs(ids).most_common(n)
            ],
            "the row does not change: put merge's result back into ids": right[:1] * n,
            "the i-th merge makes the id 256 + i: yours is always 256": [*learned(ids, n, new=lambda i: 256)],
            "the first new id is 256, because bytes end at 255": [*learned(ids, n, new=lambda i: 257 + i)],
            "the first new id is 256: 255 is a byte": [*learned(ids, n, new=lambda i: 255 + i)],
            "new ids begin at 256, not at 0": [*learned(ids, n, new=lambda i: i)],
            "the new id is 256 + i, not the largest of the row + 1": [*learned(ids, n, new=top.__add__)],
            "the most frequent pair is taken, not the rarest": [*learned(ids, n, choose=rarest)],
            "the smallest pair counts only among the equally frequent": [*learned(ids, n, choose=min)],
            "the largest pair of ids is no measure: compare the counts": [*learned(ids, n, choose=max)],
            "return the merges, not the row": rows[-1],
            "a pair that stands there once is merged too: end only where no pair is left": repeated,
            "n_merges merges, not only the first: does `return` stand inside the loop?": right[:1],
            "one merge too many": given_train(ids, n + 1),
            "one merge too few": right[:-1],
            "n_merges counts the merges, not all ids": [],
            "the first merge comes first": right[::-1],
        }
        answer = row_of(check, mine, ids, n)
        check.that(not isinstance(answer, dict), "a list of the merged pairs is asked for, in their order")
        check.that(answer != (right, rows[-1]), "return the merges alone, without the row")
        check.that(answer != (rows[-1], right), "return the merges alone, without the row")
        listed = isinstance(answer, list | tuple)
        check.that(listed, "a list of the merged pairs is asked for, in their order")
        several = [*answer] == [(pair, 256 + i) for i, pair in enumerate(right)]
        check.that(not several, "only the pairs: the i-th made the id 256 + i, which need not be said")
        counted = all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], tuple) for p in answer)
        check.that(not (answer and counted), "only the pairs are asked for, without their counts")
        listed = any(isinstance(pair, list) for pair in answer)
        check.that(not listed, "a pair is a tuple (left, right), not a list: [97, 98] is not (97, 98)")
        same_row(check, [*answer], right, f"the first {n} merges of {text!r}", usual)
    try:
        short = row_of(check, mine, [97, 98, 99], 5)
    except (ValueError, IndexError, KeyError):
        check.that(False, "a row of one id has no pair left: end there, with the merges found so far")
    usual = {"go on until no pair is left: abc has two merges": [(97, 98)]}
    right = [(97, 98), (256, 99)]
    check.close([*short], right, "abc has two merges, and then no pair is left", usual=usual)


def _longest(ids: list[int], merges: list[Pair]) -> list[int]:
    """Left to right, always the longest token that fits."""
    pieces = [bytes([i]) for i in range(256)]
    for a, b in merges:
        pieces.append(pieces[a] + pieces[b])
    number, data, row, i = {piece: n for n, piece in enumerate(pieces)}, bytes(ids), [], 0
    while i < len(data):
        piece = next(data[i:j] for j in range(len(data), i, -1) if data[i:j] in number)
        row.append(number[piece])
        i += len(piece)
    return row


def _from_the_left(ids: list[int], merges: list[Pair], *, again: bool) -> list[int]:
    """Left to right, whatever merge fits; again until nothing changes."""
    row = list(ids)
    while True:
        new, i = [], 0
        while i < len(row):
            if (*row[i : i + 2],) in merges:
                new.append(256 + merges.index((*row[i : i + 2],)))
                i += 2
            else:
                new.append(row[i])
                i += 1
        if not again or new == row:
            return new
        row = new


def _first_pair(ids: list[int], merges: list[Pair]) -> list[int]:
    """The leftmost pair that is a merge, one at a time, until there is none."""
    row = list(ids)
    while fitting := [i for i, pair in enumerate(pairwise(row)) if pair in merges]:
        i = fitting[0]
        row[i : i + 2] = [256 + merges.index((row[i], row[i + 1]))]
    return row


def _in_order(ids: list[int], merges: list[Pair], order: Iterable[int], first: int = 256) -> list[int]:
    row = list(ids)
    for i in order:
        row = given_merge(row, merges[i], first + i)
    return row


def _until_missing(ids: list[int], merges: list[Pair]) -> list[int]:
    row = list(ids)
    for i, pair in enumerate(merges):
        if pair not in [*pairwise(row)]:
            break
        row = given_merge(row, pair, 256 + i)
    return row


def _numbered_by_use(ids: list[int], merges: list[Pair]) -> list[int]:
    row, new = list(ids), 256
    for pair in merges:
        if pair in [*pairwise(row)]:
            row, new = given_merge(row, pair, new), new + 1
    return row


def _most_frequent(ids: list[int], merges: list[Pair]) -> list[int]:
    row = list(ids)
    while counts := Counter(pair for pair in pairwise(row) if pair in merges):
        pair = smallest(counts)
        row = given_merge(row, pair, 256 + merges.index(pair))
    return row


@marked("7.5 · encode", given=given_encode)
def encode(check: exercise, mine) -> None:
    """All merges in their order."""
    a, b, c, d = b"abcd"
    sets = [  # in the first, nearly every slip gives a row of its own
        ([*b"ddbddadbcaadd"], [(d, d), (d, b), (d, 257), (a, d), (256, 259), (256, a), (c, a)]),
        ([a, b, c], [(b, c), (a, b)]),
        ([d, a, b, c, d], [(a, b), (256, c), (c, d), (257, 258)]),
        ([a, b, c, d], [(c, d), (a, b), (b, c)]),
        ([*b"abracadabra, a cab"], given_train([*b"abracadabra"], 5)),
        ([*b"a bad cab sells shells"], given_train([*b"she sells sea shells"], 8)),
        ([a, b, a, b, b, c, b, c, b, c], [(a, b), (b, c), (256, 257)]),
        ([a, a, a, a, a], [(a, a), (256, 256)]),
        ([], [(a, b)]),
        ([c], [(a, b)]),
    ]
    for ids, merges in sets:
        n, right = len(merges), given_encode(ids, merges)
        usual = {
            "merges are applied in their order, the earliest first: this takes the longest token": _longest(
                ids, merges
            ),
            "merges are applied in their order: this goes from the left and takes whatever fits": (
                _from_the_left(ids, merges, again=True)
            ),
            "merges are applied in their order: this goes once from the left": _from_the_left(
                ids, merges, again=False
            ),
            "merges are applied in their order: this takes the leftmost pair each time": _first_pair(
                ids, merges
            ),
            "the earliest merge comes first, not the latest": _in_order(ids, merges, range(n)[::-1]),
            "the i-th merge makes the id 256 + i: yours is one too large": _in_order(
                ids, merges, range(n), 257
            ),
            "the i-th merge makes the id 256 + i: yours is one too small": _in_order(
                ids, merges, range(n), 255
            ),
            "the i-th merge makes the id 256 + i: you left out the 256": _in_order(ids, merges, range(n), 0),
            "a merge that does not occur is left out, and the next one tried": _until_missing(ids, merges),
            "a merge that does not occur keeps its number: merge i makes the id 256 + i": _numbered_by_use(
                ids, merges
            ),
            "nothing is merged: put merge's result back into ids": ids,
            "all merges, not only the first": _in_order(ids, merges, [0]),
            "the last merge is missing": _in_order(ids, merges, range(n - 1)),
            "the first merge is missing": _in_order(ids, merges, range(1, n)),
            "the order is that of the merges, not how frequent a pair is in this text": _most_frequent(
                ids, merges
            ),
            "each merge is made of the bytes as they were: go on with what the last merge left": (
                given_merge(ids, merges[-1], 255 + n)
            ),
            "the merges are given: this trains new ones on the text": _in_order(
                ids, own := given_train(ids, n), range(len(own))
            ),
        }
        answer = row_of(check, mine, ids, merges)
        check.that(not isinstance(answer, str), "a list of ids is asked for, not a text")
        same_row(check, answer, right, f"for {ids} and the merges {merges}", usual)


@marked("7.6 · decode", given=given_decode)
def decode(check: exercise, mine) -> None:
    """All bytes first, then their text."""
    pieces = [bytes([i]) for i in range(256)] + [b"pump", b"kin", b" caf\xc3", "🎃".encode()[:2], b"ed"]
    pieces.append("né".encode())
    pumpkin = [*"🎃".encode()]
    rows = [[256, 257], [261, 260], [258, 0xA9], [97, 259, *pumpkin[2:]], [], pumpkin[:1], [97, 0xFF, 98]]
    rows.append([260, 97, 260])
    for ids in rows:
        joined = b"".join(pieces[i] for i in ids)
        singly = [pieces[i].decode("utf-8", errors="replace") for i in ids]
        usual = {
            "join all bytes first: a character may lie in two tokens": "".join(singly),
            "bytes that are no character become �: errors='replace', not 'ignore'": joined.decode(
                errors="ignore"
            ),
            "single tokens lose their half characters with 'ignore': join all bytes first": "".join(
                pieces[i].decode(errors="ignore") for i in ids
            ),
            "nothing stands between the tokens": " ".join(singly),
            "nothing stands between the bytes of two tokens": b" ".join(pieces[i] for i in ids).decode(
                errors="replace"
            ),
            "bytes are decoded as UTF-8, not as ASCII, which has no é": joined.decode(
                "ascii", errors="replace"
            ),
            "bytes are decoded as UTF-8: this takes each for a character": joined.decode("latin-1"),
            "str(...) writes the b and the quotes too: .decode('utf-8') makes a text": str(joined),
            "each token is written with its b and its quotes: join bytes, then .decode": "".join(
                str(pieces[i]) for i in ids
            ),
            "an id is no character number: look its bytes up in pieces": "".join(chr(i) for i in ids),
            "the order of the ids stays": b"".join(pieces[i] for i in sorted(ids)).decode(errors="replace"),
            "an id that is there twice stays twice": b"".join(pieces[i] for i in dict.fromkeys(ids)).decode(
                errors="replace"
            ),
            "half a character becomes �, not \\x…: errors='replace'": joined.decode(
                errors="backslashreplace"
            ),
            "the last token is missing": b"".join(pieces[i] for i in ids[:-1]).decode(errors="replace"),
        }
        try:
            answer = row_of(check, mine, ids, pieces)
        except UnicodeDecodeError:
            whole = False
            try:
                joined.decode()
                whole = True
            except UnicodeDecodeError:
                pass
            check.that(not whole, "join all bytes first: a character may lie in two tokens")
            check.that(False, "half a character must not end in an error: errors='replace'")
        kinds = {
            bytes: "bytes are not a text yet: .decode('utf-8', errors='replace')",
            list: "one text is asked for: join the pieces",
        }
        for kind, said in kinds.items():
            check.that(not isinstance(answer, kind), said)
        check.close(answer, given_decode(ids, pieces), f"for {ids}", usual=usual)


@marked("7.7 · pairs in counted words", given=given_count_in_words)
def count_in_words(check: exercise, mine) -> None:
    """Each pair of a word counts as often as the word occurs."""
    for words in (
        {(1, 2, 3): 5, (2, 3): 7, (4,): 9, (3, 1, 2): 1},
        {(1, 2, 1, 2): 3, (5, 5, 5): 2, (): 4, (2, 1): 6, (5, 5): 1},
        {(7,): 2},
    ):
        right = dict(given_count_in_words(words))
        each, last, once, across = Counter(), {}, Counter(), [i for word in words for i in word]
        squared, firsts, added = Counter(), Counter(), Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                each[pair] += 1
                last[pair] = times
                squared[pair] += times * len(word)
                added[pair] += times + 1
            for pair in {*pairwise(word)}:
                once[pair] += times
            for pair in [*pairwise(word)][:1]:
                firsts[pair] += times
        usual = {
            "a word that occurs 5 times counts 5 times: add its number, not 1": dict(each),
            "add up over all words: = forgets the words before, += adds": last,
            "a pair that stands twice in a word counts twice": dict(once),
            "a pair does not run from one word into the next": dict(given_count_pairs(across)),
            "the number is how often the word occurs, whatever its length": dict(squared),
            "all pairs of a word count, not only its first": dict(firsts),
            "one too many for each pair: add the word's number alone": dict(added),
            "ids stand in the words: go through the word's neighbours": {
                pair: n for (pair, n) in words.items() if len(pair) == 2
            },
            "those are single ids, not pairs": dict(
                sum((Counter({i: n * w.count(i) for i in w}) for w, n in words.items()), Counter())
            ),
            "the left neighbour stands first in the pair": {pair[::-1]: n for pair, n in right.items()},
            "(1, 2) and (2, 1) are two pairs: do not sort": dict(
                sum((Counter({(*sorted(p),): n}) for p, n in right.items()), Counter())
            ),
            "how often, not which share": {p: n / sum(right.values()) for p, n in right.items()},
            "only the most frequent pair is there": dict(Counter(right).most_common(1)),
        }
        usual = {said: wrong for said, wrong in usual.items() if wrong}
        own = dict(words)
        answer = check.run(mine, own)
        check.that(own == words, "your function changes the words that it was given")
        one = isinstance(answer, dict)
        check.that(one, "a dictionary is asked for: the pair is the key, how often it occurs the value")
        check.close(dict(answer), right, f"the pairs of {words}", usual=usual)


@marked("7.8 · join documents", given=given_join_documents)
def join_documents(check: exercise, mine) -> None:
    """The ids of each text, then the one id that ends it."""
    mark = END_OF_TEXT
    for texts, merges, special in (
        (["ab", "c", "dd"], "a b\nd d", (mark, "<|pad|>")),  # the end is no byte, not 256, not the last id
        (["x <|endoftext|> y", "z"], "", (mark,)),
        (["one", "", " x \n"], "o n\non e", ("<|pad|>", mark, "<|im_end|>")),
        ([], "", (mark,)),
    ):
        tokenizer = BPETokenizer(merges, special)
        end = tokenizer.end_of_text
        rows = [tokenizer.encode(text).tolist() for text in texts]
        right = given_join_documents(texts, tokenizer)
        typed = [i for text in texts for i in tokenizer.encode(text + mark).tolist()]
        usual = {
            "the end is an id, not text: encode gives many ids for <|endoftext|>": typed,
            "the end is an id, not text: nobody obeys it between the texts either": tokenizer.encode(
                mark.join(texts)
            ).tolist(),
            "numpy adds a number to every id: make a list of them first, .tolist()": [
                i + end for row in rows for i in row
            ],
            "the last document has an end too": right[:-1],
            "the end comes after a document, not before it": [i for row in rows for i in [end, *row]],
            "the ends of the documents are missing": [i for row in rows for i in row],
            "an end after each document, not only after the last": [*(i for row in rows for i in row), end],
            "one row for all, not one for each document": [[*row, end] for row in rows],
            "the id is tokenizer.end_of_text: 50256 is GPT-2's": [i for row in rows for i in [*row, 50256]],
            "the id is tokenizer.end_of_text: 256 was another tokenizer's": [
                i for row in rows for i in [*row, 256]
            ],
            "an end after each document, not after each id": [
                j for row in rows for i in row for j in (i, end)
            ],
            "ids are asked for, not text": "".join(text + mark for text in texts),
            "only the first document is there": [*rows[0], end] if rows else [],
            "only the last document is there": [*rows[-1], end] if rows else [],
            "the end need not be the last id: it is tokenizer.end_of_text": [
                i for row in rows for i in [*row, tokenizer.vocab_size - 1]
            ],
            "ids of the tokenizer are asked for, not bytes: tokenizer.encode(text)": [
                i for text in texts for i in [*text.encode(), end]
            ],
            "an empty text is a document too: its end alone": [i for row in rows if row for i in [*row, end]],
            "a text stays as it is: no strip": [
                i for text in texts for i in [*tokenizer.encode(text.strip()).tolist(), end]
            ],
            "a space is no end": tokenizer.encode(" ".join(texts)).tolist(),
        }
        own = list(texts)
        try:
            answer = check.run(mine, own, tokenizer)
        except (AttributeError, ValueError):
            check.that(bool(texts), "without any document the row is empty")
            raise
        check.that(own == texts, "your function changes the list that it was given: make a new one")
        check.that(not isinstance(answer, int), "one row of ids is asked for")
        array = isinstance(answer, np.ndarray)
        check.that(not array, "that is an array: a list is asked for, .tolist() makes one of it")
        strings = isinstance(answer, list) and any(isinstance(i, str) for i in answer)
        check.that(not strings, "the row holds ids: the end is tokenizer.end_of_text, a number")
        arrays = isinstance(answer, list) and any(isinstance(i, np.ndarray) for i in answer)
        check.that(
            not arrays, "one row for all: += or extend adds the ids of a document, append adds the array"
        )
        mixed = isinstance(answer, list) and {list, int} <= {*map(type, answer)}
        check.that(not mixed, "one row for all: += or extend adds the ids of a list, append adds the list")
        same_row(check, answer, right, f"for {texts}, when end_of_text is {end}", usual)


@marked("7.9 · bits per byte", given=given_bits_per_byte)
def bits_per_byte(check: exercise, mine) -> None:
    """nats · tokens / ln 2 / bytes."""
    long = "A pumpkin grows. " * 80  # e to the power of all its nats is no float
    for nats, n, text in (
        (3.1, 4, "two pumpkins"),
        (2.5, 7, "größere Kürbisse"),
        (1.75, 3, "南瓜 🎃"),
        (4.0, 400, long),
    ):
        ln2, size = math.log(2), len(text.encode("utf-8"))
        right = given_bits_per_byte(nats, n, text)
        usual = {
            "bytes, not characters: len(text.encode('utf-8'))": nats * n / ln2 / len(text),
            "nats become bits when they are divided by ln 2": nats * n / size,
            "divide by ln 2: a nat is more than a bit": nats * n * ln2 / size,
            "ln 2 = math.log(2): log2(2) is 1": nats * n / math.log2(2) / size,
            "ln 2 = math.log(2), not log10": nats * n / math.log10(2) / size,
            "by ln 2, not by ln 10: a bit is a choice of two": nats * n / math.log(10) / size,
            "math.log2(nats) is no change of unit: divide by math.log(2)": math.log2(nats) * n / size,
            "these are bits per token: times the tokens, by the bytes": nats / ln2,
            "divide by the bytes: these are the bits of the whole text": nats * n / ln2,
            "divide by the bytes: these are the nats of the whole text": nats * n,
            "nats is the mean of one token: times n_tokens": nats / ln2 / size,
            "bytes per token goes below the line: this is turned over": nats / ln2 * size / n,
            "bits per token, not per byte, is divided by the tokens: here times": nats / n / ln2 / size,
            "divide by the bytes, not by the tokens": nats / ln2 / n,
            "whole numbers are lost with //": nats * n / ln2 // size,
            "math.exp makes a perplexity: divide by ln 2": math.exp(nats) * n / size,
            "a byte is the unit here, not its 8 bits": nats * n / ln2 / (8 * size),
        }
        usual |= {"a word is no byte: len(text.encode('utf-8'))": nats * n / ln2 / len(text.split())}
        try:
            answer = check.run(mine, nats, n, text)
        except OverflowError:
            check.that(False, "math.exp of all nats of a long text is no number: divide by math.log(2)")
        check.close(answer, right, f"for {nats} nats, {n} tokens, {text[:30]!r}", usual=usual)
