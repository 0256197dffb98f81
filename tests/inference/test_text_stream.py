"""Tests of tinylm.inference.text_stream."""

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


def test_stream_without_stop_sequences_emits_every_token_at_once():
    text = TextStream(LETTERS)
    assert [text.add(i) for i in (0, 2, 1, 1)] == ["a", "c", "b", "b"]
    assert text.end() == ""
    assert not text.stopped


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


def test_stream_emits_what_it_held_back_when_the_tokens_end():
    text = TextStream(LETTERS, ("abc",))
    assert [text.add(i) for i in (2, 0, 1)] == ["c", "", ""]
    assert text.end() == "ab"
    assert text.end() == ""


def test_stop_sequence_at_the_last_token_ends_the_text_and_nothing_of_it_is_emitted():
    text = TextStream(LETTERS, ("abc",))
    assert [text.add(i) for i in (1, 0, 1, 2)] == ["b", "", "", ""]
    assert text.stopped
    assert text.end() == ""


def test_character_is_emitted_when_all_its_bytes_are_there():
    written = "né €9 😀!"
    text = TextStream(Bytes())
    said = [text.add(byte) for byte in written.encode()]
    assert "".join(said) == written
    assert [piece for piece in said if piece] == list(written)


def test_incomplete_character_at_the_end_is_emitted_as_the_tokenizer_writes_it():
    text = TextStream(Bytes())
    assert [text.add(byte) for byte in (97, 226, 130)] == ["a", "", ""]
    assert text.end() == "\N{REPLACEMENT CHARACTER}"


def test_stop_sequence_may_end_inside_the_bytes_of_one_piece():
    text = TextStream(Bytes(), ("é\n",))
    said = [text.add(byte) for byte in b"caf" + "é\n".encode()]
    assert said == ["c", "a", "f", "", "", ""]
    assert text.stopped
