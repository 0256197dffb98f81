"""The machine: what this one is, which texts it has, how fast it trains, how far up the ladder it gets.

It names neither the machine nor a path on it. What it says about larger models is a forecast.
Shown in notebook 00_start_here."""

import platform
from dataclasses import dataclass, replace

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
    forecast: Forecast

    @property
    def flops_per_second(self) -> float:
        """The speed behind the forecast, in floating-point operations."""
        return self.forecast.flops / self.forecast.seconds


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
        "amx": device.supports_bf16("cpu"),
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
        batch, layers = (rung.train.micro_batch_size, 4) if rung.model.n_embd <= 128 else (1, 1)
        context_length = min(rung.model.context_length, 512)
        block = replace(rung.model, vocab_size=65, n_layer=layers, context_length=context_length)
        shape = {"micro_batch_size": batch, "context_length": context_length}
        speed = measure_speed(GPT(block).to(device.best_device()), **shape, seconds=seconds)
        speed *= flops_per_token(block) / flops_per_token(rung.model)
        rows.append(RungForecast(rung, forecast(rung.model, rung.train, tokens_per_second=speed)))
    return rows


def report() -> str:
    """All of it as text, some twenty lines."""
    here, rows = describe(), ladder_forecast()
    corpora, versions = here.pop("corpora"), here.pop("versions")
    here["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    speed = rows[0].forecast.tokens / rows[0].forecast.seconds
    here["speed"] = f"{speed:,.0f} tokens per second, measured just now on the {rows[0].rung.name} model"
    here["forecast"] = "of training each model of the course on this machine"
    lines = [f"{name:<12} {'none' if value is None else value}" for name, value in here.items()]
    for row in rows:
        took = plain_duration(row.forecast.seconds)
        lines.append(f"  {row.rung.name:<18} {row.forecast.tokens:>14,} tokens  {took}")
    lines.append("corpora")
    for name, source in corpora.items():
        lines.append(f"  {name:<18} {source or f'not here: `python -m tinylm fetch {name}` gets it'}")
    return "\n".join(lines)
