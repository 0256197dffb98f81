"""How fast is one training step? Run by hand: python tests/benchmarks/training_step.py [--record NAME]

Two ratios for the 0.8M character model (4 layers, 4 heads, 128 wide, context 64, batch 12, float32):
the library's step over that of the plainest hand-written GPT below, and the library's `train` over bare
steps. Rounds are interleaved and medians taken, because the machine is never quiet. Never fails on time.
With --record the figures are written to data/mine/NAME, for `make promote RUN=NAME`.
"""

import argparse
import contextlib
import io
import os
import shlex
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinylm.device import Precision
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs.records import RunRecord, record_header
from tinylm.runs.run import new_folder
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.optim import adamw
from tinylm.training.step import train_step

V, T, B, L, H, C = 65, 64, 12, 4, 4, 128


class PlainBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (
            part.view(b, t, H, C // H).transpose(1, 2) for part in self.qkv(self.ln1(x)).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, C))  # (B, T, C)
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))  # (B, T, C)


class PlainGPT(nn.Module):
    """The same model with nothing around it: what a person would write first."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(L)))
        self.norm, self.head = nn.LayerNorm(C), nn.Linear(C, V, bias=False)
        self.tokens.weight = self.head.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight[: tokens.size(1)]  # (B, T, C)
        return self.head(self.norm(self.blocks(x)))  # (B, T, V)


def plain_steps(model, optimizer, data, n):
    began = time.perf_counter()
    for _ in range(n):
        begin = np.random.randint(0, len(data) - T - 1, B)
        tokens = torch.from_numpy(np.stack([data[i : i + T] for i in begin]))  # (B, T)
        targets = torch.from_numpy(np.stack([data[i + 1 : i + 1 + T] for i in begin]))  # (B, T)
        loss = F.cross_entropy(model(tokens).view(-1, V), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (time.perf_counter() - began) / n


def library_steps(model, optimizer, batches, config, n):
    precision = Precision.of("cpu", "float32")
    began = time.perf_counter()
    for step in range(n):
        train_step(model, optimizer, batches, step=step, config=config, precision=precision, log=False)
    return (time.perf_counter() - began) / n


def library_train(model, optimizer, batches, config):
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # the bar is drawn and counted, but not shown here
        train(model, batches, config, optimizer=optimizer, show_progress=True)
    return (time.perf_counter() - began) / config.steps


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--record", metavar="NAME", help="keep the figures in data/mine/NAME")
    chosen = parser.parse_args()
    where = new_folder("training_step", chosen.record) / "record.jsonl" if chosen.record else None
    header = record_header(
        "benchmark",
        name="training_step",
        command=shlex.join(["python", "tests/benchmarks/training_step.py", *sys.argv[1:]]),
        device="cpu",
        dtype="float32",
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2),
        rounds=chosen.rounds,
        steps=chosen.steps,
    )
    data = np.random.default_rng(0).integers(0, V, 100_000)
    batches = Batches(data, context_length=T, batch_size=B, seed=0)
    config = TrainConfig(steps=chosen.steps, warmup_steps=5, dtype="float32")
    library, plain = (
        GPT(ModelConfig(vocab_size=V, context_length=T, n_layer=L, n_head=H, n_embd=C)),
        PlainGPT(),
    )
    optimizer = adamw(library, learning_rate=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    plain_optimizers = {
        "torch's default AdamW": torch.optim.AdamW(plain.parameters(), lr=1e-3),
        "fused AdamW": torch.optim.AdamW(plain.parameters(), lr=1e-3, fused=True),
    }
    runs = {
        f"plain step, {name}": (lambda o=o: plain_steps(plain, o, data, chosen.steps))
        for name, o in plain_optimizers.items()
    }
    runs["library step"] = lambda: library_steps(library, optimizer, batches, config, chosen.steps)
    runs["library train()"] = lambda: library_train(library, optimizer, batches, config)
    times = {name: [] for name in runs}
    for round_ in range(chosen.rounds + 1):
        for name, run in runs.items():
            seconds = run()
            if round_:  # the first round warms up
                times[name].append(seconds)

    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {chosen.rounds} rounds")
    with RunRecord(where, header) as record:
        for name, values in times.items():
            print(f"{name:36} {statistics.median(values) * 1e3:7.2f} ms (quickest {min(values) * 1e3:.2f})")
            record.write("measurement", name=name, median_seconds=statistics.median(values), seconds=values)
        pairs = [("library step", name) for name in list(runs)[:2]]
        for a, b in [*pairs, ("library train()", "library step")]:
            # the median of ratios within a round: both sides saw the same neighbours
            ratio = statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))
            print(f"{a} / {b}: {ratio:.3f}")
            record.write("measurement", name=f"{a} / {b}", ratio=ratio)


if __name__ == "__main__":
    main()
