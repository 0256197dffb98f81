"""Byte pair encoding against two libraries: the merges are those of `tokenizers`, the ids those of tiktoken.

What needs GPT-2's files or real text runs where TINYLM_DATA names a pack that has them."""

import os
import subprocess
import sys
import time
from itertools import product

import pytest

from tests.support.byte_pairs import both, merges_by_library
from tinylm.text import bpe, corpora, tokenizers
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


def test_words_are_counted_whatever_the_texts_and_none_crosses_from_one_to_the_next():
    text = STORIES.joined(20_000, seed=2) + "don't  \n\n  3.14 naïve\ud83d"
    words = bpe.count_words([text, "x"])
    assert sum(len(word) * n for word, n in words.items()) == len(bpe.as_unicode(text).encode()) + 1
    assert words[b"x"] == 1 and words["naïve\ufffd".encode()] == 0 and words["\ufffd".encode()] == 1


def test_merges_end_where_no_pair_is_left_and_begin_as_those_of_a_shorter_training():
    words = bpe.count_words([STORIES.joined(20_000, seed=2)])
    every = bpe.train_merges(words, 10**6)
    assert bpe.train_merges(words, 100) == every[:100] and len(every) < 10**4
    ids_of = {pair: 256 + i for i, pair in enumerate(every)}
    assert all(len(bpe.encode_word(word, ids_of)) == 1 for word in words)


@both
def test_ids_are_those_of_tiktoken_on_every_short_text_of_a_small_alphabet(pair):
    ours, theirs = pair()
    for text in map("".join, product(SMALL, repeat=3)):
        assert ours.encode(text).tolist() == theirs.encode_ordinary(text), text


@both
@pytest.mark.parametrize("text", ["a", " ", "\n", "=-", "the", "é"])
def test_ids_are_those_of_tiktoken_on_runs_short_and_long(pair, text):
    ours, theirs = pair()
    for n in (*range(1, 101), 1000):
        assert ours.encode(text * n + "x").tolist() == theirs.encode_ordinary(text * n + "x"), n


@both
@pytest.mark.parametrize("text", ["a" * 1_000_000, "\u00a0" * 400_000 + "x"], ids=["a", "no-break spaces"])
def test_ids_are_those_of_tiktoken_on_a_word_so_long_that_n_times_n_steps_never_end(pair, text):
    ours, theirs = pair()
    assert ours.encode(text).tolist() == theirs.encode_ordinary(text)


PANIC = r"""
import os
from tests.support import byte_pairs
theirs = byte_pairs.trained()[1]
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
try:
    theirs.encode_ordinary(" " * 999_999 + "x")
except BaseException as error:
    print(type(error).__name__, isinstance(error, Exception))
"""


def test_tiktoken_still_panics_on_a_million_spaces_before_a_word():
    """If it no longer does, WHITE_SPACE and what rests on it can go."""
    done = subprocess.run([sys.executable, "-c", PANIC], cwd=corpora.ROOT, capture_output=True, text=True)
    assert done.stdout == "PanicException False\n"


@both
@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_white_space_on_which_tiktoken_panics_has_the_ids_of_its_words(pair, space):
    ours, theirs = pair()
    fine, deadly = space * 999_998 + "x", space * 1_000_000 + "x"
    assert ours.encode(fine).tolist() == theirs.encode_ordinary(fine)
    run, word = (
        space * 999_999,
        space + "x",
    )  # the last space goes with the word, and a run that ends a text is fine
    ids = ours.encode(deadly)
    assert ids.tolist() == theirs.encode_ordinary(run) + theirs.encode_ordinary(word)
    assert ours.decode(ids) == deadly
    (document,) = ours.encode_documents([deadly])  # tiktoken would have ended this process here
    assert document.tolist() == [*ids.tolist(), ours.end_of_text]


def test_documents_have_the_ids_of_their_texts_whichever_way_they_are_encoded():
    texts = ["", "a story.", "a <|endoftext|> in it", "\ud83d and \ud83d\ude00", STORIES.joined(3000, seed=3)]
    texts += [(texts[-1] + text) * 200 for text in texts[1:4]]  # long ones: by another way
    assert min(map(len, texts[5:])) > tokenizers.WHITE_SPACE
    for ours in (BPETokenizer.train(texts[:5], 300), BPETokenizer("", special=())):
        end = [] if ours.end_of_text is None else [ours.end_of_text]
        documents = list(ours.encode_documents(texts))
        assert [ids.tolist() for ids in documents] == [[*ours.encode(t).tolist(), *end] for t in texts]
        assert {ids.dtype.name for ids in documents} == {"int64"}


@pytest.mark.parametrize("text", [" " * 400_000 + "x" + " " * 400_000, ("a" + " " * 199_999) * 3])
def test_long_document_with_white_space_is_encoded_in_no_time(text):
    tokenizer = BPETokenizer.train(["abc abd"], 260)
    began = time.process_time()
    (ids,) = tokenizer.encode_documents([text])
    assert time.process_time() - began < 5  # a search for a run of half a million took minutes
    assert tokenizer.decode(ids[:-1]) == text
