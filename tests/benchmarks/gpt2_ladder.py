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
from variants import Rung, climb, one_by_one

from tinylm.runs.recipes import Recipe, changed, recipe

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
SHARE = 0.3  # of the baseline's tokens


def shorter(at: Recipe) -> Recipe:
    """The recipe with that share of the baseline's steps and warm-up."""
    few = {name: round(SHARE * getattr(BASE.train, name)) for name in ("steps", "warmup_steps")}
    return changed(at, **few)


def ends() -> list[Rung]:
    """The two recipes, and the fast one with fewer tokens still."""
    fewer = Rung(f"fast, {SHARE:g} of the tokens", shorter(FAST))
    return [Rung("GPT-2", BASE, is_end=True), Rung("fast", FAST, is_end=True), fewer]


def between() -> list[Rung]:
    """The baseline with few tokens, each change on top of those before it, and what is not kept.

    The last change makes it the fast recipe with as few, which is among the ends."""
    first, last = shorter(BASE), shorter(FAST)
    aside = Rung("hold, then fall", changed(last, schedule="wsd"), kept=False)
    return [Rung("GPT-2, fewer tokens", first), *one_by_one(first, last, PARTS)[:-1], aside]


def main() -> None:
    chosen = options(
        __doc__,
        seeds=([1, 2, 3], "one run of each rung for each"),
        ends=(False, "instead: the two recipes, and the fast one with fewer tokens still"),
    )
    chosen.record = chosen.record or ("gpt2_ends" if chosen.ends else "gpt2_rungs")
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    climb(ends() if chosen.ends else between(), chosen.seeds, open_record(chosen, what="experiment"))


if __name__ == "__main__":
    main()
