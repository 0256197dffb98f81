"""The machine: what this one is, which corpora it has, and how long each model of the course would take.

No machine's name and no path is shown. What is said about larger models is a forecast. Shown in notebook
00_start_here."""

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
    """Return the models of the course with how each is trained: characters, stories, ten billion tokens."""
    made = {"0.8M Shakespeare": recipe("shakespeare_baseline"), "51M TinyStories": recipe("tinystories_51m")}
    # vocabulary, context, layers, heads, channels; steps, sequences at once, tokens per step
    gpt2 = ModelConfig(50257, 1024, 12, 12, 768), TrainConfig(19073, 8, 2**19)
    return {model: (its.model, its.train) for model, its in made.items()} | {"124M GPT-2": gpt2}


def ladder_forecast(*, seconds: float = 1.0) -> dict[str, Forecast]:
    """Return how long each model of the ladder would take here: its work divided by a measured speed.

    The speed is that of one block with a small vocabulary, trained for about `seconds`. The forecast leaves
    out the head, the evaluations, and a machine that slows down when it gets warm."""
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
    """Return, in some twenty lines, what this machine is, how fast it trains, and which corpora it has."""
    busy, here, forecasts = device.busy(), device.best_device(), ladder_forecast()
    smallest = next(iter(forecasts.values()))
    installed = versions("tinylm", "torch", "numpy", "jupyterlab", "ipywidgets", "matplotlib")
    about = device.hardware() | {
        "accelerator": None if here.type == "cpu" else device.describe_device(here),
        "dtype": device.resolve_dtype(here),
        "versions": ", ".join(f"{package} {number}" for package, number in installed.items()),
        "speed": f"{smallest.tokens / smallest.seconds:,.0f} tokens per second with the first model below",
        "forecast": "of training each model of the course on this machine",
    }
    lines = [f"{what:<12} {'none' if said is None else said}" for what, said in about.items()]
    for name, run in forecasts.items():
        lines.append(f"  {name:<18} {run.tokens:>14,} tokens  {plain_duration(run.seconds)}")
    lines += [f"  {busy}"] if busy else []
    lines.append("corpora")
    for name in CORPORA:
        lines.append(f"  {name:<18} {locate(name) or f'not here: `python -m tinylm fetch {name}` gets it'}")
    return "\n".join(lines)
