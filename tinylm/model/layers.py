"""Layers: the norms and the MLP, which work on each position by itself, and what role each parameter plays.

Taught in notebook 03_transformer."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.errors import ConfigError

EPSILON = 1e-5  # GPT-2's


@dataclass(frozen=True)
class Role:
    """What a parameter is to those who draw its first weights, decay it or move it. Its module says so.

    Nothing is guessed from a name or a dimension: by dimension, a router of experts would go to Muon and
    stacked experts (E, 4C, C) would lose their weight decay, without a word."""

    muon: bool = False  # Muon may move it: a matrix between two streams of activations, not a table of rows.
    splits: int = 1  # How many independent matrices are stacked along its rows, such as one per head in qkv.
    decay: bool = False  # Weight decay pulls it to 0.
    init: Literal["normal", "residual", "zero", "keep"] = "normal"
    """Its first weights: N(0, 0.02); smaller or 0 where it writes into the residual stream; 0; or what its
    module put there, such as the 1 of a norm."""


TORCH_ROLES = {"weight": Role(decay=True), "bias": Role(init="zero")}  # of nn.Linear and nn.Embedding


def parameter_roles(model: nn.Module) -> dict[str, Role]:
    """The role of each parameter by its full name, in the order of model.named_parameters(): a tied one once.

    A module declares them by a method parameter_roles() -> {relative name: Role}, and what a module says of
    the parameters inside its parts goes before what these say of themselves. nn.Linear and nn.Embedding are
    known. A parameter of one dimension may go undeclared: it is neither decayed nor drawn. Raises ConfigError
    for another that is not declared, and for a declared one that is not there."""
    declared: dict[str, Role] = {}
    for prefix, module in reversed(list(model.named_modules())):  # the parts before what they are parts of
        roles: dict[str, Role] = {}
        if hasattr(module, "parameter_roles"):
            roles = module.parameter_roles()
        elif isinstance(module, nn.Linear | nn.Embedding):
            roles = {n: role for n, role in TORCH_ROLES.items() if getattr(module, n, None) is not None}
        declared |= {f"{prefix}.{name}" if prefix else name: role for name, role in roles.items()}
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if strange := sorted(declared.keys() - names):
        raise ConfigError(
            f"parameter_roles() names {strange[0]}, which is none of the {len(names)} parameters"
        )
    for name, parameter in model.named_parameters():
        if name not in declared and parameter.ndim > 1:
            last = name.rpartition(".")[2]
            raise ConfigError(
                f"{name} has {parameter.ndim} dimensions and nobody says how to train it: give its module "
                f"a method parameter_roles(self) that returns {{{last!r}: Role(decay=True)}}"
            )
    return {name: declared.get(name, Role(init="keep")) for name, _ in model.named_parameters()}


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension (Zhang and Sennrich 2019).

    torch's, but under autocast the result keeps the dtype of x."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), EPSILON)


def make_norm(kind: str, size: int, bias: bool) -> nn.Module:
    """The norm called "layernorm" (Ba et al. 2016) or "rmsnorm"; the second never has a bias."""
    return nn.LayerNorm(size, eps=EPSILON, bias=bias) if kind == "layernorm" else RMSNorm(size)


def activate(kind: str, x: Tensor) -> Tensor:
    """ "gelu": GPT-2's tanh approximation of x * Phi(x) (Hendrycks and Gimpel 2016). "relu2": max(0, x)^2."""
    return F.gelu(x, approximate="tanh") if kind == "gelu" else F.relu(x).square()


class MLP(nn.Module):
    """From C numbers to `hidden`, an activation function, and back (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, n_embd: int, hidden: int, *, activation: str, bias: bool, dropout: float) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = dropout
        self.up = nn.Linear(n_embd, hidden, bias=bias)
        self.down = nn.Linear(hidden, n_embd, bias=bias)

    def parameter_roles(self) -> dict[str, Role]:
        """Two matrices for Muon; the second writes into the residual stream."""
        return {
            "up.weight": Role(muon=True, decay=True),
            "down.weight": Role(muon=True, decay=True, init="residual"),
        }

    def forward(self, x: Tensor) -> Tensor:
        hidden = activate(self.activation, self.up(x))  # (B, T, hidden)
        out = self.down(hidden)  # (B, T, C)
        return F.dropout(out, self.dropout) if self.training else out
