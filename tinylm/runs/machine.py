"""The machine: what this one is, which texts it has, how fast it trains, how far up the ladder it gets.

Puts together what training and text know, for `python -m tinylm machine`. Refuses to name the machine or a
path on it. What it says about larger models is a forecast and is called one.
Shown in notebook 00_start_here."""

import platform
from dataclasses import dataclass
from importlib import metadata

from tinylm.device import best_device, describe_device, hardware, has_amx, resolve_dtype, supports_bf16
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs.forecast import (
    Forecast,
    flops_per_token,
    forecast,
    measure_speed,
    plain_duration,
)
from tinylm.text.corpora import CORPORA, locate
from tinylm.training.config import TrainConfig

PACKAGES = ("tinylm", "torch", "numpy", "jupyterlab", "ipywidgets", "matplotlib")


@dataclass(frozen=True)
class Rung:
    """One model of the ladder, with the run that the course gives it."""

    name: str
    model: ModelConfig
    train: TrainConfig


@dataclass(frozen=True)
class RungForecast:
    """What a rung would take on this machine."""

    rung: Rung
    flops_per_second: float
    """Measured while training one block of the rung's width."""
    forecast: Forecast


def ladder() -> list[Rung]:
    """The three models of the course: characters, stories, GPT-2. The last two read 50,257 tokens."""
    return [
        Rung(
            "0.8M Shakespeare",
            ModelConfig(vocab_size=65, context_length=64, n_layer=4, n_head=4, n_embd=128),
            TrainConfig(steps=2000, micro_batch_size=12, tokens_per_step=12 * 64),
        ),
        Rung(  # about once through TinyStories
            "51M TinyStories",
            ModelConfig(vocab_size=50257, context_length=512, n_layer=8, n_head=8, n_embd=512),
            TrainConfig(steps=7200, micro_batch_size=8, tokens_per_step=2**16),
        ),
        Rung(  # ten billion tokens of FineWeb-Edu
            "124M GPT-2",
            ModelConfig(vocab_size=50257, context_length=1024, n_layer=12, n_head=12, n_embd=768),
            TrainConfig(steps=19073, micro_batch_size=8, tokens_per_step=2**19),
        ),
    ]


def describe() -> dict[str, object]:
    """What this machine is: processor, cores, memory, accelerator, arithmetic, versions, corpora at hand.

    "corpora" maps each name to the kind of source that has it now (pack, cache, generated), or to None."""
    device = best_device()
    return {
        **hardware(),
        "accelerator": None if device.type == "cpu" else describe_device(device),
        "amx": has_amx(),
        "bf16": supports_bf16(device),
        "dtype": resolve_dtype(device, "auto"),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "corpora": {name: locate(name) for name in CORPORA},
    }


def training_speed(rung: Rung, *, seconds: float = 1.0) -> float:
    """Tokens per second while training this very model here, measured for about so long."""
    model = GPT(rung.model).to(best_device())
    return measure_speed(
        model,
        micro_batch_size=rung.train.micro_batch_size,
        context_length=rung.model.context_length,
        seconds=seconds,
    )


def ladder_forecast(*, seconds: float = 1.0) -> list[RungForecast]:
    """What each rung would take here: its floating-point operations over the speed of one of its blocks.

    One block with a small vocabulary is trained for about `seconds` and taken to stand for the whole model.
    That is a forecast: the head, the evaluations and a machine that gets warm are not in it."""
    rows = []
    for rung in ladder():
        small = rung.model
        small = ModelConfig(
            vocab_size=65,
            context_length=min(small.context_length, 512),
            n_layer=4 if small.n_embd <= 128 else 1,
            n_head=small.n_head,
            n_embd=small.n_embd,
        )
        model = GPT(small).to(best_device())
        batch = rung.train.micro_batch_size if small.n_embd <= 128 else 1
        speed = measure_speed(
            model, micro_batch_size=batch, context_length=small.context_length, seconds=seconds
        )
        flops_per_second = speed * flops_per_token(small)
        tokens_per_second = flops_per_second / flops_per_token(rung.model)
        expected = forecast(rung.model, rung.train, tokens_per_second=tokens_per_second)
        rows.append(RungForecast(rung, flops_per_second, expected))
    return rows


def report(*, seconds: float = 1.0) -> str:
    """All of it as text, some twenty lines."""
    here = describe()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items() if version)
    memory = "memory unknown" if here["memory_gib"] is None else f"{here['memory_gib']} GiB of memory"
    lines = [
        f"processor    {here['cpu']}, {here['cores']} cores, {memory}, {here['system']}",
        f"accelerator  {here['accelerator'] or 'none: training runs on the processor'}",
        f"arithmetic   {here['dtype']} (bfloat16 {_yes(here['bf16'])}, AMX {_yes(here['amx'])})",
        f"versions     {versions}",
        "corpora",
        *(
            f"  {name:<18} {source or f'not here: `python -m tinylm fetch {name}` gets it'}"
            for name, source in here["corpora"].items()
        ),
    ]
    rows = ladder_forecast(seconds=seconds)
    smallest = rows[0]
    speed = smallest.flops_per_second / flops_per_token(smallest.rung.model)
    lines += [
        f"speed        {speed:,.0f} tokens per second, measured just now on the {smallest.rung.name} model",
        "forecast     of training each model of the course on this machine",
        *(
            f"  {row.rung.name:<18} {row.forecast.tokens:>14,} tokens  {plain_duration(row.forecast.seconds)}"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
