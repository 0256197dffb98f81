"""How much faster is our 51M step than the plain one? Run by hand: python tests/benchmarks/speed_ladder.py

The step of tinystories_51m on 8 × 256 tokens and one thread, in bfloat16 where the processor is fast in it
and in float32 elsewhere. "plain" is the nanoGPT-shaped step that stands in this file: its own modules, run
eagerly, torch's default AdamW, cross-entropy at 50,257. Every rung changes one thing of the one before and is
timed in turns with the others, those with another environment in a process of their own. A time is that of
the processor, which neighbours disturb less than the clock; each has its ratio to plain, to the rung before,
and its share of what the fastest matrix product in the same turn did. Then, for the rung "fused loss": batch
sizes, two threads, a batch from a file, and what memory a step takes, each in a fresh process.
"""

import contextlib
import itertools
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from benchmark import in_turns, open_record, options
from torch import nn

from tinylm.device import Precision, supports_bf16
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.runs.recipes import recipe
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.optim import adamw
from tinylm.training.speed import compile_loss
from tinylm.training.step import train_step

# glibc gives a large block back to the system when it is freed: each new page then costs a fault and zeros.
PAGES_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
PADDED = {"vocab_multiple": 64}
FUSED = PADDED | {"fused_loss": True}
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
    "fused loss, not padded": ("fused loss", {"fused_loss": True}),
    "pages kept, not padded": ("pages kept", {"fused_loss": True, "environment": PAGES_KEPT}),
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


class PlainBlock(nn.Module):
    def __init__(self, config: ModelConfig, attention: str):
        super().__init__()
        C, self.n_head, self.attention = config.n_embd, config.n_head, attention
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.c_attn, self.c_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.c_fc, self.c_out = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in (q, k, v))
        if self.attention == "explicit":
            scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))  # (B, H, T, T)
            scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
            y = F.softmax(scores, dim=-1) @ v  # (B, H, T, D)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))  # (B, T, C)
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))  # (B, T, C)


class PlainGPT(nn.Module):
    def __init__(self, config: ModelConfig, attention: str = "fused"):
        super().__init__()
        C, V = config.n_embd, config.vocab_size
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(config.context_length, C)
        self.h = nn.Sequential(*(PlainBlock(config, attention) for _ in range(config.n_layer)))
        self.ln_f, self.lm_head = nn.LayerNorm(C), nn.Linear(C, V, bias=False)
        nn.init.normal_(self.wte.weight, std=0.02)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight[: tokens.size(1)]  # (B, T, C)
        return self.lm_head(self.ln_f(self.h(x)))  # (B, T, V)


def plain_step(config: ModelConfig, batch: int, dtype: str, *, attention="fused", fused_adamw=False):
    """One step as a function that gives its optimiser, written as it is written everywhere."""
    model, T = PlainGPT(config, attention), config.context_length
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    groups = [
        {"params": decayed},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    how = {"fused": True} if fused_adamw else {}
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, **how)
    data = np.random.default_rng(0).integers(0, config.vocab_size, 100_000)

    def step():
        begin = np.random.randint(0, len(data) - T - 1, batch)
        tokens, targets = (
            torch.from_numpy(np.stack([data[i + d : i + d + T] for i in begin])) for d in (0, 1)
        )
        with torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext():
            logits = model(tokens)  # (B, T, V)
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return optimizer

    return step


def our_step(config: ModelConfig, batch: int, dtype: str, *, compile=False, **chosen):
    """One step of the library as a function that gives its optimiser."""
    fused = chosen.pop("fused_loss", False)
    model = GPT(replace(config, **chosen))
    optimizer = adamw(model, learning_rate=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    data = np.random.default_rng(0).integers(0, config.vocab_size, 100_000)
    batches = Batches(data, context_length=config.context_length, batch_size=batch, seed=0)
    plan = TrainConfig(
        10**6, batch, batch * config.context_length, learning_rate=1e-4, min_learning_rate=1e-5
    )
    loss_fn = fused_loss() if fused else next_token_loss
    how = {
        "config": plan,
        "precision": Precision(torch.device("cpu"), dtype, torch.amp.GradScaler("cpu", enabled=False)),
    }
    how["loss_fn"] = compile_loss(loss_fn) if compile else loss_fn
    steps = itertools.count()

    def step():
        train_step(model, optimizer, batches, step=next(steps), log=False, **how)
        return optimizer

    return step


def made(name: str, batch: int, dtype: str) -> Callable[[], float]:
    """The step of that name in this process: it returns the seconds of the processor that it took."""
    what = {key: value for key, value in EVERY[name].items() if key != "environment"}
    plain, dtype = what.pop("plain", False), what.pop("dtype", dtype)
    step = (plain_step if plain else our_step)(STEP, batch, dtype, **what)

    def timed():
        began = time.process_time()
        optimizer = step()
        took = time.process_time() - began
        optimizer.zero_grad()  # many such steps lie in memory: nobody needs the gradients of the others
        return took

    return timed


class Elsewhere:
    """A step in a process with an environment of its own, which makes one each time that it is asked."""

    def __init__(self, name: str, batch: int, dtype: str):
        words = [f"--serve={name}", f"--batch={batch}", f"--dtype={dtype}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        environment = os.environ | EVERY[name]["environment"]
        self.process = subprocess.Popen([sys.executable, __file__, *words], env=environment, **pipes)

    def __call__(self) -> float:
        print(file=self.process.stdin)
        return float(self.process.stdout.readline())


def serve(step: Callable[[], float]) -> None:
    """One step for each line that comes in."""
    for _ in sys.stdin:
        print(step(), flush=True)


def memory(step: Callable[[], float]) -> None:
    """The MB by which a step raises the most memory this process has had: gradients and averages too."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux
    step()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def product(dtype: torch.dtype, shape: tuple[int, int, int]) -> Callable[[], float]:
    """Seconds for one operation of a product, the quickest of three."""
    m, k, n = shape
    a, b, out = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype), torch.empty(m, n, dtype=dtype)

    def quickest():
        times = []
        for _ in range(3):
            began = time.process_time()
            torch.mm(a, b, out=out)
            times.append(time.process_time() - began)
        return min(times) / (2 * m * k * n)

    return quickest


def ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    """How many times as fast b is as a: the median over the turns."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def main() -> None:
    chosen = options(
        __doc__,
        rounds=(5, "turns"),
        batch=(8, "sequences in a step"),
        batches=([1, 2, 4, 16, 8], "those of which the speed is measured; the last also on two threads"),
        dtype=("bfloat16" if supports_bf16("cpu") else "float32", "of the rungs"),
        serve=("", "make one step of this rung for each line of input"),
        memory_of=("", "print the MB that a step of this rung takes"),
    )
    torch.set_num_threads(1)
    if name := chosen.serve or chosen.memory_of:
        return (serve if chosen.serve else memory)(made(name, chosen.batch, chosen.dtype))
    record = open_record(chosen, threads=1, dtype=chosen.dtype)

    def keep(name: str, said: str, **figures) -> None:
        print(f"{name:28} {said}", flush=True)
        record.write("measurement", name=name, **figures)

    for name in MEMORY:  # before this process is large itself, since a child begins with its parent's peak
        words = [f"--memory-of={name}", f"--batch={chosen.batch}", f"--dtype={chosen.dtype}"]
        done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
        keep(f"memory, {name}", f"{float(done.stdout):.0f} MB", mebibytes=float(done.stdout))

    shapes = {"a square": (2048, 2048, 2048), "the head": (2048, 512, 50304)}
    flops = flops_per_token(STEP) * chosen.batch * STEP.context_length
    for number, group in enumerate(GROUPS, 1):
        names = [name for name in group if EVERY[name].get("dtype") != chosen.dtype]
        runs: dict[str, Callable[[], float]] = {
            name: (Elsewhere if "environment" in EVERY[name] else made)(name, chosen.batch, chosen.dtype)
            for name in names
        }
        rates = {
            f"product, {kind}, {about}": product(getattr(torch, kind), shape)
            for kind in ("float32", "bfloat16")
            for about, shape in shapes.items()
        }
        times = in_turns(runs | rates, chosen.rounds)
        for run in runs.values():
            if isinstance(run, Elsewhere):
                run.process.communicate()
        runs.clear()
        for name in rates:
            rate = 1 / statistics.median(times[name])
            figures = {"flops_per_second": rate, "seconds_per_flop": times[name]}
            keep(name, f"{rate / 1e9:.0f} GFLOP/s", turns=number, **figures)
        for name in names:
            kind = EVERY[name].get("dtype", chosen.dtype)
            measured = (times[f"product, {kind}, {about}"] for about in shapes)
            best = [min(turn) for turn in zip(*measured, strict=True)]
            share = statistics.median(flops * b / t for b, t in zip(best, times[name], strict=True))
            rungs = [*RUNGS]
            before = ASIDE[name][0] if name in ASIDE else rungs[max(0, rungs.index(name) - 1)]
            before = before if before in names else "plain"
            gain, step_gain = ratio(times, "plain", name), ratio(times, before, name)
            seconds = statistics.median(times[name])
            said = (
                f"{seconds:6.2f} s, {gain:.3f} × plain, {step_gain:.3f} × {before}, {share:.0%} of a product"
            )
            figures = {"median_seconds": seconds, "seconds": times[name], "speed_over_plain": gain}
            figures |= {"before": before, "speed_over_before": step_gain, "share_of_product": share}
            keep(name, said, turns=number, **figures)

    by_size = {size: made("fused loss", size, chosen.dtype) for size in chosen.batches}
    times = in_turns(
        {f"{size}": step for size, step in by_size.items()}, max(1, chosen.rounds // 2), warm_up=1
    )
    for size in by_size:
        speed = size * STEP.context_length / statistics.median(times[f"{size}"])
        keep(
            f"batch of {size}",
            f"{speed:,.0f} tokens per second",
            tokens_per_second=speed,
            seconds=times[f"{size}"],
        )
    step = by_size[chosen.batches[-1]]

    def on_the_clock(threads: int) -> float:
        torch.set_num_threads(threads)
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    times = in_turns(
        {"1": lambda: on_the_clock(1), "2": lambda: on_the_clock(2)}, max(1, chosen.rounds // 2), warm_up=1
    )
    torch.set_num_threads(1)
    keep(
        "two threads",
        f"{ratio(times, '1', '2'):.2f} × as fast as one, by the clock",
        speed_over_one=ratio(times, "1", "2"),
        seconds=times,
    )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ids.bin")
        np.random.default_rng(0).integers(0, STEP.vocab_size, 2**24, dtype=np.uint16).tofile(path)
        read = np.memmap(path, dtype=np.uint16, mode="r")
        batches = Batches(read, context_length=STEP.context_length, batch_size=chosen.batch, seed=0)
        batches.batch(0)
        began = time.process_time()
        for i in range(100):
            batches.batch(i)
        seconds = (time.process_time() - began) / 100
    keep("a batch from a file", f"{1e3 * seconds:.2f} ms", seconds_per_batch=seconds)
    record.write("end")


if __name__ == "__main__":
    main()
