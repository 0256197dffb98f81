"""Compare training in float16 and bfloat16 with float32, simulated on a processor, several seeds.

    python tests/benchmarks/float16.py
    make promote RUN=float16

A small `shakespeare_baseline` is trained with the same batches from the same weights in each dtype. The
effect of rounding is the difference of a validation loss from float32's with the same seed, to be compared
with the standard deviation of float32's losses over the seeds. "scale 1" is float16 whose scaler does
nothing; with "2^24" the first steps overflow, are skipped and counted."""

import statistics
from dataclasses import replace

import torch
from benchmark import open_record, options

from tinylm.device import Precision
from tinylm.runs.recipes import recipe
from tinylm.runs.run import Run
from tinylm.training.loop import train

BASE = recipe("shakespeare_baseline")
VARIANTS = {  # dtype, and the scale that the scaler begins with
    "float32": ("float32", None),
    "bfloat16": ("bfloat16", None),
    "float16": ("float16", 2.0**16),
    "float16, scale 2^24": ("float16", 2.0**24),
    "float16, scale 1": ("float16", 1.0),
}


def measured(variant: str, seed: int, steps: int) -> dict[str, float]:
    """Train one model. Return its validation loss in nats per token and the number of skipped steps."""
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 64, "context_length": 32}
    plan = {"micro_batch_size": 8, "tokens_per_step": 8 * 32, "warmup_steps": steps // 10, "steps": steps}
    plan = replace(BASE.train, **plan, seed=seed, eval_every=0)
    run = Run(replace(BASE, model=replace(BASE.model, **shape), train=plan), fallback=True)
    dtype, scale = VARIANTS[variant]
    scaler = torch.amp.GradScaler("cpu", scale or 1.0, growth_interval=10 * steps, enabled=scale is not None)
    precision = Precision(torch.device("cpu"), dtype, scaler)
    history = train(run.model, run.batches, plan, precision=precision, show_progress=False)
    validation = run.task.measure(run.model, dtype="float32", max_tokens=20_000).loss
    return {"val_loss": validation, "skipped": history.skipped}


def main():
    chosen = options(__doc__, record="float16", steps=(200, "optimiser steps"), seeds=(8, "runs of each"))
    record = open_record(chosen, dtype="by variant", simulated=True)
    found = {name: [] for name in VARIANTS}
    for seed in range(chosen.seeds):  # in turns
        for name, runs in found.items():
            runs.append(measured(name, seed, chosen.steps))
            record.write("measurement", name=name, seed=seed, **runs[-1])
            print(name, seed, runs[-1], flush=True)
    exact = [run["val_loss"] for run in found["float32"]]
    spread = statistics.stdev(exact)
    record.write("measurement", name="val_loss of float32 over seeds", standard_deviation=spread)
    for name, runs in found.items():
        apart = [run["val_loss"] - loss for run, loss in zip(runs, exact, strict=True)]
        numbers = {"mean_difference": statistics.mean(apart), "largest_difference": max(map(abs, apart))}
        record.write("measurement", name=f"val_loss of {name} less float32's", **numbers)
        print(f"val_loss of {name}: {numbers}, spread of float32 over seeds {spread:.4f}")
    record.write("end")


if __name__ == "__main__":
    main()
