"""Rotary positions: turn each pair of a query's or key's numbers by an angle that grows with its position.

After the turn, the dot product of two vectors depends on how far apart they are, not on where they stand.
Taught in notebook 14_modern_blocks. Source: Su et al. 2021 (RoFormer), equations 14 and 34."""

import torch
from torch import Tensor


def rotary_tables(head_dim: int, length: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """(cos, sin) of the angles t * base^(-2i/D), in radians: (T, D/2) each, float32, on the CPU.

    Computed in float64: in float32, the angle of position 10,000 is already off by up to 0.0005."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu")  # (D/2,)
    speeds = float(base) ** (-pairs / head_dim)  # (D/2,) radians per position
    positions = torch.arange(length, dtype=torch.float64, device="cpu")  # (T,)
    angles = torch.outer(positions, speeds)  # (T, D/2)
    return angles.cos().float(), angles.sin().float()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, D) by the tables (T, D/2): same shape, same norms, same dtype as x.

    Pair i is (x[i], x[i + D/2]), the layout of GPT-NeoX and of Llama in Hugging Face; the paper pairs
    neighbours instead, which is the same model with its head dimensions in another order."""
    first, second = x.chunk(2, dim=-1)  # (B, H, T, D/2) each
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat(turned, dim=-1).to(x.dtype)  # (B, H, T, D)
