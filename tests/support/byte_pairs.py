"""Our byte pair encoding and tiktoken's with the same merges: of toyworld and GPT-2's own; and any text."""

from functools import cache

import pytest
import tiktoken
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str  # the same words, written otherwise than ours

from tinylm.text import corpora
from tinylm.text.tokenizers import BPETokenizer, gpt2_tokenizer, tiktoken_gpt2
from tinylm.text.toyworld.world import STORIES

# For training: `regex`, which counts words for us, has a newer Unicode than `tokenizers`.
ASSIGNED = st.characters(exclude_categories=["Cn", "Cs"])
KINDS = st.sampled_from(list(" \t\n\r\u00a0\u3000'’stvlredmaZéß漢9½٣-=_.,!<|>🎭\u0301\u200d\ud800\udc00"))
RUNS = st.tuples(
    st.one_of(KINDS, st.characters(), st.text(KINDS, max_size=4)), st.sampled_from([1, 1, 2, 3, 40, 300])
)
TEXTS = st.one_of(
    st.text(), st.text(KINDS), st.lists(RUNS).map(lambda runs: "".join(text * n for text, n in runs))
)
any_text = settings(
    max_examples=500,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@cache
def trained():
    """(ours, of 1,000 ids; tiktoken's with its merges)."""
    ours = BPETokenizer.train([STORIES.joined(200_000, seed=1)], 1000)
    ranks = {ours.token_bytes(i): i for i in range(ours.vocab_size - 1)}
    return ours, tiktoken.Encoding("ours", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


@cache
def gpt2():
    """Return (ours, tiktoken's), or skip the test where GPT-2's vocabulary is missing."""
    if corpora.locate("gpt2-bpe") is None:
        pytest.skip("GPT-2's vocabulary is not here: `python -m tinylm fetch gpt2-bpe` gets it")
    return gpt2_tokenizer(), tiktoken_gpt2()


both = pytest.mark.parametrize("pair", [trained, gpt2], ids=["trained", "gpt2"])
