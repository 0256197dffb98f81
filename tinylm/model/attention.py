"""Attention: every position takes a weighted average of the positions up to and including its own.

This file has the formula, the same in one fused call, and the layer with several heads that uses either.
Taught in notebook 02_attention. Source: Vaswani et al. 2017, section 3.2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.model.config import ModelConfig
from tinylm.model.context import Context
from tinylm.model.layers import RMSNorm, Role
from tinylm.model.rope import apply_rotary

Rotary = tuple[Tensor, Tensor]


def causal_mask(T: int, S: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """Return a bool mask (T, S): True where query i may look at position j.

    The T queries are the last of the S positions. By default S = T: query i may look where j <= i."""
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Compute softmax(q k^T / sqrt(D)) v with the future masked: equation 1 of Vaswani et al. 2017.

    q (B, H, T, D); k, v (B, H, S, D), or fewer heads that several queries share: with 6 and 2, the queries'
    heads 0 to 2 share the first. The T queries are the last of the S positions; in training, S = T.
    mask: True where a query may look, by default its own position and those before it. Returns the output
    (B, H, T, D) and the weights before dropout (B, H, T, S)."""
    if k.size(1) < q.size(1):
        k, v = (x.repeat_interleave(q.size(1) // k.size(1), dim=1) for x in (k, v))  # (B, H, S, D) each
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    seen = causal_mask(q.size(-2), k.size(-2), device=q.device) if mask is None else mask  # (T, S)
    scores = scores.masked_fill(~seen, -math.inf)  # by position, never by value: a score of 0 is a score
    weights = scores.softmax(dim=-1)  # every row sums to 1
    return F.dropout(weights, dropout) @ v, weights  # (B, H, T, D), (B, H, T, S)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Compute the same output (B, H, T, D) in one call that never stores the (T, S) weights.

    Keys and values that several heads share are not repeated in memory. The call's own causal mask counts
    queries from position 0, so it is used only when T = S. Source: Dao et al. 2022 (FlashAttention)."""
    T, S = q.size(-2), k.size(-2)
    causal = mask is None and T == S
    if mask is None and 1 < T < S:  # a single query is the last position and sees everything
        mask = causal_mask(T, S, device=q.device)  # (T, S)
    grouped = k.size(1) < q.size(1)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
    )


class TokenShift(nn.Module):
    """x_t + weight * x_(t-1): each position also carries a learned share, per channel, of the one before.

    The weight starts at 0. Attention needs a whole layer to read two neighbours as one; a token shift needs
    one number per channel. Source: Peng et al. 2023 (RWKV), section 3.1. So et al. 2021 use a convolution."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))  # no weight decay: 0 is no better than another share

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). before: x one position earlier, by default with 0 at the start."""
        if before is None:
            before = F.pad(x[:, :-1], (0, 0, 1, 0))  # (B, T, C)
        return torch.addcmul(x, before, self.weight)  # (B, T, C)


class CausalSelfAttention(nn.Module):
    """n_head attentions side by side, each in its own n_embd / n_head dimensions.

    With n_kv_head, groups of them share their keys and values (Ainslie et al. 2023): the cache holds fewer.
    With qk_norm, queries and keys are RMS-normalised per head, with a learned gain (Dehghani et al. 2023;
    Qwen3). This happens before the rotation: with a gain after it, scores would depend on more than distance.
    With token_shift, each position brings a share of the position before it into queries, keys and values.

    layer: the number of this layer in its model, under which a context stores its keys and values."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.dropout = config.dropout
        self.fused = config.attention == "fused"
        self.head_dim, self.n_head, self.kv_heads = config.head_dim, config.n_head, config.kv_heads
        self.qkv = nn.Linear(config.n_embd, sum(config.qkv_sizes), bias=config.bias)  # one product, not three
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.q_norm = RMSNorm(self.head_dim, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, eps=config.norm_eps) if config.qk_norm else None
        self.shift = TokenShift(config.n_embd) if config.token_shift else None

    def parameter_roles(self) -> dict[str, Role]:
        """Return the roles of two matrices for Muon; proj writes into the residual stream.

        qkv is split into one matrix for each head's queries, keys and values, so that a head with large
        gradients does not decide how the other heads move."""
        n_matrices = self.n_head + 2 * self.kv_heads
        return {
            "qkv.weight": Role(muon=True, splits=n_matrices, decay=True),
            "proj.weight": Role(muon=True, decay=True, init="residual"),
        }

    def qkv_heads(
        self, x: Tensor, rotary: Rotary | None, context: Context | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v of x (B, T, C), (B, H, T, D) each: shifted, normalised and rotated as configured.

        With n_kv_head, k and v have as many heads as that."""
        if self.shift is not None:
            before = None if context is None else context.previous_inputs(self.layer, x)  # (B, T, C)
            x = self.shift(x, before)  # (B, T, C)
        heads = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, all heads, T, D)
        qk, v = heads.split((self.n_head + self.kv_heads, self.kv_heads), dim=1)
        if self.q_norm is not None:
            q, k = qk.split((self.n_head, self.kv_heads), dim=1)
            qk = torch.cat((self.q_norm(q), self.k_norm(k)), dim=1)
        if rotary is not None:
            qk = apply_rotary(qk, *rotary)  # both at once: for a single token the calls take the time
        q, k = qk.split((self.n_head, self.kv_heads), dim=1)  # (B, H, T, D) each
        return q, k, v

    def forward(self, x: Tensor, rotary: Rotary | None = None, context: Context | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). rotary: the (cos, sin) tables of exactly these T positions, or None.

        context: what the tokens may look at, by default everything up to themselves in x."""
        q, k, v = self.qkv_heads(x, rotary, context)
        mask = None
        if context is not None:
            k, v, mask = context.attend(self.layer, k, v)  # (B, H, S, D) each
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            out = fused_attention(q, k, v, mask=mask, dropout=dropout)
        else:
            out, _ = explicit_attention(q, k, v, mask=mask, dropout=dropout)
        out = self.proj(out.transpose(1, 2).flatten(2))  # (B, T, C)
        return F.dropout(out, self.dropout) if self.training else out
