"""Measure what each change gives our 51M training step: python tests/benchmarks/speed_ladder.py

The step of tinystories_51m on 8 × 256 tokens and one thread, in bfloat16 where the processor is fast in it
and in float32 elsewhere. "plain" is the nanoGPT-shaped step of steps.py: its own modules, run eagerly,
torch's default AdamW, cross-entropy at 50,257. Every rung changes one thing of the rung before. The rungs are
timed in turns; a rung with other environment variables runs in a process of its own. A time is CPU-seconds,
which neighbours disturb less than the clock. The record has the speed of each rung over plain and over the
rung before, the speed of the rung "fused loss" at several batch sizes, and the time of a batch from a file.
"""

import functools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from benchmark import UNKEPT, in_turns, median_ratio, new_process, open_record, options
from steps import our_step, plain_step

from tinylm.device import supports_bf16
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches

# glibc gives a large block back to the system when it is freed: each new page then costs a fault and zeros.
PAGES_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
PADDED = {"vocab_multiple": 64}
FUSED = PADDED | {"fused": True}
KEPT = FUSED | {"environment": PAGES_KEPT}
RUNGS = {  # a rung with an environment has a process of its own
    "plain": {"plain": True},
    "fused AdamW": {"plain": True, "fused_adamw": True},
    "tinylm's step": {},  # the same with our modules and train_step
    "padded vocabulary": PADDED,
    "fused loss": FUSED,
    "pages kept": KEPT,
    "compiled": KEPT | {"compile": True},
    "plain, pages kept": {"plain": True, "environment": PAGES_KEPT},
    "plain, float32": {"plain": True, "dtype": "float32"},
}
LADDER = [name for name in RUNGS if "plain, " not in name]  # the others are compared with plain alone
STEP = recipe("tinystories_51m").model


def made(name: str, batch: int, dtype: str) -> Callable[[], float]:
    """Return a function that does one step of that rung in this process and returns its CPU-seconds."""
    torch.set_num_threads(1)
    what = {key: value for key, value in RUNGS[name].items() if key != "environment"}
    plain, dtype = what.pop("plain", False), what.pop("dtype", dtype)
    step = (plain_step if plain else our_step)(STEP, batch, dtype, **what)

    def timed() -> float:
        began = time.process_time()
        optimizer = step()
        took = time.process_time() - began
        optimizer.zero_grad()  # many such steps are in memory, and their gradients need not be
        return took

    return timed


made_once = functools.cache(made)


def step_seconds(name: str, batch: int, dtype: str) -> float:
    """Do one step in a process of its own, where the first call makes the model."""
    return made_once(name, batch, dtype)()


def seconds_of_a_batch(rows: int) -> float:
    """Return the CPU-seconds of reading one batch from a file of random ids."""
    path = Path(UNKEPT.name, "ids.bin")
    np.random.default_rng(0).integers(0, STEP.vocab_size, 2**24, dtype=np.uint16).tofile(path)
    read = np.memmap(path, dtype=np.uint16, mode="r")
    batches = Batches(read, context_length=STEP.context_length, batch_size=rows, seed=0)
    batches.batch(0)
    began = time.process_time()
    for i in range(100):
        batches.batch(i)
    return (time.process_time() - began) / 100


def main() -> None:
    chosen = options(
        __doc__,
        rounds=(5, "turns"),
        batch=(8, "sequences in a step"),
        batches=([1, 2, 4, 16, 8], "batch sizes of which the speed is measured"),
        dtype=("bfloat16" if supports_bf16("cpu") else "float32", "of the rungs"),
    )
    torch.set_num_threads(1)
    record = open_record(chosen, threads=1, dtype=chosen.dtype)

    def keep(name: str, said: str, **figures) -> None:
        print(f"{name:28} {said}", flush=True)
        record.write("measurement", name=name, **figures)

    with ExitStack() as processes:
        runs: dict[str, Callable[[], float]] = {}
        for name, what in RUNGS.items():
            if environment := what.get("environment"):
                submit = processes.enter_context(new_process(**environment)).submit
                runs[name] = lambda s=submit, n=name: s(step_seconds, n, chosen.batch, chosen.dtype).result()
            else:
                runs[name] = made(name, chosen.batch, chosen.dtype)
        times = in_turns(runs, chosen.rounds)
    for name in RUNGS:
        before = LADDER[max(0, LADDER.index(name) - 1)] if name in LADDER else "plain"
        seconds = statistics.median(times[name])
        gain, step_gain = median_ratio(times, "plain", name), median_ratio(times, before, name)
        figures = {"median_seconds": seconds, "seconds": times[name], "speed_over_plain": gain}
        figures |= {"before": before, "speed_over_before": step_gain}
        keep(name, f"{seconds:6.2f} s, {gain:.3f} × plain, {step_gain:.3f} × {before}", **figures)

    by_size = {f"batch of {size}": made("fused loss", size, chosen.dtype) for size in chosen.batches}
    times = in_turns(by_size, max(1, chosen.rounds // 2), warm_up=1)
    for size, (name, seconds) in zip(chosen.batches, times.items(), strict=True):
        speed = size * STEP.context_length / statistics.median(seconds)
        keep(name, f"{speed:,.0f} tokens per second", tokens_per_second=speed, seconds=seconds)
    seconds = seconds_of_a_batch(chosen.batch)
    keep("a batch from a file", f"{1e3 * seconds:.2f} ms", seconds_per_batch=seconds)
    record.write("end")


if __name__ == "__main__":
    main()
