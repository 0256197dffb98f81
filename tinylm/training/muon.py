"""Muon: move a matrix by the nearest orthogonal matrix to its momentum, not by the momentum itself.

The momentum of a gradient consists mostly of a few strong directions. Muon gives every direction the same
length: of U S V^T it keeps U V^T. MuonAdamW leaves the parameters for which that makes no sense to AdamW.
Taught in notebook 15_optimizers. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest start for small singular values
ITERATIONS = 5


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser: Muon for the groups of kind="muon", torch's AdamW for those of kind="adamw".

    Muon is w <- (1 - lr · weight_decay) w - lr · sqrt(max(1, rows / columns)) · U V^T. This is the update of
    torch.optim.Muon, in float32 and for all matrices of one shape at once. torch's version iterates in
    bfloat16, one matrix after the other, which is slow on most processors (tests/benchmarks/training_step.py
    measures both). With `splits`, a group's matrices are cut into that many equal parts of rows, and each
    part is made orthogonal by itself, as if it were a parameter of its own. A parameter with more dimensions
    is a stack of matrices, each of which is cut in this way."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        defaults = torch.optim.AdamW([{"params": []}], fused=True).defaults
        super().__init__(groups, defaults | {"momentum": 0.95, "weight_decay": 0.0, "splits": 1})

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        adamw = torch.optim.AdamW([{"params": []}])
        adamw.state = self.state  # shared: what it changes is changed here
        adamw.param_groups = [group for group in self.param_groups if group["kind"] == "adamw"]
        adamw.step()
        for group in self.param_groups:
            if group["kind"] == "muon":
                self._muon_step(group)

    def _muon_step(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is not None:
                by_shape.setdefault(p.shape, []).append(p)
                if p not in self.state:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
        for (*_, rows, columns), matrices in by_shape.items():
            momenta = torch.stack([self.state[p]["momentum_buffer"] for p in matrices])
            gradients = torch.stack([p.grad for p in matrices])  # (N, ..., rows, columns)
            ahead = gradients.lerp_(momenta, group["momentum"])  # Nesterov's step ahead
            rows = rows // group["splits"]
            updates = orthogonalize(ahead.view(-1, rows, columns)).view_as(ahead)
            size = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for p, update in zip(matrices, updates, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=size)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return about U V^T for each U S V^T: (N, rows, columns) to the same shape, singular values near 1.

    Newton-Schulz: with X scaled so that no singular value exceeds 1, X <- (a + b XX^T + c (XX^T)^2) X moves
    each of them, s, to a s + b s^3 + c s^5 and leaves U and V alone. These coefficients reach 0.7 to 1.2 in
    five steps rather than exactly 1. The polynomials are multiplied up on the small side, (n, n) with
    n = min(rows, columns), and meet the matrix itself only once: the same numbers for less work."""
    a, b, c = COEFFICIENTS
    upright = matrices.size(-2) > matrices.size(-1)
    X = (matrices.mT if upright else matrices).float()  # (N, n, m) with n <= m
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)  # no singular value is above the norm
    gram = X @ X.mT  # (N, n, n)
    product = None
    for i in range(ITERATIONS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b G + c G^2
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)  # (N, n, n)
        product = polynomial if product is None else polynomial @ product
        if i + 1 < ITERATIONS:
            gram = polynomial @ gram @ polynomial  # all of these commute: they share their eigenvectors
    X = product @ X  # (N, n, m)
    return (X.mT if upright else X).to(matrices.dtype)
