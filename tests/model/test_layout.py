"""Layout: the same numbers in another order in memory, and nothing that reads, saves or trains sees it."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.model.test_gpt import EVERY_CHOICE, SMALL, every_choice, in_words, random_tokens
from tests.model.test_kv_cache import CLOSE, T, in_pieces, model_of
from tinylm.model.gpt import GPT
from tinylm.model.layout import to_column_major
from tinylm.storage import weights
from tinylm.text.tokenizers import CharTokenizer

one_and_the_other = pytest.mark.parametrize("choice", [EVERY_CHOICE[0], EVERY_CHOICE[-1]], ids=in_words)


def twice(choice):
    """The same model twice: stored as it was made, and stored for vectors."""
    return model_of(**choice), to_column_major(model_of(**choice))


@every_choice
def test_the_numbers_the_shapes_and_the_answers_stay(choice):
    plain, stored = twice(choice)
    for p, q in zip(plain.parameters(), stored.parameters(), strict=True):
        assert torch.equal(p, q)
    tokens = random_tokens(length=T)
    assert_close(stored(tokens), plain(tokens), **CLOSE)
    assert_close(in_pieces(stored, tokens, [1] * T), plain(tokens), **CLOSE)


def test_a_matrix_goes_by_columns_where_these_are_the_longer_side_and_the_rest_by_rows():
    layers = nn.ModuleList([nn.Linear(3, 5), nn.Linear(4, 4), nn.Linear(5, 3), nn.LayerNorm(3)])
    to_column_major(to_column_major(layers))  # a second time changes nothing
    assert [layer.weight.stride() for layer in layers] == [(1, 5), (1, 4), (5, 1), (1,)]


def test_a_tied_matrix_stays_one_and_is_stored_once():
    model = to_column_major(GPT(model_of(tied_head=True).config))
    assert model.head.weight is model.token_embedding.weight
    assert model.head.weight.stride() == (1, model.config.vocab_size)


@one_and_the_other
def test_it_is_saved_as_the_same_file(choice, tmp_path):
    letters = CharTokenizer("".join(map(chr, range(SMALL.vocab_size)))).to_json()
    for name, model in zip(("plain", "stored"), twice(choice), strict=True):
        weights.save(tmp_path / name, model.float(), tokenizer=letters, notes={})
    plain, stored = (tmp_path / name / weights.WEIGHTS for name in ("plain", "stored"))
    assert plain.read_bytes() == stored.read_bytes()


@one_and_the_other
def test_it_is_trained_further_as_any_other(choice):
    tokens = random_tokens(length=T + 1)
    models = twice(choice)
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            logits = model(tokens[:, :-1])  # (B, T, V)
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            optimizer.step()
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert_close(p, q, rtol=1e-6, atol=1e-8)
