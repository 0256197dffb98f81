"""ModelConfig: the numbers and choices that say which GPT it is, and how many parameters that makes.

Knows only plain numbers and words. Refuses to know tensors, and every combination that cannot work.
Taught in notebook 03_transformer."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from tinylm.errors import ConfigError

Position = Literal["learned", "rotary"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "relu2"]
Attention = Literal["fused", "explicit"]
ResidualInit = Literal["scaled", "zero"]


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shape of a GPT. The defaults are GPT-2's choices at a small size.

    Raises ConfigError, in one sentence, for numbers that cannot be combined."""

    vocab_size: int = 65
    """V: how many different tokens there are."""
    context_length: int = 256
    """The most tokens that the model sees at once."""
    n_layer: int = 4
    """How many blocks are stacked."""
    n_head: int = 4
    """H: attention heads per block. Each is n_embd / n_head wide."""
    n_embd: int = 128
    """C: the width of the residual stream."""
    position: Position = "learned"
    """How order gets in: a learned vector per position (GPT-2) or a rotation of q and k (Su et al. 2021)."""
    norm: Norm = "layernorm"
    """LayerNorm (GPT-2) or RMSNorm (Zhang and Sennrich 2019)."""
    activation: Activation = "gelu"
    """GELU in its tanh approximation (GPT-2) or squared ReLU (So et al. 2021)."""
    qk_norm: bool = False
    """RMS-normalise every head's queries and keys, so that scores cannot grow without bound."""
    token_shift: bool = False
    """Let each attention also read the position before its own, by a learned share (Peng et al. 2023)."""
    tied_head: bool = True
    """Read the output with the token embedding itself (GPT-2) instead of a matrix of its own."""
    bias: bool = True
    """Biases in the linear layers and in LayerNorm (GPT-2). The head never has one."""
    dropout: float = 0.0
    """The fraction of activations zeroed while training."""
    attention: Attention = "fused"
    """One fused call (fast) or the formula step by step (to be read). The result is the same."""
    residual_init: ResidualInit = "scaled"
    """What writes into the residual stream starts small (GPT-2) or at 0: no block adds anything yet."""
    rope_base: float = 10000.0
    """Rotary only: the slowest pair turns once in about 2 pi rope_base positions."""

    @property
    def head_dim(self) -> int:
        """D: the width of one head."""
        return self.n_embd // self.n_head

    @property
    def mlp_hidden(self) -> int:
        """The width of the MLP between its two matrices."""
        return 4 * self.n_embd

    @property
    def qkv_width(self) -> int:
        """Queries, keys and values of one position, side by side."""
        return 3 * self.n_embd

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layer", "n_head", "n_embd"):
            _require_count(name, getattr(self, name))
        for name, kind in {
            "position": Position,
            "norm": Norm,
            "activation": Activation,
            "attention": Attention,
            "residual_init": ResidualInit,
        }.items():
            _require_choice(name, getattr(self, name), get_args(kind))
        for name in ("qk_norm", "token_shift", "tied_head", "bias"):
            _require_choice(name, getattr(self, name), (True, False))
        _require_number("dropout", self.dropout, lambda p: 0.0 <= p < 1.0, "at least 0 and below 1")
        _require_number("rope_base", self.rope_base, lambda b: b > 1.0, "above 1 (10000.0 is usual)")

        step = 2 * self.n_head if self.position == "rotary" else self.n_head
        lower = self.n_embd // step * step
        nearest = f"{lower} or {lower + step}" if lower else f"{step}"
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}: use {nearest}"
            )
        if self.n_embd % step:
            raise ConfigError(
                f"head_dim {self.head_dim} (n_embd {self.n_embd} / n_head {self.n_head}) is odd, "
                f"and rotary positions turn pairs: use n_embd {nearest}"
            )

    def to_json(self) -> dict[str, Any]:
        """Every setting by name, ready for json.dump."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelConfig":
        """The inverse of to_json. A missing or an unknown name is refused: neither is guessed."""
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in data]:
            raise ConfigError(
                f"the model config lacks {', '.join(missing)}: all {len(names)} names are needed"
            )
        if unknown := [name for name in data if name not in names]:
            raise ConfigError(
                f"the model config has unknown {', '.join(unknown)}: known are {', '.join(names)}"
            )
        return cls(**data)


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """How many parameters each part has, by formula; "total" is their sum. A tied head counts 0."""
    C, V, L = config.n_embd, config.vocab_size, config.n_layer

    def linear(rows: int, columns: int) -> int:
        return rows * columns + config.bias * columns

    norm = C + (C if config.bias and config.norm == "layernorm" else 0)
    counts = {
        "token_embedding": V * C,
        "position_embedding": config.context_length * C if config.position == "learned" else 0,
        "attention": L * (linear(C, config.qkv_width) + linear(C, C) + config.token_shift * C),
        "mlp": L * (linear(C, config.mlp_hidden) + linear(config.mlp_hidden, C)),
        "norms": (2 * L + 1) * norm + config.qk_norm * L * 2 * config.head_dim,
        "head": 0 if config.tied_head else V * C,
    }
    return counts | {"total": sum(counts.values())}


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {value!r}: it must be a whole number")
    if value < 1:
        raise ConfigError(f"{name} is {value}: it must be at least 1")


def _require_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}: use {' or '.join(repr(choice) for choice in allowed)}")


def _require_number(name: str, value: Any, fits: Callable[[float], bool], allowed: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not fits(value):
        raise ConfigError(f"{name} is {value!r}: it must be {allowed}")
