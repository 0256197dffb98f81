"""Byte pair encoding: learn from a text which pairs of tokens to merge, the most frequent pair first.

A text is cut into words, a word into bytes, and training joins the pair that occurs most often, again and
again. Sennrich et al. (arXiv:1508.07909), on bytes as in GPT-2 (Radford et al., 2019). An id below 256 is a
byte, and 256 + i is what the i-th merge makes of two earlier ids. Encoding is tiktoken's work, see
tokenizers.BPETokenizer; notebook 07_tokenizers writes both by hand."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise

import regex

from tinylm.errors import DataError, short

# GPT-2's words. No merge crosses a word's end, otherwise "dog." and "dog!" would become tokens.
SPLIT = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
# The same words for tiktoken: without ++, which never backtracks, its stack overflows on a million spaces.
FAST_SPLIT = SPLIT.pattern.replace(r"\s+(?!\S)", r"\s++$|\s+(?!\S)")
# A word begins at this white space. Python's own \s counts four control characters more.
WORD_BEGINS = regex.compile(r"\s\S")
PIECE = 500_000  # characters, about
# GPT-2 numbers the printable bytes first. The order matters: of equally frequent pairs the smallest is
# merged.
BYTES = bytes([*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173])
ID_OF_BYTE = bytes.maketrans(BYTES, bytes(range(256)))
# How GPT-2 writes each byte as a letter, in the order of the ids: a space is "Ġ", a line end "Ċ".
LETTERS = "".join(chr(byte) if i < 188 else chr(68 + i) for i, byte in enumerate(BYTES))

Pair = tuple[int, int]


def as_unicode(text: str) -> str:
    """Return the text with each lone surrogate replaced by U+FFFD, as tiktoken does.

    A surrogate is half of a character, and UTF-8 has no bytes for one. Two halves in order become their
    character."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def in_pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces of PIECE characters or a little more, each of whole words.

    The ids of the pieces are the ids of the text. tiktoken needs the cuts: it panics on 999,999 white spaces
    before a word (a piece has fewer, or ends with them), and its list of ids takes nine times their
    memory."""
    begin = 0
    while len(text) - begin > PIECE and (found := WORD_BEGINS.search(text, begin + PIECE)):
        yield text[begin : found.start()]
        begin = found.start()
    yield text[begin:]


def count_words(texts: Iterable[str]) -> Counter[bytes]:
    """Count how often each word occurs in the texts.

    Training needs nothing else. The count is small, because texts repeat their words."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(SPLIT.findall(as_unicode(text)))
    return Counter({word.encode("utf-8"): n for word, n in words.items()})


def train_merges(words: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """Return the pairs to merge, in order: the most frequent first, of equally frequent ones the smallest.

    There are fewer than `n_merges` if no pair is left. Counting all pairs again for each merge would read all
    words each time. Only words that hold the merged pair change, so only their pairs are counted again."""
    spelled = [list(word.translate(ID_OF_BYTE)) for word in words]  # each word as the ids it has so far
    times = list(words.values())
    counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)  # which words hold a pair, or held it once
    for number, ids in enumerate(spelled):
        for pair in pairwise(ids):
            counts[pair] += times[number]
            holders[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < n_merges:
        count, pair = heapq.heappop(queue)
        if counts[pair] != -count:  # other merges took some of these pairs since the count
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
            # Subtract all old pairs and add all new ones: in "aaaa" pairs overlap, so no shortcut is safe.
            for old in pairwise(before):
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
    """Return the ids with each occurrence of the pair replaced by the new id, from left to right."""
    first, second = pair
    out: list[int] = []
    for token in ids:
        if token == second and out and out[-1] == first:
            out[-1] = new  # which is in no pair itself: "aaa" has one pair of a, not two
        else:
            out.append(token)
    return out


@lru_cache(maxsize=8)
def tokens_of(merges: str) -> tuple[bytes, ...]:
    """Return the bytes of each id from the text of the merges: the 256 bytes, then a token for each line.

    A line is "Ġ t": two tokens, each a byte in GPT-2's letters or made by a line above. Raises DataError for
    a line that is not, and for one whose token is there already."""
    tokens = {letter: bytes([byte]) for letter, byte in zip(LETTERS, BYTES, strict=True)}  # as their ids
    lines = merges.split("\n") if merges else []
    for number, line in enumerate(lines, start=1):
        left, _, right = line.partition(" ")
        if left not in tokens or right not in tokens or left + right in tokens:
            wrong = f"line {number} of {len(lines):,} merges is {short(line)}"
            way_out = "write two tokens, each a byte or made above, that make a new one"
            raise DataError(f"{wrong}: {way_out}, as in GPT-2's vocab.bpe below its first line")
        tokens[left + right] = tokens[left] + tokens[right]
    return tuple(tokens.values())
