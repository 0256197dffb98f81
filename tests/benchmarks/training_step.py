"""Measure one training step beside a plain one: python tests/benchmarks/training_step.py [--record NAME]

Measure three ratios for the 0.8M character model (4 layers, 4 heads, 128 wide, context 64, batch 12,
float32): the library's step over that of a plain hand-written GPT; the library's `train` over bare steps; and
one step of an optimiser on the matrices of the blocks: ours (float32, all matrices of a shape at once) beside
torch.optim.Muon (bfloat16, one after the other) and fused AdamW. On a processor without bfloat16 arithmetic
in hardware torch's Muon is many times slower; with it the two are close, and ours still does not round.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import torch
from benchmark import in_turns, open_record, options, report
from steps import our_step, plain_step, random_ids

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.muon import MuonAdamW
from tinylm.training.optim import build_optimizer

T, B = 64, 12  # context length, sequences in a batch
SHAPE = ModelConfig(vocab_size=65, context_length=T, n_layer=4, n_head=4, n_embd=128)


def repeated(step: Callable, n: int) -> Callable[[], None]:
    """Return a function that does n steps."""

    def run() -> None:
        for _ in range(n):
            step()

    return run


def trained(n: int) -> Callable[[], None]:
    """Return a function that calls `train` for n steps."""
    model = GPT(SHAPE)
    batches = Batches(random_ids(SHAPE), context_length=T, batch_size=B, seed=0)
    config = TrainConfig(n, B, B * T, warmup_steps=5, dtype="float32")

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # the progress bar costs time, but nobody reads it
            train(model, batches, config)

    return run


def muon_groups() -> list[dict[str, Any]]:
    """Return a new model's groups that Muon updates, each parameter with a gradient."""
    muon = build_optimizer(GPT(SHAPE), TrainConfig(optimizer="muon", weight_decay=0.0))
    groups = [group for group in muon.param_groups if group["kind"] == "muon"]
    for p in (p for group in groups for p in group["params"]):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    return groups


def optimizer_steps() -> dict[str, Callable]:
    """Return, by name, functions that do one step of an optimiser."""
    matrices, others = ([p for group in muon_groups() for p in group["params"]] for _ in range(2))
    optimizers = {"Muon": MuonAdamW(muon_groups()), "AdamW": torch.optim.AdamW(matrices, lr=1e-3, fused=True)}
    if hasattr(torch.optim, "Muon"):  # torch 2.9 and newer
        optimizers["torch.optim.Muon"] = torch.optim.Muon(others, lr=0.02, weight_decay=0.0)
    return {name: optimizer.step for name, optimizer in optimizers.items()}


def main() -> None:
    chosen = options(__doc__, rounds=(15, "turns"), steps=(60, "in each turn"))
    steps = {
        "plain step, torch's default AdamW": plain_step(SHAPE, B, "float32"),
        "plain step, fused AdamW": plain_step(SHAPE, B, "float32", fused_adamw=True),
        "library step": our_step(SHAPE, B, "float32"),
    }
    optimizers = optimizer_steps()
    runs = {name: repeated(step, chosen.steps) for name, step in (steps | optimizers).items()}
    runs["library train()"] = trained(chosen.steps)
    record = open_record(chosen)
    pairs = [("library step", name) for name in runs if name.startswith("plain")]
    pairs += [("library train()", "library step"), *((name, "Muon") for name in optimizers if name != "Muon")]
    turns = in_turns(runs, chosen.rounds)
    report(record, {name: [taken / chosen.steps for taken in turns[name]] for name in runs}, pairs)


if __name__ == "__main__":
    main()
