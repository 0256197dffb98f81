"""From GPT-2's block to a modern one, one change at a time: python tests/benchmarks/modern_ladder.py

    TINYLM_DATA=... python tests/benchmarks/modern_ladder.py --record modern_ladder

Every rung has the parameters of gpt2_124m at the scale small, within half a percent: what a change adds or
frees, the width of the MLP gives or takes. Every rung reads the same tokens, half of that recipe's, with its
learning rates and its optimiser. The last rung is lightlm at the scale small. QK-norm, which Qwen 3 has and
Llama doesn't, is tried on top and not kept. Losses don't depend on what else the machine does.
"""

import torch
from benchmark import open_record, options
from variants import Rung, climb

from tinylm.model.cost import parameter_counts
from tinylm.runs.recipes import Recipe, changed, recipe

SHARE = 0.5  # of the tokens of gpt2_124m at the scale small
BASE, MODERN = recipe("gpt2_124m", "small"), recipe("lightlm", "small")
CHANGES = {
    "RMSNorm": {"norm": "rmsnorm"},
    "no biases": {"bias": False},
    "rotary positions": {"position": "rotary"},
    "SwiGLU": {"activation": "swiglu"},
    "grouped queries": {"n_kv_head": 2},
    "deep and thin": {"n_layer": 8, "n_embd": 80},
}


def as_large(at: Recipe) -> Recipe:
    """The recipe with the MLP's width that brings its parameters nearest to the baseline's."""
    asked = parameter_counts(BASE.model)["total"]
    made = (changed(at, n_inner=width) for width in range(150, 450))
    return min(made, key=lambda each: abs(parameter_counts(each.model)["total"] - asked))


def shorter(at: Recipe) -> Recipe:
    """The recipe with that share of the baseline's steps and warm-up."""
    few = {name: round(SHARE * getattr(BASE.train, name)) for name in ("steps", "warmup_steps")}
    return changed(at, **few)


def rungs() -> list[Rung]:
    """The baseline, each change on top of those before it, and what is not kept.

    Raises SystemExit if the changes do not end at lightlm."""
    at = shorter(BASE)
    made = [Rung("GPT-2", at)]
    for name, settings in CHANGES.items():
        at = as_large(changed(at, **settings))
        made.append(Rung(name, at))
    goal = shorter(MODERN)
    if (at.model, at.train, at.data) != (goal.model, goal.train, goal.data):
        raise SystemExit(
            "the last rung is not lightlm at the scale small: name each of its changes in CHANGES"
        )
    return [*made, Rung("QK-norm", as_large(changed(at, qk_norm=True)), kept=False)]


def main() -> None:
    chosen = options(__doc__, seeds=([1, 2, 3], "one run of each rung for each"))
    chosen.record = chosen.record or "modern_ladder"
    torch.set_num_threads(1)  # makes CPU-seconds mean one thing
    climb(rungs(), chosen.seeds, open_record(chosen, what="experiment"))


if __name__ == "__main__":
    main()
