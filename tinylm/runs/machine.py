"""The machine: what this one is, which texts it has, how fast it trains, how far up the ladder it gets.

It names neither the machine nor a path on it. What it says about larger models is a forecast.
Shown in notebook 00_start_here."""

from dataclasses import replace

from tinylm import device
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import recipe
from tinylm.runs.records import versions
from tinylm.text.corpora import CORPORA, locate
from tinylm.training.config import TrainConfig
from tinylm.training.forecast import Forecast, forecast, plain_duration
from tinylm.training.speed import measure_speed


def ladder() -> dict[str, tuple[ModelConfig, TrainConfig]]:
    """The models of the course, each with its run: characters, stories as published, ten billion tokens."""
    made = {"0.8M Shakespeare": recipe("shakespeare_baseline"), "51M TinyStories": recipe("tinystories_51m")}
    # vocabulary, context, layers, heads, channels; steps, sequences at once, tokens per step
    gpt2 = ModelConfig(50257, 1024, 12, 12, 768), TrainConfig(19073, 8, 2**19)
    return {model: (its.model, its.train) for model, its in made.items()} | {"124M GPT-2": gpt2}


def describe() -> dict[str, object]:
    """What this machine is: processor, cores, memory, accelerator, arithmetic, versions, corpora at hand.

    "corpora" maps each name to the kind of source that has it now (pack, cache, generated), or to None."""
    here = device.best_device()
    return {
        **device.hardware(),
        "accelerator": None if here.type == "cpu" else device.describe_device(here),
        "bf16": device.supports_bf16(here),
        "dtype": device.resolve_dtype(here),
        "versions": versions("tinylm", "torch", "numpy", "jupyterlab", "ipywidgets", "matplotlib"),
        "corpora": {name: locate(name) for name in CORPORA},
    }


def ladder_forecast(*, seconds: float = 1.0) -> dict[str, Forecast]:
    """What each model of the ladder would take here: its work over the speed of one of its blocks.

    One block with a small vocabulary is trained for about `seconds` and taken to stand for the whole model.
    That is a forecast: the head, the evaluations and a machine that gets warm are not in it."""
    forecasts = {}
    for name, (model, train) in ladder().items():
        batch, layers = (train.micro_batch_size, 4) if model.n_embd <= 128 else (1, 1)
        block = replace(model, vocab_size=65, n_layer=layers, context_length=min(model.context_length, 512))
        speed = measure_speed(
            GPT(block).to(device.best_device()),
            config=TrainConfig(micro_batch_size=batch),
            context_length=block.context_length,
            seconds=seconds,
        )
        speed *= flops_per_token(block) / flops_per_token(model)
        forecasts[name] = forecast(model, train, tokens_per_second=speed)
    return forecasts


def report() -> str:
    """All of it as text, some twenty lines."""
    here, forecasts = describe(), ladder_forecast()
    corpora, installed = here.pop("corpora"), here.pop("versions")
    here["versions"] = ", ".join(f"{name} {number}" for name, number in installed.items())
    name, smallest = next(iter(forecasts.items()))
    speed = smallest.tokens / smallest.seconds
    here["speed"] = f"{speed:,.0f} tokens per second, measured just now on the {name} model"
    here["forecast"] = "of training each model of the course on this machine"
    lines = [f"{name:<12} {'none' if value is None else value}" for name, value in here.items()]
    for name, run in forecasts.items():
        lines.append(f"  {name:<18} {run.tokens:>14,} tokens  {plain_duration(run.seconds)}")
    lines.append("corpora")
    for name, source in corpora.items():
        lines.append(f"  {name:<18} {source or f'not here: `python -m tinylm fetch {name}` gets it'}")
    return "\n".join(lines)
