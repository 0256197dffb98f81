"""The laws of byte pair encoding on whatever texts hypothesis thinks of, in every script and broken."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.byte_pairs import TEXTS, any_text, both, merges_by_library
from tinylm.text import bpe
from tinylm.text.tokenizers import BPETokenizer


@both
@any_text
@given(text=TEXTS)
def test_ids_are_those_of_tiktoken_and_decode_gives_the_text_back(pair, text):
    ours, theirs = pair()
    ids = ours.encode(text)
    assert ids.tolist() == theirs.encode_ordinary(text)
    assert ours.decode(ids) == bpe.as_unicode(text)
    assert b"".join(map(ours.token_bytes, ids)) == bpe.as_unicode(text).encode()
    assert [document.tolist() for document in ours.encode_documents([text])] == [
        [*ids.tolist(), ours.end_of_text]
    ]


@any_text
@given(texts=st.lists(st.one_of(st.text("ab é", max_size=30), TEXTS), max_size=4))
def test_merges_are_those_of_the_tokenizers_library(texts):
    assert bpe.train_merges(bpe.count_words(texts), 60) == merges_by_library(texts, 60)


@any_text
@given(texts=st.lists(st.text("ab c", max_size=60), max_size=3), text=st.text("ab c", max_size=300))
def test_merges_learned_from_few_letters_give_tiktokens_ids(texts, text):
    ours = BPETokenizer.train(texts, 320)
    (document,) = ours.encode_documents([text])
    assert document[:-1].tolist() == ours.encode(text).tolist()
