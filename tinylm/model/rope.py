"""Rotary positions: rotate each pair of a query's or key's numbers by an angle that grows with its position.

After the rotation, the dot product of two vectors depends on their distance, not on where they are.
Taught in notebook 14_modern_blocks. Source: Su et al. 2021 (RoFormer), equations 14 and 34."""

import torch
from torch import Tensor


def rotary_tables(head_dim: int, length: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Return what `apply_rotary` multiplies by: (T, D) twice, float32, on the CPU.

    They are cos(a), cos(a) and -sin(a), sin(a) of the angles a = t * base^(-2i/D), in radians, (T, D/2) each.
    Computed in float64. In float32, the angle at position 10,000 would already be off by up to 0.0005."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu")  # (D/2,)
    speeds = float(base) ** (-pairs / head_dim)  # (D/2,) radians per position
    positions = torch.arange(length, dtype=torch.float64, device="cpu")  # (T,)
    angles = torch.outer(positions, speeds)  # (T, D/2)
    cos, sin = angles.cos().float(), angles.sin().float()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x (B, H, T, D) by the tables, (T, D) or (B, 1, T, D): same shape, norms and dtype as x.

    Pair i is (x[i], x[i + D/2]), as in GPT-NeoX and in Hugging Face's Llama. The paper pairs neighbours
    instead; that is the same model with its head dimensions in another order."""
    exchanged = x.roll(x.size(-1) // 2, dims=-1)  # x[i + D/2] in place of x[i], and the reverse
    return (x * cos + exchanged * sin).to(x.dtype)  # (B, H, T, D)
