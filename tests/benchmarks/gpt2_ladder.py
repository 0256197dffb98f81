"""From gpt2_124m to gpt2_124m_fast, both at the scale small: the same loss for fewer tokens.

    TINYLM_DATA=... python tests/benchmarks/gpt2_ladder.py --ends
    TINYLM_DATA=... python tests/benchmarks/gpt2_ladder.py
    make promote RUN=gpt2_ends

With --ends this trains the two recipes, and the fast one again with half its tokens, 0.3 of the baseline's,
with a learning-rate schedule for that length. Without it, it trains the rungs between them, each with as few
tokens: the baseline, then one change at a time, kept for the rungs after it, and at last a change that was
tried and not kept. Losses and tokens are compared. They do not depend on what else the machine does. The
record also has the CPU-seconds of one thread.
"""

import torch
from benchmark import open_record, options
from variants import Rung, changed, climb, settings_of

from tinylm.runs.recipes import Recipe, recipe

BASE, FAST = recipe("gpt2_124m", "small"), recipe("gpt2_124m_fast", "small")
PARTS = {  # what gpt2_124m_fast changes, and the settings that say so
    "linear to zero": ("schedule", "min_learning_rate"),
    # With Muon the rest has a rate of its own, ten times as high: most of the gain may be due to that.
    "Muon": ("optimizer", "learning_rate", "muon_learning_rate", "weight_decay"),
    "squared ReLU": ("activation", "bias"),
    "zero start": ("residual_init",),
    "rotary positions": ("position",),
    "QK-norm": ("qk_norm",),
    "RMSNorm": ("norm",),
    "token shift": ("token_shift",),
}
ASIDE = {"hold, then fall": {"schedule": "wsd"}}
SHARE = 0.3  # of the baseline's tokens


def shorter(at: Recipe) -> Recipe:
    """The recipe with that share of the baseline's steps and warm-up."""
    few = {name: round(SHARE * getattr(BASE.train, name)) for name in ("steps", "warmup_steps")}
    return changed(at, **few)


def ends() -> list[Rung]:
    """The two recipes, and the fast one with fewer tokens still."""
    return [Rung("GPT-2", BASE), Rung("fast", FAST), Rung(f"fast, {SHARE:g} of the tokens", shorter(FAST))]


def between() -> list[Rung]:
    """The baseline with few tokens, each change on top of those before it, and what is not kept.

    The last change makes it the fast recipe with as few, which is among the ends."""
    at, last = shorter(BASE), shorter(FAST)
    rungs = [Rung("GPT-2, fewer tokens", at)]
    for name, fields in PARTS.items():
        at = changed(at, **settings_of(last, fields))
        rungs.append(Rung(name, at))
    if (at.model, at.train, at.data) != (last.model, last.train, last.data):
        raise SystemExit("the last rung is not gpt2_124m_fast: name each of its changes in PARTS")
    return rungs[:-1] + [Rung(name, changed(last, **more), kept=False) for name, more in ASIDE.items()]


def main() -> None:
    chosen = options(
        __doc__,
        seeds=([1, 2, 3], "one run of each rung for each"),
        ends=(False, "instead: the two recipes, and the fast one with fewer tokens still"),
    )
    chosen.record = chosen.record or ("gpt2_ends" if chosen.ends else "gpt2_rungs")
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    rungs = ends() if chosen.ends else between()
    own = [rung.name for rung in rungs if rung.recipe in (BASE, FAST)]
    climb(rungs, chosen.seeds, open_record(chosen, what="experiment"), own=own)


if __name__ == "__main__":
    main()
