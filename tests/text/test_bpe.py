"""Byte pair encoding against two libraries: the merges are those of `tokenizers`, the ids those of tiktoken.

What needs GPT-2's files or real text runs where TINYLM_DATA names a pack that has them."""

import os
from functools import cache
from itertools import product

import pytest
import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str  # not written as ours is

from tinylm.errors import CorpusMissing
from tinylm.text import bpe, corpora
from tinylm.text.tokenizers import BPETokenizer, gpt2_tokenizer, tiktoken_gpt2
from tinylm.text.toyworld.world import PLAYS, STORIES

SMALL = " ab'tl1é\u3000\n\r-🎭\ud83d\udfad"  # each kind of word, and a character in one piece and in two


@cache
def gpt2():
    """(ours, tiktoken's), or a skip."""
    try:
        return gpt2_tokenizer(), tiktoken_gpt2()
    except CorpusMissing as missing:
        pytest.skip(f"{missing.reason}")


@cache
def trained():
    """(ours, of 1,000 ids, trained on toyworld; tiktoken's with its merges)."""
    ours = BPETokenizer.train([STORIES.joined(200_000, seed=1)], 1000)
    ranks = {ours.token_bytes(i): i for i in range(ours.vocab_size - 1)}
    return ours, tiktoken.Encoding("ours", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


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
    assert merges == bpe.train_with_library([text()], n_merges)
    assert name != "tinystories" or len(merges) == n_merges


@pytest.mark.parametrize("pair", [trained, gpt2])
def test_ids_are_those_of_tiktoken_on_every_short_text_of_a_small_alphabet(pair):
    ours, theirs = pair()
    for letters in product(SMALL, repeat=3):
        text = "".join(letters)
        assert ours.encode(text).tolist() == theirs.encode_ordinary(text), text


@pytest.mark.parametrize("pair", [trained, gpt2])
@pytest.mark.parametrize("text", ["a", " ", "\n", "=-", "the", "é"])
@pytest.mark.parametrize("n", [99, 1000, 333_333])
def test_ids_are_those_of_tiktoken_on_a_long_run_and_their_number_of_steps_is_not_its_square(pair, text, n):
    ours, theirs = pair()
    assert ours.encode(text * n + "x").tolist() == theirs.encode_ordinary(text * n + "x")
