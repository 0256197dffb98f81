"""Byte pair encoding against two libraries: the merges are those of `tokenizers`, the ids those of tiktoken.

What needs GPT-2's files or real text runs where TINYLM_DATA names a pack that has them."""

import os
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.byte_pairs import ASSIGNED, TEXTS, any_text, both, merges_by_library, trained
from tinylm.text import bpe, corpora
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import PLAYS, STORIES

SMALL = " ab'tl1é\u3000\n\r-🎭\ud83d\udfad"  # each kind of word, and a character in one piece and in two


def real_text(corpus):
    path = corpora.ROOT / os.environ.get("TINYLM_DATA", "no-pack") / corpus / "train.txt"
    if not path.is_file():
        pytest.skip(f"TINYLM_DATA names no pack with {corpus}")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, text, n_merges",
    [
        ("stories", lambda: STORIES.joined(300_000, seed=1), 3840),
        ("plays", lambda: PLAYS.joined(300_000, seed=1), 3840),
        ("tinystories", lambda: real_text("tinystories"), 3840),
        ("ties", lambda: "b a c ab cd cd ca ac bd ba dddd ddd", 100),
        ("no pair", lambda: "a b c", 3),
        ("nothing", lambda: "", 3),
        ("half a character", lambda: "x\ud83dx x\ud83dx \ud83d\ude00", 100),
    ],
)
def test_merges_are_those_of_the_tokenizers_library(name, text, n_merges):
    merges = bpe.train_merges(bpe.count_words([text()]), n_merges)
    assert merges == merges_by_library([text()], n_merges)
    assert name != "tinystories" or len(merges) == n_merges


@any_text
@given(texts=st.lists(st.one_of(st.text("ab é", max_size=30), st.text(ASSIGNED)), max_size=4))
def test_merges_of_any_texts_are_those_of_the_tokenizers_library(texts):
    assert bpe.train_merges(bpe.count_words(texts), 60) == merges_by_library(texts, 60)


def test_words_are_counted_whatever_the_texts_and_none_crosses_from_one_to_the_next():
    text = STORIES.joined(20_000, seed=2) + "don't  \n\n  3.14 naïve\ud83d"
    words = bpe.count_words([text, "x"])
    assert sum(len(word) * n for word, n in words.items()) == len(bpe.as_unicode(text).encode()) + 1
    assert words[b"x"] == 1 and words["naïve\ufffd".encode()] == 0 and words["\ufffd".encode()] == 1


def test_merges_end_where_no_pair_is_left_and_begin_as_those_of_a_shorter_training():
    text = STORIES.joined(20_000, seed=2)
    every = bpe.train_merges(bpe.count_words([text]), 10**6)
    assert bpe.train_merges(bpe.count_words([text]), 100) == every[:100] and len(every) < 10**4
    words = bpe.SPLIT.findall(text)
    assert len(BPETokenizer.train([text], 10**6).encode(text)) == len(words)  # every word has become one id


@both
def test_ids_are_those_of_tiktoken_on_every_short_text_of_a_small_alphabet(pair):
    ours, theirs = pair()
    for text in map("".join, product(SMALL, repeat=3)):
        assert ours.encode(text).tolist() == theirs.encode_ordinary(text), text


@both
@any_text
@given(text=TEXTS)
def test_prompts_and_documents_have_tiktokens_ids_on_any_text_and_decode_gives_the_text_back(pair, text):
    ours, theirs = pair()
    ids = ours.encode(text)
    assert ids.tolist() == theirs.encode_ordinary(text)
    assert ours.decode(ids) == bpe.as_unicode(text)
    assert b"".join(map(ours.token_bytes, ids)) == bpe.as_unicode(text).encode()
    (document,) = ours.encode_documents([text])
    assert document.tolist() == [*ids.tolist(), ours.end_of_text] and document.dtype == ids.dtype == "int64"


@any_text
@given(texts=st.lists(st.text("ab c", max_size=60), max_size=3), text=st.text("ab c", max_size=300))
def test_merges_made_in_their_order_by_hand_give_the_same_ids(texts, text):
    words = bpe.count_words(texts)
    ids = []
    for word in bpe.SPLIT.findall(text):
        spelled = list(word.encode().translate(bpe.ID_OF_BYTE))
        for i, pair in enumerate(bpe.train_merges(words, 63)):
            spelled = bpe.merged(spelled, pair, 256 + i)
        ids += spelled
    assert BPETokenizer.train(texts, 320).encode(text).tolist() == ids


@pytest.fixture(scope="module")
def pieces_of_three():
    """Texts are cut after about 3 characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "PIECE", 3)
        yield


@pytest.mark.usefixtures("pieces_of_three")
@any_text
@given(text=TEXTS)
def test_text_that_is_encoded_in_pieces_has_the_ids_of_the_whole(text):
    ours, theirs = trained()
    assert "".join(bpe.in_pieces(text)) == text
    assert ours.encode(text).tolist() == theirs.encode_ordinary(text)


@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_million_spaces_before_a_word_on_which_tiktoken_panics_are_encoded(space):
    ours, theirs = trained()
    run, word = space * 999_999, space + "x"  # the last space goes with the word
    ids = ours.encode(run + word)
    assert ids.tolist() == theirs.encode_ordinary(run) + theirs.encode_ordinary(word)
    assert ours.decode(ids) == run + word
