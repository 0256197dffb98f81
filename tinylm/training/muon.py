"""Muon: a matrix is moved by the nearest matrix that turns without stretching, not by its gradient.

The momentum of a gradient is mostly a few strong directions. Muon gives every direction the same length:
of U S V^T it keeps U V^T. Knows matrices and plain numbers. Refuses to know models and which of their
parameters it is given (optim).
Taught in notebook 15_optimizers. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from tinylm.errors import ConfigError

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest start for small singular values
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: w <- (1 - lr · weight_decay) w - lr · sqrt(max(1, rows / columns)) · U V^T.

    The same update as torch.optim.Muon, in float32 and for all matrices of one shape at once. torch's
    iterates in bfloat16, one matrix after the other, which is slow on most processors
    (tests/benchmarks/optimizer_step.py measures both). A group may say `blocks`: its matrices are then cut
    into so many equal blocks of rows, each made orthogonal by itself, as if they were separate parameters.
    Raises ConfigError for a parameter that is no matrix, or whose rows cannot be cut so."""

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        blocks: int = 1,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "blocks": blocks}
        super().__init__(parameters, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ConfigError(
                        f"Muon takes matrices, which have 2 dimensions, and this parameter has {p.ndim}: "
                        "give it to AdamW"
                    )
                if p.size(0) % group["blocks"]:
                    raise ConfigError(
                        f"{p.size(0)} rows cannot be cut into {group['blocks']} equal blocks: "
                        "use a number that divides the rows"
                    )

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for (rows, columns), matrices in by_shape.items():
                momenta = torch.stack([self._momentum(p, group["momentum"]) for p in matrices])
                gradients = torch.stack([p.grad for p in matrices])  # (N, rows, columns)
                ahead = gradients.lerp_(momenta, group["momentum"])  # Nesterov's look ahead
                block_rows = rows // group["blocks"]
                updates = orthogonalize(ahead.view(-1, block_rows, columns)).view_as(ahead)
                size = group["lr"] * math.sqrt(max(1.0, block_rows / columns))
                for p, update in zip(matrices, updates, strict=True):
                    if group["weight_decay"]:
                        p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=size)

    def _momentum(self, p: Tensor, momentum: float) -> Tensor:
        """The running average of p's gradient, with this one in it: (rows, columns)."""
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        return state["momentum_buffer"].lerp_(p.grad, 1 - momentum)


def orthogonalize(matrices: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """About U V^T for each U S V^T: (N, rows, columns) to the same shape, singular values near 1.

    Newton-Schulz: with X scaled so that no singular value exceeds 1, X <- (a + b XX^T + c (XX^T)^2) X moves
    each of them, s, to a s + b s^3 + c s^5 and leaves U and V alone. These coefficients reach 0.7 to 1.2 in
    five steps rather than exactly 1. The polynomials are multiplied up on the small side, (n, n) with
    n = min(rows, columns), and meet the matrix itself only once: the same numbers for a third of the work
    where one side is four times the other."""
    a, b, c = COEFFICIENTS
    upright = matrices.size(-2) > matrices.size(-1)
    X = (matrices.mT if upright else matrices).float()  # (N, n, m) with n <= m
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)  # no singular value is above the norm
    gram = X @ X.mT  # (N, n, n)
    product = None
    for i in range(iterations):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b G + c G^2
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)  # (N, n, n)
        product = polynomial if product is None else polynomial @ product
        if i + 1 < iterations:
            gram = polynomial @ gram @ polynomial  # all of these commute: they share their eigenvectors
    X = product @ X  # (N, n, m)
    return (X.mT if upright else X).to(matrices.dtype)
