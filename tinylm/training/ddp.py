"""The world: how many processes train together, which one this is, and what they exchange.

One process is the null object SINGLE, so that step, loop, evaluation and records are written once. Several
are started by torchrun and joined by `joined`; torch's own DistributedDataParallel averages their gradients.
Where a model does not fit one GPU, fsdp leaves a part of it to each process. torch.distributed is named in
these two files alone.
Taught in notebook 11_ddp. Source: Li et al. 2020, arXiv:2006.15704, section 3.2."""

import contextlib
import functools
import itertools
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from tinylm.device import best_device, hardware
from tinylm.errors import ConfigError, WorldLost
from tinylm.model.losses import LossFn

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the network interface by which a machine reaches itself
_joined = itertools.count()


class World:
    """A world of one process. Rank 0 writes all files and decides when to save and when to stop."""

    rank, size, on_machine = 0, 1, 1  # on_machine: how many of the processes share this machine
    is_sharded = False  # whether each process keeps only its part of the weights

    @property
    def device(self) -> torch.device:
        """Return the device on which this process computes."""
        return best_device()

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, the same on each of them."""
        return value

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, the same on each of them."""
        return value

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any process."""
        return flag

    def check(self, optimizer: str) -> None:
        """Raise ConfigError for an optimiser that these processes cannot use together."""

    def shard(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Leave to each process its part of a model and of its optimiser's state, if that is asked for."""

    def engine(self, model: nn.Module, loss_fn: LossFn) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
        """Return engine(batch) -> (nats (B, T), metrics): the loss of this model, as a step computes it.

        After the backward pass of this loss each .grad is its mean over all processes."""
        return functools.partial(loss_fn, model)

    def accumulating(self, engine: Any) -> contextlib.AbstractContextManager[None]:
        """Return the context for all micro-batches of a step but the last: their gradients stay local."""
        return contextlib.nullcontext()

    def exchanging(self) -> contextlib.AbstractContextManager[None]:
        """Return the context for a backward pass: what torch says there of a lost process is a WorldLost."""
        return contextlib.nullcontext()

    def check_gradients(self, model: nn.Module) -> None:
        """Raise ConfigError if a trainable parameter got no gradient, which only several processes mind."""

    def reshard(self, model: nn.Module) -> None:
        """Give up what a forward pass has gathered of the others' weights, before the weights are saved."""

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return the value that rank `source` has. It can be anything that pickle takes."""
        return value

    def meet(self) -> None:
        """Wait for all other processes, however long they take, unless one of them is lost."""

    def first(self, make: Callable[[], Any]) -> Any:
        """Return make(). Rank 0 calls it first and alone; the others follow and find the files it wrote.

        Rank 0 may take hours, for example to prepare a corpus: no time-out applies. All return together."""
        return make()


SINGLE = World()


class Objective(nn.Module):
    """A model and its loss as one module, whose forward pass computes the loss."""

    def __init__(self, model: nn.Module, loss_fn: LossFn) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss_fn(self.model, batch)


class Processes(World):
    """Several processes, on one machine or more, each with its copy of the model. Made by `joined`.

    Every method must be called by all of them, in the same order. They raise WorldLost at once when another
    process has ended or torchrun is gone, and after the time-out when another process doesn't answer.

    This holds over gloo, which the tests cover. They do not cover nccl. There, gradients wait in the GPU's
    queue for a lost process, where Python doesn't see them. Python hears of the loss over gloo, before the
    next step. If it waits for the GPU before that, as a logged step does, it hears nothing: torchrun kills
    the process after 30 seconds, or nccl's watchdog does after the time-out."""

    device = torch.device("cpu")  # also beside an Apple GPU, which processes cannot share in this way

    def __init__(self, rank: int, size: int, on_machine: int) -> None:
        self.rank, self.size, self.on_machine = rank, size, on_machine
        self._parent = os.getppid()
        self._engines: list[DistributedDataParallel] = []

    def sum(self, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        with self.exchanging():
            dist.all_reduce(total)
        return total

    def mean(self, value: Tensor) -> Tensor:
        return self.sum(value) / self.size

    def any(self, flag: bool) -> bool:
        is_orphan = os.getppid() != self._parent  # nobody would end this process when another one is lost
        flags = self.sum(torch.tensor([int(flag), int(is_orphan)]))
        if flags[1]:
            raise WorldLost("torchrun, which started these processes, is gone: start it again")
        return bool(flags[0])

    def engine(self, model: nn.Module, loss_fn: LossFn) -> DistributedDataParallel:
        with self.exchanging(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # an argument has a new name, unknown to torch 2.6
            # Buffers are equal by construction: the same on all ranks at first, then changed by averaged
            # metrics. As views of the buckets that are sent, gradients need no second copy of themselves.
            engine = DistributedDataParallel(
                Objective(model, loss_fn), broadcast_buffers=False, gradient_as_bucket_view=True
            )
        self._engines.append(engine)
        return engine

    def accumulating(self, engine: DistributedDataParallel) -> contextlib.AbstractContextManager[None]:
        return engine.no_sync()

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            # Only by their words can the errors of a backward pass be told apart: gloo's have no class.
            if not isinstance(error, dist.DistError) and not re.search("gloo|nccl|socket", str(error), re.I):
                raise
            lost = f"rank {self.rank} of {self.size} lost the connection to another process"
            raise WorldLost(f"{lost} ({_first_words(error)}): start all processes again") from error

    def check_gradients(self, model: nn.Module) -> None:
        # DistributedDataParallel sends a bucket once it is full. One that never is would leave the ranks with
        # gradients of their own, or waiting for one another.
        for name, p in model.named_parameters():
            if p.requires_grad and p.grad is None:
                remedy = "freeze it with requires_grad_(False), or let the loss depend on it in every batch"
                raise ConfigError(f"{name} got no gradient on rank {self.rank} of {self.size}: {remedy}")

    def broadcast(self, value: Any, source: int = 0) -> Any:
        values = [value]
        with self.exchanging():
            dist.broadcast_object_list(values, src=source)
        return values[0]

    def meet(self) -> None:
        options, pause = dist.AllreduceOptions(), 0.001
        options.timeout = timedelta(days=99)
        with self.exchanging():
            work = dist.group.WORLD.allreduce([torch.zeros(1)], options)
            while not work.is_completed():
                time.sleep(pause := min(0.05, pause * 1.5))  # in Python, where signals are heard
            work.wait()

    def first(self, make: Callable[[], Any]) -> Any:
        if self.rank > 0:
            self.meet()
        made = make()
        if self.rank == 0:
            self.meet()
        self.meet()
        return made

    def leave(self) -> None:
        """Empty the engines, then leave the process group. Do not wait for others: they may be lost.

        What is in a DistributedDataParallel must not outlive its group: Python would free it, holding its
        lock, for which gloo's thread may be waiting. 1 process in 15 never ended (torch 2.13). Something may
        still refer to the engine, such as a traceback, so it is emptied and not only forgotten."""
        for engine in self._engines:
            engine.__dict__.clear()
        if self.device.type == "cpu":
            dist.destroy_process_group()
        else:  # nccl would wait
            dist.distributed_c10d._abort_process_group()


@contextlib.contextmanager
def joined(timeout_seconds: float = 600.0, *, fsdp: bool = False) -> Iterator[World]:
    """Join the process group that torchrun started this process in, and leave it at the end.

    Yield SINGLE where torchrun's variables are not set. Each process computes on the GPU of its number on the
    machine, or on its share of the processor's cores. A process that doesn't answer for `timeout_seconds` is
    lost. When one process ends with an error, so do the others within seconds. Rank 0 raises the error; the
    others end with exit code 2. SIGTERM, which torchrun sends to the rest, ends a process with a sentence,
    except in training: there it is the same as Ctrl-C. With `fsdp` the world is `Sharded`. Raises ConfigError
    if torchrun's variables are incomplete or wrong, if there are fewer GPUs than processes, and for `fsdp`
    with one process."""
    if fsdp and os.environ.get("WORLD_SIZE", "1") == "1":
        raise ConfigError("fsdp divides a model among processes and there is 1: start several with torchrun")
    if not any(name in os.environ for name in PLACE):
        yield SINGLE
        return
    try:
        rank, size, local, on_machine = (int(os.environ[name]) for name in PLACE)
    except (KeyError, ValueError) as error:
        unset = f"start the processes with torchrun, which sets it, or unset {', '.join(PLACE)}"
        raise ConfigError(f"a variable is missing or is not an integer: {error}; {unset}") from None
    card, backend = best_device(), "gloo"
    if card.type != "cpu" and dist.is_nccl_available():
        cards, backend = torch.get_device_module(card), f"cpu:gloo,{card.type}:nccl"
        if on_machine > (n := cards.device_count()):
            raise ConfigError(f"{on_machine} processes on a machine with {n} GPUs: use --nproc-per-node={n}")
        cards.set_device(local)
    elif os.environ.get("OMP_NUM_THREADS", "1") == "1":  # torchrun's own choice, on any machine
        os.environ.pop("OMP_NUM_THREADS", None)
        torch.set_num_threads(max(1, hardware()["cores"] // on_machine))
    if size == on_machine and (name := LOOPBACK.get(sys.platform)):  # a laptop's other one may lead nowhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store, *_ = next(rendezvous("env://", timeout=timeout))
        # The store still holds the keys of processes that torchrun has replaced, and of an earlier group.
        store = dist.PrefixStore(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT')}-{next(_joined)}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    except (RuntimeError, ValueError) as why:  # ValueError: MASTER_ADDR or MASTER_PORT is not set
        lost = f"rank {rank} of {size} did not find the other processes ({_first_words(why)})"
        _end(rank, WorldLost(f"{lost}: start all processes again"))
    kind = Processes
    if fsdp:
        from tinylm.training.fsdp import Sharded as kind  # which is made of Processes
    world = kind(rank, size, on_machine)
    if backend != "gloo":
        world.device = torch.device(card.type, local)
    before = signal.signal(signal.SIGTERM, told_to_end)
    try:
        world.any(False)  # wait: one process may go on to a refusal while others still look for it
        yield world
        world.meet()  # torchrun ends the others when one ends early
    except Exception as error:
        before = signal.SIG_IGN
        _end(rank, error)
    finally:
        world.leave()
        signal.signal(signal.SIGTERM, before)


def _end(rank: int, error: Exception) -> NoReturn:
    """Record an error for torchrun. Rank 0 raises it; any other only ends, so that it is printed once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's next one must not cut the sentence off
    get_error_handler().record_exception(error)
    if rank > 0 and "TORCHELASTIC_ERROR_FILE" in os.environ:
        time.sleep(1)  # torchrun ends rank 0 when this process ends: let it print the same refusal first
        raise SystemExit(2) from error
    raise error


def told_to_end(*_: object) -> NoReturn:
    """Handle SIGTERM in one of several processes, outside the training loop: rank 0 prints a sentence.

    SystemExit is no Exception, so no reader of files takes it for damage."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun hands each signal on a second time
    why = "another process ended, or the machine is needed"
    raise SystemExit(f"tinylm: torchrun ended this process: {why}" if os.environ["RANK"] == "0" else 2)


def environment() -> dict[str, str]:
    """Return the environment for a torchrun that a program starts, such as a notebook.

    It sets one thread (torchrun would warn), the loopback interface, and on Windows torch's only store."""
    name = LOOPBACK.get(sys.platform)
    system = {"GLOO_SOCKET_IFNAME": name} if name else {"USE_LIBUV": "0"}
    return os.environ | {"OMP_NUM_THREADS": "1"} | system


def _first_words(error: Exception) -> str:  # without the place in torch's sources
    return re.match(r"(?:\[[^]]*\] )?(.*?)(?:\. |\n|$)", str(error))[1]
