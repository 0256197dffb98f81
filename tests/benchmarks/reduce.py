"""Measure what averaging the gradients of two processes costs:
torchrun --standalone --nproc-per-node=2 tests/benchmarks/reduce.py

It times forward and backward of one micro-batch on each process, in turns: without an average; with an
average by hand after the backward pass; and in torch's DistributedDataParallel, which begins to send during
the backward pass. A turn ends when all processes have finished.
"""

import time

import torch
from benchmark import command, in_turns, open_record, options, report

from tinylm.batch import Batch
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import next_token_loss
from tinylm.training import ddp

SHAPE = ModelConfig(vocab_size=4096, context_length=128, n_layer=6, n_head=6, n_embd=384)


def cases(rows, world):
    """Return, by name, functions that do one turn and return the seconds that it took."""
    ids = torch.randint(SHAPE.vocab_size, (rows, SHAPE.context_length + 1))
    batch = Batch(ids[:, :-1], ids[:, 1:])

    def by_hand(model):
        for p in model.parameters():
            p.grad.copy_(world.mean(p.grad))

    def made(maker=ddp.SINGLE, after=lambda model: None):
        model = GPT(SHAPE, generator=torch.Generator().manual_seed(0))
        engine = maker.engine(model, next_token_loss)

        def turn():
            model.zero_grad(set_to_none=True)
            world.any(False)
            began = time.perf_counter()
            engine(batch)[0].mean().backward()
            after(model)
            world.any(False)
            return time.perf_counter() - began

        return turn

    return {"no average": made(), "by hand": made(after=by_hand), "torch's DDP": made(maker=world)}


def main():
    chosen = options(__doc__, rounds=(20, "turns"), rows=(2, "of a micro-batch"))
    with ddp.joined(120) as world:
        if world.size == 1:
            raise SystemExit("start this with torchrun: the command is in --help")
        times = in_turns(cases(chosen.rows, world), chosen.rounds)
        if world.rank == 0:
            n = sum(p.numel() for p in GPT(SHAPE).parameters())
            print(f"{n:,} parameters, {world.size} processes")
            pairs = [("torch's DDP", "by hand"), ("torch's DDP", "no average")]
            typed = command().replace("python", f"torchrun --standalone --nproc-per-node={world.size}")
            report(open_record(chosen, command=typed, parameters=n, processes=world.size), times, pairs)


if __name__ == "__main__":
    main()
