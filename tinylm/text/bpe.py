"""Byte pair encoding: a text is cut into words, words into bytes, and the pair seen most often is joined.

Sennrich et al. (arXiv:1508.07909), on bytes as in GPT-2 (Radford et al., 2019). An id below 256 is a byte,
and 256 + i is what the i-th merge makes of two earlier ids. Taught in notebook 07_tokenizers."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

import regex

# GPT-2's words. No merge crosses them, or "dog." and "dog!" would become tokens.
SPLIT = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# GPT-2 counts the printable bytes first, and the order matters: of equal pairs the smallest is joined.
BYTES = bytes([*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173])
ID_OF_BYTE = bytes.maketrans(BYTES, bytes(range(256)))

Pair = tuple[int, int]


def as_unicode(text: str) -> str:
    """The text with each lone surrogate as U+FFFD, because UTF-8 has no bytes for half a character.

    Two halves in order become their character. This is tiktoken's rule."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def count_words(texts: Iterable[str]) -> Counter[bytes]:
    """How often each word stands in the texts: all that training needs, and few, as words are repeated."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(SPLIT.findall(as_unicode(text)))
    return Counter({word.encode("utf-8"): n for word, n in words.items()})


def train_merges(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """The pairs to join, most frequent first, of equal ones the smallest; fewer where no pair is left.

    Counting all pairs again for each merge would read all words each time. Only words that hold the merged
    pair change, so only their pairs are counted again."""
    spelled = [list(word.translate(ID_OF_BYTE)) for word in words]  # each word as its ids so far
    times = list(words.values())
    counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)  # which words hold a pair, or once held it
    for number, ids in enumerate(spelled):
        for pair in pairwise(ids):
            counts[pair] += times[number]
            holders[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < n_merges:
        count, pair = heapq.heappop(queue)
        if counts[pair] != -count:  # some of it was merged away since it was counted
            if counts[pair]:
                heapq.heappush(queue, (-counts[pair], pair))
            continue
        new, changed = 256 + len(merges), set()
        merges.append(pair)
        for number in holders.pop(pair):
            before = spelled[number]
            after = spelled[number] = merged(before, pair, new)
            if len(after) == len(before):
                continue
            for old in pairwise(before):  # all are taken away and the new ones added: in "aaaa" pairs overlap
                counts[old] -= times[number]
            for made in pairwise(after):
                counts[made] += times[number]
                if new in made:  # no other pair can have become more frequent
                    holders[made].add(number)
                    changed.add(made)
        for made in changed:
            heapq.heappush(queue, (-counts[made], made))
    return merges


def merged(ids: list[int], pair: Pair, new: int) -> list[int]:
    """The ids with each occurrence of the pair, from left to right, replaced by the new id."""
    first, second = pair
    out: list[int] = []
    for token in ids:
        if token == second and out and out[-1] == first:  # one in a pair has become `new`
            out[-1] = new
        else:
            out.append(token)
    return out


def encode_word(word: bytes, ids_of: Mapping[Pair, int]) -> list[int]:
    """The ids of one word: of the merges that its pairs allow, the earliest is made first, as in training.

    The pairs wait by the merge that joins them: to look through the word for each merge would take n² steps,
    and a heap of pairs four times as long. What a merge makes only later ones join, so each has one turn, and
    it goes from left to right where that matters: two equal ids are noted as they are made."""
    ids = list(word.translate(ID_OF_BYTE))
    after = [*range(1, len(ids)), -1]  # the neighbours of each place, which a merge brings together
    before = [*range(-1, len(ids) - 1)]
    places: dict[int, list[int]] = {}  # a merge -> where the pairs begin that it joins
    for at, pair in enumerate(pairwise(ids)):
        if (made := ids_of.get(pair)) is not None:
            places.setdefault(made, []).append(at)
    while places:
        for at in places.pop(new := min(places)):
            right = after[at]
            if right < 0 or ids_of.get((ids[at], ids[right])) != new:  # one of the two was merged since
                continue
            ids[at], ids[right], after[at] = new, -1, after[right]  # -1 is in no pair
            if (left := before[at]) >= 0 and (made := ids_of.get((ids[left], new))) is not None:
                places.setdefault(made, []).append(left)
            if (right := after[at]) >= 0:
                before[right] = at
                if (made := ids_of.get((new, ids[right]))) is not None:
                    places.setdefault(made, []).append(at)
    return [token for token in ids if token >= 0]
