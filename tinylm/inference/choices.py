"""Choices: which of several endings a model finds likeliest, how often it is right, and how sure that is.

Taught in notebook 13_evaluation. The log-probabilities are those of lm-evaluation-harness (lm-eval)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm  # not tqdm.auto: in a notebook it does not know disable=None

from tinylm.device import Precision
from tinylm.errors import Divergence, InputError, require_choice
from tinylm.model.context import Documents
from tinylm.model.gpt import eval_mode
from tinylm.model.losses import token_losses
from tinylm.text.choices import Choice

Z = 1.959963984540054  # 95% of a normal distribution is within so many standard deviations of its mean

Item = tuple[np.ndarray, list[np.ndarray]]  # the ids of a context and of its endings


class Accuracy(NamedTuple):
    """A share of right answers, with its 95% interval and the share that guessing gives."""

    mean: float
    low: float
    high: float
    n: int  # items
    chance: float
    per: str = "ending"

    @property
    def standard_error(self) -> float:
        """sqrt(p (1 - p) / (n - 1)), as lm-eval reports it; nan for one item."""
        return math.sqrt(self.mean * (1 - self.mean) / (self.n - 1)) if self.n > 1 else math.nan

    def described(self) -> str:
        """Return one line for a person."""
        between = f"95% interval {self.low:.2%} to {self.high:.2%}, chance {self.chance:.2%}"
        what = "accuracy" if self.per == "ending" else f"accuracy per {self.per}"
        return f"{what} {self.mean:.2%} ± {self.standard_error:.2%} of {self.n:,} items, {between}"


@dataclass(frozen=True)
class ChoiceScores:
    """The log-probability of each of E endings of N items, and the length of each ending."""

    nats: np.ndarray  # (N, E), ln p of each ending given its context, summed over its tokens
    characters: np.ndarray  # (N, E) integers, without the space that joins it to the context, as in lm-eval
    labels: np.ndarray  # (N,) which ending is right

    def correct(self, per: str = "ending") -> np.ndarray:
        """Return whether the likeliest ending of each item is the right one: (N,) bool. Of equals, the first.

        per "ending" compares the sums (lm-eval's acc), which favours short endings. "character" (acc_norm)
        divides each sum by the length of its ending first. Raises ConfigError otherwise."""
        require_choice("per", per, ("ending", "character"))
        lengths = self.characters if per == "character" else 1
        return (self.nats / lengths).argmax(axis=1) == self.labels  # (N,)

    def accuracy(self, per: str = "ending") -> Accuracy:
        """Return the share of right answers, with its 95% interval. per: see `correct`."""
        n, n_endings = self.nats.shape
        n_right = int(self.correct(per).sum())
        return Accuracy(n_right / n, *interval(n_right, n), n, 1 / n_endings, per)


def interval(correct: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95% confidence interval (low, high) of a share, given so many correct answers of n.

    It stays between 0 and 1, and has a width even if none or all are correct, where mean ± 1.96 standard
    errors has none. Raises InputError for no items, or for more correct answers than items.
    Source: Wilson 1927, JASA 22, equation 2."""
    if n < 1 or not 0 <= correct <= n:
        raise InputError(f"{correct} correct answers of {n}: give 0 to n, of at least 1")
    middle = correct + Z * Z / 2
    width = Z * math.sqrt(correct * (n - correct) / n + Z * Z / 4)
    return (middle - width) / (n + Z * Z), min(1.0, (middle + width) / (n + Z * Z))


class Difference(NamedTuple):
    """How much better the first of two models is on the same items."""

    mean: float
    standard_error: float  # of the mean; nan for one item
    p: float  # how often two equal models differ at least this much; nan where the items cannot tell
    n: int


def paired(a: Sequence | np.ndarray, b: Sequence | np.ndarray) -> Difference:
    """Compare two models on the same items. a and b (N,): right or wrong, or a loss, for each item.

    Items that are hard for both cancel out: the standard error is that of the mean of a - b (Miller 2024,
    arXiv:2411.00640, section 4.2), smaller than the one from two separate accuracies. If a and b hold only 0
    and 1, they are right and wrong answers, and p is exact (McNemar 1947, by the binomial): among the items
    that only one model has right, how unlikely is this division by fair coin flips? For other numbers p comes
    from a normal distribution, good from about thirty items. p is nan for a single item, and if all
    differences are equal and not 0, or if a loss is nan. Raises InputError for different lengths."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise InputError(f"{a.shape} and {b.shape} are not two rows of the same items: score both on all")
    difference = a.astype(float) - b.astype(float)  # (N,)
    mean, n = float(difference.mean()), len(a)
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    if np.isin([a, b], (0, 1)).all():
        fewer, more = sorted((int((difference > 0).sum()), int((difference < 0).sum())))
        p = _coin(fewer, fewer + more)
    elif error > 1e-14 * np.abs([a, b]).max():  # anything less is the rounding of the subtraction
        p = math.erfc(abs(mean) / error / math.sqrt(2))
    else:
        p = 1.0 if n > 1 and mean == 0 else math.nan
    return Difference(mean, error, p, n)


def _coin(heads: int, throws: int) -> float:
    """Return how often a fair coin shows at most this many heads or at most this many tails.

    heads must be at most throws / 2."""
    # throws over k for each k, each from the one before: math.comb would begin anew every time
    ways = accumulate(range(heads), lambda way, k: way * (throws - k) // (k + 1), initial=1)
    return min(1.0, 2 * sum(ways) / 2**throws)


def score_choices(
    model: nn.Module, tokenizer: Any, choices: Iterable[Choice], *, batch_size: int | None = None
) -> ChoiceScores:
    """Compute the log-probability of each ending of each item, after its context and a space.

    An ending's tokens are the tokens of context and ending together, without as many as the context alone
    has. ln p therefore equals lm-eval's, except after a context that ends in white space, as toyworld's do:
    lm-eval moves that space into the ending. Computed in float32 on any device; bfloat16 is too coarse to
    compare endings.

    model: a GPT. batch_size: how many items are scored at once, by default 4 on a CPU, whose cache holds no
    more, and 64 on a GPU.

    Raises InputError before scoring if items have different numbers of endings, if any is longer than the
    model's context (items are never cut) or has an ending without tokens; Divergence for weights
    that are not finite."""
    choices = list(choices)
    items = _encoded(tokenizer, choices, model.config.context_length)
    precision = Precision.of(next((p.device for p in model.parameters()), "cpu"), "float32")
    batch_size = batch_size or (4 if precision.is_synchronous else 64)
    # the longest first: if memory is short, that shows at once
    order = np.argsort([-len(context) - sum(map(len, endings)) for context, endings in items])
    nats = np.zeros((len(items), len(choices[0].endings)))
    with eval_mode(model.modules()), torch.no_grad(), precision.autocast():
        for begin in tqdm(range(0, len(items), batch_size), leave=False, disable=None):  # in a terminal only
            batch = order[begin : begin + batch_size]
            nats[batch] = _scores(model, [items[i] for i in batch], precision.device)
    if wrong := int((~np.isfinite(nats)).any(axis=1).sum()):
        raise Divergence(f"{wrong:,} of {len(items):,} items have no score: the weights are not finite")
    return ChoiceScores(
        nats=nats,
        characters=np.array([[len(ending) for ending in choice.endings] for choice in choices]),
        labels=np.array([choice.label for choice in choices]),
    )


def _encoded(tokenizer: Any, choices: Sequence[Choice], context_length: int) -> list[Item]:
    """Return the ids of each context, (T,), and of its endings. Raises InputError if one cannot be scored."""
    if len({len(choice.endings) for choice in choices}) != 1:
        raise InputError(f"{len(choices)} items: give 1 or more, all with the same number of endings")
    items = []
    for choice in choices:
        context = tokenizer.encode(choice.context)
        wholes = [tokenizer.encode(f"{choice.context} {ending}") for ending in choice.endings]
        items.append((context, [whole[len(context) :] for whole in wholes]))
    if n_empty := sum(len(context) == 0 or min(map(len, endings)) == 0 for context, endings in items):
        raise InputError(f"{n_empty} of {len(items)} items have a text of 0 tokens: leave them out")
    lengths = [len(context) + max(map(len, endings)) - 1 for context, endings in items]
    if n_long := sum(length > context_length for length in lengths):
        found = f"{n_long:,} of {len(items):,} items do not fit the model's context"
        found += f" of {context_length:,} tokens, the longest has {max(lengths):,}"
        raise InputError(f"{found}: leave them out, or use another model")
    return items


def _scores(model: nn.Module, items: Sequence[Item], device: torch.device) -> np.ndarray:
    """Return ln p of each ending of a batch, (B, E).

    A row holds a context, once, and all of its endings without their last ids, which predict nothing here."""
    rows = [[context, *(ending[:-1] for ending in endings)] for context, endings in items]
    tokens = [torch.from_numpy(np.concatenate(parts)) for parts in rows]
    documents = [torch.from_numpy(np.repeat(range(len(parts)), [*map(len, parts)])) for parts in rows]
    ids = nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(device)  # (B, T)
    of = nn.utils.rnn.pad_sequence(documents, batch_first=True, padding_value=-1).to(device)  # (B, T)
    predicting = []  # of each id of an ending: the place in the batch that predicts it
    for row, parts in enumerate(rows):
        ends = np.cumsum([*map(len, parts)])
        for begin, end in pairwise(ends):
            predicting.append(row * ids.size(1) + np.r_[ends[0] - 1, begin:end])
    endings = [ending for _, endings in items for ending in endings]
    places, targets = (torch.from_numpy(np.concatenate(it)).to(device) for it in (predicting, endings))
    context = Documents(of, shared_beginning=True)
    context.position_ids.clamp_(max=model.config.context_length - 1)  # the filler's may be any
    stream = model.hidden(ids, context).flatten(0, 1)[places]  # (M, C)
    some = max(1, 2 ** (21 if device.type == "cpu" else 27) // model.config.vocab_size)  # rows of logits
    pieces = zip(stream.split(some), targets.split(some), strict=True)
    losses = torch.cat([token_losses(model.logits(h), wanted) for h, wanted in pieces]).cpu().double()  # (M,)
    begins = np.cumsum([0, *map(len, endings)])[:-1]  # of each ending in the losses
    return -np.add.reduceat(losses.numpy(), begins).reshape(len(items), -1)  # (B, E)
