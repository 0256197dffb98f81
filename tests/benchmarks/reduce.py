"""What does averaging the gradients of two processes cost? Run by hand:
torchrun --standalone --nproc-per-node=2 tests/benchmarks/reduce.py

Times forward and backward of one micro-batch on each process, in turns: without a reduce; with ours, which
begins while the backward pass still goes on; with ours after it; and in torch's DistributedDataParallel,
which begins early too. A turn ends when all processes have.
"""

import time
from contextlib import nullcontext

import torch
from benchmark import command, in_turns, open_record, options, report

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training import ddp


def cases(config, rows, world):
    """What is timed, by its name: functions without arguments that return the seconds they took."""
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1))

    def made(wrap=lambda model: model, averaging=lambda _: nullcontext(), after=lambda _: None):
        raw = GPT(config, generator=torch.Generator().manual_seed(0))
        model = wrap(raw)

        def turn():
            raw.zero_grad(set_to_none=True)
            world.any(False)
            began = time.perf_counter()
            logits = model(ids[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            with averaging(raw.parameters()):
                loss.backward()
            after(raw.parameters())
            world.any(False)
            return time.perf_counter() - began

        return turn

    return {
        "no reduce": made(),
        "ours": made(averaging=world.averaging),
        "ours, after the pass": made(after=world.average_gradients),
        "torch's DDP": made(wrap=torch.nn.parallel.DistributedDataParallel),
    }


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
            names = ("torch's DDP", "ours, after the pass", "no reduce")
            pairs = [("ours", name) for name in names] + [(names[1], names[0])]
            typed = command().replace("python", f"torchrun --standalone --nproc-per-node={world.size}")
            report(open_record(chosen, command=typed, parameters=n, processes=world.size), times, pairs)


if __name__ == "__main__":
    main()
