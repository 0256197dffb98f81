"""Sampling: turns one row of logits into one token.

Knows only logits of shape (..., V), a temperature and a generator. Refuses to know the model, the
tokenizer and the prompt.
Taught in notebook 05_sampling."""

import math

import torch
from torch import Tensor

from tinylm.errors import TinyLMError

GREEDY_BELOW = 1e-6  # float32 logits are not exact enough to tell a smaller temperature from 0


class SamplingError(TinyLMError):
    """The temperature is not a finite number of at least 0, or the logits are not numbers."""


def greedy(logits: Tensor) -> Tensor:
    """The most probable token of each row; of equal ones the smallest id.

    logits (..., V) -> token ids (...). Raises SamplingError when a logit is NaN."""
    _refuse_nan(logits)
    # argmax leaves open which of several equal maxima it returns; the first True of a comparison is defined.
    return (logits == logits.amax(dim=-1, keepdim=True)).int().argmax(dim=-1)  # (...)


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """softmax(logits / temperature): below 1 the favourites gain, above 1 the rare tokens do.

    logits (..., V) -> probabilities (..., V), float32, each row sums to 1. Temperature 0 is greedy: the limit
    of the formula, all weight on the largest logit (of equal ones the smallest id, as in `greedy`).
    Raises SamplingError for a negative or infinite temperature and for NaN logits."""
    if not math.isfinite(temperature) or temperature < 0:
        raise SamplingError(
            f"temperature {temperature} is not a finite number of at least 0: use 0.8, or 0 for greedy"
        )
    if temperature < GREEDY_BELOW:
        return torch.nn.functional.one_hot(greedy(logits), logits.size(-1)).float()  # (..., V)
    _refuse_nan(logits)
    return torch.softmax(logits.float() / temperature, dim=-1)  # (..., V)


def sample(logits: Tensor, *, temperature: float = 1.0, generator: torch.Generator) -> Tensor:
    """Draw one token per row from `probabilities(logits, temperature)`.

    logits (B, V) -> token ids (B,). The draw is made where the generator lives, so a CPU generator gives the
    same tokens whatever device the model is on. Temperature 0 is greedy and leaves the generator untouched.
    Raises SamplingError as `probabilities` does."""
    weights = probabilities(logits, temperature)  # (B, V)
    if temperature < GREEDY_BELOW:
        return weights.argmax(dim=-1)  # (B,)
    drawn = torch.multinomial(weights.to(generator.device), num_samples=1, generator=generator)  # (B, 1)
    return drawn.squeeze(-1).to(logits.device)  # (B,)


def _refuse_nan(logits: Tensor) -> None:
    if bool(torch.isnan(logits).any()):
        bad = int(torch.isnan(logits).sum())
        raise SamplingError(
            f"{bad} of {logits.numel()} logits are NaN: the training diverged, train again with a lower rate"
        )
