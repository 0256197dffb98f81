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

import statistics
from dataclasses import replace
from typing import Any

import torch
from benchmark import open_record, options
from variants import Rung, Training, changed, climb, settings_of

from tinylm.runs.recipes import recipe
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


def without() -> list[Rung]:
    """The fast recipe with one part at a time as the baseline has it, after the baseline and the fast one.

    Muon is not among them: without it, the recipe is the ladder's rung below."""
    share = BASE.train.min_learning_rate / BASE.train.learning_rate  # of the peak, whatever that is
    source = changed(BASE, min_learning_rate=share * FAST.train.learning_rate)
    less = [
        (f"without {name}", changed(FAST, **settings_of(source, PARTS[name])))
        for name in PARTS
        if name != "Muon"
    ]
    return [Rung("baseline", BASE), Rung("all of it", FAST)] + [Rung(*one) for one in less]


def ladder() -> list[Rung]:
    """The baseline, each change on top of what was kept before it, and at the end the fast recipe itself."""
    rungs = [Rung("baseline", BASE)]

    def add(name: str, *, kept: bool = False, **settings: Any) -> None:
        at = next(rung.recipe for rung in reversed(rungs) if rung.kept)
        rungs.append(Rung(name, changed(at, **settings), kept))

    add("higher rate", kept=True, learning_rate=ADAMW_RATE, min_learning_rate=ADAMW_RATE / 10)
    *parts, muon = PARTS
    for name in parts:
        add(name, kept=True, **settings_of(FAST, PARTS[name]))
    add("QK-norm", qk_norm=True)
    add(muon, kept=True, **settings_of(FAST, PARTS[muon]))
    last = rungs[-1].recipe
    if changed(last, steps=FAST.train.steps) != replace(FAST, name=last.name, about=last.about):
        raise SystemExit("the last rung is not shakespeare_fast: name each of its changes in PARTS")
    rungs[-1] = Rung(muon, FAST)
    add("QK-norm again", qk_norm=True)
    add("hold, then fall", schedule="wsd")
    twice = {name: 2 * getattr(FAST.train, name) for name in ("tokens_per_step", "micro_batch_size")}
    add("twice the batch", **twice)
    return rungs


def step_ratios(rungs: list[Rung]) -> list[float]:
    """Return the CPU-seconds of each rung's step over those of the first rung's: medians over the turns.

    Each turn of five steps is compared with the first rung's in the same turn, which met the same load."""
    runs = [Training.of(Run(changed(rung.recipe, seed=1))) for rung in rungs]
    shares = []
    for turn in range(1, ROUNDS + 2):
        before = [run.cpu for run in runs]
        for run in runs:
            run.go(5 * turn)
        taken = [run.cpu - cpu for run, cpu in zip(runs, before, strict=True)]
        shares.append([own / taken[0] for own in taken])
    return [statistics.median(own) for own in zip(*shares[1:], strict=True)]  # the first turn warms up


def main() -> None:
    chosen = options(
        __doc__,
        seeds=([1, 2, 3], "one run of each rung for each"),
        ends=(False, "only the first and the last rung"),
        without=(False, "instead: the fast recipe less one part each"),
    )
    chosen.record = chosen.record or ("fast_without" if chosen.without else "fast_steps")
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    rungs = without() if chosen.without else ladder()
    ends = [rung for rung in rungs if rung.recipe in (BASE, FAST)]
    rungs = ends if chosen.ends else rungs
    record = open_record(chosen, what="experiment")
    ratios, fitted = {}, []
    for rung, ratio in zip(rungs, step_ratios(rungs), strict=True):
        # the two recipes have a number of steps of their own
        steps = rung.recipe.train.steps if rung in ends else int(BASE.train.steps / ratio)
        ratios[rung.name] = {"step_time_ratio": ratio}
        fitted.append(replace(rung, recipe=changed(rung.recipe, steps=steps, eval_every=0)))
        print(f"{rung.name:24} step {ratio:.2f} times the baseline's: {steps} steps", flush=True)
    if chosen.without:  # the ladder trains both ends: here they only say how long a step takes
        fitted = fitted[2:]
    own = () if chosen.without else [rung.name for rung in ends]
    climb(fitted, chosen.seeds, record, own=own, figures=ratios)


if __name__ == "__main__":
    main()
