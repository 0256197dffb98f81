"""Train healthy runs of many seeds, which the doctor must not flag, and sick runs, which it should flag.

    python tests/benchmarks/doctor_seeds.py
    make promote RUN=doctor_seeds

Each run is the recipe shakespeare_baseline, shortened to 250 steps; a sick run differs in the one thing that
its name says. The record has the curves and the last validation loss. It does not say whether the doctor
flags a run: tests/course/test_doctor.py finds that from the curves, so that a better doctor can be tried on
them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from benchmark import open_record, options

from tinylm.batch import Batch
from tinylm.errors import Divergence
from tinylm.runs.recipes import recipe, shortened
from tinylm.runs.run import Run
from tinylm.text.batches import Batches
from tinylm.training.loop import train
from tinylm.training.state import TrainingState

STEPS = 250
BASE = shortened(recipe("shakespeare_baseline"), STEPS)
BASE = replace(BASE, train=replace(BASE.train, eval_tokens=30_000))  # a quarter: it is only compared
RATE = BASE.train.learning_rate


def rate(times: float) -> dict[str, Any]:
    """Return settings that multiply the recipe's peak and final learning rate."""
    return {"learning_rate": times * RATE, "min_learning_rate": times * BASE.train.min_learning_rate}


@contextmanager
def unmasked() -> Iterator[None]:
    """Let every position attend to the whole row, its own target included."""
    masked = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda *given, is_causal, **more: masked(*given, **more)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = masked


def shuffled(share: float) -> Callable[[int, Batch], Batch]:
    """Return a change that moves this share of the targets to places that are not theirs."""

    def change(step: int, batch: Batch) -> Batch:
        generator, flat = torch.Generator().manual_seed(step), batch.targets.flatten().clone()
        places = torch.randperm(len(flat), generator=generator)[: int(share * len(flat))]
        flat[places] = flat[places.roll(1)]
        return replace(batch, targets=flat.view_as(batch.targets))

    return change


def unshifted(step: int, batch: Batch) -> Batch:
    """Make each token its own target: nothing is left to predict."""
    return replace(batch, targets=batch.tokens)


SICK = {  # settings of the training, and what happens to its batches
    "rate × 10": (rate(10), None),
    "rate × 3": (rate(3), None),
    "rate / 3": (rate(1 / 3), None),
    "rate / 30": (rate(1 / 30), None),
    "no warm-up": ({"warmup_steps": 0}, None),
    "no clipping": ({"grad_clip": 0.0}, None),
    "all targets shuffled": ({}, shuffled(1.0)),
    "a tenth of the targets shuffled": ({}, shuffled(0.1)),
    "targets are the tokens": ({}, unshifted),
    "mask forgotten": ({}, None),
    "validation text trained on": ({}, None),
}


def trained(name: str, seed: int) -> dict[str, Any]:
    """Train one run, healthy unless its name is in SICK. Return what the record says of it."""
    settings, change = SICK.get(name, ({}, None))
    run = Run(replace(BASE, train=replace(BASE.train, seed=seed, **settings)))
    batches = run.batches
    if change:
        read = batches.batch
        batches.batch = lambda step, *more: change(step, read(step, *more))
    if name == "validation text trained on":
        sizes = {"context_length": batches.context_length, "batch_size": batches.batch_size}
        batches = Batches(run.task.dataset.validation, **sizes, seed=seed)
    began, steps, loss, died = time.process_time(), [], None, None

    def note(state: TrainingState) -> None:
        if state.logged:
            steps.append(asdict(state.result))

    how = {"evaluate": run.evaluate, "callbacks": [note], "show_progress": False}
    try:
        with unmasked() if name == "mask forgotten" else nullcontext():
            loss = train(run.model, batches, run.recipe.train, **how).evaluations[-1][1].loss
    except Divergence as error:
        died = str(error)
    known = {"name": name, "seed": seed, "settings": settings, "validation_loss": loss, "died": died}
    known |= {key: [step[key] for step in steps] for key in ("step", "loss", "grad_norm", "update_ratio")}
    return known | {"cpu_seconds": time.process_time() - began}


def main() -> None:
    chosen = options(
        __doc__,
        record="doctor_seeds",
        healthy=(list(range(1, 26)), "seeds of the healthy runs; the first five make the bands"),
        sick=([31, 32], "seeds of each sick run"),
    )
    torch.set_num_threads(1)
    made = Run(BASE).provenance
    header = {part: made[part] for part in ("recipe", "tokenizer", "model", "train")}
    record = open_record(chosen, what="experiment", **header, reading=made["data"])
    for name in ("healthy", *SICK):
        for seed in chosen.healthy if name == "healthy" else chosen.sick:
            found = trained(name, seed)
            record.write("measurement", **found)
            loss, cpu = found["validation_loss"], found["cpu_seconds"]
            print(f"{name:32} seed {seed:2} {found['died'] or f'{loss:.4f}'} {cpu:.1f} CPU-s", flush=True)
    record.write("end")


if __name__ == "__main__":
    main()
