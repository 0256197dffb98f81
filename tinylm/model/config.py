"""ModelConfig: the settings that define a GPT, each declared and checked in one place.

Taught in notebook 03_transformer."""

from dataclasses import dataclass
from typing import Literal

from tinylm.errors import Config, ConfigError, setting


@dataclass(frozen=True)
class ModelConfig(Config):
    """The settings of a GPT. The defaults are GPT-2's choices at a small size.

    A new setting needs its field here, with `shapes=False` if the weights do not depend on it, its parameters
    in `cost.parameter_counts`, and the layer that uses it. The command line, checkpoints, resuming and export
    follow from the field. Raises ConfigError for a value, or a pair of values, that cannot work."""

    vocab_size: int = 65  # V: the number of different tokens.
    # Rotary tables and the KV cache grow with it and are in no count of parameters: without an upper bound
    # a checkpoint of a few kilobytes could ask for all memory.
    context_length: int = setting(256, most=2**17)  # The most tokens that the model sees at once.
    n_layer: int = 4  # The number of blocks.
    n_head: int = 4  # H: attention heads per block. Each is n_embd / n_head wide.
    n_embd: int = 128  # C: the width of the residual stream.
    position: Literal["learned", "rotary"] = "learned"
    """How positions enter: a learned vector for each (GPT-2) or a rotation of q and k (Su et al. 2021)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"  # GPT-2's, or Zhang and Sennrich's of 2019.
    activation: Literal["gelu", "relu2"] = "gelu"
    """GELU in its tanh approximation (GPT-2) or squared ReLU (So et al. 2021)."""
    qk_norm: bool = False  # RMS-normalise the queries and keys of each head, which keeps scores small.
    token_shift: bool = False
    """Mix a learned share of the previous position's input into each attention's (Peng et al. 2023)."""
    tied_head: bool = True  # Use the token embedding as the output matrix too (GPT-2).
    bias: bool = True  # Biases in the linear layers and in LayerNorm (GPT-2). The head never has one.
    dropout: float = setting(0.0, least=0, below=1, shapes=False)
    """The fraction of activations set to zero during training."""
    attention: Literal["fused", "explicit"] = setting("fused", shapes=False)
    """One fused call (fast) or the formula step by step (readable). The result is the same."""
    residual_init: Literal["scaled", "zero"] = setting("scaled", shapes=False)
    """Matrices that write into the residual stream start small (GPT-2) or at 0, so that no block adds
    anything at first."""
    rope_base: float = setting(10000.0, above=1, use="10000.0, which is usual")
    """Rotary only: the slowest pair turns once in about 2 pi rope_base positions."""
    vocab_multiple: int = setting(1, most=1024, shapes=False)  # padding is in no count of parameters either
    """Pad the head's rows to a multiple of this, such as 64, for speed on a GPU. No result changes."""
    activation_checkpointing: bool = setting(False, shapes=False)
    """Keep only the input of each block and compute the block again for the gradient: less memory, more
    time."""

    @property
    def head_dim(self) -> int:
        """D: the width of one head."""
        return self.n_embd // self.n_head

    @property
    def qkv_sizes(self) -> tuple[int, int, int]:
        """The widths of the queries, of the keys and of the values, each over all heads."""
        return self.n_embd, self.n_embd, self.n_embd

    @property
    def mlp_hidden(self) -> int:
        """The width of the MLP between its two matrices."""
        return 4 * self.n_embd

    def __post_init__(self) -> None:
        super().__post_init__()
        C, step, of = self.n_embd, self.n_head, f"n_head {self.n_head}"
        if self.position == "rotary":  # it turns pairs of numbers within each head
            step, of = 2 * self.n_head, f"2 × n_head {self.n_head}, as rotary positions need"
        if C % step:
            lower = C // step * step
            nearest = f"{lower} or {lower + step}" if lower else f"{step}"
            raise ConfigError(f"n_embd {C} is not a multiple of {of}: use {nearest}")
