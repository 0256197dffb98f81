"""Byte pair encoding: merges against the plain definition, ids against tiktoken.

What needs GPT-2's files runs where TINYLM_DATA names a pack that has them."""

from collections import Counter
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.byte_pairs import ASSIGNED, TEXTS, any_text, both, trained
from tinylm.text import bpe
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES


def in_order(texts, n_merges):
    """Merges, and the ids of each word, the plain way: count all pairs again for each merge."""
    words = Counter(word for text in texts for word in bpe.SPLIT.findall(text))
    spelled, merges = {word: [*word.encode().translate(bpe.ID_OF_BYTE)] for word in words}, []
    for new in range(256, 256 + n_merges):
        pairs = Counter()
        for word, times in words.items():
            for pair in pairwise(spelled[word]):
                pairs[pair] += times
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        for word, ids in spelled.items():
            made = []
            for token in ids:
                if made and (made[-1], token) == merges[-1]:
                    made[-1] = new
                else:
                    made.append(token)
            spelled[word] = made
    return merges, spelled


@any_text
@given(texts=st.lists(st.one_of(st.text("ab é", max_size=30), st.text(ASSIGNED)), max_size=4))
@example(["b a c ab cd cd ca ac bd ba dddd ddd"])  # ties
@example([STORIES.joined(3_000, seed=2)])
def test_merges_and_ids_are_those_of_counting_all_pairs_for_each_merge(texts):
    tokenizer, (merges, spelled) = BPETokenizer.train(texts, 257 + 60), in_order(texts, 60)
    made = bpe.tokens_of(tokenizer.merges)
    assert len(made) == 256 + len(merges)
    assert all(made[256 + i] == made[a] + made[b] for i, (a, b) in enumerate(merges))
    for text in texts:
        ids = [token for word in bpe.SPLIT.findall(text) for token in spelled[word]]
        assert tokenizer.encode(text).tolist() == ids


def test_half_a_character_is_trained_on_as_it_is_encoded():
    halves = BPETokenizer.train(["x\ud83dx x\ud83dx \ud83d\ude00"], 300)
    assert halves == BPETokenizer.train(["x\ufffdx x\ufffdx \U0001f600"], 300)


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
@given(text=TEXTS)
def test_text_that_is_encoded_in_pieces_has_the_ids_of_the_whole(text):
    ours, theirs = trained()
    with mock.patch.object(bpe, "PIECE", 3):  # about so many characters
        assert "".join(bpe.in_pieces(text)) == text
        assert ours.encode(text).tolist() == theirs.encode_ordinary(text)


@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_million_spaces_before_a_word_on_which_tiktoken_panics_are_encoded(space):
    ours, theirs = trained()
    run, word = space * 999_999, space + "x"  # the last space goes with the word
    ids = ours.encode(run + word)
    assert ids.tolist() == theirs.encode_ordinary(run) + theirs.encode_ordinary(word)
    assert ours.decode(ids) == run + word
