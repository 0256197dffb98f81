"""Byte pair encoding: learn from a text which pairs of tokens to merge, the most frequent pair first.

A text is cut into words, a word into bytes, and training joins the pair that occurs most often, again and
again. Sennrich et al. (arXiv:1508.07909), on bytes as in GPT-2 (Radford et al., 2019). An id below 256 is a
byte, and 256 + i is what the i-th merge makes of two earlier ids. Training is the work of `tokenizers`,
encoding that of tiktoken (see tokenizers.BPETokenizer); notebook 07_tokenizers writes both by hand."""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache

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


def train_merges(texts: Iterable[str], n_merges: int) -> list[str]:
    """Return the merges in order, as GPT-2 writes them ("Ġ t"): the most frequent pair first, of equally
    frequent pairs the one with the smallest ids. There are fewer than `n_merges` if no pair is left.

    The trainer is that of Hugging Face's `tokenizers`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's words and letters
    letters = pre_tokenizers.ByteLevel.alphabet()  # sorted by the trainer, which is the order of LETTERS
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + n_merges, min_frequency=0, show_progress=False, initial_alphabet=letters
    )
    learner.train_from_iterator(map(as_unicode, texts), trainer)
    return [" ".join(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


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
