"""Attention: the formula, its fused twin, and the layer around them."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tinylm.model.attention import (
    CausalSelfAttention,
    TokenShift,
    causal_mask,
    explicit_attention,
    fused_attention,
)
from tinylm.model.rope import rotary_tables

B, H, T, D = 2, 3, 11, 14
C = H * D
LAYERS = [
    {"bias": bias, "qk_norm": qk_norm, "fused": fused}
    for bias, qk_norm, fused in itertools.product((True, False), repeat=3)
]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(dtype=torch.float64):
    return [random(B, H, T, D, seed=seed, dtype=dtype) for seed in range(3)]


def layer(*, dropout=0.0, bias=True, qk_norm=False, fused=True):
    attention = CausalSelfAttention(C, H, bias=bias, dropout=dropout, qk_norm=qk_norm, fused=fused).double()
    with torch.no_grad():
        for seed, parameter in enumerate(attention.parameters()):
            parameter.copy_(0.3 * random(*parameter.shape, seed=seed))
    return attention


def rotary(length=T):
    return tuple(table.double() for table in rotary_tables(D, length))


def test_causal_mask_lets_a_position_look_at_itself_and_the_past():
    mask = causal_mask(T)
    assert mask.dtype == torch.bool
    assert all(mask[i, j] == (j <= i) for i in range(T) for j in range(T))


def test_attention_of_the_last_queries_gives_the_last_rows_of_all():
    q, k, v = qkv()
    out, weights = explicit_attention(q, k, v)
    for last in (1, 4, T):
        assert torch.equal(causal_mask(last, T), causal_mask(T)[-last:])
        few, few_weights = explicit_attention(q[:, :, -last:], k, v)
        assert_close(few, out[:, :, -last:])
        assert_close(few_weights, weights[:, :, -last:])
        assert_close(fused_attention(q[:, :, -last:], k, v), out[:, :, -last:])


def test_attention_with_a_mask_sees_what_it_says_and_nothing_else():
    q, k, v = qkv()
    mask = torch.rand(B, 1, 5, T, generator=torch.Generator().manual_seed(4)) < 0.5
    mask[..., 0] = True
    out, weights = explicit_attention(q[:, :, :5], k, v, mask=mask)
    assert (weights[~mask.expand_as(weights)] == 0).all()
    assert (weights[mask.expand_as(weights)] > 0).all()
    assert_close(fused_attention(q[:, :, :5], k, v, mask=mask), out)


def test_explicit_attention_is_the_papers_formula_number_by_number():
    q, k, v = qkv()
    out, weights = explicit_attention(q, k, v)
    for b, h, i in itertools.product(range(B), range(H), range(T)):
        scores = [float(q[b, h, i] @ k[b, h, j]) / D**0.5 for j in range(i + 1)]
        expected = torch.tensor(scores, dtype=torch.float64).softmax(0)
        assert_close(weights[b, h, i, : i + 1], expected, rtol=1e-10, atol=0)
        assert_close(out[b, h, i], expected @ v[b, h, : i + 1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_explicit_and_fused_attention_agree_in_value_and_in_gradient(dtype, tolerance):
    upstream = random(B, H, T, D, seed=3, dtype=dtype)
    results = []
    for attention in (lambda q, k, v: explicit_attention(q, k, v)[0], fused_attention):
        inputs = [x.requires_grad_() for x in qkv(dtype)]
        out = attention(*inputs)
        results.append((out, *torch.autograd.grad(out, inputs, upstream)))
    assert_close(*results, rtol=tolerance, atol=tolerance)


def test_attention_weights_sum_to_one_and_give_the_future_exactly_nothing():
    weights = explicit_attention(*qkv())[1]
    assert_close(weights.sum(-1), torch.ones(B, H, T, dtype=torch.float64))
    assert (weights[..., ~causal_mask(T)] == 0).all()
    assert (weights[..., causal_mask(T)] > 0).all()


def test_attention_score_of_exactly_zero_is_not_a_masked_one():
    q, k, v = qkv()
    out, weights = explicit_attention(torch.zeros_like(q), k, v)
    seen = torch.arange(1, T + 1, dtype=torch.float64)
    assert_close(weights[0, 0], causal_mask(T) / seen[:, None])  # all that is seen counts alike
    running_mean = v.cumsum(dim=-2) / seen[:, None]
    assert_close(out, running_mean)
    assert_close(fused_attention(torch.zeros_like(q), k, v), running_mean)


def test_attention_of_huge_scores_does_not_overflow_nor_see_the_future():
    q, k, v = qkv(torch.float32)
    out, weights = explicit_attention(1e6 * q, k, v)
    assert (weights[..., ~causal_mask(T)] == 0).all()
    assert_close(weights.sum(-1), torch.ones(B, H, T))
    assert_close(out, fused_attention(1e6 * q, k, v))


def test_attention_dropout_spares_the_weights_that_are_returned():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out, weights = explicit_attention(*qkv(), dropout=0.5)
    kept, expected = explicit_attention(*qkv())
    assert torch.equal(weights, expected)
    assert not torch.allclose(out, kept)


@pytest.mark.parametrize("settings", LAYERS, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_layer_is_the_formula_applied_head_by_head(settings, turned):
    attention, x = layer(**settings), random(B, T, C)
    tables = rotary() if turned else None
    out, weights = explicit_attention(*attention.qkv_heads(x, tables))
    joined = torch.cat([out[:, h] for h in range(H)], dim=-1)  # (B, T, C)
    assert_close(attention(x, tables), attention.proj(joined), rtol=1e-10, atol=1e-12)
    assert torch.equal(attention.weights(x, tables), weights)


def test_qkv_heads_are_consecutive_slices_of_the_projection():
    attention, x = layer(), random(B, T, C)
    q, k, v = attention.qkv_heads(x, None)
    mixed = F.linear(x, attention.qkv.weight, attention.qkv.bias)
    for part, heads in enumerate((q, k, v)):
        for h in range(H):
            start = part * C + h * D
            assert torch.equal(heads[:, h], mixed[..., start : start + D])


@pytest.mark.parametrize("settings", LAYERS, ids=str)
def test_layer_without_positions_sees_the_past_as_an_unordered_bag(settings):
    attention, x = layer(**settings), random(B, T, C)
    order = torch.randperm(T - 1, generator=torch.Generator().manual_seed(0))
    shuffled = torch.cat((x[:, order], x[:, -1:]), dim=1)
    assert_close(attention(shuffled)[:, -1], attention(x)[:, -1], rtol=1e-10, atol=1e-12)
    tables = rotary()
    assert not torch.allclose(attention(shuffled, tables)[:, -1], attention(x, tables)[:, -1], atol=1e-3)


@pytest.mark.parametrize("settings", LAYERS, ids=str)
def test_rotary_scores_of_equal_inputs_depend_on_the_distance_alone(settings):
    attention = layer(**settings)  # with qk_norm its gains differ, which breaks the law after the rotation
    q, k, _ = attention.qkv_heads(random(C).expand(1, T, C), rotary())
    scores = q @ k.mT  # (1, H, T, T)
    for distance in range(T):
        diagonal = scores.diagonal(-distance, dim1=-2, dim2=-1)
        assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), rtol=0, atol=1e-5)


def test_qk_norm_bounds_the_scores_however_large_the_weights():
    attention = CausalSelfAttention(C, H, bias=False, dropout=0.0, qk_norm=True).double()
    with torch.no_grad():
        attention.qkv.weight.mul_(1e4)
    q, k, _ = attention.qkv_heads(random(B, T, C), None)
    assert_close(q.square().mean(-1), torch.ones(B, H, T, dtype=torch.float64), rtol=1e-5, atol=0)
    assert (q @ k.mT).abs().max() <= D * (1 + 1e-9)  # Cauchy and Schwarz: |q| |k| = D


@pytest.mark.parametrize("fused", [True, False])
def test_dropout_happens_while_training_only(fused):
    attention, x = layer(dropout=0.3, fused=fused), random(B, T, C)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.allclose(attention(x), attention(x))
    assert torch.equal(attention.eval()(x), layer(fused=fused)(x))


def test_fused_attention_is_told_the_dropout_while_training_and_zero_otherwise(monkeypatch):
    told, real = [], F.scaled_dot_product_attention

    def spy(*args, attn_mask, dropout_p, is_causal):
        told.append((dropout_p, is_causal))
        return real(*args, dropout_p=0.0, is_causal=is_causal)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    attention, x = layer(dropout=0.3), random(B, T, C)
    attention(x)
    attention.eval()(x)
    assert told == [(0.3, True), (0.0, True)]


def test_layer_has_two_matrices_and_biases_only_where_asked():
    for bias in (True, False):
        names = {name: tuple(p.shape) for name, p in layer(bias=bias).named_parameters()}
        assert names.pop("qkv.weight") == (3 * C, C)
        assert names.pop("proj.weight") == (C, C)
        assert set(names) == ({"qkv.bias", "proj.bias"} if bias else set())


def test_token_shift_starts_as_nothing_and_is_a_causal_convolution_of_width_2():
    x = random(B, T, C)
    shift = TokenShift(C).double()
    assert torch.equal(shift(x), x)
    with torch.no_grad():
        shift.weight.copy_(random(C, seed=3))
    kernel = torch.stack((shift.weight, torch.ones(C, dtype=torch.float64)), dim=-1).unsqueeze(1)  # (C, 1, 2)
    theirs = F.conv1d(F.pad(x.mT, (1, 0)), kernel, groups=C).mT  # (B, T, C)
    assert_close(shift(x), theirs)
    assert_close(shift(x[:, 1:], before=x[:, :-1]), theirs[:, 1:])
