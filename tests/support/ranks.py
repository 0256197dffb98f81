"""Ranks: several processes that train together without torchrun, and what each of them does in a test.

They are forked from one process that has imported torch once, where the system can: a launch by torchrun
takes some 5 seconds of processor, one of these 0.2."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import time
import traceback

import torch
import torch._dynamo  # optimisers import it, for 2 seconds: once, for all
import torch.distributed as dist

from tests.support.command_line import CHARACTERS
from tests.support.tiny import Batches, T, make_batches, make_config, tiny_gpt
from tinylm.__main__ import main
from tinylm.cli import commands  # noqa: F401  imported once, for all
from tinylm.device import whole
from tinylm.errors import ConfigError, TinyLMError, WorldLost
from tinylm.inference.evaluate import evaluate
from tinylm.model.losses import next_token_loss
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
    from each. What they print goes to files in `folder`, where errors are recorded as torchrun asks for them.
    They meet in this process, as in torchrun's."""
    _stores.append(dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_stores[-1].port), "OMP_NUM_THREADS": "1"}
    meeting |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    started = []
    for rank in range(size):
        place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        place["LOCAL_WORLD_SIZE"] = str(size)
        if folder is not None:
            place["TORCHELASTIC_ERROR_FILE"] = str(folder / f"error{rank}.json")
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


def setting(dropout=0.0, world=ddp.SINGLE, micro=2, frozen=(), choice=None, shape=None, **changes):
    """A small GPT, its batches on this rank and its plan: 24 rows a step, for 1, 2, 3 or 4 ranks."""
    sizes = {"micro_batch_size": micro, "tokens_per_step": 24 * T, "log_every": 1, "steps": 20}
    config = make_config(**(sizes | changes)).divided(T, world.size)
    place = {"rank": world.rank, "world_size": world.size, "batch_size": config.micro_batch_size}
    model = tiny_gpt(dropout=dropout, n_layer=2, **(shape or {}))
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    return model, make_batches(**place, **(choice or {})), config


class Noting(Batches):
    """Batches that note which rows were read in which step."""

    def batch(self, step, micro_step=0, micro_steps=1):
        batch = super().batch(step, micro_step, micro_steps)
        self.read.extend((step, tuple(row)) for row in batch.tokens.tolist())
        return batch


def trained(world, **options):
    """What twenty steps leave: losses, norms, rows read, weights, an evaluation, and the steps saved here."""
    model, batches, config = setting(world=world, **options)
    batches.__class__, batches.read = Noting, []
    saved = []
    save = lambda state: saved.append(state.progress.step) or "a name"  # noqa: E731
    history = train(model, batches, config, world=world, save=save, show_progress=False)
    ids = make_batches().tokens[: 11 * T + 1]  # 11 rows, 5 at once: not as many on each of 2 processes
    return {
        "losses": [float(step.loss) for step in history.steps],
        "norms": [step.grad_norm for step in history.steps],
        "rows": batches.read,
        "saved": saved,
        "biases": [block.mlp.router_bias.tolist() for block in model.blocks if model.config.router_bias],
        "weights": torch.cat([whole(p).reshape(-1) for p in model.state_dict().values()]).numpy(),
        "evaluation": evaluate(model, ids, world=None if world is ddp.SINGLE else world, batch_size=5).loss,
    }


def train_here(options, fsdp=False):
    """Train in this process's world."""
    with ddp.joined(60, fsdp=fsdp) as world:
        return trained(world, **options)


def gradients():
    """This process's gradients after the first and after the second of two micro-batches."""
    with ddp.joined(60) as world:
        model, batches, _ = setting(world=world)
        engine, found = world.engine(model, next_token_loss), []
        for micro_step in range(2):
            with contextlib.nullcontext() if micro_step else world.accumulating(engine):
                engine(batches.batch(0, micro_step, 2))[0].sum().backward()
            found.append(digest(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).numpy()))
        return found


def each_with_a_clock(seconds):
    """The steps after which this process saved, and whether the run was interrupted: SIGTERM comes to rank 1
    in an evaluation. Each process has save_seconds of its own, as if their clocks differed."""
    with ddp.joined(60, fsdp=True) as world:
        model, batches, config = setting(world=world, eval_every=4)
        saved = []

        def evaluate(state):
            if world.rank == 1 and state.progress.step == 8:
                signal.raise_signal(signal.SIGTERM)
            return 1.0

        save = lambda state: saved.append(state.progress.step) or "a name"  # noqa: E731
        options = {"evaluate": evaluate, "save": save, "save_seconds": seconds[world.rank]}
        history = train(model, batches, config, world=world, show_progress=False, **options)
        return saved, history.interrupted


def said(values):
    """What rank 0 has, on every rank; a sum, a mean, and whether any says so."""
    with ddp.joined(60) as world:
        mine = values if world.rank == 0 else None
        number = torch.tensor([1.5, world.rank])
        more = world.sum(number).tolist(), world.mean(number).tolist(), number.tolist()
        order = []
        world.first(lambda: order.append(world.rank))
        return world.broadcast(mine), *more, world.any(world.rank == 1), world.any(False), order


def uneven(rank):
    """What a run ends with on each process where a parameter has no part in this rank's loss, or in any."""

    def loss_fn(model, batch):
        nats, metrics = next_token_loss(model, batch)
        return nats + (0 if rank in (None, world.rank) else model.extra.sum()), metrics

    try:
        with ddp.joined(60) as world:
            model, batches, config = setting(world=world)
            model.extra = torch.nn.Parameter(torch.zeros(2))
            before = fingerprint(model)
            train(model, batches, config, world=world, loss_fn=loss_fn, show_progress=False)
    except TinyLMError as error:
        return f"{type(error).__name__}: {error}", fingerprint(model) == before


def at_odds():
    """What train says on each process where the last one has other weights, and whether it moved none."""
    with ddp.joined(60) as world:
        model, batches, config = setting(world=world)
        if world.rank == world.size - 1:
            next(model.parameters()).data[0, 0] += 1e-7
        before = fingerprint(model)
        try:
            train(model, batches, config, world=world, show_progress=False)
        except ConfigError as error:
            return str(error), fingerprint(model) == before


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


def abandoned(rank):
    """End as the one process of two that looks for the other."""
    if os.environ["RANK"] == str(rank):
        with ddp.joined(1):
            pass


def at_fault(rank):
    """What each process ends with where this one makes a mistake, or all do."""
    with ddp.joined(60) as world:
        if rank in (None, world.rank):
            raise ConfigError(f"{world.rank} made a mistake")
        world.any(False)


def parting():
    """When this process had done its work, which rank 0 takes longer for, and when it was let go."""
    with ddp.joined(60) as world:
        time.sleep(0.5 * (world.rank == 0))
        done = time.monotonic()
    return done, time.monotonic()


def told():
    """End as a process that gets SIGTERM while it reads a file."""
    with ddp.joined(60) as world:
        if world.rank == 0:
            with contextlib.suppress(Exception):  # the file is damaged, says the reader
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(9)
        world.any(False)


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
