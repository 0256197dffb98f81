"""Forecast: what a run will cost, before it is started: tokens, floating-point operations, memory, time.

The speed is measured, never guessed (training/speed). A forecast is called a forecast wherever it is printed.
Taught in notebooks 08_tinystories and 10_speed."""

import math
from dataclasses import dataclass, replace

from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.cost import active_parameters, flops_per_token, memory_bytes, parameter_counts
from tinylm.training.config import TrainConfig

MIB = 2**20  # bytes


def check_memory(model: ModelConfig, train: TrainConfig, available: int | None) -> None:
    """Raise ConfigError if training would need more bytes than are available; None means unknown."""
    needed = memory_bytes(model, train.micro_batch_size, fused_loss=train.fused_loss)
    if available is not None and needed > available:
        needs, has = f"training needs about {needed / MIB:,.0f} MiB of memory", f"{available / MIB:,.0f} MiB"
        less = f"a micro_batch_size below {train.micro_batch_size}, a shorter context_length"
        raise ConfigError(f"{needs} and this machine has {has}: use {less} or a smaller model")


@dataclass(frozen=True)
class Forecast:
    """What a run is expected to cost. print() shows it in three lines."""

    parameters: int
    active: int  # those that a token uses: all, or with experts fewer
    tokens: int
    flops: int
    seconds: float
    memory_bytes: int

    def __str__(self) -> str:
        active = f" ({self.active:,} for each token)" if self.active < self.parameters else ""
        return (
            f"forecast: {plain_duration(self.seconds)} for {self.tokens:,} tokens\n"
            f"  {self.parameters:,} parameters{active}, {float(self.flops):.1e} floating-point operations\n"
            f"  about {self.memory_bytes / MIB:,.0f} MiB of memory"
        )


def forecast(
    model: ModelConfig, train: TrainConfig, *, tokens_per_second: float, validation_tokens: int = 0
) -> Forecast:
    """Return tokens, floating-point operations, seconds and memory of a run at a measured speed.

    The seconds include evaluations of validation_tokens: a forward pass costs a third of a training step."""
    tokens = train.steps * train.tokens_per_step
    evaluations = math.ceil(train.steps / (train.eval_every or train.steps))
    read = evaluations * min(train.eval_tokens or validation_tokens, validation_tokens)
    return Forecast(
        parameters=parameter_counts(model)["total"],
        active=active_parameters(model),
        tokens=tokens,
        flops=tokens * flops_per_token(model),
        seconds=(tokens + read / 3) / tokens_per_second,
        memory_bytes=memory_bytes(model, train.micro_batch_size, train.dtype, fused_loss=train.fused_loss),
    )


# The peak of each GPU in operations per second, in the 16-bit arithmetic that trains on it, with sums in
# float32 and without sparsity, and its memory in GiB. From NVIDIA's data sheets of T4, A100 and H100
# (SXM), and its papers on the architectures GA102 (28 multiprocessors × 512 × 2 × 1.777 GHz) and AD102.
CARDS = {"T4": (65e12, 16), "RTX 3060": (25.5e12, 12), "RTX 4090": (165.2e12, 24)}
CARDS |= {"A100": (312e12, 80), "H100": (989e12, 80)}


def forecast_on(
    card: str, model: ModelConfig, train: TrainConfig, *, utilisation: float = 0.35
) -> tuple[Forecast | None, int]:
    """Return the forecast for one of CARDS, and the micro-batch size that fits its memory.

    The plan's own micro-batch is halved until it fits; (None, 0) means that none does. `utilisation` is an
    assumption, the share of the peak that a step reaches: 0.3 to 0.45 is usual for a loop like ours, less
    for small steps. A tenth of the memory is left to the driver."""
    peak, gib = CARDS[card]
    micro_batch_size = train.micro_batch_size
    while memory_bytes(model, micro_batch_size, "float16", fused_loss=train.fused_loss) > 0.9 * gib * 2**30:
        if micro_batch_size % 2:
            return None, 0
        micro_batch_size //= 2
    plan = replace(train, micro_batch_size=micro_batch_size, dtype="float16")
    speed = utilisation * peak / flops_per_token(model)
    return forecast(model, plan, tokens_per_second=speed), micro_batch_size


def plain_duration(seconds: float) -> str:
    """Return a duration as a person says it: "about 40 seconds", "about 7 minutes", "about 3.2 years"."""
    if seconds < 1:
        return "less than a second"
    sizes = {"year": 365.25 * 86400, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, size in sizes.items() if seconds >= 1.5 * size or size == 1)
    digits = 0 if unit in ("second", "minute") or seconds / sizes[unit] >= 9.95 else 1
    number = f"{seconds / sizes[unit]:,.{digits}f}".removesuffix(".0")
    return f"about {number} {unit}{'' if number == '1' else 's'}"
