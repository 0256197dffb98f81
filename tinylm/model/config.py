"""ModelConfig: the settings that say which GPT it is, and how many parameters that makes.

Taught in notebook 03_transformer."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinylm.errors import BELOW_1, Config, ConfigError


@dataclass(frozen=True)
class ModelConfig(Config):
    """Everything that decides the shape of a GPT. The defaults are GPT-2's choices at a small size."""

    vocab_size: int = 65  # V: how many different tokens there are.
    context_length: int = 256  # The most tokens that the model sees at once.
    n_layer: int = 4  # How many blocks are stacked.
    n_head: int = 4  # H: attention heads per block. Each is n_embd / n_head wide.
    n_embd: int = 128  # C: the width of the residual stream.
    position: Literal["learned", "rotary"] = "learned"
    """How order gets in: a learned vector per position (GPT-2) or a rotation of q and k (Su et al. 2021)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"  # As in GPT-2, or of Zhang and Sennrich 2019.
    activation: Literal["gelu", "relu2"] = "gelu"
    """GELU in its tanh approximation (GPT-2) or squared ReLU (So et al. 2021)."""
    qk_norm: bool = False  # RMS-normalise every head's queries and keys, so that scores stay small.
    token_shift: bool = False
    """Let each attention also read the position before its own, by a learned share (Peng et al. 2023)."""
    tied_head: bool = True  # Read the output with the token embedding (GPT-2), not a matrix of its own.
    bias: bool = True  # Biases in the linear layers and in LayerNorm (GPT-2). The head never has one.
    dropout: float = 0.0  # The fraction of activations zeroed while training.
    attention: Literal["fused", "explicit"] = "fused"
    """One fused call (fast) or the formula step by step (to be read). The result is the same."""
    residual_init: Literal["scaled", "zero"] = "scaled"
    """What writes into the residual stream starts small (GPT-2) or at 0: no block adds anything yet."""
    rope_base: float = 10000.0  # Rotary only: the slowest pair turns once in about 2 pi rope_base positions.
    vocab_multiple: int = 1
    """Fill the head's rows up to a multiple of this, such as 64, for speed on a GPU; it shows nowhere."""
    activation_checkpointing: bool = False
    """Keep only each block's input and compute the block again for the gradient: less memory, more time."""

    # Rotary tables, a KV cache and padding are in no count of parameters: without bounds of their own a
    # checkpoint of kilobytes could ask for all memory.
    BOUNDS: ClassVar[dict] = {
        "context_length": (1, 2**17),
        "vocab_multiple": (1, 1024),
        "dropout": BELOW_1,
        "rope_base": (lambda base: base > 1, "above 1 (10000.0 is usual)"),
    }
    ADDED_LATER: ClassVar[dict] = {"residual_init": "scaled", "token_shift": False, "vocab_multiple": 1}
    ADDED_LATER |= {"activation_checkpointing": False}

    @property
    def head_dim(self) -> int:
        """D: the width of one head."""
        return self.n_embd // self.n_head

    @property
    def qkv_sizes(self) -> tuple[int, int, int]:
        """How wide the queries, the keys and the values of all heads are together."""
        return self.n_embd, self.n_embd, self.n_embd

    @property
    def mlp_hidden(self) -> int:
        """The width of the MLP between its two matrices."""
        return 4 * self.n_embd

    def __post_init__(self) -> None:
        super().__post_init__()
        C, H = self.n_embd, self.n_head
        step = 2 * H if self.position == "rotary" else H
        lower = C // step * step
        nearest = f"{lower} or {lower + step}" if lower else f"{step}"
        if C % H:
            raise ConfigError(f"n_embd {C} is not a multiple of n_head {H}: use {nearest}")
        if C % step:
            odd = f"head_dim {C // H} (n_embd {C} / n_head {H}) is odd"
            raise ConfigError(f"{odd}, and rotary positions turn pairs: use n_embd {nearest}")


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """How many parameters each part has, by formula; "total" is their sum. A tied head counts 0."""
    C, V, L = config.n_embd, config.vocab_size, config.n_layer

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + config.bias * outputs

    norm = C + (C if config.bias and config.norm == "layernorm" else 0)
    counts = {
        "token_embedding": V * C,
        "position_embedding": config.context_length * C if config.position == "learned" else 0,
        "attention": L * (linear(C, sum(config.qkv_sizes)) + linear(C, C) + config.token_shift * C),
        "mlp": L * (linear(C, config.mlp_hidden) + linear(config.mlp_hidden, C)),
        "norms": (2 * L + 1) * norm + config.qk_norm * L * 2 * config.head_dim,
        "head": 0 if config.tied_head else V * C,
    }
    return counts | {"total": sum(counts.values())}
