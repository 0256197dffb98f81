"""Ranks: several processes that train together without torchrun, and what each of them does in a test.

They are forked from one process that has imported torch once, where the system can: a launch by torchrun
takes some 5 seconds of processor, one of these 0.2."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback

import torch
import torch._dynamo  # optimisers import it, for 2 seconds: once, for all
import torch.distributed as dist

from tests.support.command_line import CHARACTERS
from tests.support.tiny import Batches, T, make_batches, make_config, tiny_gpt
from tinylm.__main__ import main
from tinylm.cli import commands  # noqa: F401  imported once, for all
from tinylm.errors import ConfigError, WorldLost
from tinylm.inference.evaluate import evaluate
from tinylm.runs import paths
from tinylm.text import corpora
from tinylm.training import ddp
from tinylm.training.loop import train
from tinylm.training.provenance import fingerprint

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
        place["LOCAL_WORLD_SIZE"] = str(size)
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


def setting(dropout=0.0, world=ddp.SINGLE, micro=2, frozen=(), **changes):
    """A small GPT, its batches on this rank and its plan: 24 rows a step, for 1, 2, 3 or 4 ranks."""
    sizes = {"micro_batch_size": micro, "tokens_per_step": 24 * T, "log_every": 1, "steps": 20}
    config = make_config(**(sizes | changes)).divided(T, world.size)
    place = {"rank": world.rank, "world_size": world.size, "batch_size": config.micro_batch_size}
    model = tiny_gpt(dropout=dropout, n_layer=2)
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    return model, make_batches(**place), config


class Noting(Batches):
    """Batches that note which rows were read in which step."""

    def batch(self, step, micro_step=0, micro_steps=1):
        batch = super().batch(step, micro_step, micro_steps)
        self.read.extend((step, tuple(row)) for row in batch.tokens.tolist())
        return batch


def trained(world, bucket_bytes=ddp.BUCKET_BYTES, **options):
    """What twenty steps leave: losses, rows read, weights, and how many numbers each reduce summed, with
    a 0 where a backward pass was through with the last of 2 blocks."""
    ddp.BUCKET_BYTES = bucket_bytes
    model, batches, config = setting(world=world, **options)
    batches.__class__, batches.read = Noting, []
    sums, all_reduce = [], dist.all_reduce
    first = model.get_parameter("blocks.1.attn_norm.weight")
    first.register_post_accumulate_grad_hook(lambda p: sums.append(0))

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
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
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
            batch = batches.batch(step)
            for each, averaging in (
                (model, world.averaging(model.parameters())),
                (theirs, contextlib.nullcontext()),
            ):
                each.zero_grad()
                loss = torch.nn.functional.cross_entropy(each(batch.tokens).mT, batch.targets)
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


def uneven():
    """What averages leave where the processes have gradients of other parameters: of all, of 1, of none."""
    with ddp.joined(60) as world:
        named = {name: torch.nn.Parameter(torch.zeros(2)) for name in ("all", "first", "second", "none")}
        named["frozen"] = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
        with world.averaging(named.values()):
            (named["all"].sum() * (world.rank + 1) + named[("first", "second")[world.rank]].sum()).backward()
        return {name: None if p.grad is None else p.grad.tolist() for name, p in named.items()}


def at_odds(odd):
    """What train says on each process where the last one differs by this, and whether it moved a weight."""
    with ddp.joined(60) as world:
        model, batches, config = setting(world=world)
        provenance = {"sizes": (1, 2), "text": "one"}
        if world.rank == world.size - 1 and odd == "weights":
            next(model.parameters()).data[0, 0] += 1e-7
        if world.rank == world.size - 1 and odd == "text":
            provenance["text"] = "another"
        before, said = fingerprint(model), None
        try:
            train(model, batches, config, world=world, provenance=provenance, show_progress=False)
        except ConfigError as error:
            said = str(error)
        return said, fingerprint(model) == before


def silent(seconds):
    """What is said of a process that stops without ending, once another one has been given its time."""
    said = []
    try:
        with ddp.joined(seconds) as world:
            world.first(lambda: time.sleep(world.rank * 1.3 * seconds))
            said.append("rank 1 was waited for")
            if world.rank == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
            world.any(False)
    except WorldLost as error:
        return [*said, str(error)]


def at_fault(rank):
    """What each process ends with where this one makes a mistake, or all do."""
    ddp.LAST_WORDS = 1, 1
    with ddp.joined(60) as world:
        if rank in (None, world.rank):
            raise ConfigError(f"{world.rank} made a mistake")
        world.any(False)


def leaving():
    """How long it takes rank 0 to hear that rank 1 has given up, where an error's frames hold a message, as
    torch's do, and where it goes on living for a while: seconds."""

    def give_up(world):
        work = dist.all_reduce(torch.zeros(9), async_op=True)
        work.wait()
        if world.rank == 1:
            world.device = torch.device("meta")  # as on a card: the group is not destroyed but aborted
            raise WorldLost("another one is gone")
        world.any(False)

    ddp.LAST_WORDS = 9, 9
    began = time.perf_counter()
    try:
        with ddp.joined(60) as world:
            give_up(world)
    except WorldLost:
        return time.perf_counter() - began


def parting():
    """When this process had done its work, which rank 0 takes longer for, and when it was let go."""
    with ddp.joined(60) as world:
        time.sleep(0.5 * (world.rank == 0))
        done = time.monotonic()
    return done, time.monotonic()


def told():
    """What rank 0 makes of a SIGTERM while it reads a file, and who hears the next ones."""
    try:
        with ddp.joined(60) as world:
            if world.rank == 0:
                with contextlib.suppress(Exception):  # the file is damaged, says the reader
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(9)
            world.any(False)
    except WorldLost as error:
        os.kill(os.getpid(), signal.SIGTERM)
        return str(error), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def handlers():
    """Who hears SIGTERM in a world and after it: where nobody did, in a thread, where somebody does."""
    heard = []

    def join():
        with ddp.joined(60):
            heard.append(signal.getsignal(signal.SIGTERM))
        heard.append(signal.getsignal(signal.SIGTERM))

    join()
    thread = threading.Thread(target=join)
    thread.start()
    thread.join()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    join()
    return [getattr(each, "__name__", each) for each in heard]


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def typed(mine, words, odd=None):
    """What `python -m tinylm` returns for these words, with runs kept in `mine` and a short text. Rank 1 has
    another text, or its own runs in a folder below, where that is `odd`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    is_odd = odd if os.environ["RANK"] == "1" else None
    paths.MINE = mine / "1" if is_odd == "runs" else mine
    corpora.GENERATED_CHARACTERS = CHARACTERS + 9_000 * (is_odd == "text")
    return main(words)
