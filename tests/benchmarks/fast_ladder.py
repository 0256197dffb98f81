"""From shakespeare_baseline to shakespeare_fast, one change at a time, in the same CPU-seconds.

    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py
    make promote RUN=fast_steps
    TINYLM_DATA=... python tests/benchmarks/fast_ladder.py --without

First the training step of every rung is timed, in turns; a rung then gets as many steps as should fit into
the CPU-seconds of the baseline's run. For each seed all rungs are trained in turns on the same cores, and
each is scored on every validation character once, in windows of its own context. A seed's losses reach the
record when its last rung is done, and at the end one line per rung sums them up; each run of the first and
of the last rung has a training record too.
"""

import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmark import command, open_record, options
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tinylm.inference.evaluate import Evaluation, evaluate
from tinylm.runs import paths
from tinylm.runs.recipes import Recipe, recipe
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import Run as RecipeRun
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

ADAMW_RATE = 4e-3  # for all parameters; with Muon, AdamW has only the embedding, the head and the gains
BLOCKS = 50  # turns in a run: a busy moment then meets all rungs alike
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


@dataclass(frozen=True)
class Rung:
    """A recipe, what it changed, and whether the rungs above keep that."""

    name: str
    recipe: Recipe
    kept: bool = True
    averaged: float = 0.0
    """Above 0: an exponential average of the weights, with this share of it kept at every step, is scored."""


def changed(at: Recipe, **settings: Any) -> Recipe:
    """The recipe with these settings of its model or its training."""
    model = {name: value for name, value in settings.items() if hasattr(at.model, name)}
    train = {name: value for name, value in settings.items() if hasattr(at.train, name)}
    return replace(at, model=replace(at.model, **model), train=replace(at.train, **train))


def part(name: str, source: Recipe) -> dict[str, Any]:
    """The settings of one part, as a recipe has them."""
    homes = {field: source.model if hasattr(source.model, field) else source.train for field in PARTS[name]}
    return {field: getattr(home, field) for field, home in homes.items()}


def without() -> list[Rung]:
    """The fast recipe with one part at a time as the baseline has it, after the baseline and the fast one.

    Muon is not among them: without it, the recipe is the ladder's rung below."""
    share = BASE.train.min_learning_rate / BASE.train.learning_rate  # of the peak, whatever that is
    source = changed(BASE, min_learning_rate=share * FAST.train.learning_rate)
    less = [(f"without {name}", changed(FAST, **part(name, source))) for name in PARTS if name != "Muon"]
    return [Rung("baseline", BASE), Rung("all of it", FAST)] + [Rung(*one) for one in less]


def ladder() -> list[Rung]:
    """The baseline, each change on top of what was kept before it, and at the end the fast recipe itself."""
    rungs = [Rung("baseline", BASE)]

    def add(name: str, *, kept: bool = False, averaged: float = 0.0, **settings: Any) -> None:
        at = next(rung.recipe for rung in reversed(rungs) if rung.kept)
        rungs.append(Rung(name, changed(at, **settings), kept, averaged))

    add("higher rate", kept=True, learning_rate=ADAMW_RATE, min_learning_rate=ADAMW_RATE / 10)
    *parts, muon = PARTS
    for name in parts:
        add(name, kept=True, **part(name, FAST))
    add("QK-norm", qk_norm=True)
    add(muon, kept=True, **part(muon, FAST))
    last = rungs[-1].recipe
    if changed(last, steps=FAST.train.steps) != replace(FAST, name=last.name, about=last.about):
        raise SystemExit("the last rung is not shakespeare_fast: name each of its changes in PARTS")
    rungs[-1] = Rung(muon, FAST)
    add("QK-norm again", qk_norm=True)
    add("hold, then fall", schedule="wsd")
    twice = {name: 2 * getattr(FAST.train, name) for name in ("tokens_per_step", "micro_batch_size")}
    add("twice the batch", **twice)
    # A rate that falls to zero averages by itself: here it stops at a fifth, and the average does the rest.
    add("averaged weights", averaged=0.98, min_learning_rate=FAST.train.learning_rate / 5)
    return rungs


class Run:
    """One rung with one seed: trained a block of steps at a time, with its CPU-seconds counted."""

    def __init__(self, rung: Rung, seed: int) -> None:
        self.rung, self.ready = rung, RecipeRun(changed(rung.recipe, seed=seed))
        self.model, self.train = self.ready.model, self.ready.recipe.train
        self.dataset = self.ready.task.dataset
        self.optimizer = build_optimizer(self.model, self.train)
        self.model.train()
        average = get_ema_multi_avg_fn(rung.averaged)
        self.averaged = AveragedModel(self.model, multi_avg_fn=average) if rung.averaged else None
        self.tokens = self.train.steps * self.train.tokens_per_step
        self.step, self.cpu, self.seconds, self.logged = 0, 0.0, 0.0, []

    def go(self, until: int) -> None:
        for step in range(self.step, until):
            began, cpu = time.perf_counter(), time.process_time()
            log = step % self.train.log_every == 0 or step + 1 == self.train.steps
            batches = self.ready.batches
            result = train_step(self.model, self.optimizer, batches, step=step, config=self.train, log=log)
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            self.cpu += time.process_time() - cpu
            self.seconds += time.perf_counter() - began
            if log:
                self.logged.append(asdict(result) | {"seconds": self.seconds})
        self.step = until

    def evaluate(self) -> Evaluation:
        model = self.model if self.averaged is None else self.averaged.module
        read, most = self.dataset, self.train.eval_tokens or None
        how = {"documents": read.documents, "bytes_per_token": read.bytes_per_token, "max_tokens": most}
        return evaluate(model, read.validation, **how)

    def write(self, result: Evaluation) -> None:
        """This run's training record, ready to be promoted."""
        recipe, made = self.ready.recipe, self.ready.provenance
        header = record_header(
            "training",
            command=command(),
            device="cpu",
            dtype="float32",
            threads=torch.get_num_threads(),
            seed=self.train.seed,
            tokens=self.tokens,
            parameters=self.model.n_parameters(),
            data=self.dataset.name,
            holds=self.dataset.holds,
            scale=recipe.scale,
            reading=asdict(recipe.data),
            **{part: made[part] for part in ("recipe", "tokenizer", "model", "train")},
        )
        record = RunRecord(record_of(recipe, self.train.seed), header)
        for line in self.logged:
            record.write("step", **line)
        record.write("evaluation", step=self.train.steps, **asdict(result), seconds=self.seconds)
        record.write("end", seconds=self.seconds, cpu_seconds=self.cpu, interrupted=False)


def record_of(recipe: Recipe, seed: int) -> Path:
    return paths.MINE / f"{recipe.name}-seed{seed}" / "record.jsonl"


def measured(rung: Rung, seen: list[tuple[Run, Evaluation]]) -> dict[str, Any]:
    """What the runs of a rung say together, one for each seed; it is printed too."""
    losses = [result.loss for _, result in seen]
    spread = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else None
    print(f"{rung.name:24s} {statistics.mean(losses):.4f} ± {spread or float('nan'):.4f}")
    figures = {"name": rung.name, "kept": rung.kept, "losses": losses, "loss": statistics.mean(losses)}
    figures |= {"standard_error": spread, "cpu_seconds": [run.cpu for run, _ in seen]}
    return figures | {"parameters": seen[0][0].model.n_parameters()}


def step_ratios(rungs: list[Rung]) -> list[float]:
    """CPU-seconds of each rung's step over those of the first rung's: the median over turns of five steps.

    Each turn compares with the first rung's own steps in it, so that both saw the same neighbours."""
    runs = [Run(rung, seed=1) for rung in rungs]
    times: list[list[float]] = []
    for turn in range(1, ROUNDS + 2):
        before = [run.cpu for run in runs]
        for run in runs:
            run.go(5 * turn)
        times.append([run.cpu - cpu for run, cpu in zip(runs, before, strict=True)])
    shares = [[own / seen[0] for own in seen] for seen in times[1:]]  # the first turn warms up
    return [statistics.median(own) for own in zip(*shares, strict=True)]


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
    beside = [] if chosen.without else [record_of(end.recipe, n) for end in ends for n in chosen.seeds]
    if taken := [path.parent.name for path in beside if path.exists()]:
        raise SystemExit(f"data/mine/ has {', '.join(taken)} already: move them away")
    record = open_record(chosen, what="experiment")
    ratios = step_ratios(rungs)
    fitted = []
    for rung, ratio in zip(rungs, ratios, strict=True):
        # the recipes themselves have steps of their own
        steps = rung.recipe.train.steps if rung in ends else int(BASE.train.steps / ratio)
        fitted.append(replace(rung, recipe=changed(rung.recipe, steps=steps, eval_every=0)))
        print(f"{rung.name:18s} step {ratio:.2f} times the baseline's: {steps} steps", flush=True)
    if chosen.without:  # both ends are the ladder's: here they only say how long a step takes
        fitted, ratios = fitted[2:], ratios[2:]
    results: list[list[tuple[Run, Evaluation]]] = [[] for _ in fitted]
    for seed in chosen.seeds:
        runs = [Run(rung, seed) for rung in fitted]
        for block in range(1, BLOCKS + 1):
            for run in runs:
                run.go(run.train.steps * block // BLOCKS)
        for run, seen in zip(runs, results, strict=True):
            result, times = run.evaluate(), {"cpu_seconds": run.cpu, "seconds": run.seconds}
            seen.append((run, result))
            said = {"name": run.rung.name, "seed": seed, "step": run.step}
            record.write("evaluation", **said, **asdict(result), **times)
            print(f"seed {seed} {run.rung.name:18s} {result.loss:.4f} {run.cpu:.0f} s", flush=True)
            if run.rung.name in [end.name for end in ends]:
                run.write(result)
    for rung, ratio, seen in zip(fitted, ratios, results, strict=True):
        figures = measured(rung, seen)
        record.write(
            "measurement",
            **figures,
            seeds=chosen.seeds,
            bits_per_character=figures["loss"] / math.log(2),
            step_time_ratio=ratio,
            steps=rung.recipe.train.steps,
            windows_standard_error=statistics.mean(result.standard_error for _, result in seen),
        )
    record.write("end")


if __name__ == "__main__":
    main()
