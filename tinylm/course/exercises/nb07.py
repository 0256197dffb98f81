"""Exercises of notebook 07_tokenizers."""

from typing import Any

import numpy as np

from tinylm.course.checks import Check
from tinylm.course.slips import Lesson, call
from tinylm.text.tokenizers import END_OF_TEXT, BPETokenizer

lesson = Lesson(
    "07",
    "import math\nfrom collections import Counter\nfrom itertools import combinations\nimport numpy as np",
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
    "7.1 · bytes",
    """
    def to_bytes(text):
        return list(text.encode("utf-8"))
    """,
    run=listed,
    cases=[("é",), ("abc",), ("",), ("Grüße, Ναι! 南瓜 🎃\n",)],
    said="the bytes of {0!r} in UTF-8",
    slips="""
    = return [ord(c) for c in text] :: ord gives the number of a character, for é 233: encode the text first
    "utf-8" -> "latin-1" :: é is one byte in Latin-1, 233, and two bytes in UTF-8: text.encode("utf-8")
    "utf-8" -> "utf-16" :: that is UTF-16: text.encode("utf-8")
    "utf-8" -> "utf-16-le" :: that is UTF-16, with two bytes for é: text.encode("utf-8")
    "utf-8" -> "utf-32-le" :: that is UTF-32: text.encode("utf-8")
    "utf-8" -> "utf-8-sig" :: utf-8-sig puts three bytes in front: text.encode("utf-8")
    "utf-8" -> "ascii" :: ASCII has no é: text.encode("utf-8")
    "utf-8" -> "ascii", errors="ignore" :: nothing may be lost: use UTF-8, without errors='ignore'
    "utf-8" -> "ascii", errors="replace" :: nothing may be lost: use UTF-8, without errors='replace'
    list(text.encode("utf-8")) -> list(text) :: these are the characters: encode the text first
    = return [c.encode() for c in text] :: put all bytes in one list, not a bytes object for each character
    = return [list(c.encode()) for c in text] :: put all bytes in one list, not a list for each character
    = return [c.encode()[0] for c in text] :: keep all bytes of a character, not only the first
    list(text.encode("utf-8")) -> [str(b) for b in text.encode()] :: integers are asked for: leave out str
    list(text.encode("utf-8")) -> [hex(b) for b in text.encode()] :: integers, not hexadecimal text
    list(text.encode("utf-8")) -> [f"{b:02x}" for b in text.encode()] :: integers, not hexadecimal digits
    list(text.encode("utf-8")) -> list(text.encode().hex()) :: integers, not the digits of a hexadecimal text
    list(text.encode("utf-8")) -> [bin(b) for b in text.encode()] :: integers, not ones and zeros
    list(text.encode("utf-8")) -> [f"{b:08b}" for b in text.encode()] :: integers, not eight ones and zeros
    = return [bytes([b]) for b in text.encode()] :: integers, not a bytes object for each: list(...) of all
    = return list({*text.encode()}) :: a set loses the order and the bytes that occur twice: keep both
    list(text.encode("utf-8")) -> sorted(text.encode()) :: the order of the bytes stays: leave out sorted
    list(text.encode("utf-8")) -> tuple(text.encode()) :: that is a tuple: list(...) makes a list
    list(text.encode("utf-8")) -> text.encode() :: this is of type bytes: list(...) makes one
    list(text.encode("utf-8")) -> len(text.encode()) :: a list is asked for, and this is of type int
    text.encode -> "é".encode :: your function does not use its argument `text`
    return -> data = :: is `return` missing?
    """,
)

count_pairs = lesson.exercise(
    "7.2 · count pairs",
    """
    def count_pairs(ids):
        return Counter(zip(ids, ids[1:]))
    """,
    run=counted,
    cases=[([*b"abracadabra"],), ([5, 5, 5, 5],), ([3, 300, 7, 3, 300, 300, 9],), ([4, 2],), ([8],), ([],)],
    said="the pairs of {0}",
    slips="""
    zip(ids, ids[1:]) -> ids :: these are single ids: a key is a pair of neighbours
    ids, ids[1:] -> ids[::2], ids[1::2] :: go on by one place, not by two: each id has a right neighbour
    = return {(a, b): str(ids).count(f"{a}, {b}") for a, b in zip(ids, ids[1:])}
        :: (5, 5) occurs three times in 5 5 5 5
    zip(ids, ids[1:]) -> p for p in zip(ids, ids[1:]) if p[0] != p[1] :: two equal neighbours are a pair, too
    ids[1:] -> ids[1:] + ids[:1] :: the last id has no right neighbour: do not go round to the first
    ids, ids[1:] -> ids[1:], ids :: the left neighbour comes first in the pair
    = return Counter(tuple(sorted(p)) for p in zip(ids, ids[1:])) :: do not sort: (1, 2) is not (2, 1)
    ids, ids[1:] -> ids[:-2], ids[1:] :: the last pair is missing
    ids, ids[1:] -> ids[1:], ids[2:] :: the first pair is missing
    [1:])) -> [1:])) if len(ids) > 2 else {} :: a list of two ids has one pair
    zip(ids, ids[1:]) -> combinations(ids, 2) :: count neighbours only, not any two ids of the list
    ids, ids[1:] -> ids, ids :: an id is no neighbour of itself
    ids, ids[1:] -> ids, ids[2:] :: neighbours are side by side: you leave out the id between them
    = return dict.fromkeys(zip(ids, ids[1:]), 1) :: every pair has 1: add up how often it occurs
    [1:])) -> [1:])) + Counter({*zip(ids, ids[1:])}) :: one too many: a new pair counts 1
    = return {p: n - 1 for p, n in Counter(zip(ids, ids[1:])).items()} :: one too few: a new pair counts 1
    = return {p: n / len(ids) for p, n in Counter(zip(ids, ids[1:])).items()} :: how often, not which share
    = return Counter(f"{a},{b}" for a, b in zip(ids, ids[1:])) :: a key is a pair (left, right), not text
    = return Counter(f"{a}{b}" for a, b in zip(ids, ids[1:])) :: a key is a pair (left, right), not text
    = return dict(Counter(zip(ids, ids[1:])).most_common(1)) :: return all pairs, not only one
    = for pair in zip(ids, ids[1:]): ⏎     return Counter([pair])
        :: only the first pair: is `return` inside the loop?
    = counts = {} ⏎ for pair in zip(ids, ids[1:]): ⏎     counts[pair] += 1 ⏎ return counts
        :: a new pair is no key yet: counts.get(pair, 0) + 1, or begin with a Counter()
    zip(ids, ids[1:]) -> (ids[i], ids[i + 1]) for i in range(len(ids)) :: the last id has no right neighbour
    = return Counter([a, b] for a, b in zip(ids, ids[1:])) :: a list cannot be a key: (a, b) can
    zip(ids, ids[1:]) -> (ids.pop(0), ids[0]) for _ in ids[1:] :: your function changes the list
    [1:])) -> [1:])).most_common() :: a dictionary is asked for
    return -> counts = :: is `return` missing?
    """,
)

merge = lesson.exercise(
    "7.3 · merge",
    """
    def merge(ids, pair, new):
        row, i = [], 0
        while i < len(ids):
            if tuple(ids[i : i + 2]) == pair:
                row.append(new)
                i += 2
            else:
                row.append(ids[i])
                i += 1
        return row
    """,
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
    said="for {0}, the pair {1} and new = {2}",
    slips="""
    i += 2 -> i += 1
        :: the second id of the pair is still there: go on by 2 (`i += 1` in a `for` skips nothing)
    = row = [] ⏎ for i, n in enumerate(ids): ⏎     if tuple(ids[i : i + 2]) == pair: ⏎         row.append(new)
        ⏎     elif i == 0 or tuple(ids[i - 1 : i + 1]) != pair: ⏎         row.append(n) ⏎ return row
        :: two pairs may not share an id: after a pair go on by 2
    i += 2 -> i += 3 :: the id after a pair is lost: go on by 2, not by 3
    while i < len(ids) -> while i < len(ids) - 1 :: the last id is lost: it has no right neighbour, and stays
    i < len(ids) -> i < len(ids) - 1 && return row -> return row + ids[-1:]
        :: the last id is there twice: where it belongs to a pair, `new` already replaces it
    i += 2 -> return row + ids[i + 2 :] :: replace every occurrence, not only the first
    == pair -> == pair and i + 2 < len(ids) :: the pair at the very end is left as it was
    = row = list(ids) ⏎ for i in reversed(range(len(row))): ⏎     if tuple(row[i : i + 2]) == pair:
        ⏎         row[i : i + 2] = [new] ⏎ return row
        :: read from the left: in 5 5 5 the first two are the pair, which gives [256, 5]
    == pair -> in (pair, pair[::-1]) :: (1, 2) is not (2, 1): the order matters
    row.append(ids[i]) ⏎ i += 1 -> row += ids[i : i + 2] ⏎ i += 2 :: go on by 1 if there is no pair
    row.append(new) -> pass :: the pair is gone and `new` is not there
    row.append(ids[i]) -> pass :: only the merged ids are left: all others stay
    = return [new if n in pair else n for n in ids] :: an id alone is no pair: both must be side by side
    = return [new if n == pair[0] else n for n in ids] :: the first id of the pair alone is no pair
    append(new) -> append(256) :: the id is `new`, not always 256
    append(new) -> extend([new, new]) :: one id replaces the pair: `new` is there twice
    tuple(ids[i : i + 2]) -> ids[i : i + 2] :: nothing is merged: the list [1, 2] is never the tuple (1, 2)
    row.append(new) ⏎ i += 2 -> ids[i : i + 2] = [new] :: your function changes the list
    tuple(ids[i : i + 2]) -> (ids[i], ids[i + 1])
        :: the last id has no right neighbour, and `del` makes a list shorter
    = return [new if (ids[i], ids[i + 1]) == pair else ids[i] for i in range(len(ids))]
        :: the last id has no right neighbour, and `del` makes a list shorter
    = return eval(str(ids).replace(f"{pair[0]}, {pair[1]}", str(new))) :: 11, 2 is no 1, 2: compare ids
    = return tuple(ids).count(pair)
    return row -> return tuple(row) :: that is a tuple: a list is asked for
    return row ->  :: is `return` missing?
    return row -> return ids + [new, *pair]
    """,
)

train = lesson.exercise(
    "7.4 · train",
    """
    def train(ids, n_merges):
        merges = []
        for i in range(n_merges):
            counts = count_pairs(ids)
            if not counts:
                break
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
            ids = merge(ids, pair, 256 + i)
            merges.append(pair)
        return merges
    """,
    run=lambda check, answer, text, n: listed(check, answer, [*text.encode()], n),
    cases=[
        ("abracadabra", 4),
        ("cdcdabab", 3),
        ("aaabdaaabacaaab", 5),
        ("she sells sea shells", 6),
        ("acab", 2),
        ("abc", 5),
    ],
    said="up to {1} merges of the bytes of {0!r}",
    slips="""
    (-counts[pair], pair) -> -counts[pair] :: of equally frequent pairs take the smallest, not the first
    (-counts[pair], pair) -> (-counts[pair], pair[0]) :: if the left ids are equal, the smaller right id wins
    (-counts[pair], pair) -> (-counts[pair], pair[1]) :: compare pairs by their left ids first
    (-counts[pair], pair) -> (-counts[pair], -pair[0], -pair[1])
        :: of equally frequent pairs take the smallest, not the largest
    (-counts[pair] -> (counts[pair] :: take the most frequent pair, not the rarest
    (-counts[pair], pair) -> pair :: the smallest pair wins only among the equally frequent
    (-counts[pair], pair) -> (-pair[0], -pair[1]) :: the largest ids are no measure: compare the counts
    = counts = count_pairs(ids) ⏎ return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]
        :: count anew after each merge: the new ids make new pairs
    = return [p for p, _ in count_pairs(ids).most_common(n_merges)]
        :: count anew after each merge, and take the smallest of equally frequent pairs
    ids = merge -> merge :: the ids do not change: put the result of merge back into ids
    256 + i -> 256 :: the i-th merge makes the id 256 + i: yours is always 256
    256 + i -> 257 + i :: the first new id is 256: bytes end at 255
    256 + i -> 255 + i :: the first new id is 256: 255 is a byte
    256 + i -> i :: new ids begin at 256, not at 0
    256 + i -> max(ids) + 1 :: the new id is 256 + i, not the largest id so far + 1
    if not counts -> if max(counts.values(), default=0) < 2 :: merge a pair that occurs only once, too
    if not counts -> if len(counts) < 2 :: go on until no pair is left: abc has two merges
    if not counts: ⏎ break ->  :: when no pair is left, end with the merges found so far
    if not counts: ⏎ break -> sorted(counts)[0] :: when no pair is left, end with the merges found so far
    if not counts: ⏎ break -> max(counts) :: when no pair is left, end with the merges found so far
    break -> return [] :: when no pair is left, return the merges found so far, and not an empty list
    merges.append(pair) ⏎ return merges -> return [pair] :: only one merge: is `return` inside the loop?
    range(n_merges) -> range(n_merges + 1) :: one merge too many
    range(n_merges) -> range(n_merges - 1) :: one merge too few
    range(n_merges) -> range(1, n_merges) :: count from 0, range(n_merges): the first merge makes the id 256
    range(n_merges) -> range(n_merges - 256) :: n_merges is the number of merges, not of all ids
    return merges -> return merges[::-1] :: the first merge comes first
    return merges -> return ids :: return the merges, not the ids of the text
    return merges -> return merges, ids :: return the merges alone, without the ids of the text
    return merges -> return ids, merges :: return the merges alone, without the ids of the text
    return merges -> return tuple(merges) :: that is a tuple: a list is asked for
    return merges -> return {p: 256 + i for i, p in enumerate(merges)} :: return a list of pairs, in order
    append(pair) -> append((pair, 256 + i)) :: return only the pairs, without their new ids
    append(pair) -> append((pair, counts[pair])) :: return only the pairs, without their counts
    append(pair) -> append(list(pair)) :: a pair is a tuple (left, right): [97, 98] is not (97, 98)
    append(pair) -> append(256 + i) :: these are the new ids: append the pair
    append(pair) -> extend(pair) :: append adds a pair as one item, and += or extend its two ids
    return merges ->  :: is `return` missing?
    pair], pair)) -> pair], sum(pair)))
    """,
)

a, b, c, d = b"abcd"
encode = lesson.exercise(
    "7.5 · encode",
    """
    def encode(ids, merges):
        for i, pair in enumerate(merges):
            ids = merge(ids, pair, 256 + i)
        return list(ids)
    """,
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
    said="for {0} and the merges {1}",
    slips="""
    = pieces, row, data = [bytes([i]) for i in range(256)], [], bytes(ids) ⏎ for a, b in merges:
        ⏎     pieces.append(pieces[a] + pieces[b]) ⏎ while data:
        ⏎     best = max((p for p in pieces if data.startswith(p)), key=len)
        ⏎     row.append(pieces.index(best)) ⏎     data = data[len(best) :] ⏎ return row
        :: apply the merges in their order, the earliest first: this takes the longest token
    = row, i = [], 0 ⏎ while i < len(ids): ⏎     pair = tuple(ids[i : i + 2]) ⏎     found = pair in merges
        ⏎     row.append(256 + merges.index(pair) if found else ids[i]) ⏎     i += 1 + found ⏎ return row
        :: apply the merges in their order: this goes once from the left
    = for _ in range(len(ids)): ⏎     row, i = [], 0 ⏎     while i < len(ids):
        ⏎         pair = tuple(ids[i : i + 2]) ⏎         found = pair in merges
        ⏎         row.append(256 + merges.index(pair) if found else ids[i]) ⏎         i += 1 + found
        ⏎     ids = row ⏎ return ids
        :: apply the merges in their order: this goes from the left and takes whatever fits
    = while fit := [i for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) in merges]: ⏎     i = fit[0]
        ⏎     ids = ids[:i] + [256 + merges.index((ids[i], ids[i + 1]))] + ids[i + 2 :] ⏎ return ids
        :: apply the merges in their order: this takes the leftmost pair each time
    = while counts := {p: n for p, n in count_pairs(ids).items() if p in merges}:
        ⏎     pair = min(counts, key=lambda p: (-counts[p], p))
        ⏎     ids = merge(ids, pair, 256 + merges.index(pair)) ⏎ return ids
        :: the order is that of the merges, not how frequent a pair is in this text
    enumerate(merges) -> reversed([*enumerate(merges)]) :: the earliest merge comes first, not the latest
    256 + i -> 257 + i :: merge i makes the id 256 + i: yours is one too large
    256 + i -> 255 + i :: merge i makes the id 256 + i: yours is one too small
    256 + i -> i :: merge i makes the id 256 + i: you left out the 256
    256 + i -> 256 :: merge i makes the id 256 + i: yours is always 256
    ids = merge -> if pair not in count_pairs(ids): ⏎     break ⏎ ids = merge
        :: when a merge does not occur, leave it out and try the next one
    = new = 256 ⏎ for pair in merges: ⏎     if pair in count_pairs(ids):
        ⏎         ids, new = merge(ids, pair, new), new + 1 ⏎ return list(ids)
        :: a merge that does not occur keeps its number: merge i makes the id 256 + i
    ids = merge -> merge :: nothing is merged: loop over enumerate(merges), and put merge's result into ids
    ids = merge -> row = merge && list(ids) -> row :: each merge must go on with what the last merge left
    256 + i) ⏎ return -> 256 + i) ⏎ return :: all merges, not only the first: is `return` inside the loop?
    enumerate(merges) -> [*enumerate(merges)][1:] :: the first merge is missing
    enumerate(merges) -> [*enumerate(merges)][:-1] :: the last merge is missing
    in enumerate(merges) -> in enumerate(train(ids, len(merges)))
        :: use the given merges: do not train new ones
    = for pair in merges: ⏎     ids = merge(ids, pair, 256 + pair) ⏎ return list(ids)
        :: the new id is 256 + the number of the merge, which enumerate(merges) counts
    = while True: ⏎     fit = [p for p in merges if p in count_pairs(ids)]
        ⏎     ids = merge(ids, fit[0], 256 + merges.index(fit[0]))
        :: no merge fits any more, or the last id has no right neighbour: end there
    for i, pair -> list(ids.encode("utf-8")) ⏎ for i, pair :: `ids` are already the bytes of the text, a list
    return list(ids) -> return tuple(ids) :: that is a tuple: a list is asked for
    return list(ids) ->  :: is `return` missing?
    """,
)

pumpkin = "🎃".encode()
pieces = [bytes([i]) for i in range(256)]
pieces += [b"pump", b"kin", b" caf\xc3", pumpkin[:2], b"ed", "né".encode()]
rows = [[256, 257], [261, 260], [258, 0xA9], [97, 259, *pumpkin[2:]], [], [pumpkin[0]], [97, 0xFF, 98]]
decode = lesson.exercise(
    "7.6 · decode",
    """
    def decode(ids, pieces):
        return b"".join(pieces[i] for i in ids).decode("utf-8", errors="replace")
    """,
    cases=[(row, pieces) for row in [*rows, [260, 97, 260]]],
    said="for {0}",
    slips="""
    = return "".join(pieces[i].decode(errors="replace") for i in ids)
        :: join all bytes first: tokens may share a character
    = return "".join(pieces[i].decode() for i in ids) :: join all bytes first: tokens may share a character
    errors="replace" -> errors="ignore" :: bytes that are no character become �: "replace", not "ignore"
    = return "".join(pieces[i].decode(errors="ignore") for i in ids)
        :: single tokens lose their half characters with "ignore": join all bytes first
    errors="replace" -> errors="backslashreplace" :: half a character becomes �, not \\x…: errors='replace'
    , errors="replace" ->  :: half a character must not end in an error: errors='replace'
    b"" -> b" " :: put nothing between the tokens: b"".join of their bytes
    "utf-8" -> "ascii" :: decode the bytes as UTF-8, not as ASCII, which has no é
    "utf-8" -> "latin-1" :: decode the bytes as UTF-8: Latin-1 takes each byte for a character
    .decode("utf-8", errors="replace") ->  :: bytes are not text yet: .decode("utf-8", errors="replace")
    = return str(b"".join(pieces[i] for i in ids)) :: str(...) writes b and quotes, too: use .decode("utf-8")
    = return "".join(str(pieces[i]) for i in ids) :: each token has a b and quotes: join bytes, then decode
    = return "".join(chr(i) for i in ids) :: an id is no number of a character: look its bytes up in pieces
    = return bytes(ids).decode(errors="replace") :: an id is no byte: look its bytes up in pieces
    = return "".join(pieces[i] for i in ids) :: pieces[i] are bytes: b"".join joins bytes, "".join text
    = return [pieces[i] for i in ids] :: one text is asked for: join the pieces
    = return [pieces[i].decode(errors="replace") for i in ids] :: one text is asked for: join all bytes first
    in ids -> in sorted(ids) :: the order of the ids stays
    in ids -> in dict.fromkeys(ids) :: an id that occurs twice stays twice
    in ids -> in ids[:-1] :: the last token is missing
    in ids -> in ids[1:] :: the first token is missing
    pieces[i] for i in ids -> pieces :: does not use its argument `ids`
    return -> text = :: is `return` missing?
    """,
)

count_in_words = lesson.exercise(
    "7.7 · pairs in counted words",
    """
    def count_in_words(words):
        counts = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                counts[pair] += n
        return counts
    """,
    run=counted,
    cases=[
        ({(1, 2, 3): 5, (2, 3): 7, (4,): 9, (3, 1, 2): 1},),
        ({(1, 2, 1, 2): 3, (5, 5, 5): 2, (): 4, (2, 1): 6, (5, 5): 1},),
        ({(7,): 2},),
    ],
    said="the pairs of {0}",
    slips="""
    += n -> += 1 :: a word that occurs 5 times counts 5 times: add its number, not 1
    += n -> = n :: add up over all words: = forgets the words before, += adds
    zip(word, word[1:]) -> set(zip(word, word[1:])) :: a pair that occurs twice in a word counts twice
    = return count_pairs([i for word in words for i in word]) :: no pair runs from one word into the next
    = return count_pairs([i for word, n in words.items() for i in word * n])
        :: no pair runs from one word into the next
    += n -> += 1 && zip(word, word[1:]) -> zip(word * n, (word * n)[1:])
        :: no pair runs from one copy of a word into the next
    += n -> += n * len(word) :: the number is how often the word occurs, whatever its length
    += n -> += n + 1 :: one too many for each pair: add the word's number alone
    += n -> += n ⏎ break :: all pairs of a word count, not only its first
    counts[pair] -> counts[pair[::-1]] :: the left neighbour comes first in the pair
    counts[pair] -> counts[tuple(sorted(pair))] :: do not sort: (1, 2) is not (2, 1)
    = return Counter(words) :: these are words: count the pairs inside
    = return {p: n for p, n in words.items() if len(p) == 2} :: these are words: count the pairs inside
    zip(word, word[1:]) -> word :: these are single ids, not pairs
    return counts -> return {p: counts[p] / counts.total() for p in counts}
        :: return how often, not which share
    return counts -> return dict(counts.most_common(1)) :: return all pairs, not only one
    return counts -> return counts.most_common() :: a dictionary is asked for
    Counter() -> {} :: a new pair is no key yet: counts.get(pair, 0) + n, or begin with a Counter()
    words.items() -> words :: a loop over a dictionary gives its keys only: words.items() gives word and n
    word, n in words.items(): -> word in words.items(): ⏎     n = words[word]
        :: words.items() gives pairs of word and n
    zip(word, word[1:]) -> ((word[i], word[i + 1]) for i in range(len(word)))
        :: the last id has no right neighbour
    for pair in zip -> counts = Counter() ⏎ for pair in zip
        :: only the last word is left: begin with Counter() before the loops
    += n -> += n ⏎ return counts :: only the first pair: is `return` inside the loop?
    = for word, n in words.items(): ⏎     return Counter([*zip(word, word[1:])] * n)
        :: only the first word: is `return` inside the loop?
    for word, n in words.items(): -> while words: ⏎     word, n = words.popitem()
        :: your function changes the dictionary
    return counts ->  :: is `return` missing?
    """,
)

join_documents = lesson.exercise(
    "7.8 · join documents",
    """
    def join_documents(texts, tokenizer):
        row = []
        for text in texts:
            row += tokenizer.encode(text).tolist()
            row.append(tokenizer.end_of_text)
        return row
    """,
    run=listed,
    cases=[  # in the first, the end is no byte, not 256 and not the last id
        (["ab", "c", "dd"], BPETokenizer("a b\nd d", (END_OF_TEXT, "<|pad|>"))),
        (["x <|endoftext|> y", "z"], BPETokenizer("")),
        (["one", "", " x \n"], BPETokenizer("o n\non e", ("<|pad|>", END_OF_TEXT, "<|im_end|>"))),
        ([], BPETokenizer("")),
    ],
    said="for {0}, when end_of_text is {1.end_of_text}",
    slips="""
    (text) -> (text + "<|endoftext|>") && row.append(tokenizer.end_of_text) ->
        :: the end is an id, not text: encode gives many ids for <|endoftext|>
    = return tokenizer.encode("<|endoftext|>".join(texts)).tolist()
        :: the end is an id, not text: encode gives many ids for <|endoftext|>
    tokenizer.end_of_text -> "<|endoftext|>" :: the end is an id, tokenizer.end_of_text, and not text
    tokenizer.encode(text).tolist() ⏎ row.append(tokenizer.end_of_text)
        -> list(tokenizer.encode(text) + tokenizer.end_of_text)
        :: numpy adds a number to every id: make a list of the ids first, .tolist()
    .tolist() ->  :: `row += array` adds numbers as numpy does: make a list of the ids first, .tolist()
    return row -> return row[:-1] :: the last document has an end, too
    row += -> row.append(tokenizer.end_of_text) ⏎ row += && tolist() ⏎ row.append(tokenizer.end_of_text)
        -> tolist() :: the end comes after a document, not before it
    row.append(tokenizer.end_of_text) ->  :: the ends of the documents are missing
    row.append(tokenizer.end_of_text) -> && return row -> return row + [tokenizer.end_of_text]
        :: one end for each document, not only for the last
    row += tokenizer.encode(text).tolist() ⏎ row.append(tokenizer.end_of_text)
        -> row.append(tokenizer.encode(text).tolist() + [tokenizer.end_of_text])
        :: one list for all, not one for each document
    row += tokenizer.encode(text).tolist() -> row.append(tokenizer.encode(text).tolist())
        :: one list for all: append adds the list itself, += its ids
    row += tokenizer.encode(text).tolist() -> row.append(tokenizer.encode(text))
        :: one list for all: append adds the array itself, += its ids
    tokenizer.end_of_text -> 50256 :: the id is tokenizer.end_of_text: 50256 is GPT-2's
    tokenizer.end_of_text -> 256 :: the id is tokenizer.end_of_text: 256 is that of another tokenizer
    end_of_text -> vocab_size - 1 :: the end need not be the last id: it is tokenizer.end_of_text
    row += tokenizer.encode(text).tolist() ⏎ row.append(tokenizer.end_of_text)
        -> for i in tokenizer.encode(text).tolist(): ⏎     row += [i, tokenizer.end_of_text]
        :: an end after each document, not after each id
    row.append(tokenizer.end_of_text) -> row += tokenizer.end_of_text :: += adds a list: append adds one id
    tokenizer.encode(text).tolist() -> list(text.encode()) :: the tokenizer's ids are asked for, not bytes
    in texts -> in filter(None, texts) :: an empty text is a document, too: its end alone
    encode(text) -> encode(text.strip()) :: a text stays as it is: no strip
    = return tokenizer.encode(" ".join(texts)).tolist() :: a space is no end: use tokenizer.end_of_text
    row.append(tokenizer.end_of_text) -> return row + [tokenizer.end_of_text]
        :: only the first document: is `return` inside the loop?
    row += -> row = :: only the last document is there: += adds to the list, = begins anew
    = return np.concatenate([[*tokenizer.encode(text), tokenizer.end_of_text] for text in texts]).tolist()
        :: without documents the list is empty: np.concatenate needs at least one array
    = return "".join(text + "<|endoftext|>" for text in texts)
    for text in texts: -> while texts: ⏎     text = texts.pop(0) :: your function changes the list
    return row ->  :: is `return` missing?
    """,
)

bits_per_byte = lesson.exercise(
    "7.9 · bits per byte",
    """
    def bits_per_byte(nats, n_tokens, text):
        return nats * n_tokens / math.log(2) / len(text.encode("utf-8"))
    """,
    cases=[  # in the last, e to the power of all nats is too large for a float
        (3.1, 4, "two pumpkins"),
        (2.5, 7, "größere Kürbisse"),
        (1.75, 3, "南瓜 🎃"),
        (4.0, 400, "A pumpkin grows. " * 80),
    ],
    said="for {0} nats, {1} tokens and {2!r:.30}",
    slips="""
    len(text.encode("utf-8")) -> len(text) :: divide by bytes, not by characters: len(text.encode("utf-8"))
    len(text.encode("utf-8")) -> len(text.split()) :: a word is no byte: len(text.encode("utf-8"))
    "utf-8" -> "utf-16" :: count the bytes in UTF-8, not in UTF-16
    len(text.encode("utf-8")) -> (8 * len(text.encode())) :: count bytes, not their bits: leave out the 8
    len(text.encode("utf-8")) -> (len(text.encode()) / 8) :: count bytes, not their bits: leave out the 8
    / math.log(2) -> * math.log(2) :: divide by ln 2: a nat is more than a bit
    / math.log(2) ->  :: nats become bits when they are divided by ln 2, which is math.log(2)
    math.log(2) -> math.log10(2) :: ln 2 = math.log(2), not log10
    math.log(2) -> math.log(10) :: divide by ln 2, not by ln 10: a bit is a choice of two
    nats * n_tokens / math.log(2) -> math.log2(nats) * n_tokens
        :: math.log2 is no change of unit: divide by ln 2
    nats * n_tokens / math.log(2) -> math.exp(nats) * n_tokens :: math.exp makes a perplexity: divide by ln 2
    nats * n_tokens -> math.exp(nats) * n_tokens :: math.exp makes a perplexity of nats: leave it out
    nats * n_tokens / math.log(2) -> math.log2(math.exp(nats * n_tokens))
        :: math.exp of all nats is too large: divide by ln 2
    nats * n_tokens -> nats :: nats is the mean of one token: multiply by n_tokens
    nats * n_tokens -> nats / n_tokens :: nats is the mean of one token: multiply by n_tokens, do not divide
    len(text.encode("utf-8")) -> n_tokens :: these are bits per token: times the tokens, divided by the bytes
    = return nats / math.log(2) / n_tokens :: divide by the bytes, not by the tokens
    = return nats * n_tokens / math.log(2) :: divide by the bytes: these are the bits of the whole text
    = return nats * n_tokens :: divide by the bytes: these are the nats of the whole text
    = return nats / math.log(2) * len(text.encode()) / n_tokens :: exchange tokens and bytes
    / len( -> // len( :: // makes whole numbers: divide with /
    = return round(nats * n_tokens / math.log(2) / len(text.encode()), 2) :: do not round
    = return round(nats * n_tokens / math.log(2) / len(text.encode()), 3) :: do not round
    return -> bits = :: is `return` missing?
    """,
)
