"""What is scored and how a sum is written: exact match against steps, several seeds of each.

    python tests/benchmarks/addition_variants.py
    make promote RUN=addition_variants

Each variant is the recipe `addition` with what its name says; the rest, steps and batches of the same sums
included, is equal. All variants of a seed are trained in turns, a block of steps at a time. Exact match is
the share of the first 2,048 held-out sums whose complete result is the model's first choice."""

import statistics
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmark import open_record, options
from variants import Training, changed, train_in_turns

from tinylm.inference.evaluate import evaluate
from tinylm.runs.recipes import Recipe, recipe
from tinylm.runs.run import Run

MEASURED, GOAL = 2048, 0.99  # held-out sums that are asked; the share of them that counts as learned
BASE = recipe("addition")
ADAMW = {"optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 0.1}  # usual ones, not tuned


def variant(scored: str, style: str = "", **train: Any) -> Recipe:
    data = replace(BASE.data, corpus=f"addition{style}", scored=scored)
    return changed(replace(BASE, data=data), **train)


VARIANTS = {
    "all tokens": variant("all"),
    "result only": variant("answers"),
    "result only, reversed": variant("answers", "-reversed"),
    "all tokens, reversed": variant("all", "-reversed"),
    "result only, unpadded": variant("answers", "-unpadded"),
    "all tokens, unpadded": variant("all", "-unpadded"),
    "all tokens, AdamW": variant("all", **ADAMW),
    "result only, AdamW": variant("answers", **ADAMW),
}


def exact_match(ready: dict[str, Run], name: str, training: Training) -> float:
    """Return the share of the measured sums that this variant's model adds correctly."""
    task = ready[name].task
    tokens = task.dataset.validation[: MEASURED * task.dataset.line]
    result = evaluate(training.model, tokens, loss_fn=task.loss_fn, keep=task.keep, batch_size=256)
    return round(result.metrics["exact_match"], 5)


def main() -> None:
    every = (25, "steps between measurements")
    chosen = options(__doc__, record="addition_variants", seeds=([1, 2, 3, 4, 5], "of each"), every=every)
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    record = open_record(chosen, what="experiment", measured=MEASURED, recipe=BASE.name)
    turns = BASE.train.steps // chosen.every
    steps = [BASE.train.steps * turn // turns for turn in range(1, turns + 1)]
    fields = ("exact_match", "final", "steps_to_99_percent", "cpu_seconds", "parameters")
    found = {name: {field: [] for field in fields} for name in VARIANTS}
    for seed in chosen.seeds:
        ready = {name: Run(changed(made, seed=seed)) for name, made in VARIANTS.items()}
        runs = {name: Training.of(run) for name, run in ready.items()}
        for name, curve in train_in_turns(runs, turns, partial(exact_match, ready)).items():
            learned = (step for step, share in zip(steps, curve, strict=True) if share >= GOAL)
            cpu, parameters = round(runs[name].cpu, 2), ready[name].model.n_parameters()
            figures = (curve, curve[-1], next(learned, None), cpu, parameters)
            for field, figure in zip(fields, figures, strict=True):
                found[name][field].append(figure)
            print(f"seed {seed} {name:24} {curve[-1]:.4f} {cpu:.0f} CPU-s", flush=True)
    for name, figures in found.items():
        median = statistics.median(figures["final"])
        record.write(
            "measurement", name=name, seeds=chosen.seeds, steps=steps, median_final=median, **figures
        )
        print(f"{name:24} {figures['final']} {figures['steps_to_99_percent']}")
    record.write("end")


if __name__ == "__main__":
    main()
