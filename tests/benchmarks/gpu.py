"""Everything that wants a GPU, in one command: python tests/benchmarks/gpu.py --peak-tflops 989

Run by hand on a machine with one; it has not run yet. It asks pytest whether the numbers are those of the
processor (tests/end_to_end/test_gpu.py: float32, bfloat16, float16, compiled, cached), then measures, for the
shapes of the course (0.8M, 51M, 124M) and each arithmetic that this GPU does well, the training speed and the
share of the GPU's peak that it uses, and the time of a generated token, alone and in a batch of 32. The
figures go to data/mine/gpu, for `make promote RUN=gpu`. --recipes trains both Shakespeare recipes
too; promote their runs by name.
"""

import statistics
import subprocess
import sys
import time

import torch
from benchmark import ROOT, open_record, options

from tinylm.device import best_device, describe_device, resolve_dtype, synchronize
from tinylm.errors import TinyLMError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate_batch
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token
from tinylm.model.gpt import GPT
from tinylm.training.speed import measure_speed

SHAPES = {  # name: (the model, sequences per forward pass)
    "0.8M": (ModelConfig(vocab_size=65, context_length=64, n_layer=4, n_head=4, n_embd=128), 512),
    "51M": (ModelConfig(vocab_size=50257, context_length=512, n_layer=8, n_head=8, n_embd=512), 32),
    "124M": (ModelConfig(vocab_size=50257, context_length=1024, n_layer=12, n_head=12, n_embd=768), 16),
}
WRITTEN = 64  # tokens to generate


def token_seconds(model: GPT, rows: int) -> float:
    """Seconds for one more token of each of `rows` texts: the median of three generations."""
    device = next(model.parameters()).device
    config = GenerationConfig(temperature=0.0, max_new_tokens=WRITTEN)
    times = []
    for _ in range(4):  # the first one warms up
        synchronize(device)
        began = time.perf_counter()
        for _ in generate_batch(model, [[1, 2, 3]] * rows, config, generator=torch.Generator()):
            pass
        synchronize(device)
        times.append((time.perf_counter() - began) / WRITTEN)
    return statistics.median(times[1:])


def dtypes(device: torch.device) -> list[str]:
    """The arithmetics that this device does well."""
    able = []
    for dtype in ("float32", "bfloat16", "float16"):
        try:
            able.append(resolve_dtype(device, dtype))
        except TinyLMError as error:
            print(f"{dtype}: {error}")
    return able


def main() -> None:
    chosen = options(
        __doc__,
        record="gpu",
        peak_tflops=(0.0, "the GPU's own, in bfloat16 without sparsity"),
        recipes=(False, "train shakespeare_baseline and _fast here"),
        shapes=([*SHAPES], "which of them"),
    )
    device, python = best_device(), [sys.executable, "-m"]
    tests = subprocess.run([*python, "pytest", "-q", "tests/end_to_end/test_gpu.py"], cwd=ROOT, check=False)
    header = {"device": describe_device(device), "dtype": "each", "tests_passed": tests.returncode == 0}
    record = open_record(chosen, **header)
    for name in chosen.shapes:
        config, batch = SHAPES[name]
        sizes = {"micro_batch_size": batch, "context_length": config.context_length}
        for dtype in dtypes(device):
            model = GPT(config).to(device)
            speed = measure_speed(model, seconds=10.0, dtype=dtype, **sizes)
            tflops = speed * flops_per_token(config) / 1e12
            used = tflops / chosen.peak_tflops if chosen.peak_tflops else None
            figures = {"tokens_per_second": speed, "tflops": tflops, "share_of_peak": used}
            record.write("measurement", name=f"train {name}", dtype=dtype, batch=batch, **figures)
            share = f", {used:.0%} of its peak" if used is not None else ""
            print(f"{name} {dtype}: {speed:,.0f} tokens per second, {tflops:.1f} TFLOP/s{share}", flush=True)
        for rows in (1, 32):
            seconds = token_seconds(model.eval(), rows)
            record.write("measurement", name=f"generate {name}", rows=rows, seconds_per_token=seconds)
            print(f"{name}, {rows} texts: {1000 * seconds:.2f} ms for a token of each", flush=True)
    record.write("end")
    if chosen.recipes:
        for recipe in ("shakespeare_baseline", "shakespeare_fast"):
            subprocess.run([*python, "tinylm", "train", recipe, "--run", f"{recipe}-gpu"], check=True)


if __name__ == "__main__":
    main()
