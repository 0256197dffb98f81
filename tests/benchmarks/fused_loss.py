"""What does fusing the head with the cross-entropy save? Run by hand: python tests/benchmarks/fused_loss.py

Forward and backward of the loss alone, in float32 on one thread, at each vocabulary: first by how many MB a
path raises the most memory that was in use, each in a process of its own; then the times, in turns. The paths
are the plain one, ours, and torch's own where it exists. "3 products" is what no path can do without.
"""

from types import SimpleNamespace

import torch
from benchmark import in_turns, new_process, open_record, options, peak_memory, report
from torch import nn
from torch.nn import functional as F

from tinylm.batch import Batch
from tinylm.model.losses import fused_loss, next_token_loss


class Head(nn.Module):
    """A head and the stream that reaches it: what the losses ask of a GPT."""

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
    """torch's, in pieces of 512 positions: left to choose, it cuts small and is slower on a processor."""
    pieces = nn.LinearCrossEntropyOptions(batch_chunk_size=512, chunking_method=None)
    chosen = {"reduction": "sum", "options": pieces}
    return F.linear_cross_entropy(model.stream[0], model.weight, batch.targets[0], **chosen), {}


def paths(vocab_size: int, width: int, rows: int) -> dict:
    """For each path by its name, what computes the loss and its gradients once."""
    torch.manual_seed(0)
    model, targets = Head(vocab_size, width, rows), torch.randint(vocab_size, (1, rows))
    losses = {"plain": next_token_loss, "fused": fused_loss}
    if hasattr(F, "linear_cross_entropy"):
        losses["torch's"] = torchs_loss

    def once(loss_fn):
        model.zero_grad(set_to_none=True)
        (loss_fn(model, Batch(targets, targets))[0].sum() / rows).backward()

    @torch.no_grad()
    def products():
        logits = F.linear(model.stream[0], model.weight)  # (N, V)
        return logits @ model.weight, logits.t() @ model.stream[0]

    runs = {name: lambda loss_fn=loss_fn: once(loss_fn) for name, loss_fn in losses.items()}
    return runs | {"3 products": products}


def memory(name: str, sizes: tuple[int, int, int]) -> float:
    """Return the MiB by which this path raises the peak memory of this process."""
    torch.set_num_threads(1)
    run = paths(*sizes)[name]
    paths(5, 7, 3)[name]()  # torch loads some libraries at first use: they belong to no path
    before = peak_memory()
    run()
    return peak_memory() - before


def main() -> None:
    chosen = options(
        __doc__,
        vocabularies=([50257, 2048, 4096], "their sizes"),
        widths=([512, 128, 128], "of the stream, one for each"),
        rows=([2048, 5120, 5120], "positions, as many for each"),
        rounds=([7, 41, 41], "turns for each"),
    )
    torch.set_num_threads(1)
    cases = list(zip(chosen.vocabularies, chosen.widths, chosen.rows, strict=True))
    record = open_record(chosen, threads=1)
    for sizes in cases:
        for name in paths(5, 7, 3):
            with new_process() as process:
                size = process.submit(memory, name, sizes).result()
            print(f"V={sizes[0]}, {name}: {size:.0f} MB", flush=True)
            record.write("measurement", name=f"memory, V={sizes[0]}, {name}", mebibytes=size)
    times, ratios = {}, []
    for sizes, rounds in zip(cases, chosen.rounds, strict=True):
        taken = in_turns(paths(*sizes), rounds)
        names = {name: f"V={sizes[0]}, {name}" for name in taken}
        times |= {names[name]: seconds for name, seconds in taken.items()}
        ratios += [(names[name], names["plain"]) for name in taken if name != "plain"]
    report(record, times, ratios)


if __name__ == "__main__":
    main()
