"""What does averaging the gradients of two processes cost? Run by hand:
torchrun --standalone --nproc-per-node=2 tests/benchmarks/reduce.py

Times forward and backward of one micro-batch on each process, in turns: without a reduce; with our
average_gradients after the backward pass; the same begun by hooks while it still goes on; and in torch's
DistributedDataParallel, which does that too. A turn ends when all processes have.
"""

import time

import torch
import torch.distributed as dist
from benchmark import command, in_turns, open_record, options, report

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training import ddp


class Overlapped:
    """The same buckets, last parameter first, each sent as soon as its last gradient is there."""

    def __init__(self, parameters, world):
        self.world, self.under_way = world, []
        for p in parameters:  # a bucket is made by the sizes of gradients
            p.grad = torch.zeros_like(p)
        for bucket in ddp._buckets([*parameters][::-1]):
            left = [len(bucket)]
            for p in bucket:
                p.register_post_accumulate_grad_hook(lambda p, b=bucket, left=left: self._ready(b, left))

    def _ready(self, bucket, left):
        left[0] -= 1
        if left[0] == 0:
            left[0] = len(bucket)
            flat = torch.cat([p.grad.reshape(-1) for p in bucket])
            self.under_way.append((bucket, flat, dist.all_reduce(flat, async_op=True)))

    def finish(self):
        for bucket, flat, work in self.under_way:
            work.wait()
            flat /= self.world.size
            for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                p.grad.copy_(part.view_as(p))
        self.under_way.clear()


def cases(config, rows, world):
    """What is timed, by its name: functions without arguments that return the seconds they took."""
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1))

    def made(wrap=lambda model: model, after=lambda model: None):
        raw = GPT(config, generator=torch.Generator().manual_seed(0))
        model = wrap(raw)

        def turn():
            raw.zero_grad(set_to_none=True)
            world.any(False)
            began = time.perf_counter()
            logits = model(ids[:, :-1])
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            after(raw)
            world.any(False)
            return time.perf_counter() - began

        return turn, raw

    plain, _ = made()
    ours, _ = made(after=lambda model: world.average_gradients(model.parameters()))
    theirs, _ = made(wrap=torch.nn.parallel.DistributedDataParallel)
    hooks = []
    overlapped, model = made(after=lambda model: hooks[0].finish())
    hooks.append(Overlapped(model.parameters(), world))
    return {"no reduce": plain, "ours": ours, "ours, overlapped": overlapped, "torch's DDP": theirs}


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
            pairs = [("ours", "torch's DDP"), ("ours, overlapped", "torch's DDP"), ("ours", "no reduce")]
            typed = command().replace("python", f"torchrun --standalone --nproc-per-node={world.size}")
            report(open_record(chosen, command=typed, parameters=n, processes=world.size), times, pairs)


if __name__ == "__main__":
    main()
