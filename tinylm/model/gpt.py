"""GPT: embeddings, a stack of blocks, a norm and a head. Tokens in, logits out.

Taught in notebook 03_transformer. Source: Radford et al. 2019 (GPT-2), section 2.3."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tinylm.errors import ConfigError, InputError
from tinylm.model.attention import CausalSelfAttention, Rotary, explicit_attention
from tinylm.model.config import ModelConfig
from tinylm.model.context import Context, KVCache, Positions
from tinylm.model.layers import MLP, make_norm, parameter_roles
from tinylm.model.moe import MoE
from tinylm.model.rope import rotary_tables

INIT_STD = 0.02  # GPT-2's


class Block(nn.Module):
    """Look around (attention), then think (MLP). Each adds its result to the residual stream x."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.attn_norm = make_norm(config)
        self.attn = CausalSelfAttention(config, layer)
        self.mlp_norm = make_norm(config)
        self.mlp = MoE(config) if config.n_expert else MLP(config)

    def forward(self, x: Tensor, rotary: Rotary | None = None, context: Context | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). The other arguments are those of CausalSelfAttention."""
        x = x + self.attn(self.attn_norm(x), rotary, context)  # (B, T, C)
        return x + self.mlp(self.mlp_norm(x))  # (B, T, C)


class GPT(nn.Module):
    """Map token ids (B, T) to logits (B, T, V), a score for every possible next token: GPT(config)(tokens).

    The initial weights are drawn from `generator`, by default a new one with seed 0, so the same config gives
    the same model. The global random state is not touched."""

    def __init__(self, config: ModelConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        C, V = config.n_embd, config.vocab_size
        rotary = config.position == "rotary"
        with torch.random.fork_rng(devices=[]):  # torch's own initialisation draws too
            self.token_embedding = nn.Embedding(V, C)
            self.position_embedding = None if rotary else nn.Embedding(config.context_length, C)
            self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
            self.final_norm = make_norm(config)
            self.head = nn.Linear(C, V, bias=False)
        if config.tied_head:
            self.head.weight = self.token_embedding.weight  # one parameter under two names
        if rotary:  # computed once and moved with the model, but not saved: they are not learned
            cos, sin = rotary_tables(config.head_dim, config.context_length, config.rope_base)
            self.register_buffer("rotary_cos", cos.to(self.head.weight.device), persistent=False)
            self.register_buffer("rotary_sin", sin.to(self.head.weight.device), persistent=False)
        self.init_weights(generator or torch.Generator().manual_seed(0))

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw matrices from N(0, 0.02) and set biases and token shifts to 0, as GPT-2 does. Gains stay 1.

        The 2 n_layer matrices that write into the residual stream are drawn smaller by sqrt(2 n_layer). This
        way their sum does not grow with depth. With residual_init "zero" they are 0."""
        scaled = self.config.residual_init == "scaled"
        residual_std = INIT_STD / math.sqrt(2 * self.config.n_layer) if scaled else 0.0
        for name, role in parameter_roles(self).items():  # a tied head is listed once
            parameter = self.get_parameter(name)
            if role.init in ("normal", "residual"):
                std = residual_std if role.init == "residual" else INIT_STD
                parameter.normal_(0.0, std, generator=generator)
            elif role.init == "zero":
                parameter.zero_()

    def forward(self, tokens: Tensor, context: Context | None = None) -> Tensor:
        """Map token ids (B, T), int64, T at most context_length, to logits (B, T, V).

        context: what the tokens may look at besides the tokens before them in their row. With a cache
        (`new_cache`), they follow the tokens in it and are added to it. With `Documents`, each sees its own
        document only. Raises InputError for tokens that cannot be read; ids outside the vocabulary are
        noticed on the CPU only. A cache is then as it was before."""
        return self.logits(self.hidden(tokens, context))  # (B, T, V)

    def hidden(self, tokens: Tensor, context: Context | None = None) -> Tensor:
        """Return the residual stream after the final norm, ready for the head: (B, T) to (B, T, C)."""
        positions = self._positions(tokens, context)
        x = self.embed(tokens, positions)  # (B, T, C)
        rotary = self.rotary(positions)
        # A block that writes into a cache must be computed only once.
        recompute = self.config.activation_checkpointing and (context is None or not context.stateful)
        random = self.config.dropout > 0  # then the second pass must draw the same dropout masks
        for block in self.blocks:  # x stays (B, T, C)
            if recompute:
                x = checkpoint(block, x, rotary, context, use_reentrant=False, preserve_rng_state=random)
            else:
                x = block(x, rotary, context)
        if context is not None:
            context.commit(*tokens.shape)
        return self.final_norm(x)  # (B, T, C)

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the head: (..., C) to (..., V)."""
        if self.config.vocab_multiple == 1:
            return self.head(hidden)  # (..., V)
        return F.linear(hidden, self.head_weight())[..., : self.config.vocab_size]  # (..., V)

    def head_weight(self) -> Tensor:
        """Return the head's matrix with V padded up to vocab_multiple, for speed: (V + n_more, C).

        The last n_more rows are 0, and their logits belong to no token: slice them off."""
        n_more = -self.config.vocab_size % self.config.vocab_multiple
        return F.pad(self.head.weight, (0, 0, 0, n_more)) if n_more else self.head.weight

    def embed(self, tokens: Tensor, positions: Positions | None = None) -> Tensor:
        """Return the residual stream before the first block: (B, T) to (B, T, C).

        positions: those of the tokens, by default 0 to T - 1."""
        if positions is None:
            positions = self._positions(tokens)
        try:
            x = self.token_embedding(tokens)  # (B, T, C)
        except IndexError:  # checked only afterwards: looking at every id first would slow every step
            ids, V = f"token ids from {tokens.min()} to {tokens.max()}", self.config.vocab_size
            tokenizer = "was the text encoded with this model's tokenizer?"
            raise InputError(f"{ids} do not fit vocab_size {V}: {tokenizer}") from None
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[positions]  # (B, T, C) + (T, C) or (B, T, C)
        return F.dropout(x, self.config.dropout) if self.training else x

    def rotary(self, positions: Positions) -> Rotary | None:
        """Return the rotary tables (cos, sin) at these positions; None where positions are learned.

        (T, D) each for a slice, (B, 1, T, D) for positions (B, T)."""
        if self.position_embedding is not None:
            return None
        cos, sin = self.rotary_cos[positions], self.rotary_sin[positions]
        return (cos, sin) if isinstance(positions, slice) else (cos.unsqueeze(1), sin.unsqueeze(1))

    def metrics(self) -> dict[str, Tensor]:
        """Return what the last forward pass in training noted, for a loss to return.

        With experts, "expert_load" (n_layer, n_expert): how many of the tokens chose each of them."""
        if not (self.config.n_expert and self.training):
            return {}
        return {"expert_load": torch.stack([block.mlp.load for block in self.blocks])}

    def after_step(self, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """Balance the experts, given the means of `metrics` over a step whose update was applied.

        Return the largest load over the mean load, the mean of all layers, as "imbalance". Raises ConfigError
        if the loss did not return the loads."""
        if not self.config.n_expert:
            return {}
        if "expert_load" not in metrics:
            raise ConfigError("the loss lacks expert_load to balance experts by: return model.metrics() too")
        loads = metrics["expert_load"]
        for block, load in zip(self.blocks, loads, strict=True):
            block.mlp.balance(load)
        return {"imbalance": (loads.amax(1) / loads.mean(1)).mean()}

    def new_cache(self, padding: Tensor | None = None) -> KVCache:
        """Return an empty cache for one batch of up to context_length tokens a row. padding: see KVCache."""
        return KVCache(self.config.context_length, padding)

    def n_parameters(self) -> int:
        """Count the learned numbers; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def residual_stream(self, tokens: Tensor) -> list[Tensor]:
        """Return (B, T, C) after the embedding and after each block, n_layer + 1 tensors, to look inside."""
        with eval_mode(self.modules()):
            stream = [self.embed(tokens)]
            for block in self.blocks:
                stream.append(block(stream[-1], self.rotary(slice(tokens.size(1)))))
        return stream

    @torch.no_grad()
    def attention_maps(self, tokens: Tensor) -> list[Tensor]:
        """Return who looks at whom, (B, H, T, T) for each layer, to look inside. Rows sum to 1."""
        rotary = self.rotary(slice(tokens.size(1)))
        maps = []
        for block, x in zip(self.blocks, self.residual_stream(tokens)[:-1], strict=True):
            _, weights = explicit_attention(*block.attn.qkv_heads(block.attn_norm(x), rotary))
            maps.append(weights)  # (B, H, T, T)
        return maps

    def _positions(self, tokens: Tensor, context: Context | None = None) -> Positions:
        """Return the positions of tokens (B, T). Raises InputError for tokens that cannot be read."""
        if tokens.dtype not in (torch.int64, torch.int32):
            raise InputError(f"tokens are {tokens.dtype}, ids must be int64: convert them with .long()")
        if tokens.dim() != 2:
            raise InputError(f"tokens {tuple(tokens.shape)} are not (B, T): add a batch with tokens[None]")
        T = tokens.size(1)
        most = getattr(context, "capacity", None) or self.config.context_length
        if not 1 <= T <= most:
            unfit = f"{T} tokens do not fit context_length {most}"
            raise InputError(f"{unfit}: pass 1 to {most}, such as tokens[:, -{most}:]")
        return slice(T) if context is None else context.positions(*tokens.shape)


@contextmanager
def eval_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put modules into eval mode inside the block, so without dropout; afterwards restore each one's mode.

    modules: model.modules(), or a list of them, which is faster if this happens at every token."""
    training = [module for module in modules if module.training]
    for module in training:  # object's setter: nn.Module's takes ten times as long, which shows in sampling
        object.__setattr__(module, "training", False)
    try:
        yield
    finally:
        for module in training:
            object.__setattr__(module, "training", True)
