"""Attention: the formula, its fused twin, and the layer around them."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.support.settings import lively, random
from tinylm.model.attention import CausalSelfAttention, TokenShift, explicit_attention, fused_attention
from tinylm.model.config import ModelConfig
from tinylm.model.rope import rotary_tables

B, H, T, D = 2, 3, 11, 14
C = H * D
ROTARY = tuple(table.double() for table in rotary_tables(D, T))


def qkv(dtype=torch.float64):
    return [random(B, H, T, D, seed=seed, dtype=dtype) for seed in range(3)]


def layer(**choice):
    return CausalSelfAttention(ModelConfig(n_embd=C, n_head=H, **choice)).double()


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


@pytest.mark.parametrize("kv", [1, 3])
def test_shared_keys_and_values_are_those_of_torch_repeated_for_each_head_of_their_group(kv):
    q, k, v = random(B, 6, T, D), random(B, kv, T, D, seed=1), random(B, kv, T, D, seed=2)
    repeated = (x[:, [h * kv // 6 for h in range(6)]] for x in (k, v))
    expected = F.scaled_dot_product_attention(q, *repeated, is_causal=True)
    assert_close(fused_attention(q, k, v), expected)
    assert_close(explicit_attention(q, k, v)[0], expected)
    late = q[:, :, -2:]  # two new queries, as with a cache
    assert_close(fused_attention(late, k, v), expected[:, :, -2:])
    assert_close(explicit_attention(late, k, v)[0], expected[:, :, -2:])


@pytest.mark.parametrize("qk_norm", [False, True])
def test_rotary_scores_of_equal_inputs_depend_on_the_distance_alone(qk_norm):
    attention = lively(layer(qk_norm=qk_norm), 0.3)  # gains that differ break the law after the rotation
    q, k, _ = attention.qkv_heads(random(C).expand(1, T, C), ROTARY)
    scores = q @ k.mT  # (1, H, T, T)
    for distance in range(T):
        diagonal = scores.diagonal(-distance, dim1=-2, dim2=-1)
        assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), rtol=0, atol=1e-5)


def test_qk_norm_bounds_the_scores_however_large_the_weights():
    attention = layer(bias=False, qk_norm=True)
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
