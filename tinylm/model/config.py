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
    n_kv_head: int = setting(0, least=0, later=True)
    """Heads of keys and values, each shared by n_head / n_kv_head heads of queries (Ainslie et al. 2023). 0:
    as many as n_head."""
    n_inner: int = setting(0, least=0, later=True)
    """The width of the MLP, or of each expert, between its matrices. 0: 4 n_embd, or with swiglu 8/3 of it in
    steps of 8."""
    n_expert: int = setting(0, least=0, later=True)
    """Experts in each block, without biases, from which a router chooses for each token (Shazeer et al.
    2017). 0: one MLP for all tokens."""
    n_expert_active: int = setting(2, later=True)  # Experts only: how many of them each token uses.
    n_shared_expert: int = setting(0, least=0, later=True)
    """Experts only: how many more there are that every token uses (Dai et al. 2024)."""
    router: Literal["softmax", "sigmoid"] = setting("softmax", later=True)
    """Experts only: the router's scores, which are made to sum to 1 over the chosen experts."""
    router_bias: bool = setting(False, later=True)
    """Experts only: balance their loads by a bias that changes which are chosen (Wang et al. 2024)."""
    router_bias_rate: float = setting(1e-3, later=True, shapes=False)
    """How far that bias moves after each step."""
    position: Literal["learned", "rotary"] = "learned"
    """How positions enter: a learned vector for each (GPT-2) or a rotation of q and k (Su et al. 2021)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"  # GPT-2's, or Zhang and Sennrich's of 2019.
    norm_eps: float = setting(1e-5, above=0, below=1, later=True)
    """What a norm adds to the mean square under the root: 1e-5 in GPT-2 and Llama, 1e-6 in Qwen3."""
    activation: Literal["gelu", "relu2", "swiglu"] = "gelu"
    """GELU in its tanh approximation (GPT-2), squared ReLU (So et al. 2021) or SwiGLU (Shazeer 2020)."""
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
    def kv_heads(self) -> int:
        """The number of key-value heads."""
        return self.n_kv_head or self.n_head

    @property
    def qkv_sizes(self) -> tuple[int, int, int]:
        """The widths of the queries, of the keys and of the values, each over all heads."""
        kv_width = self.kv_heads * self.head_dim
        return self.n_embd, kv_width, kv_width

    @property
    def mlp_hidden(self) -> int:
        """The width of the MLP between its matrices."""
        return self.n_inner or self._usual_mlp_hidden()

    def _usual_mlp_hidden(self) -> int:
        # SwiGLU has three matrices: two thirds of the usual width give as many parameters.
        return -(-self.n_embd // 3) * 8 if self.activation == "swiglu" else 4 * self.n_embd

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, usual in (("n_kv_head", self.n_head), ("n_inner", self._usual_mlp_hidden())):
            if getattr(self, name) == usual:  # said in one way only, so that equal models have equal settings
                object.__setattr__(self, name, 0)
        if self.n_head % self.kv_heads:
            fits = ", ".join(str(n) for n in range(1, self.n_head + 1) if self.n_head % n == 0)
            raise ConfigError(f"n_kv_head {self.n_kv_head} does not divide n_head {self.n_head}: use {fits}")
        E, k = self.n_expert, self.n_expert_active
        if E and not min(E, 2) <= k <= E:  # the gate of one among several is always 1: nothing to learn
            fits = f"2 to {E}" if E > 1 else "1"
            raise ConfigError(f"n_expert_active {k} does not fit n_expert {E}: use {fits}")
        C, step, of = self.n_embd, self.n_head, f"n_head {self.n_head}"
        if self.position == "rotary":  # it turns pairs of numbers within each head
            step, of = 2 * self.n_head, f"2 × n_head {self.n_head}, as rotary positions need"
        if C % step:
            lower = C // step * step
            nearest = f"{lower} or {lower + step}" if lower else f"{step}"
            raise ConfigError(f"n_embd {C} is not a multiple of {of}: use {nearest}")
