"""How fast is one training step? Run by hand: python tests/benchmarks/training_step.py [--record NAME]

Two ratios for the 0.8M character model (4 layers, 4 heads, 128 wide, context 64, batch 12, float32):
the library's step over that of the plainest hand-written GPT below, and the library's `train` over bare
steps.
"""

import contextlib
import io
import time

import numpy as np
import torch
import torch.nn.functional as F
from benchmark import in_turns, open_record, options, report
from torch import nn

from tinylm.device import Precision
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
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


def plain_step(model, optimizer, data):
    begin = np.random.randint(0, len(data) - T - 1, B)
    tokens = torch.from_numpy(np.stack([data[i : i + T] for i in begin]))  # (B, T)
    targets = torch.from_numpy(np.stack([data[i + 1 : i + 1 + T] for i in begin]))  # (B, T)
    loss = F.cross_entropy(model(tokens).view(-1, V), targets.view(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main():
    chosen = options(__doc__, rounds=(15, "turns"), steps=(60, "in each turn"))
    data = np.random.default_rng(0).integers(0, V, 100_000)
    batches = Batches(data, context_length=T, batch_size=B, seed=0)
    config = TrainConfig(steps=chosen.steps, warmup_steps=5, dtype="float32")
    library = GPT(ModelConfig(vocab_size=V, context_length=T, n_layer=L, n_head=H, n_embd=C))
    own = adamw(library, learning_rate=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    precision, plain = Precision.of("cpu", "float32"), PlainGPT()
    default = torch.optim.AdamW(plain.parameters(), lr=1e-3)
    fused = torch.optim.AdamW(plain.parameters(), lr=1e-3, fused=True)

    def library_step(step):
        train_step(library, own, batches, step=step, config=config, precision=precision, log=False)

    def library_train():
        began = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # the bar is drawn and counted, but not shown here
            train(library, batches, config, optimizer=own)
        return (time.perf_counter() - began) / config.steps

    def steps(run):
        """The seconds of one step, as the mean over a turn's."""
        began = time.perf_counter()
        for step in range(chosen.steps):
            run(step)
        return (time.perf_counter() - began) / chosen.steps

    runs = {
        "plain step, torch's default AdamW": lambda: steps(lambda _: plain_step(plain, default, data)),
        "plain step, fused AdamW": lambda: steps(lambda _: plain_step(plain, fused, data)),
        "library step": lambda: steps(library_step),
        "library train()": library_train,
    }
    record = open_record(chosen)
    pairs = [("library step", name) for name in runs if name.startswith("plain")]
    report(record, in_turns(runs, chosen.rounds), [*pairs, ("library train()", "library step")])


if __name__ == "__main__":
    main()
