"""The world: how many processes train together, which of them this is, and what they tell one another.

One process is the null object SINGLE, so that step, loop, evaluation and records are written once. Several
are started by torchrun, which tells each its place by variables: `joined` reads them. torch.distributed is
named here alone. Taught in notebook 11_ddp. Source: Li et al. 2020, arXiv:2006.15704, section 3.2."""

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from tinylm.device import best_device, hardware
from tinylm.errors import ConfigError, WorldLost, require_count

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
MEETING = ("MASTER_ADDR", "MASTER_PORT")
BUCKET_BYTES = 25 * 2**20  # of gradients that travel together, as in torch's DistributedDataParallel
LAST_WORDS = 8, 2  # seconds that the others leave to rank 0 to say it; when one is lost, it may be rank 0
LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # what a machine calls itself
_joined = itertools.count()


class World:
    """One process. Rank 0 is the one that writes files and decides when to save and to stop."""

    rank, size, on_machine = 0, 1, 1  # the last is how many of them share this machine

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return best_device()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, the same on each of them."""
        return value

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, the same on each of them."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        return flag

    def averaging(self, parameters: Iterable[nn.Parameter]) -> contextlib.AbstractContextManager[None]:
        """Around the last backward pass of a step: then each .grad is its mean over all processes."""
        return contextlib.nullcontext()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each .grad by its mean over all processes, after the backward pass."""
        with self.averaging(parameters):
            pass

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has: anything that JSON holds."""
        return value

    def first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns. Rank 0 calls it alone; when it is done the others do, and find its files.

        That may take hours, such as to prepare a corpus: nobody is timed meanwhile. Then all have it."""
        return make()


SINGLE = World()


class Processes(World):
    """Several processes, on one machine or more, each with its copy of the model. Made by `joined`.

    Every method is called by all of them, in the same order. Raises WorldLost where another one has ended or
    did not answer in time."""

    device = torch.device("cpu")  # also beside an Apple GPU, which cannot be shared in this way

    def __init__(self, rank: int, size: int, on_machine: int, store: dist.Store) -> None:
        self.rank, self.size, self.on_machine = rank, size, on_machine
        self._store, self._turns = store, itertools.count()

    def sum(self, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        with self._asking():
            dist.all_reduce(total)
        return total

    def mean(self, value: Tensor) -> Tensor:
        return self.sum(value) / self.size

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(int(flag))))

    @contextlib.contextmanager
    def averaging(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """Around the last backward pass of a step: then each .grad is its mean over all processes, bit for
        bit the same on each of them.

        They travel in flat buckets of about 25 MB, the last parameters first, because the backward pass comes
        to those first: a bucket leaves as soon as it is full and those before it have left, while the pass
        goes on. That is for cards, whose cables work beside them: on 2 cores it gains nothing, and costs what
        torch's does, data/runs/reduce.jsonl. Every process must have gradients of the same parameters."""
        buckets, under_way = [*_buckets([*parameters][::-1])], []
        place = {p: i for i, bucket in enumerate(buckets) for p in bucket}
        missing = [len(bucket) for bucket in buckets]

        def arrived(p: nn.Parameter | None) -> None:
            if p is not None:
                missing[place[p]] -= 1
            while (i := len(under_way)) < len(buckets) and (p is None or not missing[i]):
                grads = [p.grad for p in buckets[i] if p.grad is not None]
                flat = torch.cat([grad.reshape(-1) for grad in grads]) if grads else torch.zeros(0)
                with self._asking():
                    under_way.append((grads, flat, dist.all_reduce(flat, async_op=True)))

        hooks = [p.register_post_accumulate_grad_hook(arrived) for p in place if p.requires_grad]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        arrived(None)  # what no gradient of this pass belongs to, and those after it
        for grads, flat, work in under_way:
            with self._asking():
                work.wait()
            flat /= self.size
            for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=False):
                grad.copy_(part.view_as(grad))  # which keeps its order in memory, whatever that is

    def broadcast(self, value: Any) -> Any:
        said = json.dumps(value).encode() if self.rank == 0 else b""
        length = torch.tensor(len(said))
        with self._asking():
            dist.broadcast(length, src=0)
            letters = torch.tensor(list(said) or [0] * int(length), dtype=torch.uint8)
            dist.broadcast(letters, src=0)
        return json.loads(bytes(letters.tolist()))

    def first(self, make: Callable[[], Any]) -> Any:
        turn = f"turn-{next(self._turns)}"
        with self._asking():
            while self.rank > 0 and not self._store.check([turn]):
                if self._store.check(["told"]):
                    self._lost()
                time.sleep(0.05)
        made = make()
        with self._asking():
            self._store.set(turn, "done")
        self.any(False)
        return made

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._lost(error)

    def _lost(self, error: Exception | None = None) -> NoReturn:
        asked = f"rank {self.rank} of {self.size} asked"
        raise WorldLost(f"the connection to another process is gone ({asked}): start all again") from error

    def _tell(self, error: BaseException) -> None:
        """Rank 0 says that it ends with an error. Another one whose error is no news ends without a word."""
        with contextlib.suppress(RuntimeError):  # the store may be gone as well
            if self.rank == 0:
                return self._store.set("told", "")
            for _ in range(LAST_WORDS[isinstance(error, WorldLost)] * 20):
                if self._store.check(["told"]):
                    raise SystemExit(2) from error
                time.sleep(0.05)


@contextlib.contextmanager
def joined(timeout_seconds: float = 600.0) -> Iterator[World]:
    """The world that torchrun has started this process in, which is left at the end; SINGLE without torchrun.

    Each process computes on the card of its number on the machine, or on its part of the processor's cores.
    A process that does not answer for `timeout_seconds` is lost. When one ends with an error so do the others
    in seconds, and one of them says why: rank 0, unless the fault is another's alone. SIGTERM, which torchrun
    sends to the rest, raises WorldLost, but in training: there it is what Ctrl-C is. Raises ConfigError for
    variables of torchrun that are half set, and where there are fewer cards than processes."""
    if not any(name in os.environ for name in PLACE):
        yield SINGLE
        return
    rank, size, local, on_machine = _place()
    card, backend = best_device(), "gloo"
    if card.type != "cpu" and dist.is_nccl_available():
        cards, backend = torch.get_device_module(card), f"cpu:gloo,{card.type}:nccl"
        if on_machine > (n := cards.device_count()):
            raise ConfigError(f"{on_machine} processes on a machine with {n} GPUs: use --nproc-per-node={n}")
        cards.set_device(local)
    elif os.environ.get("OMP_NUM_THREADS", "1") == "1":  # torchrun's own choice, whatever the machine
        os.environ.pop("OMP_NUM_THREADS", None)
        torch.set_num_threads(max(1, hardware()["cores"] // on_machine))
    if size == on_machine and (name := LOOPBACK.get(sys.platform)):  # that of a laptop may lead nowhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store, *_ = next(rendezvous("env://", timeout=timeout))
        store = dist.PrefixStore(f"joined-{next(_joined)}", store)  # the last time's keys are still there
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise WorldLost(f"rank {rank} of {size} did not find the others ({why}): start all again") from error
    world = Processes(rank, size, on_machine, store)
    if backend != "gloo":
        world.device = torch.device(card.type, local)
    signal.signal(signal.SIGTERM, told_to_end)
    try:
        world.any(False)  # nobody goes on, to a refusal perhaps, while another is still looking for the rest
        yield world
    except (Exception, KeyboardInterrupt) as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is to be said is said
        if isinstance(error, WorldLost):
            dist.destroy_process_group()  # at once, for those who wait for this one
        world._tell(error)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        if signal.getsignal(signal.SIGTERM) is told_to_end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def told_to_end(*_: object) -> NoReturn:
    """What SIGTERM does in one of several processes, outside the loop."""
    raise WorldLost("this process was told to end, because another one did or the machine is needed")


def environment() -> dict[str, str]:
    """The variables for torchrun where it is started by a program, such as a notebook: it says nothing of
    threads, a machine calls itself by its own name, and on Windows uses the store that its torch has."""
    name = LOOPBACK.get(sys.platform)
    system = {"GLOO_SOCKET_IFNAME": name} if name else {"USE_LIBUV": "0"}
    return os.environ | {"OMP_NUM_THREADS": "1"} | system


def _place() -> tuple[int, int, int, int]:
    """rank, size, number on this machine and how many are on it, from torchrun's variables."""
    there = [name for name in (*PLACE, *MEETING) if os.environ.get(name)]
    if missing := ", ".join(name for name in (*PLACE, *MEETING) if name not in there):
        way_out = "start the processes with torchrun, or unset what is set"
        raise ConfigError(f"{missing} is not set, and {', '.join(there)} is: {way_out}")
    try:
        rank, size, local = (int(os.environ[name]) for name in PLACE)
        on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except ValueError as error:
        raise ConfigError(f"torchrun's variables hold no whole numbers ({error}): start it anew") from None
    require_count("WORLD_SIZE", size)
    require_count("RANK", rank, least=0, most=size - 1)
    require_count("LOCAL_WORLD_SIZE", on_machine, most=size)
    require_count("LOCAL_RANK", local, least=0, most=on_machine - 1)
    return rank, size, local, on_machine


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in their order, in lists that have BUCKET_BYTES or a little more."""
    bucket: list[nn.Parameter] = []
    for p in parameters:
        bucket.append(p)
        if sum(p.nbytes for p in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
