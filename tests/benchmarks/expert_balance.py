"""How evenly experts are used with and without a bias, and what experts cost a step, measured.

    TINYLM_DATA=... python tests/benchmarks/expert_balance.py --record expert_balance

balance: shakespeare_baseline's block in two layers, 64 wide, with eight experts of which a token uses two,
and no auxiliary loss. Beside it stands a dense model with about as many active parameters. All variants of a
seed take turns. A line has the imbalance (a step's largest load over its mean load, the mean of both layers)
as the mean of each quarter of the training, and the loss on the whole validation text.

speed: the step of lightlm_moe over that of lightlm, at the scale small, both of random tokens, in turns. In
float32 a loop over the experts makes the products, in bfloat16 torch's grouped product. Both models use as
many parameters for a token, and the mixture's other work is what the ratio shows.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from benchmark import in_turns, median_ratio, open_record, options
from variants import Training, train_in_turns

from tinylm.device import supports_bf16
from tinylm.model.cost import active_parameters, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.runs.recipes import changed, recipe
from tinylm.runs.run import Run
from tinylm.training.speed import measure_speed

SMALL = changed(recipe("shakespeare_baseline"), n_layer=2, n_embd=64, steps=800, log_every=1, eval_every=0)
EXPERTS = {"n_expert": 8, "n_expert_active": 2, "n_inner": 64}
VARIANTS = {
    "dense": {"n_inner": 128},
    "softmax": EXPERTS,
    "softmax, bias": EXPERTS | {"router_bias": True},
    "sigmoid": EXPERTS | {"router": "sigmoid"},
    "sigmoid, bias": EXPERTS | {"router": "sigmoid", "router_bias": True},
}


def by_quarters(training: Training) -> list[float]:
    """Return the mean imbalance of the steps in each quarter of the training; nothing for a dense model."""
    seen = [line["metrics"]["imbalance"] for line in training.logged if line["metrics"]]
    size = len(seen) // 4
    return [round(statistics.mean(seen[i * size : (i + 1) * size]), 4) for i in range(4)] if seen else []


def balance(seed: int) -> Iterator[dict[str, Any]]:
    """Train all variants in turns."""
    runs = {name: Training(Run(changed(SMALL, seed=seed, **its))) for name, its in VARIANTS.items()}
    train_in_turns(runs, 20)
    for name, run in runs.items():
        config, loss = run.model.config, run.task.measure(run.model).loss
        sizes = {"held": parameter_counts(config)["total"], "active": active_parameters(config)}
        figures = {"imbalance": by_quarters(run), "loss": loss, "cpu_seconds": run.cpu}
        yield {"name": name, "seed": seed} | sizes | figures


def speed(rounds: int) -> Iterator[dict[str, Any]]:
    """Time steps of both recipes, in each arithmetic that is fast here."""
    for dtype in ("float32", "bfloat16")[: 1 + supports_bf16("cpu")]:
        steps = {}
        for name in ("lightlm", "lightlm_moe"):
            at = recipe(name, "small")
            model, plan = GPT(at.model), replace(at.train, dtype=dtype)
            T = at.model.context_length
            steps[name] = lambda model=model, plan=plan, T=T: 1 / measure_speed(model, plan, context_length=T)
        times = in_turns(steps, rounds, warm_up=1)
        ratio = median_ratio(times, "lightlm_moe", "lightlm")
        yield {"name": f"step, {dtype}", "dtype": dtype, "ratio": ratio, "seconds_per_token": times}


def main() -> None:
    about = {"seeds": ([1, 2, 3], "one run of each variant for each"), "rounds": (7, "timings of each step")}
    chosen = options(__doc__, **about)
    torch.set_num_threads(1)
    record = open_record(chosen, what="experiment", recipe_from=SMALL.name)
    for lines in (speed(chosen.rounds), *map(balance, chosen.seeds)):
        for line in lines:
            record.write("measurement", **line)
            print(line, flush=True)
    record.write("end")


if __name__ == "__main__":
    main()
