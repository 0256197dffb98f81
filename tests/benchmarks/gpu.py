"""Everything that wants a GPU, in one command: python tests/benchmarks/gpu.py --peak-tflops 989

Run by hand on a machine with one; it has not run yet. It asks pytest whether the numbers are those of the
processor (tests/end_to_end/test_gpu.py: float32, tf32, bfloat16, float16, compiled, cached), then measures,
for the shapes of the course (0.8M, 51M, 124M), the training speed, the share of the GPU's peak that it uses
and the most memory that it takes: in each arithmetic, with each setting that costs or saves time, at several
batch sizes; and the time of a generated token, alone and in a batch of 32. The figures go to data/mine/gpu,
for `make promote RUN=gpu`. An arithmetic that this GPU doesn't do well is refused, and so is a batch that
needs more memory than there is; the record says why. A shape takes some minutes, most of them the compiler's:
--shapes 51M measures that one alone.
"""

import statistics
import subprocess
import sys
from dataclasses import replace
from typing import Any

import torch
from benchmark import ROOT, in_turns, open_record, options

from tinylm.device import best_device, describe_device, resolve_dtype, synchronize
from tinylm.errors import TinyLMError
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
SETTINGS = {  # of the model, and of its training
    "explicit attention": ({"attention": "explicit"}, {"fused_loss": False}),
    "plain": ({}, {"fused_loss": False}),
    "padded vocabulary": (PADDED, {"fused_loss": False}),
    "fused loss": (PADDED, {}),
    "computed again": (PADDED | {"activation_checkpointing": True}, {}),
    "compiled, plain loss": (PADDED, {"compile": True, "fused_loss": False}),
    "compiled": (PADDED, {"compile": True}),
    "compiled, computed again": (PADDED | {"activation_checkpointing": True}, {"compile": True}),
}
EACH_DTYPE = ("plain", "compiled")  # the other settings are measured in the best arithmetic alone
WRITTEN = 64  # tokens to generate


def cases(best: str, batch: int) -> list[tuple[str, str, int]]:
    """What is measured for a shape: (setting, arithmetic, sequences at once), each once."""
    dtypes = ("float32", "tf32", "bfloat16", "float16")
    by_dtype = [(setting, dtype, batch) for dtype in dtypes for setting in EACH_DTYPE]
    by_setting = [(setting, best, batch) for setting in SETTINGS]
    by_size = [("compiled", best, size) for size in (batch // 4, 2 * batch, 4 * batch)]
    return list(dict.fromkeys(by_dtype + by_setting + by_size))


def training(config: ModelConfig, setting: str, dtype: str, batch: int, *, seconds: float) -> dict[str, Any]:
    """Speed and most memory of training with this setting, or why it is refused."""
    device, (of_model, of_training) = best_device(), SETTINGS[setting]
    config = replace(config, **of_model)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        plan = TrainConfig(micro_batch_size=batch, dtype=resolve_dtype(device, dtype), **of_training)
        model = GPT(config).to(device)
        speed = measure_speed(model, plan, context_length=config.context_length, seconds=seconds)
    except (torch.OutOfMemoryError, TinyLMError) as error:
        return {"refused": str(error)}
    figures = {"tokens_per_second": speed, "tflops": speed * flops_per_token(config) / 1e12}
    figures["estimated_bytes"] = memory_bytes(config, batch, dtype, fused_loss=plan.fused_loss)
    figures["peak_bytes"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return figures


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
    device = best_device()
    command = [sys.executable, "-m", "pytest", "-q", "tests/end_to_end/test_gpu.py"]
    passed = subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    record = open_record(chosen, device=describe_device(device), dtype="each", tests_passed=passed)
    for name in chosen.shapes:
        config, batch = SHAPES[name]
        for setting, dtype, size in cases(resolve_dtype(device), batch):
            about = {"setting": setting, "dtype": dtype, "batch": size}
            figures = training(config, *about.values(), seconds=chosen.seconds)
            if chosen.peak_tflops and "tflops" in figures:
                figures["share_of_peak"] = figures["tflops"] / chosen.peak_tflops
            record.write("measurement", name=f"train {name}", **about, **figures)
            print(f"{name}, {setting}, {dtype}, {size} at once: {figures}", flush=True)
        model = GPT(config).to(device)
        for rows in (1, 32):
            seconds = token_seconds(model.eval(), rows)
            record.write("measurement", name=f"generate {name}", rows=rows, seconds_per_token=seconds)
            print(f"{name}, {rows} texts: {1000 * seconds:.2f} ms for a token of each", flush=True)
    record.write("end")


if __name__ == "__main__":
    main()
