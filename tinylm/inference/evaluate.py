"""Evaluate: the loss on text that the model was not trained on, and how sure that number is.

Knows a model and the ids of a fixed text. Refuses to know optimisers, tokenizers and the text's origin.
Every token is scored exactly once, the same ones each time.
Taught in notebooks 04_training and 13_evaluation. Error bars: Miller 2024, arXiv:2411.00640 (clusters)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from tinylm.device import autocast
from tinylm.errors import InputError
from tinylm.model.gpt import eval_mode
from tinylm.model.losses import token_losses
from tinylm.text.batches import IGNORE_INDEX, evaluation_windows


@dataclass(frozen=True)
class Evaluation:
    """A measured loss. All losses are in nats."""

    loss: float
    """Mean over the scored tokens, nats per token."""
    standard_error: float
    """Standard error of `loss`, from the spread between windows (or texts); nan when there is only one."""
    n_tokens: int
    """Tokens scored."""
    bits_per_byte: float | None = None
    """loss / ln 2 / bytes per token; None when the bytes per token were not given."""

    @property
    def perplexity(self) -> float:
        """exp(loss): as uncertain as a fair choice between this many tokens; inf where a float ends."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_token(self) -> float:
        """loss / ln 2. For a character tokenizer these are bits per character."""
        return self.loss / math.log(2)


def evaluate(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    context_length: int | None = None,
    batch_size: int = 32,
    max_windows: int | None = None,
    bytes_per_token: float | None = None,
    device: str | torch.device | None = None,
    dtype: str = "float32",
) -> Evaluation:
    """The mean loss over a whole text, read in non-overlapping windows of `context_length` tokens.

    tokens (N,) ids. Each of the N - 1 tokens that have a predecessor is scored once. A token early in its
    window sees little context, so the number is a little above what the model reaches with a full one.

    The standard error treats a window as the unit, because neighbouring tokens are not independent: with s_i
    nats in the n_i tokens of window i, and L = sum s / sum n, it is
    sqrt(k / (k - 1) * sum (s_i - L n_i)^2) / sum n over the k windows, which weighs a short last window less.

    max_windows scores that many windows, spread evenly over the text and always the same. The model is read
    in eval mode and all its parts are left as they were. Raises InputError when nothing is to score."""
    if context_length is None:
        context_length = model.config.context_length
    if len(tokens) < 2:
        raise InputError(f"{len(tokens)} tokens leave nothing to predict: evaluation needs at least 2")
    if max_windows is not None and max_windows < 1:
        raise InputError(f"max_windows {max_windows} scores nothing: use 1 or more, or None for all")
    n_windows = math.ceil((len(tokens) - 1) / context_length)
    chosen = None
    if max_windows is not None and max_windows < n_windows:
        chosen = [i * n_windows // max_windows for i in range(max_windows)]
    rows = evaluation_windows(tokens, context_length, 1, chosen=chosen)
    sums, counts = _score(model, rows, batch_size=batch_size, device=device, dtype=dtype)
    return _summary(sums, counts, bytes_per_token)


def evaluate_documents(
    model: nn.Module,
    tokens: np.ndarray,
    starts: Sequence[int] | np.ndarray,
    *,
    prefix: Sequence[int] | np.ndarray,
    context_length: int | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    dtype: str = "float32",
) -> Evaluation:
    """The mean loss over whole texts, each read from its own start: sum of nats / sum of tokens.

    tokens (N,) ids; text i is tokens[starts[i] : starts[i + 1]], the last one ends with the ids. `prefix` is
    what stands before every text, in practice the ids of the separator: it is read, not scored, so that the
    first token is predicted too. A text that holds its closing separator is then scored exactly as toyworld
    counts the floor. A text longer than the context is read in windows that overlap by half, each token
    scored once.

    The standard error treats a text as the unit, by the formula of `evaluate`. Raises InputError when the
    starts are not increasing positions inside the text."""
    if context_length is None:
        context_length = model.config.context_length
    starts = np.asarray(starts, dtype=np.int64)
    ends = np.append(starts[1:], len(tokens))
    if len(starts) == 0 or starts[0] < 0 or bool((starts >= ends).any()):
        raise InputError(
            f"{len(starts)} starts for {len(tokens)} tokens: give increasing positions, all inside the text"
        )
    prefix = np.asarray(prefix, dtype=np.int64)
    owners: list[int] = []

    def rows() -> Iterator[tuple[Tensor, Tensor]]:
        for document, (start, end) in enumerate(zip(starts, ends, strict=True)):
            text = np.concatenate((prefix, np.asarray(tokens[start:end], dtype=np.int64)))
            for row in _overlapping(text, scored_from=max(1, len(prefix)), context_length=context_length):
                owners.append(document)
                yield row

    row_sums, row_counts = _score(model, rows(), batch_size=batch_size, device=device, dtype=dtype)
    sums = np.bincount(owners, weights=row_sums, minlength=len(starts))  # (documents,)
    counts = np.bincount(owners, weights=row_counts, minlength=len(starts))  # (documents,)
    return _summary(sums, counts, None)


def _overlapping(
    text: np.ndarray, *, scored_from: int, context_length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows over one text: (1, T) inputs and targets; from the second on only the later half is scored."""
    stride = max(1, context_length // 2)
    done = scored_from  # text[:done] needs no score any more
    start = 0
    while done < len(text):
        end = min(start + context_length, len(text) - 1)  # inputs are text[start:end]
        inputs = np.zeros((1, context_length), dtype=np.int64)
        targets = np.full((1, context_length), IGNORE_INDEX, dtype=np.int64)
        inputs[0, : end - start] = text[start:end]
        if end + 1 > done:
            targets[0, done - 1 - start : end - start] = text[done : end + 1]
            yield torch.from_numpy(inputs), torch.from_numpy(targets)
            done = end + 1
        start += stride


def _score(
    model: nn.Module,
    rows: Iterable[tuple[Tensor, Tensor]],
    *,
    batch_size: int,
    device: str | torch.device | None,
    dtype: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Nats and scored tokens of every row: two arrays (rows,) in float64."""
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size} reads nothing: use 1 or more, such as 32")
    if device is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
    device = torch.device(device)
    sums: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    rows = iter(rows)
    with eval_mode(model.modules()):
        while batch := list(islice(rows, batch_size)):
            tokens = torch.cat([row[0] for row in batch]).to(device)  # (B, T)
            targets = torch.cat([row[1] for row in batch]).to(device)  # (B, T)
            with torch.no_grad(), autocast(device, dtype):
                losses = token_losses(model(tokens), targets)  # (B, T)
            scored = targets != IGNORE_INDEX  # (B, T)
            # Sums of thousands of float32 losses are taken in float64, so that the order does not show.
            sums.append(torch.where(scored, losses.float(), 0.0).cpu().double().sum(dim=1).numpy())  # (B,)
            counts.append(scored.sum(dim=1).cpu().double().numpy())  # (B,)
    if not any(scored.any() for scored in counts):
        raise InputError("0 tokens were scored: give texts with at least one token after their start")
    return np.concatenate(sums), np.concatenate(counts)


def _summary(sums: np.ndarray, counts: np.ndarray, bytes_per_token: float | None) -> Evaluation:
    total = counts.sum()
    loss = float(sums.sum() / total)
    k = len(sums)
    spread = float(np.sqrt(np.sum((sums - loss * counts) ** 2)) / total)
    standard_error = spread * math.sqrt(k / (k - 1)) if k > 1 else math.nan
    bits_per_byte = None if bytes_per_token is None else loss / math.log(2) / bytes_per_token
    return Evaluation(loss, standard_error, int(total), bits_per_byte)
