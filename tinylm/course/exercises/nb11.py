"""Exercises of notebook 11_ddp."""

import builtins
import ctypes
import dis
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinylm.course.checks import Check, Ended
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.guard import TooLong
from tinylm.course.slips import Lesson, call

lesson = Lesson(__file__)
WORKER = {"math", "os", "sys", "time", "np", "torch", "nn", "F", "dist", "cross_entropy"}  # it imports these
stop = ctypes.pythonapi.PyThreadState_SetAsyncExc  # raises an error in another thread
PRIMES = (23, 29, 31, 37)  # a sum that holds a piece twice never looks like another piece


def blank(check: Check, result: Any) -> None:
    """End a stub here: a right function returns None, so only `...` means that nothing was attempted."""
    if result is ...:
        check.attempted(result)


def travels(check: Check, answer: Any) -> None:
    """Refuse a function that uses what else the notebook defines: torchrun's worker does not have it."""
    if code := getattr(answer, "__code__", None):
        used = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
        known = WORKER | vars(builtins).keys() | {code.co_name}
        strange = [name for name in sorted(used - known) if name in answer.__globals__]
        told = f"your function goes to another process, which has no {' and no '.join(strange)}"
        check.that(not strange, f"{told}: write it inside")


def with_gradients(seed: int) -> nn.Module:
    """Return a model whose gradients the seed decides; seed 1 has one of zeros. All have the same weights."""
    model = numbered(nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2), nn.Linear(2, 3, bias=False)))
    for i, p in enumerate(model.parameters()):
        p.grad = random(*p.shape, seed=97 * seed + i + 20) * ((seed, i) != (1, 1))
    return model


def flat(model: nn.Module) -> Tensor:
    """Return a copy of all gradients in one row; a missing one counts as zeros."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([grad.flatten() for grad in grads])


def gradients(check: Check, models: list[nn.Module], gone: str) -> Tensor:
    """Return the gradients, (models, numbers). None may be missing, and no weight may have changed."""
    ours = [*with_gradients(0).parameters()]
    pairs = [(p, q) for m in models for p, q in zip(m.parameters(), ours, strict=True)]
    told = "the weights changed: only the .grad of each parameter becomes the mean"
    check.that(all(torch.equal(p, q) for p, q in pairs), told)
    check.that(all(p.grad is not None for p, _ in pairs), f"a .grad is None now: {gone}")
    return torch.stack([flat(model) for model in models])


def in_copies(check: Check, answer: Any, n: int, then: str) -> Any:
    """Return the gradients of n models, or those of all but the first after zeros went into the first's."""
    models = [with_gradients(seed) for seed in range(n)]
    blank(check, answer(models))
    found = gradients(check, models, "every model needs the mean")
    if then == "as they are":
        return found
    for p in models[0].parameters():
        p.grad.zero_()
    return torch.stack([flat(model) for model in models[1:]])


average_gradients = lesson.exercise(
    "average_gradients",
    run=in_copies,
    cases=[(3, "as they are"), (4, "as they are"), (3, "after a change of the first")],
)


def to_backward(check: Check, answer: Any, losses: Tensor, total: int, world_size: int) -> Any:
    """Return the loss, which must lead a backward pass to the losses."""
    own = losses.detach().clone().requires_grad_()
    loss = check.run(lambda: answer(own, total, world_size))  # no copy of these
    told = "backward() must come through: keep it a tensor, without .item(), .detach() and torch.tensor()"
    check.that(isinstance(loss, Tensor) and loss.grad_fn is not None, told)
    check.that(own.grad is None, "leave out backward(): the loop calls it")
    return loss


def scored(n: int) -> Tensor:
    """Return the losses of n tokens, from a forward pass."""
    return (random(n, seed=n).abs() + 1).requires_grad_()


rank_loss = lesson.exercise(
    "rank_loss",
    run=to_backward,
    cases=[(scored(3), 13, 2), (scored(5), 31, 4), (scored(0), 7, 3)],
)


def on_the_wire(check: Check, answer: Any, n: int) -> Any:
    """Return how often each rank sent, and its pieces.

    A piece is its sum, with a number for each rank, and one more number: that sum times the rank where it is.
    Only `send` changes that last number, so nothing can come from the list of another rank."""
    astray = "numbers that never reached it: what `send` returns goes into the list of rank (r + 1) % n"
    sent, one_each = [0] * n, torch.cat([torch.eye(n), torch.arange(n)[:, None]], dim=1)  # (n, n + 1)

    def whole(piece: Any) -> bool:
        return isinstance(piece, Tensor) and piece.shape == (n + 1,)

    def here(r: int, piece: Any) -> bool:
        return whole(piece) and torch.isclose(piece[n], r * piece[:n].sum()).item()

    def send(r: int, piece: Any) -> Tensor:
        check.that(whole(piece), "one piece at a time: send(r, pieces[r][k])")
        check.that(here(r % n, piece), f"rank {r} sends {astray}")
        sent[r % n] += 1
        return torch.cat([piece[:n], (r + 1) % n * piece[:n].sum(0, keepdim=True)])

    pieces = [[PRIMES[k] * own for k in range(n)] for own in one_each]
    blank(check, answer(pieces, send))
    check.that(any(sent), "nothing was sent: a rank gets another's numbers only by send(r, piece)")
    for r, own in enumerate(pieces):
        check.that(all(here(r, piece) for piece in own), f"rank {r} has {astray}")
    return {"sent": sent, "pieces": torch.stack([piece[:n] for own in pieces for piece in own])}


ring_all_reduce = lesson.exercise("ring_all_reduce", run=on_the_wire, cases=[(4,), (3,), (2,)])


def ring_states(n: int) -> Tensor:
    """Return how many ranks' numbers are in each piece, at first and after each round: (2 n - 1, n, n)."""
    pieces, states, sent = [[torch.ones(()) for _ in range(n)] for _ in range(n)], [], []

    def state() -> None:
        states.append(torch.tensor([[float(piece) for piece in own] for own in pieces]))

    def send(r: int, piece: Tensor) -> Tensor:
        if len(sent) % n == 0:  # a round begins: what arrived last has been added
            state()
        sent.append(r)
        return piece.clone()

    ring_all_reduce.given(pieces, send)
    state()
    return torch.stack(states)


def to_worker(check: Check, answer: Any, *case: int) -> Any:
    """Return what a function gives that must do without the rest of the notebook."""
    travels(check, answer)
    return call(check, answer, *case)


rows_of = lesson.exercise(
    "rows_of",
    run=to_worker,
    cases=[(3, 1, 2, 4, 5, 7), (2, 3, 1, 5, 3, 2), (0, 0, 0, 1, 1, 3)],
)


class Together:
    """Ranks as threads: the n-th collective that one of them calls meets the n-th of all others."""

    def __init__(self, size: int) -> None:
        self.size, self.local, self.turn = size, threading.local(), threading.Condition()
        self.calls: list[dict[int, tuple[str, Tensor]]] = []
        self.errors: dict[int, BaseException] = {}
        self.ended = 0

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Return work(rank) of each rank, or raise the first rank's error."""
        results: list[Any] = [None] * self.size

        def one(rank: int) -> None:
            self.local.rank, self.local.calls = rank, 0
            try:
                results[rank] = work(rank)
            except (Exception, TooLong) as error:
                self.errors[rank] = error
            finally:
                with self.turn:
                    self.ended += 1
                    self.turn.notify_all()

        threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(self.size)]
        parts = {name: getattr(self, name) for name in ("all_reduce", "reduce", "broadcast", "all_gather")}
        parts |= {"get_rank": lambda *_, **__: self.local.rank, "get_world_size": lambda *_, **__: self.size}
        parts |= {"barrier": lambda *_, **__: self.meet("barrier", torch.zeros(())) is None}
        with mock.patch.multiple(dist, **parts):
            for thread in threads:
                thread.start()
            try:  # a join() that is broken off takes a thread for ended
                with self.turn:
                    self.turn.wait_for(lambda: self.ended == self.size)
            except TooLong:  # a loop that never ends is stopped in its thread, too
                for thread in filter(threading.Thread.is_alive, threads):
                    stop(ctypes.c_ulong(thread.ident), ctypes.py_object(TooLong))
                raise
        if self.errors:  # that a rank waits for ever is the consequence of another error
            raise min(self.errors.items(), key=lambda item: (isinstance(item[1], Ended), item[0]))[1]
        return results

    def meet(self, name: str, tensor: Any) -> Tensor:
        """Return what all ranks bring, (ranks, ...). A rank that waits for one that has ended gives up."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} takes a tensor, and was given {type(tensor).__name__}")
        with self.turn:
            if self.local.calls == len(self.calls):
                self.calls.append({})
            brought = self.calls[self.local.calls]
            brought[self.local.rank] = name, tensor.detach().clone()
            self.local.calls += 1
            self.turn.notify_all()
            self.turn.wait_for(lambda: len(brought) == self.size or self.ended)
        if len(brought) < self.size or len({(name, own.shape) for name, own in brought.values()}) > 1:
            told = "every rank calls every collective, in the same order"
            raise Ended(f"not yet: some ranks wait for ever, or add wrong tensors: {told}")
        return torch.stack([brought[rank][1] for rank in range(self.size)])

    def all_reduce(self, tensor, op=dist.ReduceOp.SUM, group=None, async_op=False) -> Any:
        """Write the sum, or what `op` says, into every rank's tensor."""
        return self.write(tensor, self.joined("all_reduce", tensor, op), async_op)

    def joined(self, name: str, tensor: Any, op: Any) -> Tensor:
        """Return the sum over all ranks, or what `op` says."""
        ops = {"amax": dist.ReduceOp.MAX, "amin": dist.ReduceOp.MIN, "prod": dist.ReduceOp.PRODUCT}
        if op == dist.ReduceOp.AVG:
            raise RuntimeError("Cannot use ReduceOp.AVG with Gloo")
        how = next((how for how, one in ops.items() if op == one), "sum")
        return getattr(self.meet(name, tensor), how)(0)

    def reduce(self, tensor, dst=0, op=dist.ReduceOp.SUM, group=None, async_op=False) -> Any:
        """Write the sum, or what `op` says, into the tensor of one rank."""
        total = self.joined("reduce", tensor, op)
        return self.write(tensor, total if self.local.rank == dst else tensor.detach().clone(), async_op)

    def broadcast(self, tensor, src=0, group=None, async_op=False) -> Any:
        """Write what one rank has into every rank's tensor."""
        return self.write(tensor, self.meet("broadcast", tensor)[src], async_op)

    def all_gather(self, tensors, tensor, group=None, async_op=False) -> None:
        """Write what every rank has into each rank's list."""
        for place, one in zip(tensors, self.meet("all_gather", tensor), strict=True):
            place.copy_(one)

    def write(self, tensor: Tensor, result: Tensor, later: bool) -> Any:
        """Write the result now, or when wait() of what is returned is called."""
        if later:
            return SimpleNamespace(wait=lambda: tensor.data.copy_(result))
        tensor.data.copy_(result)
        return None


def in_threads(check: Check, answer: Any, n: int) -> Any:
    """Return the gradients of n ranks, each with a model and a thread of its own."""
    travels(check, answer)
    models, together = [with_gradients(seed) for seed in range(n)], Together(n)
    blank(check, together.run(lambda rank: answer(models[rank]))[0])
    found = gradients(check, models, "all_reduce writes into its tensor and returns nothing")
    check.that(together.calls, "no rank hears of another: dist.all_reduce(tensor) adds up over all processes")
    return found


reduce_gradients = lesson.exercise("reduce_gradients", run=in_threads, cases=[(3,), (2,)])


def one_step(check: Check, answer: Any, n: int, V: int) -> Any:
    """Return what is called, the gradient that each optimizer.step() uses, and the loss."""
    travels(check, answer)
    model, calls, used = numbered(nn.Sequential(nn.Embedding(V, 4), nn.Linear(4, V))), [], []
    for p in model.parameters():
        p.data, p.grad = 3 * p.data, torch.ones_like(p)  # the gradient of the step before
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.randint(V, (n, 2, 2, 6), generator=torch.Generator().manual_seed(n))

    def average(model: nn.Module) -> None:
        calls.append("average")
        for i, p in enumerate(model.parameters()):
            p.grad = (p.grad + random(*p.shape, seed=50 + i)) / 2  # of another rank

    def noted(*_: Any) -> None:
        calls.append("step")
        used.append(flat(model))

    optimizer.register_step_pre_hook(noted)
    loss = check.run(answer, model, optimizer, [(one[0], one[1]) for one in ids], average)
    told = "one number is asked, the mean of the losses: .item() takes a number out of a tensor"
    check.that(isinstance(loss, float), told)
    return {"calls": ", ".join(calls), "gradient": used, "loss": loss}


update = lesson.exercise("update", run=one_step, cases=[(4, 7), (3, 5)])

reduce_seconds = lesson.exercise(
    "reduce_seconds",
    cases=[(51_000_000, 6, 1.25e9), (7_000, 3, 400.0), (124_000_000, 2, 4.5e11), (5, 3, 7.0)],
    atol=0.0,
)
