"""Layers: the two norms and the MLP, which work on each position by itself.

Knows only tensors whose last dimension is C. Refuses to know positions, attention and configs.
Taught in notebook 03_transformer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-5  # GPT-2's


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimension (Ba et al. 2016).

    Differs from torch's only in that the bias is a plain choice, as in every layer here."""

    def __init__(self, size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, EPSILON)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), EPSILON)


def make_norm(kind: str, size: int, bias: bool) -> nn.Module:
    """The norm called "layernorm" or "rmsnorm"; the second never has a bias."""
    return LayerNorm(size, bias=bias) if kind == "layernorm" else RMSNorm(size)


def activate(kind: str, x: Tensor) -> Tensor:
    """ "gelu": GPT-2's tanh approximation of x * Phi(x) (Hendrycks and Gimpel 2016). "relu2": max(0, x)^2."""
    return F.gelu(x, approximate="tanh") if kind == "gelu" else SquaredReLU.apply(x)


class SquaredReLU(torch.autograd.Function):
    """max(0, x)^2, whose derivative is 2 max(0, x): what was computed on the way is all it needs.

    Written as F.relu(x).square() it is the same numbers, but the backward pass asks twice where x is above 0
    and keeps one tensor more: 1.6 times as slow on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape to the same."""
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """From the gradient of the output to that of x."""
        (positive,) = ctx.saved_tensors
        return (gradient * positive).mul_(2)


class TokenShift(nn.Module):
    """x_t + weight * x_(t-1): every position also carries a learned share, per channel, of the one before.

    The weight starts at 0. To read two neighbours as one, attention needs a layer of its own; this needs one
    number per channel. Peng et al. 2023 (RWKV), section 3.1; So et al. 2021 have a convolution here."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """x (B, T, C) to (B, T, C). before: x one position earlier, (B, T, C); by default x moved along by
        one, with zeros before the first position."""
        if before is None:
            before = F.pad(x[:, :-1], (0, 0, 1, 0))  # (B, T, C)
        return torch.addcmul(x, before, self.weight)  # (B, T, C)


class MLP(nn.Module):
    """Up to 4C, bend, back down to C: two matrices with a bend between (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, n_embd: int, *, activation: str, bias: bool, dropout: float) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = dropout
        self.up = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.down = nn.Linear(4 * n_embd, n_embd, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = activate(self.activation, self.up(x))  # (B, T, 4C)
        out = self.down(hidden)  # (B, T, C)
        return F.dropout(out, self.dropout) if self.training else out
