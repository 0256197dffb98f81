"""Ranks: several processes that train together without torchrun, and what each of them does in a test.

They are forked from one process that has imported torch once, where the system can: a launch by torchrun
takes some 5 seconds of processor, one of these 0.2."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import traceback

import torch
import torch._dynamo  # optimisers import it, for 2 seconds: once, for all
import torch.distributed as dist

from tests.support.command_line import CHARACTERS
from tests.support.tiny import Batches, T, make_batches, make_config, tiny_gpt
from tinylm.__main__ import main
from tinylm.cli import commands  # noqa: F401  imported once, for all
from tinylm.inference.evaluate import evaluate
from tinylm.runs import paths
from tinylm.text import corpora
from tinylm.training import ddp
from tinylm.training.loop import train

PATIENCE = 120  # seconds
_stores = []
METHOD = "spawn" if sys.platform == "win32" else "forkserver"


def context():
    """Where the processes come from."""
    made = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        made.set_forkserver_preload(["tests.support.ranks"])
    return made


def start(size, work, *options, folder=None, **variables):
    """Processes that call work(*options), which stands in a module, with torchrun's variables; and a pipe
    from each. What they print goes to files in `folder`. They meet in this process, as in torchrun's."""
    _stores.append(dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_stores[-1].port), "OMP_NUM_THREADS": "1"}
    meeting |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    started = []
    for rank in range(size):
        place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        ours, theirs = context().Pipe(duplex=False)
        words = (theirs, ddp.environment() | meeting | place | variables, folder, work, options)
        process = context().Process(target=_rank, args=words, daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(size, work, *options, **more):
    """What work(*options) returns in each of so many processes, by rank."""
    results = []
    started = start(size, work, *options, **more)
    for process, pipe in started:
        with contextlib.suppress(EOFError):
            results.append(pipe.recv() if pipe.poll(PATIENCE) else "no answer")
        process.join(PATIENCE)
        process.kill()
    assert len(results) == size and not (bad := [r for r in results if isinstance(r, str)]), "\n".join(bad)
    return [result for (result,) in results]


def _rank(pipe, variables, folder, work, options):
    os.environ.update(variables)
    if folder is not None:
        out = os.open(folder / f"rank{variables['RANK']}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    torch.set_num_threads(1)
    try:
        pipe.send((work(*options),))
    except Exception:
        pipe.send(traceback.format_exc())


def setting(dropout=0.0, world=ddp.SINGLE, micro=2, **changes):
    """A small GPT, its batches on this rank and its plan: 24 rows a step, for 1, 2, 3 or 4 ranks."""
    sizes = {"micro_batch_size": micro, "tokens_per_step": 24 * T, "log_every": 1, "steps": 20}
    config = make_config(**(sizes | changes)).divided(T, world.size)
    place = {"rank": world.rank, "world_size": world.size, "batch_size": config.micro_batch_size}
    return tiny_gpt(dropout=dropout, n_layer=2), make_batches(**place), config


class Noting(Batches):
    """Batches that note which rows were read in which step."""

    def batch(self, step, micro_step=0, micro_steps=1):
        tokens, targets = super().batch(step, micro_step, micro_steps)
        self.read.extend((step, tuple(row)) for row in tokens.tolist())
        return tokens, targets


def trained(world, **options):
    """What twenty steps leave: losses, rows read, weights, and how many numbers each reduce summed."""
    model, batches, config = setting(world=world, **options)
    batches.__class__, batches.read = Noting, []
    sums, all_reduce = [], dist.all_reduce

    def counted(tensor, *args, **kwargs):
        sums.append(tensor.numel())
        return all_reduce(tensor, *args, **kwargs)

    dist.all_reduce = counted
    try:
        history = train(model, batches, config, world=world, show_progress=False)
    finally:
        dist.all_reduce = all_reduce
    ids = make_batches().tokens
    return {
        "losses": [float(step.loss) for step in history.steps],
        "norms": [step.grad_norm for step in history.steps],
        "rows": batches.read,
        "weights": torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy(),
        "sums": sums,
        "parameters": sum(p.numel() for p in model.parameters()),
        "evaluation": evaluate(model, ids, world=None if world is ddp.SINGLE else world, batch_size=5).loss,
    }


def train_here(options):
    """Train in this process's world."""
    with ddp.joined(60) as world:
        return trained(world, **options)


def beside_torchs(bucket_bytes):
    """The greatest difference between our averages and what torch's DistributedDataParallel makes of the same
    losses, relative to the greatest gradient, in a model of many buckets; and how many buckets there were."""
    ddp.BUCKET_BYTES = bucket_bytes
    with ddp.joined(60) as world:
        model, batches, _ = setting(world=world)
        theirs, _, _ = setting(world=world)
        theirs = torch.nn.parallel.DistributedDataParallel(theirs)
        worst = 0.0
        for step in range(3):
            tokens, targets = batches.batch(step)
            for each, averaging in (
                (model, world.averaging(model.parameters())),
                (theirs, contextlib.nullcontext()),
            ):
                each.zero_grad()
                loss = torch.nn.functional.cross_entropy(each(tokens).flatten(0, 1), targets.flatten())
                with averaging:
                    loss.backward()
            for a, b in zip(model.parameters(), theirs.parameters(), strict=True):
                worst = max(worst, float((a.grad - b.grad).abs().max() / b.grad.abs().max()))
        # One that outlives the group takes it down while it holds Python's lock, which gloo's thread may be
        # waiting for: one process in fifteen never ended (torch 2.13).
        del theirs, each
        return worst, len([*ddp._buckets(model.parameters())])


def said(values):
    """What rank 0 has, on every rank; a sum, a mean, and whether any says so."""
    with ddp.joined(60) as world:
        mine = values if world.rank == 0 else None
        number = torch.tensor([1.5, world.rank])
        more = world.sum(number).tolist(), world.mean(number).tolist(), number.tolist()
        order = []
        world.first(lambda: order.append(world.rank))
        return world.broadcast(mine), *more, world.any(world.rank == 1), world.any(False), order


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def typed(mine, words):
    """What `python -m tinylm` returns for these words, with runs kept in `mine` and a short text."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    paths.MINE, corpora.GENERATED_CHARACTERS = mine, CHARACTERS
    return main(words)
