"""What is scored and how a sum is written: exact match against steps, several seeds of each.

    python tests/benchmarks/addition_variants.py
    make promote RUN=addition_variants

Each variant is the recipe `addition` with what its name says; the rest, steps and batches of the same sums
included, is equal. All variants of a seed are trained in turns, a block of steps at a time. Exact match is
the share of the first 2,048 held-out sums whose whole result is the model's first choice."""

import statistics
import time
from dataclasses import replace

import torch
from benchmark import open_record, options

from tinylm.inference.evaluate import evaluate
from tinylm.runs.recipes import Recipe, recipe
from tinylm.runs.run import Run as RecipeRun
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

MEASURED, GOAL = 2048, 0.99  # held-out sums; the share of them that counts as having learned to add
BASE = recipe("addition")
ADAMW = {"optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 0.1}  # as usual ones, not tuned


def changed(scored: str, style: str = "", **train: object) -> Recipe:
    data = replace(BASE.data, corpus=f"addition{style}", scored=scored)
    return replace(BASE, data=data, train=replace(BASE.train, **train))


VARIANTS = {
    "all tokens": changed("all"),
    "result only": changed("answers"),
    "result only, reversed": changed("answers", "-reversed"),
    "all tokens, reversed": changed("all", "-reversed"),
    "result only, unpadded": changed("answers", "-unpadded"),
    "all tokens, unpadded": changed("all", "-unpadded"),
    "all tokens, AdamW": changed("all", **ADAMW),
    "result only, AdamW": changed("answers", **ADAMW),
}


class Run:
    """One variant with one seed: trained a block of steps at a time, with its CPU-seconds counted."""

    def __init__(self, made: Recipe, seed: int) -> None:
        self.made = RecipeRun(replace(made, train=replace(made.train, seed=seed)))
        self.train, self.model = self.made.recipe.train, self.made.model.train()
        self.optimizer = build_optimizer(self.model, self.train)
        self.steps, self.exact, self.cpu, self.step = [], [], 0.0, 0

    def go(self, steps: int) -> None:
        """Train so many more steps, and measure."""
        began, settings = time.process_time(), {"config": self.train, "loss_fn": self.made.task.loss_fn}
        for step in range(self.step, self.step + steps):
            train_step(self.model, self.optimizer, self.made.batches, step=step, log=False, **settings)
        self.cpu += time.process_time() - began
        self.step += steps
        task = self.made.task
        tokens = task.dataset.validation[: MEASURED * task.dataset.line]
        result = evaluate(self.model, tokens, loss_fn=task.loss_fn, keep=task.keep, batch_size=256)
        self.steps.append(self.step)
        self.exact.append(round(result.metrics["exact_match"], 5))

    @property
    def learned(self) -> int | None:
        """The first measured step at which it adds."""
        return next((step for step, share in zip(self.steps, self.exact, strict=True) if share >= GOAL), None)


def main() -> None:
    every = (25, "steps between measurements")
    chosen = options(__doc__, record="addition_variants", seeds=([1, 2, 3, 4, 5], "of each"), every=every)
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    record = open_record(chosen, what="experiment", measured=MEASURED, recipe=BASE.name)
    runs = {name: [] for name in VARIANTS}
    for seed in chosen.seeds:
        for name, made in VARIANTS.items():
            runs[name].append(Run(made, seed))
        for _ in range(BASE.train.steps // chosen.every):
            for own in runs.values():
                own[-1].go(chosen.every)
        for name, own in runs.items():
            print(f"seed {seed} {name:24} {own[-1].exact[-1]:.4f} {own[-1].cpu:.0f} CPU-s", flush=True)
    for name, own in runs.items():
        record.write(
            "measurement",
            name=name,
            seeds=chosen.seeds,
            steps=own[0].steps,
            exact_match=[run.exact for run in own],
            final=[run.exact[-1] for run in own],
            median_final=statistics.median(run.exact[-1] for run in own),
            steps_to_99_percent=[run.learned for run in own],
            cpu_seconds=[round(run.cpu, 2) for run in own],
            parameters=own[0].model.n_parameters(),
        )
        print(f"{name:24} {[run.exact[-1] for run in own]} {[run.learned for run in own]}")
    record.write("end")


if __name__ == "__main__":
    main()
