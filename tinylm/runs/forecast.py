"""Forecast: what a run will cost before it is started: tokens, FLOPs, memory, time.

The speed is never guessed: the machine trains for a second and is timed. A forecast is called a forecast
wherever it is printed.
Taught in notebooks 04_training and 10_speed. Source: Chowdhery et al. 2022 (PaLM), appendix B."""

import copy
import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from tinylm.device import Precision
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.text.batches import Batches
from tinylm.training.config import DTypeName, TrainConfig
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
    about 8 numbers per token and channel, more with the modern settings, the MLP's hidden layer twice, and T
    per head where attention is explicit or has dropout (on a processor); the head keeps the logits twice."""
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
        needs = f"training needs about {_plain_bytes(needed)} of memory"
        way_out = (
            f"a micro_batch_size below {train.micro_batch_size}, a shorter context_length or a smaller model"
        )
        raise ConfigError(f"{needs} and this machine has {_plain_bytes(available)}: use {way_out}")


def measure_speed(
    model: nn.Module, *, micro_batch_size: int, context_length: int, seconds: float = 1.0, **settings: Any
) -> float:
    """Training speed in tokens per second: the median of real steps on random tokens, after three to warm up.

    `settings` are those of a TrainConfig that cost time: optimizer, dtype. What moves is a copy of the model,
    and by nothing: at a rate of 0 no step diverges."""
    per_step = micro_batch_size * context_length  # tokens
    rates = {"learning_rate": 0.0, "min_learning_rate": 0.0, "muon_learning_rate": 0.0, "warmup_steps": 0}
    config = TrainConfig(10**6, micro_batch_size, per_step, **rates, **settings)
    model = copy.deepcopy(model).train()
    precision = Precision.of(next(model.parameters()).device, config.dtype)
    optimizer = build_optimizer(model, config)
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=per_step + 1)
    batches = Batches(ids, context_length=context_length, batch_size=micro_batch_size, seed=0)
    speeds: list[float] = []
    began = time.perf_counter()
    while len(speeds) < 6 or time.perf_counter() - began < seconds:
        step = train_step(model, optimizer, batches, step=len(speeds), config=config, precision=precision)
        speeds.append(step.tokens_per_second)
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


def forecast(
    model: ModelConfig, train: TrainConfig, *, tokens_per_second: float, validation_tokens: int = 0
) -> Forecast:
    """Tokens, FLOPs, seconds and memory of a run at a measured speed (measure_speed).

    Its evaluations of so many tokens are part of the seconds: their forward pass is a third of a step's."""
    tokens = train.steps * train.tokens_per_step
    evaluations = math.ceil(train.steps / (train.eval_every or train.steps))
    read = evaluations * min(train.eval_tokens or validation_tokens, validation_tokens)
    return Forecast(
        parameters=parameter_counts(model)["total"],
        tokens=tokens,
        flops=tokens * flops_per_token(model),
        seconds=(tokens + read / 3) / tokens_per_second,
        memory_bytes=memory_bytes(model, train.micro_batch_size, train.dtype),
    )


def plain_duration(seconds: float) -> str:
    """A duration as a person says it: "about 40 seconds", "about 7 minutes", "about 3.2 years"."""
    if seconds < 1:
        return "less than a second"
    sizes = {"year": 365.25 * 86400, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, size in sizes.items() if seconds >= 1.5 * size or size == 1)
    digits = 0 if unit in ("second", "minute") or seconds / sizes[unit] >= 9.95 else 1
    number = f"{seconds / sizes[unit]:,.{digits}f}".removesuffix(".0")
    return f"about {number} {unit}{'' if number == '1' else 's'}"


def _plain_bytes(n: int) -> str:
    return f"{n / 2**20:.0f} MiB" if n < 2**30 else f"{n / 2**30:.1f} GiB"
