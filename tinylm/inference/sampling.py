"""Sampling: choose one token from a row of logits.

Each rule is a small function from logits (..., V) to logits. Tokens that it forbids get -inf.
Taught in notebook 05_sampling."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tinylm.device import Device
from tinylm.errors import InputError
from tinylm.inference.config import DEFAULT, SamplingConfig

GREEDY_BELOW = 1e-6  # float32 logits are too coarse to tell a smaller temperature from 0


def tokens_seen(rows: Sequence[Sequence[int]], vocab_size: int) -> Tensor:
    """Return which tokens occur in each of B rows of ids, of any lengths: (B, V) bool."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)  # (B, V)
    for i, row in enumerate(rows):
        seen[i, torch.as_tensor(row, dtype=torch.int64)] = True  # a row may be empty
    return seen


def penalise_seen(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of seen tokens by the penalty, and multiply negative ones by it.

    logits (..., V), seen (..., V) bool: True for every token that already occurs in the text, however often.
    Source: Keskar et al. 2019 (CTRL), section 4.1, with the sign fixed as in Hugging Face transformers."""
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)  # (..., V)
    return torch.where(seen, penalised, logits)  # (..., V)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep each row's k largest logits (..., V), and those equal to the smallest of them.

    Source: Fan et al. 2018, section 5.2."""
    kth = logits.topk(min(k, logits.size(-1)), dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < kth, -math.inf)  # (..., V)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens that together hold at least p of the probability. (..., V) -> (..., V).

    A token is kept if the more probable tokens together hold less than p. Of equal ones the smaller id comes
    first. Source: Holtzman et al. 2020 (nucleus sampling), section 3.1."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # (..., V) each
    chances = ordered.softmax(dim=-1)  # (..., V)
    before = chances.cumsum(dim=-1) - chances  # (..., V) the probability of all tokens before it
    dropped = (before >= p) & (p < 1)  # (..., V); with p = 1 a float32 sum could reach 1 too early
    dropped[..., 0] = False  # the most probable token is kept, even if float32 rounds p to 0
    ordered = ordered.masked_fill(dropped, -math.inf)  # (..., V)
    return torch.empty_like(logits).scatter_(-1, order, ordered)  # (..., V)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens (..., V) that are at least p times as probable as the most probable one.

    Source: Nguyen et al. 2024, arXiv:2407.01082, section 3."""
    share = (logits - logits.amax(dim=-1, keepdim=True)).exp()  # (..., V): 1 for the most probable
    return logits.masked_fill(share < p, -math.inf)  # (..., V)


def apply_filters(logits: Tensor, config: SamplingConfig, seen: Tensor | None = None) -> Tensor:
    """Apply every rule, in the usual order: repetition penalty, temperature, top-k, top-p, min-p.

    logits (..., V) -> (..., V), float32, -inf for tokens that may not be drawn. Temperature comes before the
    cuts, so top_p and min_p judge the probabilities it has made. At temperature 0 only the most probable
    token is left. Raises InputError if the config has a repetition penalty and `seen` is missing."""
    logits = logits.float()
    if config.repetition_penalty != 1.0:
        if seen is None:
            raise InputError(f"repetition_penalty {config.repetition_penalty} needs the tokens: pass seen")
        logits = penalise_seen(logits, seen, config.repetition_penalty)  # (..., V)
    if config.temperature < GREEDY_BELOW:
        largest, favourite = logits.max(dim=-1, keepdim=True)  # (..., 1) each; of equal ones the smallest id
        if not bool(largest.isfinite().all()):  # NaN if any of the row is
            raise _nothing_to_draw(logits)
        return torch.full_like(logits, -math.inf).scatter_(-1, favourite, 0.0)  # (..., V)
    logits = logits / config.temperature
    if config.top_k:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p < 1.0:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p:
        logits = keep_min_p(logits, config.min_p)
    return logits


def probabilities(
    logits: Tensor, config: SamplingConfig = DEFAULT, seen: Tensor | None = None, device: Device | None = None
) -> Tensor:
    """Compute softmax(apply_filters(logits, config, seen)), which `sample` draws from.

    logits (..., V) -> probabilities (..., V), float32, each row sums to 1; on `device`, by default that of
    the logits. Raises InputError for logits that are NaN or infinite, and as `apply_filters` does."""
    chances = torch.softmax(apply_filters(logits, config, seen), dim=-1)  # (..., V)
    chances = chances.to(device or logits.device)  # before the check, so that a GPU is waited for only once
    if bool(torch.isnan(chances[..., 0]).any()):  # a single bad logit makes its whole row NaN
        raise _nothing_to_draw(logits)
    return chances


def sample(
    logits: Tensor,
    config: SamplingConfig = DEFAULT,
    *,
    generator: torch.Generator | Sequence[torch.Generator],
    seen: Tensor | None = None,
) -> Tensor:
    """Draw one token per row from `probabilities(logits, config, seen)`.

    logits (B, V) -> token ids (B,). generator: one for all rows, or a list with one for each row, and then a
    row's draw does not depend on the other rows. Drawing happens on the generator's device, so a CPU
    generator gives the same tokens whatever device the model is on. Temperature 0 is greedy and draws
    nothing. Raises InputError as `probabilities` does."""
    if config.temperature < GREEDY_BELOW:
        return apply_filters(logits, config, seen).argmax(dim=-1)  # (B,) only one token is left
    generators = [generator] if isinstance(generator, torch.Generator) else generator
    chances = probabilities(logits, config, seen, generators[0].device)  # (B, V)
    drawn = [
        torch.multinomial(rows, num_samples=1, generator=source)  # (B, 1), or (1, 1) of each row
        for rows, source in zip(chances.chunk(len(generators)), generators, strict=True)
    ]
    return torch.cat(drawn).squeeze(-1).to(logits.device)  # (B,)


def _nothing_to_draw(logits: Tensor) -> InputError:
    what = f"{int((~logits.isfinite()).sum())} of {logits.numel()} logits are not finite"
    return InputError(f"{what}: the training diverged, train again with a lower learning rate")
