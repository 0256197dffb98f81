"""Losses: how surprised the model was by the text that really came next, in nats per token.

A loss that trains or evaluates is a function (model, tokens, targets) -> (summed nats, what to log): it runs
the model itself, so that it may also run it in pieces. Sums, not means: pieces of a batch that hold unequal
numbers of targets then add up to the whole, and who divides knows by how many.
Taught in notebooks 01_characters and 06_custom_losses. Source: Shannon 1948."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tinylm.errors import InputError

LossFn = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
IGNORE_INDEX = nn.CrossEntropyLoss().ignore_index  # -100: a target that is not scored


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -ln p(target), in nats per token, over the targets that are not IGNORE_INDEX.

    logits (..., V) of any float type; the arithmetic is float32. targets (...) int64. Returns a scalar.
    A batch in which every target is ignored has no mean: the result is nan.
    Raises InputError when the shapes do not belong together."""
    return F.cross_entropy(*_flatten(logits, targets))


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """-ln p(target) at every position, in nats; exactly 0 where the target is IGNORE_INDEX.

    logits (..., V), targets (...). Returns float32 of the shape of targets."""
    return F.cross_entropy(*_flatten(logits, targets), reduction="none").view(targets.shape)  # (...)


def next_token_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed nats of all targets that are not IGNORE_INDEX, a float32 scalar, and nothing to log.

    The default everywhere. model: anything that makes logits (B, T, V) of tokens (B, T); targets (B, T)."""
    return F.cross_entropy(*_flatten(model(tokens), targets), reduction="sum"), {}


def chunked_loss(rows: int = 1024) -> LossFn:
    """next_token_loss, equal in value and gradient, with the logits of at most `rows` positions at a time.

    The logits are the largest tensor of a small model with a large vocabulary: 16,384 positions of GPT-2 make
    3.3 GB in float32, and the backward pass needs them and their gradient. Here each chunk's are computed,
    scored and forgotten, and computed once more in the backward pass: the head costs four matrix products
    instead of three. The model needs `hidden` and `logits`, as GPT has them."""

    def nats(model: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(*_flatten(model.logits(hidden), targets), reduction="sum")

    def loss_fn(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = model.hidden(tokens).flatten(0, 1)  # (B T, C)
        chunks = zip(hidden.split(rows), targets.flatten().split(rows), strict=True)
        again = {"use_reentrant": False, "preserve_rng_state": False}  # no dropout in the head
        return sum(checkpoint(nats, model, h, t, **again) for h, t in chunks), {}

    return loss_fn


def masked_loss(keep: Callable[[Tensor, Tensor], Tensor], loss_fn: LossFn = next_token_loss) -> LossFn:
    """`loss_fn` that scores only the targets where keep(tokens, targets), a bool (B, T), is True.

    Its attribute `select` makes the others IGNORE_INDEX: a training step counts with it what will be scored,
    since the mean is over those."""

    def select(tokens: Tensor, targets: Tensor) -> Tensor:
        return select_targets(loss_fn, tokens, targets.masked_fill(~keep(tokens, targets), IGNORE_INDEX))

    def masked(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return loss_fn(model, tokens, select(tokens, targets))

    masked.select = select
    return masked


def graded_loss(keep: Callable[[Tensor, Tensor], Tensor]) -> LossFn:
    """next_token_loss that also logs "exact_match": in what share of the rows every target where
    keep(tokens, targets) is True is the model's first choice.

    In such a row the model, writing the most probable token each time, would write just these targets: each
    is predicted from the right ones before it, and the first that is not right spoils the row either way."""

    def graded(model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(tokens)  # (B, T, V)
        wrong = keep(tokens, targets) & (targets != IGNORE_INDEX) & (logits.argmax(-1) != targets)  # (B, T)
        exact_match = (~wrong.any(-1)).float().mean()
        return F.cross_entropy(*_flatten(logits, targets), reduction="sum"), {"exact_match": exact_match}

    return graded


class RecallLoss:
    """next_token_loss in which a rare token that its document has held before counts `weight` times.

    Such a token is recalled: a name, an object. In a story they are few, so the gradient of all the others
    hides theirs, and a small model learns every list of words before it copies its first name. The nats of a
    batch are scaled so that the weights are 1 on average. A weight that looks at the target leans towards
    repeats: it is for the beginning, and `weight`, a 0-dim tensor, is brought down while the model trains.

    rare: (V,) bool, True for the ids that count. end: the id that ends each document."""

    def __init__(self, rare: Tensor, end: int, weight: float) -> None:
        self.rare, self.end, self.weight = rare, end, torch.tensor(weight)

    def __call__(self, model: nn.Module, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses = token_losses(model(tokens), targets)  # (B, T), 0 where nothing is scored
        recalled = self.recalled(tokens, targets)
        weights = (targets != IGNORE_INDEX) * (1 + (self.weight - 1) * recalled)  # (B, T)
        share = (targets != IGNORE_INDEX).sum() / weights.sum().clamp_min(1)
        return (losses * weights).sum() * share, {}

    def recalled(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Which targets are rare and stand in their document before: bool (B, T)."""
        documents = (tokens == self.end).cumsum(-1)  # (B, T) which document each token is of
        same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
        before = same & (targets[:, :, None] == tokens[:, None, :])  # (B, T, T) a target, a token before it
        rare = self.rare.to(targets.device)[targets.clamp_min(0)]
        return before.tril().any(-1) & rare  # (B, T)


def answers(mark: int, end: int) -> Callable[[Tensor, Tensor], Tensor]:
    """What masked_loss and graded_loss ask: True for the targets that follow a token `mark`, up to and with
    the next `end`. For lines such as "12+34=46" these are the ids of "=" and of the line's end."""

    def keep(tokens: Tensor, targets: Tensor) -> Tensor:
        places = torch.arange(1, tokens.size(-1) + 1, device=tokens.device)  # (T,)
        marked, ended = ((places * (tokens == token)).cummax(-1).values for token in (mark, end))  # (B, T)
        return marked > ended  # the last mark stands after the last end

    return keep


def select_targets(loss_fn: LossFn, tokens: Tensor, targets: Tensor) -> Tensor:
    """The targets as that loss scores them: those that it leaves out are IGNORE_INDEX. All (B, T)."""
    select = getattr(loss_fn, "select", None)
    return targets if select is None else select(tokens, targets)


def _flatten(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if logits.shape[:-1] != targets.shape:
        raise InputError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} do not belong together: "
            f"targets must be {tuple(logits.shape[:-1])}, one id for each row of logits"
        )
    return logits.float().reshape(-1, logits.size(-1)), targets.reshape(-1)  # (N, V), (N,)
