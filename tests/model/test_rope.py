"""Rotary positions: a rotation, by an angle that grows with position, so that only distance counts."""

import torch
from torch.testing import assert_close

from tests.support.settings import random
from tinylm.model.rope import apply_rotary, rotary_tables

B, H, T, D = 2, 3, 17, 10


def test_rotary_is_multiplication_by_a_complex_number_of_length_one():
    x = random(B, H, T, D)
    pairs = torch.complex(x[..., : D // 2], x[..., D // 2 :])  # (B, H, T, D/2)
    speeds = 500.0 ** (-torch.arange(D // 2, dtype=torch.float64) / (D // 2))
    angles = torch.arange(T, dtype=torch.float64)[:, None] * speeds  # (T, D/2)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((turned.real, turned.imag), dim=-1)  # (B, H, T, D)
    assert_close(apply_rotary(x, *rotary_tables(D, T, 500.0)), expected, rtol=0, atol=1e-6)


def test_rotary_angle_of_a_far_position_is_exact():
    cos, _ = rotary_tables(2 * D, 100_000)
    angle = torch.tensor(99_999 * 10000.0 ** (-1 / D), dtype=torch.float64)
    assert_close(cos[-1, 1].double(), angle.cos(), rtol=0, atol=1e-6)
