"""The machine: what this one is, which texts it has, how fast it trains, how far up the ladder it gets.

It names neither the machine nor a path on it. What it says about larger models is a forecast.
Shown in notebook 00_start_here."""

import platform
from dataclasses import dataclass

from tinylm import device
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs.forecast import Forecast, flops_per_token, forecast, measure_speed, plain_duration
from tinylm.runs.records import version
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
    """What a rung would take on this machine, at the speed at which one block of its width trains."""

    rung: Rung
    flops_per_second: float
    forecast: Forecast


def ladder() -> list[Rung]:
    """The three models of the course: characters, stories, GPT-2. The last two read 50,257 tokens."""
    sizes = {  # vocabulary, context, layers, heads, channels; steps, sequences at once, tokens per step
        "0.8M Shakespeare": ((65, 64, 4, 4, 128), (2000, 12, 12 * 64)),
        "51M TinyStories": ((50257, 512, 8, 8, 512), (7200, 8, 2**16)),  # about once through
        "124M GPT-2": ((50257, 1024, 12, 12, 768), (19073, 8, 2**19)),  # ten billion tokens of FineWeb-Edu
    }
    return [Rung(name, ModelConfig(*model), TrainConfig(*train)) for name, (model, train) in sizes.items()]


def describe() -> dict[str, object]:
    """What this machine is: processor, cores, memory, accelerator, arithmetic, versions, corpora at hand.

    "corpora" maps each name to the kind of source that has it now (pack, cache, generated), or to None."""
    here = device.best_device()
    return {
        **device.hardware(),
        "accelerator": None if here.type == "cpu" else device.describe_device(here),
        "amx": device.has_amx(),
        "bf16": device.supports_bf16(here),
        "dtype": device.resolve_dtype(here),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "corpora": {name: locate(name) for name in CORPORA},
    }


def ladder_forecast(*, seconds: float = 1.0) -> list[RungForecast]:
    """What each rung would take here: its floating-point operations over the speed of one of its blocks.

    One block with a small vocabulary is trained for about `seconds` and taken to stand for the whole model.
    That is a forecast: the head, the evaluations and a machine that gets warm are not in it."""
    rows = []
    for rung in ladder():
        is_small = rung.model.n_embd <= 128
        context_length, layers = min(rung.model.context_length, 512), 4 if is_small else 1
        block = ModelConfig(65, context_length, layers, rung.model.n_head, rung.model.n_embd)
        speed = measure_speed(
            GPT(block).to(device.best_device()),
            micro_batch_size=rung.train.micro_batch_size if is_small else 1,
            context_length=context_length,
            seconds=seconds,
        )
        flops = speed * flops_per_token(block)  # per second
        speed = flops / flops_per_token(rung.model)
        rows.append(RungForecast(rung, flops, forecast(rung.model, rung.train, tokens_per_second=speed)))
    return rows


def report(*, seconds: float = 1.0) -> str:
    """All of it as text, some twenty lines."""
    here = describe()
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items() if number)
    memory = "memory unknown" if here["memory_gib"] is None else f"{here['memory_gib']} GiB of memory"
    yes = {True: "yes", False: "no"}
    lines = [
        f"processor    {here['cpu']}, {here['cores']} cores, {memory}, {here['system']}",
        f"accelerator  {here['accelerator'] or 'none: training runs on the processor'}",
        f"arithmetic   {here['dtype']} (bfloat16 {yes[here['bf16']]}, AMX {yes[here['amx']]})",
        f"versions     {versions}",
        "corpora",
    ]
    for name, source in here["corpora"].items():
        lines.append(f"  {name:<18} {source or f'not here: `python -m tinylm fetch {name}` gets it'}")
    rows = ladder_forecast(seconds=seconds)
    speed = rows[0].flops_per_second / flops_per_token(rows[0].rung.model)
    lines.append(
        f"speed        {speed:,.0f} tokens per second, measured just now on the {rows[0].rung.name} model"
    )
    lines.append("forecast     of training each model of the course on this machine")
    for row in rows:
        took = plain_duration(row.forecast.seconds)
        lines.append(f"  {row.rung.name:<18} {row.forecast.tokens:>14,} tokens  {took}")
    return "\n".join(lines)
