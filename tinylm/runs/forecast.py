"""Forecast: what a run will cost before it is started: tokens, FLOPs, memory, hours, money.

Knows configs and a measured speed. Refuses to guess a speed: it trains on this machine for a second and
looks. A forecast counts training only, not evaluations, and is called a forecast wherever it is printed.
Taught in notebooks 04_training and 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from tinylm.device import Precision
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.training.config import DTypeName, OptimizerName, TrainConfig
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step


def flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations to train on one token, forward and backward: 6N + 12·L·H·D·T.

    N counts the parameters that multiply: all but the norms, the position table and, when the head is
    not tied to it, the token table (a look-up multiplies nothing). Attention is counted as if no position
    were masked, as in the paper. Source: PaLM, appendix B."""
    counts = parameter_counts(config)
    looked_up = 0 if config.tied_head else counts["token_embedding"]
    n = counts["total"] - counts["norms"] - counts["position_embedding"] - looked_up
    return 6 * n + 12 * config.n_layer * config.n_head * config.head_dim * config.context_length


def memory_bytes(config: ModelConfig, micro_batch_size: int, dtype: DTypeName = "float32") -> int:
    """Estimated memory to train, in bytes: 16 for each parameter, and what the backward pass needs.

    float32 weights, gradients and AdamW's two averages are 4 bytes each. For the backward pass a block keeps
    about 16 numbers per token and channel, more with the modern settings, and matrices of T per head where
    attention is explicit or has dropout (on a processor); the head keeps the logits twice."""
    width = 4 if dtype == "float32" else 2  # bytes per number kept
    modern = 3 * (config.position == "rotary") + 2 * (config.norm == "rmsnorm") + 5 * config.qk_norm
    dropped = config.dropout > 0
    scores = (3 if dropped else config.attention == "explicit") * config.n_head * config.context_length
    per_block = (8 + modern + 2 * dropped) * config.n_embd + 2 * config.mlp_hidden + scores  # per token
    per_token = config.n_layer * per_block * width + 2 * config.vocab_size * 4  # bytes
    return 16 * parameter_counts(config)["total"] + micro_batch_size * config.context_length * per_token


def check_memory(model: ModelConfig, train: TrainConfig, available: int | None) -> None:
    """Raises ConfigError where training would need more memory than there is; None is not known."""
    needed = memory_bytes(model, train.micro_batch_size)
    if available is not None and needed > available:
        raise ConfigError(
            f"training needs about {_plain_bytes(needed)} of memory and this machine has "
            f"{_plain_bytes(available)}: use a micro_batch_size below {train.micro_batch_size}, a shorter "
            f"context_length or a smaller model"
        )


def measure_speed(
    model: nn.Module,
    *,
    micro_batch_size: int,
    context_length: int,
    vocab_size: int | None = None,
    seconds: float = 1.0,
    dtype: DTypeName = "auto",
    optimizer: OptimizerName = "adamw",
) -> float:
    """Training speed in tokens per second: the median of real steps on random tokens, after three to warm up.

    The steps are those of the optimiser named, because Muon's cost more. The learning rates are 0, so the
    weights stay as they are to the bit; the gradients are thrown away.
    vocab_size is read from model.config when it is not given."""
    vocab_size = vocab_size or model.config.vocab_size
    config = TrainConfig(
        steps=1_000_000,
        micro_batch_size=micro_batch_size,
        tokens_per_step=micro_batch_size * context_length,
        learning_rate=0.0,
        min_learning_rate=0.0,
        warmup_steps=0,
        dtype=dtype,
        optimizer=optimizer,
        muon_learning_rate=0.0,
    )
    precision = Precision.of(next(model.parameters()).device, dtype)
    stepped = build_optimizer(model, config)
    batches = _OneBatch(micro_batch_size, context_length, vocab_size)
    was_training, speeds, began = model.training, [], time.perf_counter()
    model.train()
    while len(speeds) < 6 or time.perf_counter() - began < seconds:
        result = train_step(model, stepped, batches, step=len(speeds), config=config, precision=precision)
        speeds.append(result.tokens_per_second)
    model.train(was_training)
    stepped.zero_grad(set_to_none=True)
    return statistics.median(speeds[3:])


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to take. print() shows a few plain lines."""

    parameters: int
    tokens: int
    flops: int
    seconds: float
    memory_bytes: int
    cost: float | None = None

    def __str__(self) -> str:
        lines = [
            f"forecast: {plain_duration(self.seconds)} for {self.tokens:,} tokens",
            f"  {self.parameters:,} parameters, {self.flops:.1e} floating-point operations",
            f"  about {_plain_bytes(self.memory_bytes)} of memory",
        ]
        return "\n".join([*lines, *([f"  about {self.cost:,.2f} in rent"] if self.cost is not None else [])])


def forecast(
    model: ModelConfig,
    train: TrainConfig,
    *,
    tokens_per_second: float,
    world_size: int = 1,
    price_per_hour: float | None = None,
) -> Forecast:
    """Tokens, FLOPs, seconds, memory per device and, for a price per device and hour, the cost.

    tokens_per_second is that of one device (measure_speed); devices are taken to add up perfectly."""
    if not tokens_per_second > 0:
        raise ConfigError(
            f"tokens_per_second {tokens_per_second} says nothing: measure it, or use a number above 0"
        )
    tokens = train.steps * train.tokens_per_step
    seconds = tokens / (tokens_per_second * world_size)
    return Forecast(
        parameters=parameter_counts(model)["total"],
        tokens=tokens,
        flops=tokens * flops_per_token(model),
        seconds=seconds,
        memory_bytes=memory_bytes(
            model, train.micro_batch_size, "float32" if train.dtype == "auto" else train.dtype
        ),
        cost=None if price_per_hour is None else seconds / 3600 * price_per_hour * world_size,
    )


def forecast_ratio(forecast_seconds: float, seconds: float, *, share: float = 1.0) -> float:
    """What a run took over what was forecast: 1 is a good forecast, above 1 it took longer.

    `share` is the part of the planned tokens that was read, where the run ended early. Raises ConfigError
    when there is nothing to compare with."""
    expected = forecast_seconds * share
    if not 0 < expected < math.inf:
        raise ConfigError(
            f"a forecast of {forecast_seconds:g} seconds for {share:.0%} of the tokens says nothing about "
            f"a run of {seconds:g}: compare with one above 0"
        )
    return seconds / expected


def compared(forecast_seconds: float, seconds: float, *, share: float = 1.0) -> str:
    """forecast_ratio in words: "took about 16 minutes, 1.44 times its forecast (about 11 minutes)".

    A run that has read nothing (share 0) took what it took."""
    if not share:
        return f"took {plain_duration(seconds)}"
    ratio = forecast_ratio(forecast_seconds, seconds, share=share)
    expected = plain_duration(forecast_seconds * share)
    return f"took {plain_duration(seconds)}, {ratio:.2f} times its forecast ({expected})"


def plain_duration(seconds: float) -> str:
    """A duration as a person says it: "about 40 seconds", "about 7 minutes", "about 3.2 years"."""
    if seconds < 1:
        return "less than a second"
    day, year = 86400, 365.25 * 86400
    units = (
        ("second", 1, 90),
        ("minute", 60, 90 * 60),
        ("hour", 3600, 2 * day),
        ("day", day, 2 * year),
        ("year", year, math.inf),
    )
    unit, size = next((unit, size) for unit, size, end in units if seconds < end)
    digits = 0 if size < 3600 or seconds / size >= 9.95 else 1
    number = f"{seconds / size:,.{digits}f}".removesuffix(".0")
    return f"about {number} {unit}{'' if number == '1' else 's'}"


def _plain_bytes(n: float) -> str:
    return f"{n / 2**20:.0f} MiB" if n < 2**30 else f"{n / 2**30:.1f} GiB"


class _OneBatch:
    """The same random tokens at every step, shaped like text.batches.Batches: (B, T) each."""

    rank, world_size = 0, 1

    def __init__(self, batch_size: int, context_length: int, vocab_size: int) -> None:
        self.batch_size, self.context_length = batch_size, context_length
        generator = torch.Generator().manual_seed(0)
        self._tokens = torch.randint(vocab_size, (batch_size, context_length + 1), generator=generator)

    def batch(
        self, step: int, micro_step: int = 0, micro_steps: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tokens[:, :-1], self._tokens[:, 1:]

    def count_targets(self, step: int, micro_steps: int = 1) -> int:
        """All of them."""
        return micro_steps * self.batch_size * self.context_length

    def count_targets(self, step: int, micro_steps: int = 1) -> int:
        return micro_steps * self.batch_size * self.context_length
