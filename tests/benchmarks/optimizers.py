"""AdamW and Muon at several learning rates and lengths of training, and the critical batch size, measured.

    TINYLM_DATA=... python tests/benchmarks/optimizers.py --experiment optimizer_rates
    TINYLM_DATA=... python tests/benchmarks/optimizers.py --experiment critical_batch

Both train shakespeare_baseline's block in two layers, 64 wide, in less than a quarter of an hour each.

optimizer_rates: every run is complete: its rate rises over the first twentieth of its steps and then falls
along a line to 0. Muon's rate is varied. That of AdamW, which has the embeddings, the norms and the biases
beside it, is fixed. Each line has the losses of all seeds on the whole validation text.

critical_batch: how many steps until the loss of a fixed part of the validation text is at TARGET, for batches
of 2 to 64 sequences, with a held rate. The weights that are scored are a running average over about the last
tenth of the steps, so that a lucky step ends nothing. For each batch the rate is doubled and halved until
none is quicker. A rate is given up when it needs SLOWER times the steps of another.
"""

import statistics
from collections.abc import Iterator
from typing import Any

import torch
from benchmark import open_record, options
from variants import Training

from tinylm.model.gpt import GPT
from tinylm.runs.recipes import changed, recipe
from tinylm.runs.run import Run

SMALL = changed(recipe("shakespeare_baseline"), n_layer=2, n_head=4, n_embd=64, weight_decay=0.0)
LENGTHS = (200, 400, 800)  # steps of a complete run
ADAMW = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
MUON, BESIDE = (5e-3, 1e-2, 2e-2, 4e-2, 8e-2), 8e-3  # Muon's rates, and that of AdamW beside it
ROWS = (2, 4, 8, 16, 32, 64)
TARGET, EXAM = 2.2, 10_000  # nats per character, and the characters that are scored
FIRST_RATE, LONGEST, SLOWER = 2e-3, 8, 1.5
EVERY = 1.05  # from one evaluation to the next: 5% more steps


def complete(settings: dict[str, Any], steps: int, seed: int) -> float:
    """Return the validation loss at the end of a complete run."""
    plan = {"steps": steps, "warmup_steps": steps // 20, "schedule": "linear", "min_learning_rate": 0.0}
    run = Run(changed(SMALL, seed=seed, eval_every=0, **plan, **settings))
    training = Training(run)
    training.go(steps)
    return run.task.measure(run.model).loss


def rates(seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Train with each optimiser, rate and length."""
    made = [("adamw", rate, {"learning_rate": rate}) for rate in ADAMW]
    made += [("muon", rate, {"learning_rate": BESIDE, "muon_learning_rate": rate}) for rate in MUON]
    for steps in LENGTHS:
        for kind, rate, settings in made:
            losses = [complete({"optimizer": kind} | settings, steps, seed) for seed in seeds]
            about = {"name": f"{kind} {rate:g}, {steps} steps", "optimizer": kind, "rate": rate}
            about |= {"steps": steps, "tokens": steps * SMALL.train.tokens_per_step, "losses": losses}
            spread = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else None
            yield about | {"loss": statistics.mean(losses), "standard_error": spread}


def steps_to_target(rows: int, rate: float, seed: int, limit: int) -> float | None:
    """Return the steps until the averaged weights reach the target, or None after `limit` steps."""
    tokens = rows * SMALL.model.context_length
    plan = {"learning_rate": rate, "min_learning_rate": rate, "schedule": "constant", "warmup_steps": 10}
    plan |= {"micro_batch_size": rows, "tokens_per_step": tokens, "steps": limit + 1, "eval_every": 0}
    run = Run(changed(SMALL, seed=seed, log_every=limit + 1, **plan))
    training, averaged = Training(run), GPT(run.model.config)
    averaged.load_state_dict(run.model.state_dict())
    asked, before = 40.0, (0, float("inf"))
    for step in range(1, limit + 1):
        training.go(step)
        with torch.no_grad():
            for mean, p in zip(averaged.parameters(), run.model.parameters(), strict=True):
                mean.lerp_(p, 1 / (1 + step / 10))
        if step >= asked or step == limit:
            asked = max(step + 1, step * EVERY)
            loss = run.task.measure(averaged, max_tokens=EXAM).loss
            if loss <= TARGET:
                share = (before[1] - TARGET) / (before[1] - loss) if before[0] else 1.0
                return before[0] + share * (step - before[0])
            before = step, loss
    return None


def timed(rows: int, rate: float, seeds: list[int], limit: int) -> dict[str, Any]:
    """Return the steps to the target with every seed, and their mean if no seed needed more than `limit`."""
    found: list[float] = []
    for seed in seeds:
        if (steps := steps_to_target(rows, rate, seed, limit)) is None:
            break
        found.append(steps)
    line = {"name": f"{rows} rows, rate {rate:g}", "rows": rows, "rate": rate, "limit": limit}
    line |= {"batch_tokens": rows * SMALL.model.context_length, "all_steps": found, "steps": None}
    if len(found) == len(seeds):
        line |= {"steps": statistics.mean(found)}
        line |= {"standard_error": statistics.stdev(found) / len(found) ** 0.5}
    return line


def batches(seeds: list[int]) -> Iterator[dict[str, Any]]:
    """For each batch size look for the quickest rate: double it and halve it until none is quicker."""
    rate, fewest = FIRST_RATE, 5e5
    for rows in ROWS:
        tokens, taken, waiting = rows * SMALL.model.context_length, {}, [rate]
        while waiting:
            near = waiting.pop()
            limit = int(min([LONGEST * fewest / tokens, *(SLOWER * steps for steps in taken.values())]))
            line = timed(rows, near, seeds, limit)
            yield line
            taken[near] = line["steps"] or float("inf")
            rate = min(taken, key=taken.__getitem__)
            waiting = [near for near in (rate / 2, rate * 2) if near not in taken]
        fewest = min(fewest, taken[rate] * tokens)


EXPERIMENTS = {"optimizer_rates": rates, "critical_batch": batches}


def main() -> None:
    asked = "optimizer_rates or critical_batch"
    chosen = options(__doc__, experiment=("optimizer_rates", asked), seeds=([1, 2, 3], "one run for each"))
    chosen.record = chosen.record or chosen.experiment
    torch.set_num_threads(1)
    record = open_record(chosen, what="experiment", recipe_from=SMALL.name, target=TARGET)
    for line in EXPERIMENTS[chosen.experiment](chosen.seeds):
        record.write("measurement", **line)
        print(line, flush=True)
    record.write("end")


if __name__ == "__main__":
    main()
