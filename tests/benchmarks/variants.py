"""Variants of recipes, trained with several seeds in turns, so that a busy moment meets all of them alike.

A ladder is a list of variants, each of which changes the one before. Every variant is scored on the
validation text, and what its seeds say together is one line of the record.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark import command

from tinylm.inference.evaluate import Evaluation
from tinylm.runs import paths
from tinylm.runs.recipes import Recipe, changed
from tinylm.runs.records import RunRecord
from tinylm.runs.run import Run
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

BLOCKS = 50  # turns in the training of a ladder


def settings_of(source: Recipe, names: Iterable[str]) -> dict[str, Any]:
    """Return these settings of the model or the training, as the recipe has them."""
    homes = {name: source.model if hasattr(source.model, name) else source.train for name in names}
    return {name: getattr(home, name) for name, home in homes.items()}


class Training:
    """A run that has not begun, trained some steps at a time; its steps and its seconds are counted."""

    def __init__(self, run: Run) -> None:
        self.model, self.batches, self.plan, self.task = run.model.train(), run.batches, run.plan, run.task
        self.optimizer = build_optimizer(run.model, run.plan)
        self.step, self.cpu, self.seconds, self.logged = 0, 0.0, 0.0, []

    def go(self, until: int) -> None:
        """Train up to this step."""
        for step in range(self.step, until):
            began, cpu = time.perf_counter(), time.process_time()
            log = step % self.plan.log_every == 0 or step + 1 == self.plan.steps
            result = train_step(
                self.model,
                self.optimizer,
                self.batches,
                step=step,
                config=self.plan,
                loss_fn=self.task.loss_fn,
                log=log,
            )
            self.cpu += time.process_time() - cpu
            self.seconds += time.perf_counter() - began
            if log:
                self.logged.append(asdict(result) | {"seconds": self.seconds})
        self.step = until


def train_in_turns(
    runs: dict[str, Training], turns: int, measure: Callable[[str, Training], Any] = lambda name, run: None
) -> dict[str, list[Any]]:
    """Train all of them to their ends in so many turns; return what `measure` gave after each turn."""
    measured: dict[str, list[Any]] = {name: [] for name in runs}
    for turn in range(1, turns + 1):
        for name, run in runs.items():
            run.go(run.plan.steps * turn // turns)
            measured[name].append(measure(name, run))
    return measured


@dataclass(frozen=True)
class Rung:
    """A recipe, the name of what it changed, and whether the rungs above keep that change.

    An end of a ladder also gets a training record of each run. `step_time_ratio` is the time of its step
    over that of the baseline's, where that was measured."""

    name: str
    recipe: Recipe
    kept: bool = True
    is_end: bool = False
    step_time_ratio: float | None = None


def one_by_one(at: Recipe, goal: Recipe, parts: dict[str, tuple[str, ...]]) -> list[Rung]:
    """Return a rung for each part, with its settings as `goal` has them on top of the rung before.

    Raises SystemExit if the last rung differs from `goal`."""
    rungs = []
    for name, fields in parts.items():
        at = changed(at, **settings_of(goal, fields))
        rungs.append(Rung(name, at))
    if (at.model, at.train, at.data) != (goal.model, goal.train, goal.data):
        raise SystemExit(f"the last rung is not {goal.name}: name each of its changes in PARTS")
    return rungs


def climb(rungs: list[Rung], seeds: list[int], record: RunRecord) -> None:
    """Train all rungs with each seed. Write their evaluations, a summary of each rung, and the record's end.

    Every run of an end also gets a training record in data/mine, ready to be promoted. Raises SystemExit
    where one exists already."""
    ends = {rung.name: rung.recipe.name for rung in rungs if rung.is_end}
    places = {(name, seed): paths.MINE / f"{ends[name]}-seed{seed}" for name in ends for seed in seeds}
    if taken := [folder.name for folder in places.values() if (folder / "record.jsonl").exists()]:
        raise SystemExit(f"data/mine/ has {', '.join(taken)} already: move them away")
    seen: dict[str, list[dict[str, Any]]] = {rung.name: [] for rung in rungs}
    for seed in seeds:
        ready = {rung.name: Run(changed(rung.recipe, seed=seed)) for rung in rungs}
        headers = {name: ready[name].header(ready[name].forecast(), command()) for name in ends}
        runs = {name: Training(run) for name, run in ready.items()}
        train_in_turns(runs, BLOCKS)
        for name, run in runs.items():
            result = run.task.measure(run.model, max_tokens=run.plan.eval_tokens or None)
            about = {"name": name, "seed": seed, "step": run.step, "cpu_seconds": run.cpu}
            seen[name].append(about | {"seconds": run.seconds} | asdict(result))
            record.write("evaluation", **seen[name][-1])
            print(f"seed {seed} {name:24} {result.loss:.4f} {run.cpu:.0f} s", flush=True)
            if name in ends:
                write_own(places[name, seed] / "record.jsonl", headers[name], run, result)
    for rung in rungs:
        write_summary(record, rung, seen[rung.name])
    record.write("end")


def write_summary(record: RunRecord, rung: Rung, seen: list[dict[str, Any]]) -> None:
    """Write and print the mean loss of a rung over its seeds, with the standard error of that mean."""
    losses = [run["loss"] for run in seen]
    mean, error = statistics.mean(losses), None
    if len(losses) > 1:
        error = statistics.stdev(losses) / len(losses) ** 0.5
    print(f"{rung.name:24} {mean:.4f}" + (f" ± {error:.4f}" if error else ""))
    plan = rung.recipe.train
    figures = {"losses": losses, "loss": mean, "standard_error": error, "kept": rung.kept}
    figures |= {"seeds": [run["seed"] for run in seen], "cpu_seconds": [run["cpu_seconds"] for run in seen]}
    figures |= {"steps": plan.steps, "tokens": plan.steps * plan.tokens_per_step}
    record.write("measurement", name=rung.name, step_time_ratio=rung.step_time_ratio, **figures)


def write_own(path: Path, header: dict[str, Any], run: Training, result: Evaluation) -> None:
    """Write the training record of one run, ready to be promoted."""
    record = RunRecord(path, header)
    for line in run.logged:
        record.write("step", **line)
    record.write("evaluation", step=run.step, **asdict(result), seconds=run.seconds)
    record.write("end", seconds=run.seconds, cpu_seconds=run.cpu, interrupted=False)
