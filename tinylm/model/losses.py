"""Losses: how surprised the model was by the text that really came next, in nats per token.

A loss that trains or evaluates is a function (model, batch) -> (nats (B, T), metrics). It runs the model
itself, so it may do so in pieces. It returns the nats of each target and divides by nothing: whoever sums
them knows which targets count, by how much, and how many there are in the whole step. Taught in notebooks
01_characters, 06_custom_losses and 10_speed. Source: Shannon 1948."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.errors import InputError
from tinylm.model.context import Documents

LossFn = Callable[[nn.Module, Batch], tuple[Tensor, dict[str, Tensor]]]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -ln p(target), in nats per token, over the targets that are not IGNORE_INDEX.

    logits (..., V) of any float type; the arithmetic is float32. targets (...) int64. Returns a scalar.
    A batch in which every target is ignored has no mean: the result is nan.
    Raises InputError when the shapes do not belong together."""
    return F.cross_entropy(*_flatten(logits, targets))


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -ln p(target) at every position, in nats; exactly 0 where the target is IGNORE_INDEX.

    logits (..., V), targets (...). Returns float32 of the shape of targets."""
    return F.cross_entropy(*_flatten(logits, targets), reduction="none").view(targets.shape)  # (...)


def next_token_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the nats of each target, (B, T) float32, and the model's own metrics. The default everywhere.

    model: anything that makes logits (B, T, V) from tokens (B, T). Where the batch says which document each
    token belongs to, the model also gets that as its context: attention then stays inside documents."""
    return token_losses(model(*_read(batch)), batch.targets), _metrics(model)


def fused_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what next_token_loss returns, in half the memory: head and cross-entropy are one operation.

    The logits are the largest tensor of a small model with a large vocabulary: 16,384 positions of GPT-2 make
    3.3 GB in float32, and the plain path holds their log-probabilities and their gradient beside them. Here
    the gradient is written over the logits, some rows at a time.

    The model needs `hidden` and `head_weight`, as GPT has them. There is no second derivative: InputError.
    Source: Hsu et al. 2024 (Liger Kernel), arXiv:2410.10989, where the products too are made some rows at a
    time, in the forward pass, before the scale of float16's gradient is known."""
    x, targets = _flatten(model.hidden(*_read(batch)), batch.targets, "the stream")  # (N, C), (N,)
    nats = _FusedCrossEntropy.apply(x, model.head_weight(), targets, model.config.vocab_size)
    return nats.view(batch.targets.shape), _metrics(model)


class _FusedCrossEntropy(torch.autograd.Function):
    """x (N, C), weight (V or more, C), targets (N,) to nats (N,); logits after the first V do not count."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, targets: Tensor, V: int) -> Tensor:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        scored = (targets != IGNORE_INDEX)[:, None]  # (N, 1)
        ids = targets[:, None].where(scored, 0)  # (N, 1), all of them to be found
        log_sums, at_ids = x.new_empty(2, len(x), 1)  # (N, 1) each, float32
        logits = x.to(dtype) @ weight.to(dtype).t()  # (N, V or more)
        for block, found, log_sum, at_id in _in_blocks(logits[:, :V], ids, log_sums, at_ids):
            log_sum.copy_(block.float().logsumexp(1, keepdim=True))
            at_id.copy_(block.gather(1, found))
        ctx.logits, ctx.dtype, ctx.V = logits, dtype, V
        ctx.save_for_backward(x, weight, scored, ids, log_sums)
        return ((log_sums - at_ids) * scored).squeeze(1)  # (N,)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError("fused_loss has no second derivative: take next_token_loss, or no create_graph")
        x, weight, scored, ids, log_sums = ctx.saved_tensors
        h, w = x.to(ctx.dtype), weight.to(ctx.dtype)
        logits, ctx.logits = ctx.logits, None  # (N, V or more), used up
        if logits is None:  # a graph that is retained computes them again
            logits = h @ w.t()
        # Before it is rounded to the products' type: float16 loses what is small, and a scaler saves it.
        scales = gradient[:, None] * scored  # (N, 1)
        for block, found, log_sum, scale in _in_blocks(logits[:, : ctx.V], ids, log_sums, scales):
            p = block.float().sub_(log_sum).exp_().mul_(scale)  # in place where the block is float32
            block.copy_(p.scatter_add_(1, found, -scale))  # softmax minus one-hot: the gradient
        # (N, C) and (V or more, C); the rows after V are 0 on both sides
        return (logits @ w).to(x.dtype), (logits.t() @ h).to(weight.dtype), None, None


def _in_blocks(logits: Tensor, *columns: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of the logits and of these columns (N, 1), as views: few enough for a processor's cache.

    Compiled, all of them at once: the compiler cuts for itself."""
    most = 2**20 if logits.device.type == "cpu" else 2**26  # numbers
    rows = len(logits) if torch.compiler.is_compiling() else max(1, most // logits.size(1))
    return zip(*(tensor.split(rows) for tensor in (logits, *columns)), strict=True)


def graded_loss(keep: Callable[[Tensor, Tensor], Tensor]) -> LossFn:
    """Return next_token_loss that also gives the metric "exact_match".

    It is the share of rows in which every scored target where keep(tokens, targets) is True is the model's
    first choice. In such a row the model, writing the most probable token each time, would write just these
    targets: each is predicted from the right ones before it, and the first wrong one spoils the row."""

    def graded(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, targets = model(*_read(batch)), batch.targets  # (B, T, V), (B, T)
        asked = keep(batch.tokens, targets) & (targets != IGNORE_INDEX)  # (B, T)
        wrong = asked & (logits.argmax(-1) != targets)  # (B, T)
        exact_match = (~wrong.any(-1)).float().mean()
        return token_losses(logits, targets), _metrics(model) | {"exact_match": exact_match}

    return graded


def answers(mark: int, end: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function keep(tokens, targets) -> bool (B, T) that is True for targets after a token `mark`.

    It is True up to the next `end`, that one included. For lines such as "12+34=46" give the ids of "=" and
    of the line's end."""

    def keep(tokens: Tensor, targets: Tensor) -> Tensor:
        places = torch.arange(1, tokens.size(-1) + 1, device=tokens.device)  # (T,)
        marked, ended = ((places * (tokens == token)).cummax(-1).values for token in (mark, end))  # (B, T)
        return marked > ended  # the last mark stands after the last end

    return keep


def _read(batch: Batch) -> tuple[Tensor] | tuple[Tensor, Documents]:
    """What the model is called with: the tokens, and their documents where the batch has them."""
    if batch.documents is None:
        return (batch.tokens,)
    return batch.tokens, Documents(batch.documents)


def _metrics(model: nn.Module) -> dict[str, Tensor]:
    """What the model noted in its forward pass, such as the loads of experts, where it notes anything."""
    return model.metrics() if hasattr(model, "metrics") else {}


def _flatten(logits: Tensor, targets: Tensor, name: str = "logits") -> tuple[Tensor, Tensor]:
    if logits.shape[:-1] != targets.shape:
        unlike = f"{name} {tuple(logits.shape)} and targets {tuple(targets.shape)} do not belong together"
        raise InputError(f"{unlike}: targets must be {tuple(logits.shape[:-1])}, one id for each row")
    return logits.float().reshape(-1, logits.size(-1)), targets.reshape(-1)  # (N, V), (N,)
