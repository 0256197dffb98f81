"""Does training in float16 or bfloat16 learn as float32 does? Simulated on a processor, several seeds.

    python tests/benchmarks/float16.py
    make promote RUN=float16

A small `shakespeare_baseline` is trained with the same batches from the same weights in each arithmetic.
What rounding does to a loss is its difference from float32's of the same seed; it is held against how far
float32's own loss lies from seed to seed (their standard deviation). "scale 1" is float16 whose scaler does
nothing, "2^24" one whose first steps overflow: they are left out and counted."""

import statistics
import time
from dataclasses import replace

import torch
from benchmark import open_record, options

from tinylm.device import Precision
from tinylm.runs.recipes import recipe
from tinylm.runs.run import Run
from tinylm.training.loop import train

LAST = 20  # steps over whose training losses a mean is taken
BASE = recipe("shakespeare_baseline")
VARIANTS = {  # arithmetic, and the scale that the scaler begins with
    "float32": ("float32", None),
    "bfloat16": ("bfloat16", None),
    "float16": ("float16", 2.0**16),
    "float16, scale 2^24": ("float16", 2.0**24),
    "float16, scale 1": ("float16", 1.0),
}


def measured(variant: str, seed: int, steps: int) -> dict[str, float]:
    """One run: its losses in nats per token, the steps left out, and the seconds of a step."""
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 64, "context_length": 32}
    plan = {"micro_batch_size": 8, "tokens_per_step": 8 * 32, "warmup_steps": steps // 10, "steps": steps}
    plan = replace(BASE.train, **plan, seed=seed, eval_every=0, log_every=1)
    run = Run(replace(BASE, model=replace(BASE.model, **shape), train=plan), fallback=True)
    dtype, scale = VARIANTS[variant]
    scaler = torch.amp.GradScaler("cpu", scale or 1.0, growth_interval=10 * steps, enabled=scale is not None)
    precision, began = Precision(torch.device("cpu"), dtype, scaler), time.perf_counter()
    history = train(run.model, run.batches, plan, precision=precision, show_progress=False)
    seconds = (time.perf_counter() - began) / steps
    last = statistics.mean(step.loss for step in history.steps[-LAST:])
    validation = run.task.measure(run.model, dtype="float32", max_tokens=20_000).loss
    return {"loss": last, "val_loss": validation, "skipped": history.skipped, "step_seconds": seconds}


def main():
    chosen = options(__doc__, record="float16", steps=(200, "optimiser steps"), seeds=(8, "runs of each"))
    record = open_record(chosen, dtype="by variant", simulated=True)
    found = {name: [] for name in VARIANTS}
    for seed in range(chosen.seeds):  # in turns
        for name, runs in found.items():
            runs.append(measured(name, seed, chosen.steps))
            record.write("measurement", name=name, seed=seed, **runs[-1])
            print(name, seed, runs[-1], flush=True)
    exact = found["float32"]
    for which in ("loss", "val_loss"):
        spread = statistics.stdev(run[which] for run in exact)
        record.write("measurement", name=f"{which} of float32 over seeds", standard_deviation=spread)
        for name, runs in found.items():
            apart = [run[which] - other[which] for run, other in zip(runs, exact, strict=True)]
            numbers = {"mean_difference": statistics.mean(apart), "largest_difference": max(map(abs, apart))}
            record.write("measurement", name=f"{which} of {name} less float32's", **numbers)
            print(f"{which} of {name}: {numbers}, spread of float32 over seeds {spread:.4f}")
    record.write("end")


if __name__ == "__main__":
    main()
