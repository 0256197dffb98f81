"""A model with a KV cache predicts what it predicts without one, at every position. Packed documents are read
as if each had a row of its own."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.support.settings import GPT2S, OTHERS, SMALL, each_attention, every_choice, lively, random_tokens
from tinylm.errors import InputError
from tinylm.model.context import Documents
from tinylm.model.gpt import GPT

T = SMALL.context_length
CLOSE = {"rtol": 1e-9, "atol": 1e-10}  # in float64


def model_of(**choice):
    return lively(GPT(replace(SMALL, **choice))).double().eval()


def in_pieces(model, tokens, sizes, padding=None):
    """The logits (B, T, V) of tokens read piece by piece into one cache."""
    cache = model.new_cache(padding)
    with torch.no_grad():
        return torch.cat([model(piece, cache) for piece in tokens.split(sizes, dim=1)], dim=1)


@each_attention
@every_choice
def test_cached_logits_of_tokens_and_of_pieces_equal_uncached_ones_at_every_position(choice, attention):
    model = model_of(**choice, attention=attention)
    tokens = random_tokens(length=T)
    assert_close(in_pieces(model, tokens, [1, 1, 7, 1, 1, 1, 11]), model(tokens), **CLOSE)


@each_attention
@every_choice
def test_cached_rows_of_different_lengths_give_what_each_gives_alone(choice, attention):
    model = model_of(**choice, attention=attention)
    padded, padding = random_tokens(batch=3, length=16), torch.tensor([9, 0, 4])
    together = in_pieces(model, padded, [11, 1, 3, 1], padding)
    for row, gap, logits in zip(padded, padding.tolist(), together, strict=True):
        assert_close(logits[gap:], model(row[None, gap:])[0], **CLOSE)


def test_cache_takes_its_memory_once_and_holds_key_value_heads_alone():
    model = model_of(n_head=6, n_embd=36, n_kv_head=2)
    cache, places = model.new_cache(), set()
    for token in random_tokens(length=T).split(1, dim=1):
        model(token, cache)
        places.add(tuple(tensor.data_ptr() for tensor in (*cache.keys.values(), *cache.values.values())))
    assert len(places) == 1 and cache.keys[0].shape == cache.values[0].shape == (2, 2, T, 6)


def test_cache_under_autocast_holds_what_the_layers_make():
    model = lively(GPT(replace(SMALL, position="rotary", qk_norm=True)), 0.05).eval()
    cache, tokens = model.new_cache(), random_tokens()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(tokens)
        got = torch.cat([model(token, cache) for token in tokens.split(1, dim=1)], dim=1)
    assert cache.keys[0].dtype == torch.bfloat16
    assert (got - expected).abs().max() < 0.05 * expected.abs().max()


def test_cache_is_read_and_never_trained_through():
    model = model_of(token_shift=True)
    cache = model.new_cache()
    model(random_tokens(), cache)  # with gradients: nobody said no_grad
    kept = [*cache.keys.values(), *cache.values.values(), *cache.last_inputs.values()]
    assert len(kept) == 3 * SMALL.n_layer and not any(tensor.requires_grad for tensor in kept)


def test_full_cache_refuses_and_stays_as_it_was():
    model, tokens = model_of(), random_tokens(length=T)
    cache = model.new_cache()
    model(tokens[:, :20], cache)
    with pytest.raises(InputError) as refusal:
        model(tokens[:, :4], cache)
    assert str(refusal.value) == (
        "the cache holds 20 of 23 tokens and has no room for 4 more: "
        "start a new one from the last tokens of the text"
    )
    assert cache.length == 20
    assert_close(model(tokens[:, 20:], cache), model(tokens)[:, 20:], **CLOSE)


@pytest.mark.parametrize("padding", [None, torch.tensor([2, 0])])
def test_cache_refuses_another_number_of_rows(padding):
    model, tokens = model_of(), random_tokens()
    cache = model.new_cache(padding)
    model(tokens, cache)
    for rows in (1, 3):
        with pytest.raises(InputError, match=f"holds 2 rows, not {rows}: make one for each batch"):
            model(tokens[:1].expand(rows, -1), cache)


# Documents

ROWS = ([7, 1, 3], [2, 9])  # the lengths of the documents in two rows of 11 tokens
IDS = torch.tensor([[4] * 7 + [0] + [4] * 3, [0] * 2 + [1] * 9])  # an id may come back: a border is a change


def read_apart(model, tokens):
    """The logits (B, T, V) where every document has a row of its own."""
    rows = [
        torch.cat([model(document[None]) for document in row.split(lengths)], dim=1)
        for row, lengths in zip(tokens, ROWS, strict=True)
    ]
    return torch.cat(rows)


@each_attention
@every_choice
def test_packed_documents_have_the_logits_and_gradients_of_a_row_for_each(choice, attention):
    model, tokens = model_of(**choice, attention=attention), random_tokens(length=11)
    found = []
    for logits in (model(tokens, Documents(IDS)), read_apart(model, tokens)):
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), random_tokens(length=11, seed=1).flatten()
        )
        found.append([logits, *torch.autograd.grad(loss, list(model.parameters()))])
    assert_close(*found, **CLOSE)


@each_attention
@pytest.mark.parametrize("choice", [GPT2S, OTHERS], ids=["gpt2", "others"])
def test_gradient_of_a_token_of_another_document_is_exactly_zero(choice, attention):
    model, embedded = model_of(**choice, attention=attention), []
    model.token_embedding.register_forward_hook(lambda *args: embedded.append(args[-1]))
    logits = model(random_tokens(length=11), Documents(IDS))
    (gradient,) = torch.autograd.grad(logits[:, 9].square().sum(), embedded)  # position 9 of both rows
    assert [row.any(-1).nonzero().flatten().tolist() for row in gradient] == [[8, 9], [*range(2, 10)]]


def test_documents_of_another_shape_than_the_tokens_are_refused():
    with pytest.raises(InputError) as refusal:
        model_of()(random_tokens(length=7), Documents(IDS))
    assert str(refusal.value) == "documents (2, 11) do not fit tokens (2, 7): give an id for each token"
