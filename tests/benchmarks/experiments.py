"""Train variants of a recipe with several seeds, and measure what one choice changes.

    TINYLM_DATA=... python tests/benchmarks/experiments.py --experiment float16
    make promote RUN=float16

The variants of a seed see the same batches, and only what its name says is different. There are four
experiments:

addition_variants: what is scored and how a sum is written. Exact match is the share of the first 2,048
held-out sums whose complete result is the model's first choice.

doctor_seeds: healthy runs, which the doctor must not flag, and sick runs, which it should flag. The record
has the curves. It does not say whether the doctor flags a run: tests/course/test_doctor.py finds that from
the curves, so that a better doctor can be tried on them.

float16: training in float16 and bfloat16 beside float32, simulated on a processor. The effect of rounding is
the difference of a validation loss from float32's with the same seed, to be compared with the standard
deviation of float32's losses over the seeds. "scale 1" is float16 whose scaler does nothing; with "2^24" the
first steps overflow, are skipped and counted.

story_variants: what makes a small story model copy names: a space before each line, and a loss with more
recall. The nats of a name are a mean over the names of children and friends that the held-out story has
mentioned before. Names are found in the text, so they mean the same in every variant.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from benchmark import open_record, options
from story_grades import HELD_OUT_SEED, story_nats, tell_and_grade
from variants import Training, train_in_turns

from tinylm.batch import Batch
from tinylm.device import Precision
from tinylm.inference.evaluate import evaluate
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import Recipe, changed, recipe, shortened
from tinylm.runs.run import Run
from tinylm.runs.task import Task
from tinylm.text.batches import Batches
from tinylm.text.dataset import Dataset
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES, spaced
from tinylm.training.loop import train

Figures = dict[str, Any]
Measured = Iterator[tuple[str, Figures]]  # the name of a variant, and what was measured of it
EVERY = 25  # steps between the measurements of a curve

ADDITION = recipe("addition")
ASKED, GOAL = 2048, 0.99  # sums that are asked; the share that counts as learned
ADAMW = {"optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 0.1}  # usual ones, not tuned
WAYS_TO_ADD = {  # what is scored, how a sum is written, settings
    "all tokens": ("all", "", {}),
    "result only": ("answers", "", {}),
    "result only, reversed": ("answers", "-reversed", {}),
    "all tokens, reversed": ("all", "-reversed", {}),
    "result only, unpadded": ("answers", "-unpadded", {}),
    "all tokens, unpadded": ("all", "-unpadded", {}),
    "all tokens, AdamW": ("all", "", ADAMW),
    "result only, AdamW": ("answers", "", ADAMW),
}


def exact_match(name: str, training: Training) -> float:
    """Return the share of the asked sums that this model adds correctly."""
    task = training.task
    tokens = task.dataset.validation[: ASKED * task.dataset.line]
    result = evaluate(training.model, tokens, loss_fn=task.loss_fn, keep=task.keep, batch_size=256)
    return round(result.metrics["exact_match"], 5)


def additions(seed: int) -> Measured:
    """Train all ways to add in turns."""
    runs = {}
    for name, (scored, style, settings) in WAYS_TO_ADD.items():
        data = replace(ADDITION.data, corpus=f"addition{style}", scored=scored)
        runs[name] = Training(Run(changed(replace(ADDITION, data=data), seed=seed, **settings)))
    steps = [*range(EVERY, ADDITION.train.steps + 1, EVERY)]
    for name, curve in train_in_turns(runs, len(steps), exact_match).items():
        learned = (step for step, share in zip(steps, curve, strict=True) if share >= GOAL)
        figures = {"exact_match": curve, "final": curve[-1], "steps_to_99_percent": next(learned, None)}
        yield name, figures | {"steps": steps, "cpu_seconds": runs[name].cpu}


def by_way(found: dict[str, list[Figures]]) -> Measured:
    """Return the figures of all seeds together."""
    for name, runs in found.items():
        together = {figure: [run[figure] for run in runs] for figure in runs[0]}
        yield name, together | {"steps": runs[0]["steps"]}


HEALTHY = shortened(recipe("shakespeare_baseline"), 250)
HEALTHY = changed(HEALTHY, eval_tokens=30_000)  # a quarter: it is only compared
RATES = {name: getattr(HEALTHY.train, name) for name in ("learning_rate", "min_learning_rate")}


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


SICK_SEEDS = (31, 32)
SICK = {  # settings of the training, and what happens to its batches
    "rate × 10": ({name: rate * 10 for name, rate in RATES.items()}, None),
    "rate × 3": ({name: rate * 3 for name, rate in RATES.items()}, None),
    "rate / 3": ({name: rate / 3 for name, rate in RATES.items()}, None),
    "rate / 30": ({name: rate / 30 for name, rate in RATES.items()}, None),
    "no warm-up": ({"warmup_steps": 0}, None),
    "no clipping": ({"grad_clip": 0.0}, None),
    "all targets shuffled": ({}, shuffled(1.0)),
    "a tenth of the targets shuffled": ({}, shuffled(0.1)),
    "targets are the tokens": ({}, unshifted),
    "mask forgotten": ({}, None),
    "validation text trained on": ({}, None),
}


def patients(seed: int) -> Measured:
    """Train a healthy run, or with one of the last seeds all sick ones."""
    for name in SICK if seed in SICK_SEEDS else ["healthy"]:
        settings, change = SICK.get(name, ({}, None))
        run = Run(changed(HEALTHY, seed=seed, **settings))
        batches, masked, attention = run.batches, F.scaled_dot_product_attention, nullcontext()
        if change:
            read = batches.batch
            batches.batch = lambda step, *more, c=change, r=read: c(step, r(step, *more))
        if name == "validation text trained on":
            sizes = {"context_length": batches.context_length, "batch_size": batches.batch_size}
            batches = Batches(run.task.dataset.validation, **sizes, seed=seed)
        if name == "mask forgotten":  # every position attends to the whole row, its own target included
            unmasked = lambda *given, is_causal, m=masked, **more: m(*given, **more)  # noqa: E731
            attention = mock.patch.object(F, "scaled_dot_product_attention", unmasked)
        with attention:
            history = train(run.model, batches, run.plan, evaluate=run.evaluate, show_progress=False)
        curves = ("step", "loss", "grad_norm", "update_ratio")
        figures = {key: [getattr(step, key) for step in history.steps] for key in curves}
        yield name, figures | {"validation_loss": history.evaluations[-1][1].loss}


ROUNDED, ROUNDED_STEPS = recipe("shakespeare_baseline"), 200
SCALES = {  # the dtype, and the scale that the scaler begins with
    "float32": ("float32", None),
    "bfloat16": ("bfloat16", None),
    "float16": ("float16", 2.0**16),
    "float16, scale 2^24": ("float16", 2.0**24),
    "float16, scale 1": ("float16", 1.0),
}


def roundings(seed: int) -> Measured:
    """Train a small model in each dtype."""
    steps = ROUNDED_STEPS
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 64, "context_length": 32, "micro_batch_size": 8}
    plan = {"tokens_per_step": 8 * 32, "warmup_steps": steps // 10, "steps": steps, "eval_every": 0}
    for name, (dtype, scale) in SCALES.items():
        run = Run(changed(ROUNDED, seed=seed, **shape, **plan), fallback=True)
        growth = {"growth_interval": 10 * steps, "enabled": scale is not None}
        precision = Precision(torch.device("cpu"), dtype, torch.amp.GradScaler("cpu", scale or 1.0, **growth))
        history = train(run.model, run.batches, run.plan, precision=precision, show_progress=False)
        loss = run.task.measure(run.model, dtype="float32", max_tokens=20_000).loss
        yield name, {"val_loss": loss, "skipped": history.skipped}


def from_float32(found: dict[str, list[Figures]]) -> Measured:
    """Return how far each dtype's losses are from float32's, and the spread of float32's."""
    exact = [run["val_loss"] for run in found["float32"]]
    yield "val_loss of float32 over seeds", {"standard_deviation": statistics.stdev(exact)}
    for name, runs in found.items():
        apart = [run["val_loss"] - loss for run, loss in zip(runs, exact, strict=True)]
        numbers = {"mean_difference": statistics.mean(apart), "largest_difference": max(map(abs, apart))}
        yield f"val_loss of {name} less float32's", numbers


TOLD = changed(recipe("toyworld_stories"), steps=300)
WRITTEN = {"as written": (str, 1.0), "spaced": (spaced, 1.0), "spaced, recalled more": (spaced, 30.0)}
SCENES = [scene for plot in STORIES.plots.options for settled in plot.settled for scene in settled.options]
NAMES = {scene[who] for scene in SCENES for who in ("hero", "friend") if who in scene}


def storyteller(name: str, seed: int) -> Training:
    """Return one variant with one seed, ready to be trained."""
    written, weight = WRITTEN[name]
    plan, T = replace(TOLD.train, seed=seed), TOLD.model.context_length
    size = plan.tokens_per_step // T
    stories = [written(story) for story in STORIES.texts((plan.steps + 1) * size, seed=8)]
    tokenizer = BPETokenizer.train(stories[:3000], TOLD.model.vocab_size)
    config = replace(TOLD.model, vocab_size=tokenizer.vocab_size)
    tokens = np.concatenate([[tokenizer.end_of_text], *tokenizer.encode_documents(stories)])
    dataset = Dataset("stories", "generated", tokenizer, tokens, tokens[:0], fingerprint="a benchmark")
    task = Task(replace(TOLD.data, recall=weight), dataset)
    recalled = {"begins": task.begins, "weigh": task.recall(n_rows=plan.steps * size)}
    batches = Batches(tokens, context_length=T, batch_size=size, seed=seed, **recalled)
    model = GPT(config, generator=torch.Generator().manual_seed(seed))
    return Training(SimpleNamespace(model=model, batches=batches, plan=plan, task=task))


def nats_of_names(name: str, training: Training) -> tuple[float, float]:
    """Return the nats of a name mentioned before, and those of a whole story over the entropy.

    Both are means over 100 held-out stories."""
    names, totals, tokenizer = [], [], training.task.dataset.tokenizer
    for story in STORIES.texts(100, seed=HELD_OUT_SEED):
        ids, nats = story_nats(training.model, tokenizer, WRITTEN[name][0](story))
        words = [tokenizer.decode([i]).strip() for i in ids]
        names += [nats[t] for t, word in enumerate(words) if word in NAMES and word in words[:t]]
        totals.append(sum(nats))
    return round(statistics.mean(names), 4), round(statistics.mean(totals) / STORIES.entropy, 4)


def stories(seed: int) -> Measured:
    """Train all variants in turns, and grade what they tell in the end."""
    runs = {name: storyteller(name, seed) for name in WRITTEN}
    steps = [*range(EVERY, TOLD.train.steps + 1, EVERY)]
    for name, curve in train_in_turns(runs, len(steps), nats_of_names).items():
        asked, tokenizer = {"temperature": 0.5, "seed": seed}, runs[name].task.dataset.tokenizer
        shares = tell_and_grade(runs[name].model, tokenizer, 200, **asked)
        nats, ratios = zip(*curve, strict=True)
        yield name, shares | {"steps": steps, "nats_of_a_name": nats, "ratio": ratios}


class Experiment(NamedTuple):
    """The recipe that is varied, what is measured with each seed, and what all seeds say together."""

    base: Recipe
    measure: Callable[[int], Measured]
    seeds: tuple[int, ...]
    summarise: Callable[[dict[str, list[Figures]]], Measured] = lambda found: iter(())


EXPERIMENTS = {
    "addition_variants": Experiment(ADDITION, additions, (1, 2, 3, 4, 5), by_way),
    "doctor_seeds": Experiment(HEALTHY, patients, (*range(1, 26), *SICK_SEEDS)),
    "float16": Experiment(ROUNDED, roundings, (*range(8),), from_float32),
    "story_variants": Experiment(TOLD, stories, (1, 2)),
}


def main() -> None:
    chosen = options(__doc__, experiment=("float16", f"one of {', '.join(EXPERIMENTS)}"))
    base, measure, seeds, summarise = EXPERIMENTS[chosen.experiment]
    chosen.record = chosen.record or chosen.experiment
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    about = {"recipe": base.name, "model": base.model.to_json(), "train": base.train.to_json()}
    record = open_record(chosen, what="experiment", name=chosen.experiment, seeds=seeds, **about)
    found: dict[str, list[Figures]] = {}
    for seed in seeds:
        for name, figures in measure(seed):
            found.setdefault(name, []).append(figures)
            record.write("measurement", name=name, seed=seed, **figures)
            print(f"{name:32} seed {seed}", {key: value for key, value in figures.items() if key != "steps"})
    for name, figures in summarise(found):
        record.write("measurement", name=name, **figures)
        print(name, figures)
    record.write("end")


if __name__ == "__main__":
    main()
