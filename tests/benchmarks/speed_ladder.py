"""How much faster is our 51M step than the plain one? Run by hand: python tests/benchmarks/speed_ladder.py

The step of tinystories_51m on 8 × 256 tokens and one thread, in bfloat16 where the processor is fast in it
and in float32 elsewhere. "plain" is the nanoGPT-shaped step that stands in this file: its own modules, run
eagerly, torch's default AdamW, cross-entropy at 50,257. Every rung changes one thing of the one before and is
timed in turns with the others, those with another environment in a process of their own. A time is that of
the processor, which neighbours disturb less than the clock; each has its ratio to plain, to the rung before,
and its share of what the fastest matrix product in the same turn did. Then, for the rung "fused loss": batch
sizes, two threads, a batch from a file, and what memory a step takes, each in a fresh process.
"""

import functools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from benchmark import UNKEPT, in_turns, median_ratio, new_process, open_record, options, peak_memory
from steps import our_step, plain_step

from tinylm.device import supports_bf16
from tinylm.model.cost import flops_per_token
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches

# glibc gives a large block back to the system when it is freed: each new page then costs a fault and zeros.
PAGES_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
PADDED = {"vocab_multiple": 64}
FUSED = PADDED | {"fused": True}
KEPT = FUSED | {"environment": PAGES_KEPT}
RUNGS = {  # a rung with an environment has a process of its own
    "explicit attention": {"plain": True, "attention": "explicit"},  # below plain: what the fused one gives
    "plain": {"plain": True},
    "fused AdamW": {"plain": True, "fused_adamw": True},
    "tinylm's step": {},  # the same with our modules and train_step
    "padded vocabulary": PADDED,
    "fused loss": FUSED,
    "pages kept": KEPT,
    "compiled": KEPT | {"compile": True},
}
ASIDE = {  # against which rung each is measured
    "computed again": ("fused loss", FUSED | {"activation_checkpointing": True}),
    "plain, pages kept": ("plain", {"plain": True, "environment": PAGES_KEPT}),
    "fused loss, not padded": ("fused loss", {"fused": True}),
    "pages kept, not padded": ("pages kept", {"fused": True, "environment": PAGES_KEPT}),
    "plain, float32": ("plain", {"plain": True, "dtype": "float32"}),
    "plain, bfloat16": ("plain", {"plain": True, "dtype": "bfloat16"}),
    "pages kept, bfloat16": ("pages kept", KEPT | {"dtype": "bfloat16"}),
}
EVERY = RUNGS | {name: what for name, (_, what) in ASIDE.items()}
# Timed together: all at once would need more memory than a small machine has. Both have plain.
GROUPS = (
    [*[*RUNGS][:6], "fused loss, not padded", "computed again"],
    ["plain", "fused loss", *[*RUNGS][6:], *[*ASIDE][1:2], *[*ASIDE][3:]],
)
MEMORY = ("plain", "padded vocabulary", "fused loss", "computed again")
STEP = recipe("tinystories_51m").model


SHAPES = {"a square": (2048, 2048, 2048), "the head": (2048, 512, 50304)}  # of matrix products


def made(name: str, batch: int, dtype: str) -> Callable[[], float]:
    """Return a function that does one step of that rung in this process and returns its CPU-seconds."""
    torch.set_num_threads(1)
    what = {key: value for key, value in EVERY[name].items() if key != "environment"}
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


def step_memory(name: str, batch: int, dtype: str) -> float:
    """Return the MiB by which one step raises this process's peak: gradients and AdamW's averages too."""
    step, before = made(name, batch, dtype), peak_memory()
    step()
    return peak_memory() - before


def product(dtype: str, shape: tuple[int, int, int]) -> Callable[[], float]:
    """Return a function that gives the CPU-seconds per operation of a matrix product, the best of three."""
    m, k, n = shape
    kind = getattr(torch, dtype)
    a, b, out = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind), torch.empty(m, n, dtype=kind)

    def quickest() -> float:
        times = in_turns({"": lambda: torch.mm(a, b, out=out)}, 3, warm_up=0, clock=time.process_time)
        return min(times[""]) / (2 * m * k * n)

    return quickest


def timed_group(names: list[str], batch: int, dtype: str, rounds: int) -> dict[str, list[float]]:
    """Return the CPU-seconds of these rungs and the seconds per operation of the products, in turns."""
    with ExitStack() as processes:
        runs: dict[str, Callable[[], float]] = {}
        for name in names:
            if environment := EVERY[name].get("environment"):
                submit = processes.enter_context(new_process(**environment)).submit
                runs[name] = lambda s=submit, n=name: s(step_seconds, n, batch, dtype).result()
            else:
                runs[name] = made(name, batch, dtype)
        for kind in ("float32", "bfloat16"):
            for about, shape in SHAPES.items():
                runs[f"product, {kind}, {about}"] = product(kind, shape)
        return in_turns(runs, rounds)


def rung_before(name: str, group: list[str]) -> str:
    """Return the rung that this one is compared with; plain, if the group has no other."""
    rungs = [*RUNGS]
    before = ASIDE[name][0] if name in ASIDE else rungs[max(0, rungs.index(name) - 1)]
    return before if before in group else "plain"


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
        batches=([1, 2, 4, 16, 8], "those of which the speed is measured; the last also on two threads"),
        dtype=("bfloat16" if supports_bf16("cpu") else "float32", "of the rungs"),
    )
    torch.set_num_threads(1)
    record = open_record(chosen, threads=1, dtype=chosen.dtype)

    def keep(name: str, said: str, **figures) -> None:
        print(f"{name:28} {said}", flush=True)
        record.write("measurement", name=name, **figures)

    for name in MEMORY:
        with new_process() as process:
            size = process.submit(step_memory, name, chosen.batch, chosen.dtype).result()
        keep(f"memory, {name}", f"{size:.0f} MB", mebibytes=size)

    flops = flops_per_token(STEP) * chosen.batch * STEP.context_length
    for number, group in enumerate(GROUPS, 1):
        names = [name for name in group if EVERY[name].get("dtype") != chosen.dtype]
        times = timed_group(names, chosen.batch, chosen.dtype, chosen.rounds)
        for name in [name for name in times if name not in names]:
            rate = 1 / statistics.median(times[name])
            figures = {"flops_per_second": rate, "seconds_per_flop": times[name]}
            keep(name, f"{rate / 1e9:.0f} GFLOP/s", turns=number, **figures)
        for name in names:
            kind = EVERY[name].get("dtype", chosen.dtype)
            measured = (times[f"product, {kind}, {about}"] for about in SHAPES)
            best = [min(turn) for turn in zip(*measured, strict=True)]
            share = statistics.median(flops * b / t for b, t in zip(best, times[name], strict=True))
            before, seconds = rung_before(name, names), statistics.median(times[name])
            gain, step_gain = median_ratio(times, "plain", name), median_ratio(times, before, name)
            said = f"{seconds:6.2f} s, {gain:.3f} × plain, {step_gain:.3f} × {before}"
            figures = {"median_seconds": seconds, "seconds": times[name], "speed_over_plain": gain}
            figures |= {"before": before, "speed_over_before": step_gain, "share_of_product": share}
            keep(name, f"{said}, {share:.0%} of a product", turns=number, **figures)

    fewer = max(1, chosen.rounds // 2)
    by_size = {f"batch of {size}": made("fused loss", size, chosen.dtype) for size in chosen.batches}
    times = in_turns(by_size, fewer, warm_up=1)
    for size, (name, seconds) in zip(chosen.batches, times.items(), strict=True):
        speed = size * STEP.context_length / statistics.median(seconds)
        keep(name, f"{speed:,.0f} tokens per second", tokens_per_second=speed, seconds=seconds)
    step = by_size[f"batch of {chosen.batches[-1]}"]

    def on_the_clock(threads: int) -> float:
        torch.set_num_threads(threads)
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    times = in_turns({"1": lambda: on_the_clock(1), "2": lambda: on_the_clock(2)}, fewer, warm_up=1)
    torch.set_num_threads(1)
    gain = median_ratio(times, "1", "2")
    keep("two threads", f"{gain:.2f} × as fast as one, by the clock", speed_over_one=gain, seconds=times)
    seconds = seconds_of_a_batch(chosen.batch)
    keep("a batch from a file", f"{1e3 * seconds:.2f} ms", seconds_per_batch=seconds)
    record.write("end")


if __name__ == "__main__":
    main()
