"""Attention: the formula, its fused twin, and the layer around them."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.support.settings import lively, random
from tinylm.model.attention import (
    CausalSelfAttention,
    TokenShift,
    explicit_attention,
    fused_attention,
)
from tinylm.model.rope import rotary_tables

B, H, T, D = 2, 3, 11, 14
C = H * D
ROTARY = tuple(table.double() for table in rotary_tables(D, T))


def qkv(dtype=torch.float64):
    return [random(B, H, T, D, seed=seed, dtype=dtype) for seed in range(3)]


def layer(*, bias=True, qk_norm=False, fused=True):
    attention = CausalSelfAttention(C, H, bias=bias, dropout=0.0, qk_norm=qk_norm, fused=fused)
    return lively(attention.double(), 0.3)


def test_explicit_attention_is_the_papers_formula_number_by_number():
    q, k, v = qkv()
    out, weights = explicit_attention(q, k, v)
    for b, h, i in itertools.product(range(B), range(H), range(T)):
        scores = [float(q[b, h, i] @ k[b, h, j]) / D**0.5 for j in range(i + 1)]
        expected = torch.tensor(scores, dtype=torch.float64).softmax(0)
        assert_close(weights[b, h, i, : i + 1], expected, rtol=1e-10, atol=0)
        assert_close(out[b, h, i], expected @ v[b, h, : i + 1], rtol=1e-10, atol=1e-14)
        assert (weights[b, h, i, i + 1 :] == 0).all()


@pytest.mark.parametrize(
    ("dtype", "tolerance", "scale"),
    [
        (torch.float32, 1e-5, 1.0),
        (torch.float64, 1e-12, 1.0),
        (torch.float64, 1e-12, 0.0),  # a score of exactly 0 is not a masked one
        (torch.float64, 1e-7, 1e6),  # nor does a huge one overflow or outweigh the mask
    ],
)
def test_explicit_and_fused_attention_agree_in_value_and_in_gradient(dtype, tolerance, scale):
    upstream = random(B, H, T, D, seed=3, dtype=dtype)
    results = []
    for attention in (lambda q, k, v: explicit_attention(q, k, v)[0], fused_attention):
        inputs = [x.requires_grad_() for x in qkv(dtype)]
        out = attention(scale * inputs[0], *inputs[1:])
        results.append((out, *torch.autograd.grad(out, inputs, upstream)))
    assert_close(*results, rtol=tolerance, atol=tolerance)


def test_attention_of_the_last_queries_gives_the_last_rows_of_all():
    q, k, v = qkv()
    out, weights = explicit_attention(q, k, v)
    for last in (1, 4, T):
        few, few_weights = explicit_attention(q[:, :, -last:], k, v)
        assert_close(few, out[:, :, -last:])
        assert_close(few_weights, weights[:, :, -last:])
        assert_close(fused_attention(q[:, :, -last:], k, v), out[:, :, -last:])


def test_attention_with_a_mask_sees_what_it_says_and_nothing_else():
    q, k, v = qkv()
    mask = torch.rand(B, 1, 5, T, generator=torch.Generator().manual_seed(4)) < 0.5
    mask[..., 0] = True
    out, weights = explicit_attention(q[:, :, :5], k, v, mask=mask)
    assert torch.equal(weights > 0, mask.expand_as(weights))
    assert_close(fused_attention(q[:, :, :5], k, v, mask=mask), out)


def test_attention_dropout_spares_the_weights_that_are_returned():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out, weights = explicit_attention(*qkv(), dropout=0.5)
    kept, expected = explicit_attention(*qkv())
    assert torch.equal(weights, expected)
    assert not torch.allclose(out, kept)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("tables", [None, ROTARY], ids=["plain", "turned"])
def test_layer_is_the_formula_applied_head_by_head(fused, tables):
    attention, x = layer(fused=fused, qk_norm=True), random(B, T, C)
    out, weights = explicit_attention(*attention.qkv_heads(x, tables))
    joined = torch.cat([out[:, h] for h in range(H)], dim=-1)  # (B, T, C)
    assert_close(attention(x, tables), attention.proj(joined), rtol=1e-10, atol=1e-12)
    assert torch.equal(attention.weights(x, tables), weights)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_layer_without_positions_sees_the_past_as_an_unordered_bag(qk_norm):
    attention, x = layer(qk_norm=qk_norm), random(B, T, C)
    order = torch.randperm(T - 1, generator=torch.Generator().manual_seed(0))
    shuffled = torch.cat((x[:, order], x[:, -1:]), dim=1)
    assert_close(attention(shuffled)[:, -1], attention(x)[:, -1], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(attention(shuffled, ROTARY)[:, -1], attention(x, ROTARY)[:, -1], atol=1e-3)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_rotary_scores_of_equal_inputs_depend_on_the_distance_alone(qk_norm):
    attention = layer(qk_norm=qk_norm)  # its gains differ, which breaks the law after the rotation
    q, k, _ = attention.qkv_heads(random(C).expand(1, T, C), ROTARY)
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


def test_token_shift_starts_as_nothing_and_is_a_causal_convolution_of_width_2():
    x, shift = random(B, T, C), TokenShift(C).double()
    assert torch.equal(shift(x), x)
    lively(shift)
    kernel = torch.stack((shift.weight, torch.ones(C, dtype=torch.float64)), dim=-1).unsqueeze(1)  # (C, 1, 2)
    theirs = F.conv1d(F.pad(x.mT, (1, 0)), kernel, groups=C).mT  # (B, T, C)
    assert_close(shift(x), theirs)
    assert_close(shift(x[:, 1:], before=x[:, :-1]), theirs[:, 1:])
