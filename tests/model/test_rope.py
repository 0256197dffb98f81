"""Rotary positions: a rotation, by an angle that grows with position, so that only distance counts."""

import pytest
import torch
from torch.testing import assert_close

from tinylm.model.rope import apply_rotary, rotary_tables

B, H, T, D = 2, 3, 17, 10


def tables(length=T, base=10000.0):
    cos, sin = rotary_tables(D, length, base)
    return cos.double(), sin.double()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotary_is_multiplication_by_a_complex_number_of_length_one():
    x = random(B, H, T, D)
    pairs = torch.complex(x[..., : D // 2], x[..., D // 2 :])  # (B, H, T, D/2)
    speeds = 10000.0 ** (-torch.arange(D // 2, dtype=torch.float64) / (D // 2))
    angles = torch.arange(T, dtype=torch.float64)[:, None] * speeds  # (T, D/2)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((turned.real, turned.imag), dim=-1)  # (B, H, T, D)
    assert_close(apply_rotary(x, *tables()), expected, rtol=0, atol=1e-6)


def test_rotary_agrees_with_llama_in_transformers():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(hidden_size=H * D, num_attention_heads=H, head_dim=D, max_position_embeddings=T)
    q, k = random(B, H, T, D).float(), random(B, H, T, D, seed=1).float()
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(T)[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    found = (apply_rotary(q, *rotary_tables(D, T)), apply_rotary(k, *rotary_tables(D, T)))
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = random(D).expand(1, 1, T, D), random(D, seed=1).expand(1, 1, T, D)  # one vector at every position
    scores = (apply_rotary(q, *tables()) @ apply_rotary(k, *tables()).mT)[0, 0]  # (T, T)
    for distance in range(-T + 1, T):
        diagonal = scores.diagonal(distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert scores[:, 0].std() > 0.01  # and it does depend on it


def test_rotary_keeps_every_norm():
    x = random(B, H, T, D)
    assert_close(apply_rotary(x, *tables()).norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)


def test_rotary_does_not_turn_position_zero():
    x = random(B, H, T, D)
    assert torch.equal(apply_rotary(x, *tables())[:, :, 0], x[:, :, 0])


def test_rotary_tables_of_more_positions_begin_with_those_of_fewer():
    for short, long in zip(rotary_tables(D, 5), rotary_tables(D, T), strict=True):
        assert torch.equal(short, long[:5])


def test_rotary_angle_of_a_far_position_is_exact():
    cos, _ = rotary_tables(2 * D, 100_000)
    angle = torch.tensor(99_999 * 10000.0 ** (-1 / D), dtype=torch.float64)
    assert_close(cos[-1, 1].double(), angle.cos(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rotary_keeps_the_dtype_of_its_input(dtype):
    cos, sin = rotary_tables(D, T)
    assert cos.dtype == sin.dtype == torch.float32
    assert cos.shape == sin.shape == (T, D // 2)
    turned = apply_rotary(random(B, H, T, D).to(dtype), cos, sin)
    assert turned.dtype == dtype
    assert turned.shape == (B, H, T, D)
