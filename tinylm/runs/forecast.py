"""Forecast: what a run will cost before it is started: tokens, FLOPs, memory, time.

The speed is never guessed: the machine trains for a second and is timed. A forecast counts training only, not
evaluations, and is called a forecast wherever it is printed.
Taught in notebooks 04_training and 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
from torch import nn

from tinylm.device import Precision
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.text.batches import Batches
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
    about 8 numbers per token and channel, more with the modern settings, the MLP's hidden layer twice, and
    matrices of T per head where attention is explicit or has dropout (on a processor); the head keeps the
    logits twice."""
    width = 4 if dtype in ("auto", "float32") else 2  # bytes per number kept
    modern = 3 * (config.position == "rotary") + 2 * (config.norm == "rmsnorm") + 5 * config.qk_norm
    dropped = config.dropout > 0
    scores = (3 if dropped else config.attention == "explicit") * config.n_head * config.context_length
    per_channel = 8 + modern + 2 * dropped
    per_block = per_channel * config.n_embd + 2 * config.mlp_hidden + scores  # numbers per token
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
    seconds: float = 1.0,
    dtype: DTypeName = "auto",
    optimizer: OptimizerName = "adamw",
) -> float:
    """Training speed in tokens per second: the median of real steps on random tokens, after three to warm up.

    The steps are those of the optimiser that is named, because it costs its part. The model is afterwards as
    it was to the bit: the learning rates are 0, and its state is put back all the same, since a module may
    keep counts of its own."""
    per_step = micro_batch_size * context_length  # tokens
    rates = {"learning_rate": 0.0, "min_learning_rate": 0.0, "muon_learning_rate": 0.0, "warmup_steps": 0}
    config = TrainConfig(10**6, micro_batch_size, per_step, optimizer, dtype=dtype, **rates)
    precision = Precision.of(next(model.parameters()).device, dtype)
    stepped = build_optimizer(model, config)
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=per_step + 1)
    batches = Batches(ids, context_length=context_length, batch_size=micro_batch_size, seed=0)
    was_training, before = model.training, {k: v.clone() for k, v in model.state_dict().items()}
    speeds: list[float] = []
    began = time.perf_counter()
    model.train()
    while len(speeds) < 6 or time.perf_counter() - began < seconds:
        step = train_step(model, stepped, batches, step=len(speeds), config=config, precision=precision)
        speeds.append(step.tokens_per_second)
    model.train(was_training)
    model.load_state_dict(before)
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

    def __str__(self) -> str:
        return (
            f"forecast: {plain_duration(self.seconds)} for {self.tokens:,} tokens\n"
            f"  {self.parameters:,} parameters, {float(self.flops):.1e} floating-point operations\n"
            f"  about {_plain_bytes(self.memory_bytes)} of memory"
        )


def forecast(model: ModelConfig, train: TrainConfig, *, tokens_per_second: float) -> Forecast:
    """Tokens, FLOPs, seconds and memory of a run at a measured speed (measure_speed)."""
    tokens = train.steps * train.tokens_per_step
    return Forecast(
        parameters=parameter_counts(model)["total"],
        tokens=tokens,
        flops=tokens * flops_per_token(model),
        seconds=tokens / tokens_per_second,
        memory_bytes=memory_bytes(model, train.micro_batch_size, train.dtype),
    )


def format_vs_forecast(forecast_seconds: float | None, seconds: float, *, share: float = 1.0) -> str:
    """What a run took: "took about 16 minutes, 1.44 times its forecast (about 11 minutes)".

    `share` is the part of the planned tokens that was read, where the run ended early. Without a forecast, or
    where nothing was read, it took what it took."""
    took, expected = f"took {plain_duration(seconds)}", (forecast_seconds or 0.0) * share
    if expected <= 0:
        return took
    return f"{took}, {seconds / expected:.2f} times its forecast ({plain_duration(expected)})"


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


def _plain_bytes(n: int) -> str:
    return f"{n / 2**20:.0f} MiB" if n < 2**30 else f"{n / 2**30:.1f} GiB"
