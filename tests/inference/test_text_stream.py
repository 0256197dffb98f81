"""A text ends before its first stop sequence, and each piece of it comes as soon as it is certain."""

import itertools
import random

import pytest

from tinylm.inference.text_stream import TextStream
from tinylm.text.tokenizers import CharTokenizer

LETTERS = CharTokenizer("abc")


class Pieces:
    """A tokenizer whose token i is the i-th piece."""

    def __init__(self, pieces):
        self.pieces = pieces

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids)


class Bytes:
    """A tokenizer whose token i is the byte i: most characters are several tokens."""

    def decode(self, ids):
        return bytes(ids).decode("utf-8", errors="replace")


def read(text, pieces):
    """What the stream says token by token, and at the end if it was not stopped."""
    said = []
    for i in range(len(pieces)):
        said.append(text.add(i))
        if text.stopped:
            return said
    return [*said, text.end()]


def before_the_first_to_be_complete(text, stop):
    """The same by trying every beginning of the text, shortest first."""
    for end in range(len(text) + 1):
        if found := [s for s in stop if text[:end].endswith(s)]:
            return text[: end - max(map(len, found))]
    return text


def cuts(text):
    """Every way to cut a text into pieces."""
    for flags in itertools.product((False, True), repeat=len(text) - 1):
        pieces = [text[0]]
        for cut, character in zip(flags, text[1:], strict=True):
            if cut:
                pieces.append(character)
            else:
                pieces[-1] += character
        yield pieces


@pytest.mark.parametrize(
    "stop", [("b",), ("ab",), ("aab",), ("abc", "bb"), ("bc", "abcb"), ("abca", "cab", "c"), ("cab", "b"), ()]
)
def test_stop_sequence_complete_first_ends_the_text_however_it_is_cut_into_tokens(stop):
    source = random.Random(0)
    for _ in range(40):
        text = "".join(source.choices("abc", k=8))
        expected = before_the_first_to_be_complete(text, stop)
        for pieces in cuts(text):
            stream = TextStream(Pieces(pieces), stop)
            assert "".join(read(stream, pieces)) == expected, (pieces, stop)
            assert stream.stopped == (expected != text)


def test_stream_holds_back_exactly_what_may_still_become_a_stop_sequence():
    stop, source = ("aab", "ca"), random.Random(1)
    beginnings = {s[:n] for s in stop for n in range(len(s))}
    stream, said, handed_in, n_held = TextStream(LETTERS, stop), "", "", 0
    for _ in range(400):
        token = source.randrange(3)
        said, handed_in = said + stream.add(token), handed_in + LETTERS.characters[token]
        if stream.stopped:
            stream, said, handed_in = TextStream(LETTERS, stop), "", ""
            continue
        held = max((b for b in beginnings if handed_in.endswith(b)), key=len)
        assert said + held == handed_in
        n_held += bool(held)
    assert n_held > 50


@pytest.mark.parametrize(
    "tokens, stop, said, rest",
    [
        ("né €9 😀!".encode(), (), "né €9 😀!", ""),  # a character comes with the last of its bytes
        (b"a\xe2\x82", (), "a", "\N{REPLACEMENT CHARACTER}"),  # as the tokenizer writes half a character
        (b"cab", ("abc",), "c", "ab"),  # held back, and said when the tokens end
        (b"babcb", ("abc",), "b", ""),
        (b"caf" + "é\nx".encode(), ("é\n",), "caf", ""),
    ],
)
def test_stream_emits_characters_when_they_are_complete_and_what_it_held_back_at_the_end(
    tokens, stop, said, rest
):
    text = TextStream(Bytes(), stop)
    pieces = [text.add(byte) for byte in tokens]
    assert [piece for piece in pieces if piece] == list(said)
    assert (text.end(), text.end()) == (rest, "")
    assert text.stopped == (bool(stop) and not rest)
