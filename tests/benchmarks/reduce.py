"""What does averaging the gradients of two processes cost? Run by hand:
torchrun --standalone --nproc-per-node=2 tests/benchmarks/reduce.py

Times forward and backward of one micro-batch on each process, in turns: without an average; with an average
made by hand after the backward pass; and in torch's DistributedDataParallel, which begins to send while the
pass still goes on. A turn ends when all processes have.
"""

import time

import torch
from benchmark import command, in_turns, open_record, options, report

from tinylm.batch import Batch
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import next_token_loss
from tinylm.training import ddp


def cases(config, rows, world):
    """What is timed, by its name: functions without arguments that return the seconds they took."""
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1))
    batch = Batch(ids[:, :-1], ids[:, 1:])

    def by_hand(model):
        for p in model.parameters():
            p.grad.copy_(world.mean(p.grad))

    def made(maker=ddp.SINGLE, after=lambda model: None):
        model = GPT(config, generator=torch.Generator().manual_seed(0))
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
    sizes = {"n_layer": 6, "n_head": 6, "n_embd": 384, "context_length": 128, "vocab_size": 4096}
    shape = {name: (size, "of the model") for name, size in sizes.items()}
    chosen = options(__doc__, rounds=(20, "turns"), rows=(2, "of a micro-batch"), **shape)
    config = ModelConfig(**{name: getattr(chosen, name) for name in sizes})
    with ddp.joined(120) as world:
        if world.size == 1:
            raise SystemExit("start it with torchrun, as it says at the top")
        times = in_turns(cases(config, chosen.rows, world), chosen.rounds)
        if world.rank == 0:
            n = sum(p.numel() for p in GPT(config).parameters())
            print(f"{n:,} parameters, {world.size} processes")
            pairs = [("torch's DDP", "by hand"), ("torch's DDP", "no average")]
            typed = command().replace("python", f"torchrun --standalone --nproc-per-node={world.size}")
            report(open_record(chosen, command=typed, parameters=n, processes=world.size), times, pairs)


if __name__ == "__main__":
    main()
