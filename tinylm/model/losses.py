"""Losses: how surprised the model was by the text that really came next, in nats per token.

Knows only logits and targets. Refuses to know models, optimisers and text.
Taught in notebooks 01_characters and 06_custom_losses. Source: Shannon 1948."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tinylm.errors import InputError
from tinylm.text.batches import IGNORE_INDEX


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, n_targets: int | torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of -ln p(target), in nats per token, over the targets that are not IGNORE_INDEX (-100).

    logits (..., V) of any float type; the arithmetic is float32. targets (...) int64. Returns a scalar.
    With n_targets the sum is divided by that number instead of by the targets counted here: the
    pieces of a batch that was cut into micro-batches then add up to the mean over the whole batch.
    A batch in which every target is ignored has no mean: the result is nan.
    Raises InputError when the shapes do not belong together."""
    flat_logits, flat_targets = _flatten(logits, targets)  # (N, V), (N,)
    if n_targets is None:
        return F.cross_entropy(flat_logits, flat_targets, ignore_index=IGNORE_INDEX)
    return F.cross_entropy(flat_logits, flat_targets, ignore_index=IGNORE_INDEX, reduction="sum") / n_targets


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-ln p(target) at every position, in nats; exactly 0 where the target is IGNORE_INDEX (-100).

    logits (..., V), targets (...). Returns float32 of the shape of targets."""
    flat_logits, flat_targets = _flatten(logits, targets)  # (N, V), (N,)
    losses = F.cross_entropy(flat_logits, flat_targets, ignore_index=IGNORE_INDEX, reduction="none")  # (N,)
    return losses.view(targets.shape)  # (...)


def nats_to_bits(nats: float) -> float:
    """The same surprise counted in bits: one bit is ln 2 nats."""
    return nats / math.log(2)


def _flatten(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if logits.shape[:-1] != targets.shape:
        raise InputError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} do not belong together: "
            f"targets must be {tuple(logits.shape[:-1])}, one id for each row of logits"
        )
    return logits.float().reshape(-1, logits.size(-1)), targets.reshape(-1)  # (N, V), (N,)
