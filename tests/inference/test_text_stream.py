"""A text ends before its first stop sequence, and each piece of it comes as soon as it is certain."""

import itertools
import random

import pytest

from tinylm.inference.text_stream import TextStream
from tinylm.text.tokenizers import BPETokenizer


class Bytes:
    """A tokenizer whose tokens are bytes, mostly one each: then most characters are several tokens."""

    end_of_text = None

    def token_bytes(self, token):
        return token if isinstance(token, bytes) else bytes([token])


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


@pytest.mark.parametrize("stop", [("ab",), ("aab",), ("abc", "bb"), ("abca", "cab", "c"), ()])
def test_stop_sequence_complete_first_ends_the_text_however_it_is_cut_into_tokens(stop):
    source = random.Random(0)
    for _ in range(40):
        text = "".join(source.choices("abc", k=8))
        expected = before_the_first_to_be_complete(text, stop)
        for pieces in cuts(text):
            stream = TextStream(Bytes(), stop)
            said = "".join([*(stream.add(piece.encode()) for piece in pieces), stream.end()])
            assert said == expected, (pieces, stop)
            assert stream.stopped == (expected != text)


@pytest.mark.parametrize(
    "tokens, stop, said, rest",
    [
        ("né €9".encode(), (), ["n", "", "é", " ", "", "", "€", "9"], ""),  # with the last of its bytes
        (b"a\xe2\x82", (), ["a", "", ""], "\N{REPLACEMENT CHARACTER}"),  # as the tokenizer writes half of one
        (b"\xffa\xc3b\x80", (), ["\ufffd", "a", "", "\ufffdb", "\ufffd"], ""),  # no character can come of it
        (b"cab", ("abc",), ["c", "", ""], "ab"),  # held back, and said when the tokens end
        (b"aaacab", ("aab", "cad"), ["", "", "a", "aa", "", "cab"], ""),
        (b"f" + "é\nx".encode(), ("é\n",), ["f", "", "", "", ""], ""),
        ([b"a \xe2", b"\x82"], (" ",), ["a", ""], ""),  # bytes behind the stop sequence are never said
    ],
)
def test_stream_emits_what_is_certain_at_once_and_what_it_held_back_at_the_end(tokens, stop, said, rest):
    text = TextStream(Bytes(), stop)
    assert [text.add(byte) for byte in tokens] == said
    assert (text.end(), text.end()) == (rest, "")


def test_tokens_of_bytes_are_said_as_they_decode_with_the_names_of_special_ones():
    tokenizer = BPETokenizer.train(["naïve – ß 🎭🎭🎭 " * 9], 270, special=("<|im_end|>", "<|é|>"))
    source = random.Random(0)
    for _ in range(200):
        ids = source.choices(range(tokenizer.vocab_size), k=source.randrange(12))
        ids += tokenizer.encode("".join(source.choices("aï–🎭 \n", k=8))).tolist()
        stream = TextStream(tokenizer)
        assert "".join([*map(stream.add, ids), stream.end()]) == tokenizer.decode(ids)
    text = "naïve – ß 🎭🎭 Zürich"
    stream = TextStream(tokenizer)
    pieces = [*map(stream.add, tokenizer.encode(text).tolist()), stream.end()]
    assert "\ufffd" not in "".join(pieces) and len([piece for piece in pieces if piece]) > 10
