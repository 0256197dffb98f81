"""From shakespeare_baseline to shakespeare_fast, one change at a time, in the same CPU-seconds.

    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py
    make promote RUN=fast_steps
    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py --without

First this times the training step of every rung, in turns. A rung then gets as many steps as should fit into
the CPU-seconds of the baseline's run. For each seed all rungs are trained in turns on the same cores, and
each is scored on every validation character once, in windows of its own context. The record gets a seed's
losses when the last rung is trained, and at the end one summary line per rung. Each run of the first and of
the last rung also gets a training record.
"""

import time
from dataclasses import replace

import torch
from benchmark import in_turns, median_ratio, open_record, options
from variants import Rung, Training, climb, one_by_one, settings_of

from tinylm.runs.recipes import changed, recipe
from tinylm.runs.run import Run

ADAMW_RATE = 4e-3  # for all parameters; with Muon, AdamW has only the embedding, the head and the gains
ROUNDS = 30  # turns of five steps, to time the steps with
PARTS = {  # what shakespeare_fast changes, and the settings that say so
    "linear to zero": ("schedule", "min_learning_rate", "warmup_steps", "weight_decay"),
    "rotary positions": ("position",),
    "context 128": ("context_length", "micro_batch_size"),
    "squared ReLU": ("activation", "bias"),
    "zero start": ("residual_init", "tied_head"),
    "token shift": ("token_shift",),
    "Muon": ("optimizer", "learning_rate", "muon_learning_rate", "muon_momentum"),
}
BASE, FAST = recipe("shakespeare_baseline"), recipe("shakespeare_fast")


ENDS = [Rung("baseline", BASE, is_end=True), Rung("Muon", FAST, is_end=True)]


def without() -> list[Rung]:
    """The fast recipe with one part at a time as the baseline has it.

    Muon is not among them: without it, the recipe is the ladder's rung below."""
    share = BASE.train.min_learning_rate / BASE.train.learning_rate  # of the peak, whatever that is
    source = changed(BASE, min_learning_rate=share * FAST.train.learning_rate)
    parts = {name: settings_of(source, fields) for name, fields in PARTS.items() if name != "Muon"}
    return [Rung(f"without {name}", changed(FAST, **settings)) for name, settings in parts.items()]


def ladder() -> list[Rung]:
    """The baseline, each change on top of those before it, the fast recipe itself, and what is not kept."""
    higher = changed(BASE, learning_rate=ADAMW_RATE, min_learning_rate=ADAMW_RATE / 10)
    *parts, _ = one_by_one(higher, changed(FAST, steps=BASE.train.steps), PARTS)
    twice = {name: 2 * getattr(FAST.train, name) for name in ("tokens_per_step", "micro_batch_size")}
    asides = {
        "QK-norm": changed(parts[-1].recipe, qk_norm=True),
        "QK-norm again": changed(FAST, qk_norm=True),
        "hold, then fall": changed(FAST, schedule="wsd"),
        "twice the batch": changed(FAST, **twice),
    }
    baseline, fast = ENDS
    tried = [Rung(name, recipe, kept=False) for name, recipe in asides.items()]
    return [baseline, Rung("higher rate", higher), *parts, fast, *tried]


def step_ratios(rungs: list[Rung]) -> list[float]:
    """Return the CPU-seconds of each rung's step over those of the baseline's: medians over the turns.

    Each turn of five steps is compared with the baseline's in the same turn, which met the same load."""
    recipes = {"": BASE} | {rung.name: rung.recipe for rung in rungs}
    runs = {name: Training(Run(changed(at, seed=1))) for name, at in recipes.items()}
    turns = {name: lambda run=run: run.go(run.step + 5) for name, run in runs.items()}
    times = in_turns(turns, ROUNDS, warm_up=1, clock=time.process_time)
    return [median_ratio(times, rung.name, "") for rung in rungs]


def main() -> None:
    chosen = options(
        __doc__,
        seeds=([1, 2, 3], "one run of each rung for each"),
        ends=(False, "only the first and the last rung"),
        without=(False, "instead: the fast recipe less one part each"),
    )
    chosen.record = chosen.record or ("fast_without" if chosen.without else "fast_steps")
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    rungs = ENDS if chosen.ends else without() if chosen.without else ladder()
    record, fitted = open_record(chosen, what="experiment"), []
    for rung, ratio in zip(rungs, step_ratios(rungs), strict=True):
        # the two recipes have a number of steps of their own
        steps = rung.recipe.train.steps if rung.is_end else int(BASE.train.steps / ratio)
        own = changed(rung.recipe, steps=steps, eval_every=0)
        fitted.append(replace(rung, recipe=own, step_time_ratio=ratio))
        print(f"{rung.name:24} step {ratio:.2f} times the baseline's: {steps} steps", flush=True)
    climb(fitted, chosen.seeds, record)


if __name__ == "__main__":
    main()
