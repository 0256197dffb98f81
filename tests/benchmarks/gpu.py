"""Measure everything that needs a GPU: python tests/benchmarks/gpu.py --peak-tflops 989

Run by hand on a machine with one; it has not run yet. It asks pytest whether the numbers are those of the
processor (tests/end_to_end/test_gpu.py: float32, tf32, bfloat16, float16, compiled, cached), then measures,
for the shapes of the course (0.8M, 51M, 124M), the training speed, the share of the GPU's peak that it uses
and its peak memory: with each setting that costs or saves time and at several batch sizes, in the dtype that
suits this GPU best; and the time of a generated token, alone and in a batch of 32. The figures go to
data/mine/gpu, for `make promote RUN=gpu`. A shape takes some minutes, most of them the compiler's:
--shapes 51M measures that one alone.
"""

import statistics
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import torch
from benchmark import ROOT, in_turns, open_record, options

from tinylm.device import best_device, describe_device, resolve_dtype, synchronize
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token, memory_bytes
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import recipe
from tinylm.training.config import TrainConfig
from tinylm.training.speed import measure_speed

SHAPES = {  # name: (the model, sequences per forward pass)
    "0.8M": (ModelConfig(vocab_size=65, context_length=64, n_layer=4, n_head=4, n_embd=128), 512),
    "51M": (recipe("tinystories_51m").model, 128),
    "124M": (ModelConfig(vocab_size=50257, context_length=1024, n_layer=12, n_head=12, n_embd=768), 16),
}
PADDED = {"vocab_multiple": 64}
SETTINGS = {
    "explicit attention": {"attention": "explicit", "fused_loss": False},
    "plain": {"fused_loss": False},
    "padded vocabulary": {"fused_loss": False} | PADDED,
    "fused loss": PADDED,
    "computed again": {"activation_checkpointing": True} | PADDED,
    "compiled, plain loss": {"compile": True, "fused_loss": False} | PADDED,
    "compiled": {"compile": True} | PADDED,
    "compiled, computed again": {"compile": True, "activation_checkpointing": True} | PADDED,
}
WRITTEN = 64  # tokens to generate


def cases(best: str, batch: int) -> list[tuple[str, str, int]]:
    """Return what is measured for a shape: (setting, dtype, sequences in a batch)."""
    by_setting = [(setting, best, batch) for setting in SETTINGS]
    return by_setting + [("compiled", best, size) for size in (batch // 4, 2 * batch, 4 * batch)]


def training(config: ModelConfig, setting: str, dtype: str, batch: int, *, seconds: float) -> dict[str, Any]:
    """Return the speed and peak memory of training with this setting, or None where memory runs out."""
    device, of_model = best_device(), {field.name for field in fields(ModelConfig)}
    chosen = SETTINGS[setting]
    config = replace(config, **{name: value for name, value in chosen.items() if name in of_model})
    settings = {name: value for name, value in chosen.items() if name not in of_model}
    fused = settings.get("fused_loss", True)
    figures = {"estimated_bytes": memory_bytes(config, batch, dtype, fused_loss=fused)}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        model = GPT(config).to(device)
        plan = TrainConfig(micro_batch_size=batch, dtype=dtype, **settings)
        speed = measure_speed(model, plan, context_length=config.context_length, seconds=seconds)
    except torch.OutOfMemoryError:
        return figures | {"tokens_per_second": None, "tflops": None, "peak_bytes": None}
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    tflops = speed * flops_per_token(config) / 1e12
    return figures | {"tokens_per_second": speed, "tflops": tflops, "peak_bytes": peak}


def token_seconds(model: GPT, rows: int) -> float:
    """Return the seconds for one more token of each of `rows` texts: the median of three generations."""
    device = next(model.parameters()).device
    config = GenerationConfig(temperature=0.0, max_new_tokens=WRITTEN)

    def written() -> None:
        list(generate(model, [[1, 2, 3]] * rows, config, generator=torch.Generator()))
        synchronize(device)

    return statistics.median(in_turns({"": written}, 3, warm_up=1)[""]) / WRITTEN


def main() -> None:
    chosen = options(
        __doc__,
        record="gpu",
        peak_tflops=(0.0, "the GPU's own, in bfloat16 without sparsity"),
        shapes=([*SHAPES], "which of them"),
        seconds=(5.0, "of steps for each speed"),
    )
    device, tested = best_device(), ["pytest", "-q", "tests/end_to_end/test_gpu.py"]
    tests = subprocess.run([sys.executable, "-m", *tested], cwd=ROOT, check=False)
    best, passed = resolve_dtype(device), tests.returncode == 0
    record = open_record(chosen, device=describe_device(device), dtype=best, tests_passed=passed)
    for name in chosen.shapes:
        config, batch = SHAPES[name]
        for setting, dtype, size in cases(best, batch):
            about = {"setting": setting, "dtype": dtype, "batch": size}
            figures = training(config, *about.values(), seconds=chosen.seconds)
            tflops = figures["tflops"]
            used = tflops / chosen.peak_tflops if tflops and chosen.peak_tflops else None
            record.write("measurement", name=f"train {name}", **about, **figures, share_of_peak=used)
            print(f"train {name}", about, figures, f"share of peak {used}", flush=True)
        model = GPT(config).to(device)
        for rows in (1, 32):
            seconds = token_seconds(model.eval(), rows)
            record.write("measurement", name=f"generate {name}", rows=rows, seconds_per_token=seconds)
            print(f"{name}, {rows} texts: {1000 * seconds:.2f} ms for a token of each", flush=True)
    record.write("end")


if __name__ == "__main__":
    main()
