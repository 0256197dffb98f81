"""A text ends before its first stop sequence, and each piece of it comes as soon as it is certain."""

import itertools
import random

import pytest

from tinylm.inference.text_stream import TextStream


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
            said = "".join([*map(stream.add, range(len(pieces))), stream.end()])
            assert said == expected, (pieces, stop)
            assert stream.stopped == (expected != text)


@pytest.mark.parametrize(
    "tokens, stop, said, rest",
    [
        ("né €9".encode(), (), ["n", "", "é", " ", "", "", "€", "9"], ""),  # with the last of its bytes
        (b"a\xe2\x82", (), ["a", "", ""], "\N{REPLACEMENT CHARACTER}"),  # as the tokenizer writes half of one
        (b"cab", ("abc",), ["c", "", ""], "ab"),  # held back, and said when the tokens end
        (b"aaacab", ("aab", "cad"), ["", "", "a", "aa", "", "cab"], ""),
        (b"aaaca", ("aab", "ca"), ["", "", "a", "aa", ""], ""),
        (b"babcb", ("abc",), ["b", "", "", "", ""], ""),
        (b"f" + "é\nx".encode(), ("é\n",), ["f", "", "", "", ""], ""),
    ],
)
def test_stream_emits_what_is_certain_at_once_and_what_it_held_back_at_the_end(tokens, stop, said, rest):
    text = TextStream(Bytes(), stop)
    assert [text.add(byte) for byte in tokens] == said
    assert (text.end(), text.end()) == (rest, "")
