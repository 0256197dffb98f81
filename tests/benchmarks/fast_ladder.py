"""From shakespeare_baseline to shakespeare_fast, one change at a time, in the same CPU-seconds.

    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py
    make promote RUN=fast_steps
    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py --without

First the training step of every rung is timed, in turns; a rung then gets as many steps as should fit into
the CPU-seconds of the baseline's run. For each seed all rungs are trained in turns on the same cores, and
each is scored on every validation character once, in windows of its own context. A seed's losses reach the
record when its last rung is done, and at the end one line per rung sums them up; each run of the first and
of the last rung has a training record too. Never fails on time or on a loss.
"""

import argparse
import math
import shlex
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tinylm.device import describe_device
from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.runs import paths
from tinylm.runs.recipes import Recipe, recipe
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import Run as RecipeRun
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

ADAMW_RATE = 4e-3  # for all parameters; with Muon, AdamW has only the embedding, the head and the gains
BLOCKS = 50  # turns in a run: a busy moment then meets all rungs alike


@dataclass(frozen=True)
class Rung:
    """A recipe, what it changed, and whether the rungs above keep that."""

    name: str
    recipe: Recipe
    kept: bool = True
    averaged: float = 0.0
    """Above 0: an exponential average of the weights, with this share of it kept at every step, is scored."""


PARTS = {
    "linear to zero": ("schedule", "min_learning_rate", "warmup_steps", "weight_decay"),
    "rotary positions": ("position",),
    "context 128": ("context_length", "micro_batch_size"),
    "squared ReLU": ("activation", "bias"),
    "zero start": ("residual_init", "tied_head"),
    "token shift": ("token_shift",),
    "Muon": ("optimizer", "learning_rate", "muon_learning_rate", "muon_momentum"),
}
"""What shakespeare_fast changes, and the settings that say so."""


def exchanged(at: Recipe, name: str, source: Recipe) -> Recipe:
    """The recipe with one part taken from another one."""
    model = {field: getattr(source.model, field) for field in PARTS[name] if hasattr(at.model, field)}
    train = {field: getattr(source.train, field) for field in PARTS[name] if hasattr(at.train, field)}
    return replace(at, model=replace(at.model, **model), train=replace(at.train, **train))


def without() -> list[Rung]:
    """The fast recipe with one part at a time as the baseline has it, after the baseline and the fast one.

    Muon is not among them: without it, the recipe is the ladder's rung below."""
    base, fast = recipe("shakespeare_baseline"), recipe("shakespeare_fast")
    share = base.train.min_learning_rate / base.train.learning_rate  # of the peak, whatever that is
    source = replace(base, train=replace(base.train, min_learning_rate=share * fast.train.learning_rate))
    changed = {f"without {name}": exchanged(fast, name, source) for name in PARTS if name != "Muon"}
    return [Rung("baseline", base), Rung("all of it", fast)] + [Rung(*one) for one in changed.items()]


def ladder() -> list[Rung]:
    """The baseline, each change on top of what was kept before it, and at the end the fast recipe itself."""
    base, fast = recipe("shakespeare_baseline"), recipe("shakespeare_fast")
    rungs = [Rung("baseline", base)]

    def add(name: str, *, model: dict | None = None, train: dict | None = None, **fields: Any) -> None:
        at = next(rung.recipe for rung in reversed(rungs) if rung.kept)
        changed = replace(
            at, model=replace(at.model, **(model or {})), train=replace(at.train, **(train or {}))
        )
        rungs.append(Rung(name, changed, **fields))

    def take(name: str) -> None:
        at = next(rung.recipe for rung in reversed(rungs) if rung.kept)
        rungs.append(Rung(name, exchanged(at, name, fast)))

    add("higher rate", train={"learning_rate": ADAMW_RATE, "min_learning_rate": ADAMW_RATE / 10})
    *parts, muon = PARTS
    for name in parts:
        take(name)
    add("QK-norm", kept=False, model={"qk_norm": True})
    take(muon)
    add("QK-norm again", kept=False, model={"qk_norm": True})
    add("hold, then fall", kept=False, train={"schedule": "wsd"})
    twice = {
        name: 2 * getattr(rungs[-1].recipe.train, name) for name in ("tokens_per_step", "micro_batch_size")
    }
    add("twice the batch", kept=False, train=twice)
    # A rate that falls to zero averages by itself: here it stops at a fifth, and the average does the rest.
    fifth = {"min_learning_rate": fast.train.learning_rate / 5}
    add("averaged weights", kept=False, train=fifth, averaged=0.98)
    last = max(i for i, rung in enumerate(rungs) if rung.kept)
    at = rungs[last].recipe
    same_train = replace(at.train, steps=fast.train.steps) == fast.train
    if not (same_train and at.model == fast.model and at.data == fast.data):
        raise SystemExit("the last rung is not shakespeare_fast: name each of its changes in ladder()")
    rungs[last] = Rung(rungs[last].name, fast)
    return rungs


class Run:
    """One rung with one seed: trained a block of steps at a time, with its CPU-seconds counted."""

    def __init__(self, rung: Rung, seed: int) -> None:
        self.rung, self.seed = rung, seed
        train = replace(rung.recipe.train, seed=seed)
        self.ready = RecipeRun(replace(rung.recipe, train=train))
        self.optimizer = build_optimizer(self.ready.model, train)
        self.ready.model.train()
        average = get_ema_multi_avg_fn(rung.averaged)
        self.averaged = AveragedModel(self.ready.model, multi_avg_fn=average) if rung.averaged else None
        self.step, self.cpu, self.seconds, self.logged = 0, 0.0, 0.0, []

    def go(self, until: int) -> None:
        train = self.ready.recipe.train
        for step in range(self.step, until):
            began, cpu = time.perf_counter(), time.process_time()
            measure = step % train.log_every == 0 or step + 1 == train.steps
            result = train_step(
                self.ready.model, self.optimizer, self.ready.batches, step=step, config=train, log=measure
            )
            if self.averaged is not None:
                self.averaged.update_parameters(self.ready.model)
            self.cpu += time.process_time() - cpu
            self.seconds += time.perf_counter() - began
            if measure:
                self.logged.append(asdict(result) | {"seconds": self.seconds})
        self.step = until

    def evaluate(self) -> Evaluation:
        model = self.ready.model if self.averaged is None else self.averaged.module
        return evaluate(
            model, self.ready.dataset.validation, bytes_per_token=self.ready.dataset.bytes_per_token
        )

    def write(self, result: Evaluation, command: str, threads: int) -> None:
        """This run's training record, ready to be promoted."""
        recipe = self.ready.recipe
        header = record_header(
            "training",
            recipe=recipe.name,
            command=command,
            device="cpu",
            dtype="float32",
            seed=self.seed,
            tokens=recipe.train.steps * recipe.train.tokens_per_step,
            parameters=self.ready.model.n_parameters(),
            data=self.ready.dataset.name,
            reading=asdict(recipe.data),
            tokenizer=self.ready.dataset.tokenizer.fingerprint,
            threads=threads,
            model=recipe.model.to_json(),
            train=recipe.train.to_json(),
        )
        folder = paths.MINE / f"{recipe.name}-seed{self.seed}"
        with RunRecord(folder / "record.jsonl", header) as record:
            for line in self.logged:
                record.write("step", **line)
            record.write("evaluation", step=recipe.train.steps, **asdict(result), seconds=self.seconds)
            record.close(seconds=self.seconds, cpu_seconds=self.cpu, interrupted=False)


def step_ratios(rungs: list[Rung], rounds: int) -> list[float]:
    """CPU-seconds of each rung's step over those of the first rung's: the median over turns of five steps.

    Each turn compares with the first rung's own steps in it, so that both saw the same neighbours."""
    runs = [Run(rung, seed=1) for rung in rungs]
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(1, rounds + 2):
        for run, seen in zip(runs, times, strict=True):
            before = run.cpu
            run.go(5 * turn)
            if turn > 1:
                seen.append(run.cpu - before)
    return [
        statistics.median(own / first for own, first in zip(seen, times[0], strict=True)) for seen in times
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", help="of the record in data/mine/ (fast_steps, or fast_without)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=1, help="1 makes CPU-seconds mean one thing")
    parser.add_argument("--rounds", type=int, default=30, help="of five steps, to time the steps with")
    parser.add_argument("--ends", action="store_true", help="only the first and the last rung")
    parser.add_argument("--without", action="store_true", help="instead: the fast recipe less one part each")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    command = shlex.join(["python", "tests/benchmarks/fast_ladder.py", *sys.argv[1:]])
    rungs = without() if chosen.without else ladder()
    ends = [rungs[0], next(rung for rung in rungs if rung.recipe.name == "shakespeare_fast" and rung.kept)]
    rungs = ends if chosen.ends else rungs
    name = chosen.name or ("fast_without" if chosen.without else "fast_steps")
    beside = [] if chosen.without else [f"{end.recipe.name}-seed{n}" for end in ends for n in chosen.seeds]
    if taken := [run for run in (name, *beside) if (paths.MINE / run / "record.jsonl").exists()]:
        raise SystemExit(f"data/mine/ has {', '.join(taken)} already: move them away")
    ratios = step_ratios(rungs, chosen.rounds)
    if chosen.without:  # both ends are the ladder's: here they only say how long a step takes
        rungs, ratios = rungs[2:], ratios[2:]
    first = ends[0].recipe.train.steps
    fitted = []
    for rung, ratio in zip(rungs, ratios, strict=True):
        own = rung in ends  # the recipes themselves: their steps are theirs
        steps = rung.recipe.train.steps if own else int(first / ratio)
        train = replace(rung.recipe.train, steps=steps, eval_every=0)
        fitted.append(replace(rung, recipe=replace(rung.recipe, train=train)))
        print(f"{rung.name:18s} step {ratio:.2f} times the baseline's: {steps} steps", flush=True)
    header = record_header(
        "experiment",
        command=command,
        name=name,
        recipe_from=ends[0].recipe.name,
        recipe_to=ends[-1].recipe.name,
        device=describe_device("cpu"),
        threads=chosen.threads,
    )
    results: list[list[tuple[Run, Evaluation]]] = [[] for _ in fitted]
    with RunRecord(paths.MINE / name / "record.jsonl", header) as record:
        for seed in chosen.seeds:
            runs = [Run(rung, seed) for rung in fitted]
            for block in range(1, BLOCKS + 1):
                for run in runs:
                    run.go(run.ready.recipe.train.steps * block // BLOCKS)
            for run, seen in zip(runs, results, strict=True):
                result = run.evaluate()
                seen.append((run, result))
                times = {"cpu_seconds": run.cpu, "seconds": run.seconds}
                record.write(
                    "evaluation", name=run.rung.name, seed=seed, step=run.step, **asdict(result), **times
                )
                print(f"seed {seed} {run.rung.name:18s} {result.loss:.4f} {run.cpu:.0f} s", flush=True)
            for run in (run for run, rung in zip(runs, rungs, strict=True) if rung in ends):
                run.write(run.evaluate(), command, chosen.threads)
        for rung, ratio, seen in zip(fitted, ratios, results, strict=True):
            losses = [result.loss for _, result in seen]
            spread = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else None
            record.write(
                "measurement",
                name=rung.name,
                kept=rung.kept,
                seeds=chosen.seeds,
                losses=losses,
                loss=statistics.mean(losses),
                standard_error=spread,
                bits_per_character=statistics.mean(losses) / math.log(2),
                step_time_ratio=ratio,
                cpu_seconds=[run.cpu for run, _ in seen],
                steps=rung.recipe.train.steps,
                parameters=seen[0][0].ready.model.n_parameters(),
                windows_standard_error=statistics.mean(result.standard_error for _, result in seen),
            )
            print(f"{rung.name:18s} {statistics.mean(losses):.4f} ± {spread or float('nan'):.4f}")


if __name__ == "__main__":
    main()
