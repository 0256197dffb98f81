"""Muon: a matrix is moved by the nearest matrix that turns without stretching, not by its gradient.

The momentum of a gradient is mostly a few strong directions. Muon gives every direction the same length:
of U S V^T it keeps U V^T. MuonAdamW hands the parameters for which that makes no sense to AdamW.
Taught in notebook 15_optimizers. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tinylm.errors import ConfigError

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest start for small singular values
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal: w <- (1 - lr · weight_decay) w - lr · sqrt(max(1, rows / columns)) · U V^T.

    The same update as torch.optim.Muon, in float32 and for all matrices of one shape at once. torch's
    iterates in bfloat16, one matrix after the other, which is slow on most processors
    (tests/benchmarks/optimizer_step.py measures both). A group may say `splits`: its matrices are then cut
    into so many equal parts of rows, each made orthogonal by itself, as if they were separate parameters; a
    parameter of more dimensions is a stack of matrices, and each of them is cut so.
    Raises ConfigError for a parameter that is no matrix, or whose rows cannot be cut so."""

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        splits: int = 1,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "splits": splits}
        super().__init__(parameters, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch has it; refuses what is no matrix."""
        super().add_param_group(param_group)
        splits = self.param_groups[-1]["splits"]
        for p in self.param_groups[-1]["params"]:
            if p.ndim < 2 or p.size(-2) % splits:
                raise ConfigError(
                    f"Muon takes matrices whose rows it can cut into {splits} equal parts, and this "
                    f"parameter has shape {tuple(p.shape)}: use fewer splits, or give it to AdamW"
                )

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for (*_, rows, columns), matrices in by_shape.items():
                momenta = torch.stack([self._momentum(p, group["momentum"]) for p in matrices])
                gradients = torch.stack([p.grad for p in matrices])  # (N, ..., rows, columns)
                ahead = gradients.lerp_(momenta, group["momentum"])  # Nesterov's step ahead
                rows = rows // group["splits"]
                updates = orthogonalize(ahead.view(-1, rows, columns)).view_as(ahead)
                size = group["lr"] * math.sqrt(max(1.0, rows / columns))
                for p, update in zip(matrices, updates, strict=True):
                    if group["weight_decay"]:
                        p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=size)

    def _momentum(self, p: Tensor, momentum: float) -> Tensor:
        """The running average of p's gradient, with this one in it, in p's shape."""
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p)
        return state["momentum_buffer"].lerp_(p.grad, 1 - momentum)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for some groups and AdamW for the others: one optimiser with one list of groups and one state.

    Each group says which it is by kind="muon" or kind="adamw", and has the settings of that one. AdamW is
    torch's own."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        groups = list(groups)
        own = {kind: [group for group in groups if group["kind"] == kind] for kind in ("adamw", "muon")}
        adamw = torch.optim.AdamW(own["adamw"], lr=0.0, weight_decay=0.0, fused=True)
        self._parts = {"adamw": adamw, "muon": Muon(own["muon"], lr=0.0)}
        defaults = self._parts["adamw"].defaults | self._parts["muon"].defaults
        super().__init__([*own["adamw"], *own["muon"]], defaults)

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for kind, part in self._parts.items():  # they work on this optimiser's own groups and state
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["kind"] == kind]
            part.step()


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
