"""Layers: the norms and the MLP, which work on each position by itself, and the role of each parameter.

Taught in notebook 03_transformer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.errors import ConfigError

if TYPE_CHECKING:  # a training step needs the roles, and no settings of a model
    from tinylm.model.config import ModelConfig


@dataclass(frozen=True)
class Role:
    """How a parameter is initialised, decayed and updated. Its module declares it.

    Nothing is guessed from a name or from the number of dimensions. A guess by dimensions would give a
    router of experts to Muon and take the weight decay from stacked experts (E, 4C, C), silently."""

    muon: bool = False  # Muon may update it: a matrix between two streams of activations, not a lookup table.
    splits: int = 1  # How many independent matrices are stacked along its rows, such as one per head in qkv.
    decay: bool = False  # Weight decay pulls it towards 0.
    init: Literal["normal", "residual", "zero", "keep"] = "normal"
    """Its initial values: N(0, 0.02); smaller or 0 where it writes into the residual stream; 0; or the values
    its module gave it, such as the 1 of a norm."""


TORCH_ROLES = {"weight": Role(decay=True), "bias": Role(init="zero")}  # of nn.Linear and nn.Embedding


def parameter_roles(model: nn.Module) -> dict[str, Role]:
    """Return the role of each parameter by its full name, in the order of model.named_parameters().

    A tied parameter is listed once. A module declares roles with a method parameter_roles() that returns
    {relative name: Role}. It may declare parameters of its submodules, and then overrides what they say.
    nn.Linear and nn.Embedding are known. A parameter of one dimension may be undeclared: it gets no weight
    decay and keeps its initial values. Raises ConfigError for any other undeclared parameter, and for a
    declared parameter that does not exist."""
    declared: dict[str, Role] = {}
    for prefix, module in reversed(list(model.named_modules())):  # submodules first, so that parents override
        roles: dict[str, Role] = {}
        if hasattr(module, "parameter_roles"):
            roles = module.parameter_roles()
        elif isinstance(module, nn.Linear | nn.Embedding):
            roles = {n: role for n, role in TORCH_ROLES.items() if getattr(module, n, None) is not None}
        declared |= {f"{prefix}.{name}" if prefix else name: role for name, role in roles.items()}
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if strange := sorted(declared.keys() - names):
        raise ConfigError(f"parameter_roles() names {strange[0]}, which is none of {len(names)} parameters")
    for name, parameter in model.named_parameters():
        if name not in declared and parameter.ndim > 1:
            method = f"parameter_roles(self) that returns {{{name.rpartition('.')[2]!r}: Role(decay=True)}}"
            unknown = f"{name} has {parameter.ndim} dimensions and nobody says how to train it"
            raise ConfigError(f"{unknown}: give its module a method {method}")
    return {name: declared.get(name, Role(init="keep")) for name, _ in model.named_parameters()}


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension (Zhang and Sennrich 2019).

    This is torch's norm, except that under autocast the result keeps the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., size) to the same shape and dtype."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def make_norm(config: "ModelConfig") -> nn.Module:
    """Return the configured norm over n_embd numbers: LayerNorm (Ba et al. 2016), or RMSNorm without bias."""
    if config.norm == "layernorm":
        return nn.LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)
    return RMSNorm(config.n_embd, eps=config.norm_eps)


def activate(activation: str, hidden: Tensor, gate: Tensor | None = None) -> Tensor:
    """Apply an activation function to each number of a hidden layer (..., hidden).

    It is "gelu", GPT-2's tanh approximation of x * Phi(x) (Hendrycks and Gimpel 2016), "relu2", max(0, x)^2
    (So et al. 2021), or "swiglu": the result of a second matrix, the gate, scales each number of the first by
    silu(gate) (Shazeer 2020, equation 6)."""
    if gate is not None:
        return F.silu(gate) * hidden
    return F.gelu(hidden, approximate="tanh") if activation == "gelu" else F.relu(hidden).square()


class MLP(nn.Module):
    """From C numbers to mlp_hidden, an activation function, and back (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: "ModelConfig", hidden: int | None = None) -> None:
        """hidden: its width between the matrices; None is mlp_hidden."""
        super().__init__()
        self.activation = config.activation
        self.dropout = config.dropout
        hidden = hidden or config.mlp_hidden
        self.up = nn.Linear(config.n_embd, hidden, bias=config.bias)
        self.gate = None
        if config.activation == "swiglu":
            self.gate = nn.Linear(config.n_embd, hidden, bias=config.bias)
        self.down = nn.Linear(hidden, config.n_embd, bias=config.bias)

    def parameter_roles(self) -> dict[str, Role]:
        """Return the roles of the matrices, all for Muon; the last writes into the residual stream."""
        matrix = Role(muon=True, decay=True)
        roles = {"up.weight": matrix, "down.weight": Role(muon=True, decay=True, init="residual")}
        return roles if self.gate is None else roles | {"gate.weight": matrix}

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C), each position by itself."""
        gate = None if self.gate is None else self.gate(x)
        out = self.down(activate(self.activation, self.up(x), gate))  # (B, T, C)
        return F.dropout(out, self.dropout) if self.training else out
