"""Attention: every position takes a weighted average of the positions up to and including its own.

The formula, the same thing in one fused call, and the layer with several heads around either.
Taught in notebook 02_attention. Source: Vaswani et al. 2017, section 3.2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.model.kv_cache import LayerCache
from tinylm.model.layers import RMSNorm, Role
from tinylm.model.rope import apply_rotary

Rotary = tuple[Tensor, Tensor]


def causal_mask(T: int, S: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """(T, S) bool: True where row i may look at column j. The T rows are the last of S positions, by default
    all of them: then row i is position i, and it may look where j <= i."""
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v with the future masked: equation 1 of Vaswani et al. 2017, line by line.

    q (B, H, T, D); k, v (B, H, S, D), where the T queries are the last of the S positions (all, while
    training). mask: True where a query may look, by default the past and itself. Returns the output
    (B, H, T, D) and the weights before dropout (B, H, T, S)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    seen = causal_mask(q.size(-2), k.size(-2), device=q.device) if mask is None else mask  # (T, S)
    scores = scores.masked_fill(~seen, -math.inf)  # by place, never by value: a score of 0 is a score
    weights = scores.softmax(dim=-1)  # every row sums to 1
    return F.dropout(weights, dropout) @ v, weights  # (B, H, T, D), (B, H, T, S)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """The same output (B, H, T, D) in one call that never stores the (T, S) weights (Dao et al. 2022).

    The call's own causal mask counts queries from position 0, so it is right only when T = S."""
    T, S = q.size(-2), k.size(-2)
    causal = mask is None and T == S
    if mask is None and 1 < T < S:  # a single query is the last position and sees all
        mask = causal_mask(T, S, device=q.device)  # (T, S)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)


class TokenShift(nn.Module):
    """x_t + weight * x_(t-1): every position also carries a learned share, per channel, of the one before.

    The weight starts at 0. To read two neighbours as one, attention needs a layer of its own; this needs one
    number per channel. Peng et al. 2023 (RWKV), section 3.1; So et al. 2021 have a convolution here."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))  # not decayed: 0 is no better than another share

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """x (B, T, C) to (B, T, C). before: x one position earlier, by default with 0 first."""
        if before is None:
            before = F.pad(x[:, :-1], (0, 0, 1, 0))  # (B, T, C)
        return torch.addcmul(x, before, self.weight)  # (B, T, C)


class CausalSelfAttention(nn.Module):
    """n_head attentions side by side, each in its own n_embd / n_head dimensions.

    With qk_norm, queries and keys are RMS-normalised per head, with a learned gain (Dehghani et al. 2023;
    Qwen3), before the rotation: a gain after it would make scores depend on more than distance. With
    token_shift, each position brings a share of the one before it into all three."""

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        *,
        bias: bool,
        dropout: float,
        qk_norm: bool,
        token_shift: bool = False,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.n_head = n_head
        self.dropout = dropout
        self.fused = fused
        self.head_dim = n_embd // n_head
        self.qkv_sizes = (n_embd, n_embd, n_embd)  # of queries, keys and values
        self.qkv = nn.Linear(n_embd, sum(self.qkv_sizes), bias=bias)  # one matrix product instead of three
        self.proj = nn.Linear(n_embd, n_embd, bias=bias)
        self.q_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.shift = TokenShift(n_embd) if token_shift else None

    def parameter_roles(self) -> dict[str, Role]:
        """Two matrices for Muon. qkv is cut into one for each head's queries, keys and values: what is strong
        in one head should not decide how another one moves. proj writes into the residual stream."""
        n_matrices = sum(self.qkv_sizes) // self.head_dim
        return {
            "qkv.weight": Role(muon=True, splits=n_matrices, decay=True),
            "proj.weight": Role(muon=True, decay=True, init="residual"),
        }

    def qkv_heads(
        self, x: Tensor, rotary: Rotary | None, cache: LayerCache | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, C) to q, k, v: (B, H, T, D) each, shifted, normalised and turned as the settings say."""
        if self.shift is not None:
            x = self.shift(x, None if cache is None else cache.previous_inputs(x))  # (B, T, C)
        B, T, _ = x.shape
        parts = self.qkv(x).split(self.qkv_sizes, dim=-1)  # (B, T, C) each
        q, k, v = (part.view(B, T, -1, self.head_dim).transpose(1, 2) for part in parts)  # (B, H, T, D) each
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = apply_rotary(q, *rotary), apply_rotary(k, *rotary)
        return q, k, v

    def forward(self, x: Tensor, rotary: Rotary | None = None, cache: LayerCache | None = None) -> Tensor:
        """x (B, T, C) to (B, T, C). rotary: the (cos, sin) tables of exactly these T positions, or None.

        With a cache, x is what follows the tokens in it: it looks at their keys and values too."""
        q, k, v = self.qkv_heads(x, rotary, cache)
        mask = None
        if cache is not None:
            k, v, mask = cache.append(k, v)  # (B, H, S, D) each
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            out = fused_attention(q, k, v, mask=mask, dropout=dropout)
        else:
            out, _ = explicit_attention(q, k, v, mask=mask, dropout=dropout)
        out = self.proj(out.transpose(1, 2).flatten(2))  # (B, T, C)
        return F.dropout(out, self.dropout) if self.training else out

    def weights(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Who looks at whom: (B, H, T, T), rows sum to 1. Needs the formula, whichever forward uses."""
        q, k, v = self.qkv_heads(x, rotary)
        return explicit_attention(q, k, v)[1]
