"""Measure what fusing the head with the cross-entropy saves: python tests/benchmarks/fused_loss.py

Forward and backward of the loss alone, in float32 on one thread, at several sizes: first by how many MB each
loss raises the peak memory, in a process of its own; then the times, in turns. The losses are the plain one,
ours, and torch's own where it exists.
"""

import functools
from types import SimpleNamespace

import torch
from benchmark import in_turns, new_process, open_record, options, peak_memory, report
from torch import nn
from torch.nn import functional as F

from tinylm.batch import Batch
from tinylm.model.losses import fused_loss, next_token_loss

# Vocabulary, width of the stream, positions: how many turns.
SIZES = {(50257, 512, 2048): 7, (2048, 128, 5120): 41, (4096, 128, 5120): 41}


class Head(nn.Module):
    """A head and its input: all that the losses need of a GPT."""

    def __init__(self, vocab_size: int, width: int, rows: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size)
        self.stream = nn.Parameter(torch.empty(1, rows, width).normal_())  # (1, N, C)
        self.weight = nn.Parameter(torch.empty(vocab_size, width).normal_(std=0.02))  # (V, C)

    def hidden(self, tokens):
        return self.stream

    def head_weight(self):
        return self.weight

    def forward(self, tokens):
        return F.linear(self.stream, self.weight)  # (1, N, V)


def torchs_loss(model, batch):
    """Compute torch's loss in chunks of 512 positions: its own choice is smaller, and slower on a CPU."""
    pieces = nn.LinearCrossEntropyOptions(batch_chunk_size=512, chunking_method=None)
    chosen = {"reduction": "sum", "options": pieces}
    return F.linear_cross_entropy(model.stream[0], model.weight, batch.targets[0], **chosen), {}


def paths(vocab_size: int, width: int, rows: int) -> dict:
    """Return, by name, functions that compute a loss and its gradients once."""
    torch.manual_seed(0)
    model, targets = Head(vocab_size, width, rows), torch.randint(vocab_size, (1, rows))
    losses = {"plain": next_token_loss, "fused": fused_loss}
    if hasattr(F, "linear_cross_entropy"):
        losses["torch's"] = torchs_loss

    def once(loss_fn):
        model.zero_grad(set_to_none=True)
        (loss_fn(model, Batch(targets, targets))[0].sum() / rows).backward()

    return {name: functools.partial(once, loss_fn) for name, loss_fn in losses.items()}


def memory(name: str, sizes: tuple[int, int, int]) -> float:
    """Return the MiB by which this loss raises the peak memory of this process."""
    torch.set_num_threads(1)
    run = paths(*sizes)[name]
    paths(5, 7, 3)[name]()  # torch loads some libraries at first use: do not count them
    before = peak_memory()
    run()
    return peak_memory() - before


def main() -> None:
    chosen = options(__doc__)
    torch.set_num_threads(1)
    record = open_record(chosen, threads=1, sizes=list(SIZES))
    for sizes in SIZES:
        for name in paths(5, 7, 3):
            with new_process() as process:
                size = process.submit(memory, name, sizes).result()
            print(f"V={sizes[0]}, {name}: {size:.0f} MB", flush=True)
            record.write("measurement", name=f"memory, V={sizes[0]}, {name}", mebibytes=size)
    times, ratios = {}, []
    for sizes, rounds in SIZES.items():
        taken = in_turns(paths(*sizes), rounds)
        names = {name: f"V={sizes[0]}, {name}" for name in taken}
        times |= {names[name]: seconds for name, seconds in taken.items()}
        ratios += [(names[name], names["plain"]) for name in taken if name != "plain"]
    report(record, times, ratios)


if __name__ == "__main__":
    main()
