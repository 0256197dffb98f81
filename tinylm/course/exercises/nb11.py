"""Exercises of notebook 11_ddp."""

import builtins
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
from tinylm.course.slips import Lesson, call

lesson = Lesson(
    "11",
    "import torch\nimport torch.distributed as dist\nfrom tinylm.model.losses import cross_entropy",
)
WORKER = {"math", "os", "sys", "time", "np", "torch", "nn", "F", "dist", "cross_entropy"}  # it imports these
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
        p.grad = random(*p.shape, seed=97 * seed + i) * ((seed, i) != (1, 1))
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
    "11.1 · average the gradients",
    """
    def average_gradients(models):
        for copies in zip(*(model.parameters() for model in models)):
            mean = torch.stack([p.grad for p in copies]).mean(0)
            for p in copies:
                p.grad = mean.clone()
    """,
    run=in_copies,
    cases=[(3, "as they are"), (4, "as they are"), (3, "after a change of the first")],
    said="every .grad becomes the mean of the models' gradients",
    slips="""
    .mean(0) -> .sum(0) :: this is the sum: divide it by the number of models
    .mean(0) -> .sum(0) / 4 :: there are not always 4 models: divide by len(models)
    .mean(0) -> .mean(0) / len(models) :: divided by the number of models twice
    .mean(0) -> .sum(0) / len(list(models[0].parameters()))
        :: divided by the number of parameters: divide by the number of models
    .mean(0) -> .mean() && mean.clone() -> mean.expand_as(p).clone()
        :: one number for a whole matrix: take the mean over dim 0 only
    for p in copies: ⏎ p.grad = mean.clone() -> copies[0].grad = mean
        :: only the first model has the mean: the others need it too
    for p in copies: ⏎ p.grad = mean.clone() -> grad = mean
        :: no .grad has changed: write the mean into each p.grad of each model
    mean.clone() -> copies[0].grad.clone() :: this is the gradient of one model, given to all
    mean.clone() -> copies[-1].grad.clone() :: this is the gradient of the last model, given to all
    mean.clone() -> p.grad + mean :: the mean is added to each gradient: let it replace them
    mean.clone() -> mean
        :: all models share one tensor as .grad, and clipping one clips them all: mean.clone()
    for p in copies: ⏎ p.grad = mean.clone() -> for p in copies: ⏎     p.grad = mean.clone() ⏎ break
        :: only the first parameter has the mean: go through all of them
    mean = torch.stack([p.grad for p in copies]).mean(0) -> && mean.clone()
        -> torch.stack([q.grad for q in copies]).mean(0)
        :: a mean written already went into the next one: compute it first, then write it
    mean = torch.stack([p.grad for p in copies]).mean(0) -> mean = copies[0].grad ⏎ for p in copies[1:]:
        ⏎     mean = (mean + p.grad) / 2
        :: (a + b) / 2 again and again gives the last model half of the weight
    [p.grad for p -> [p.data for p && p.grad = -> p.data = :: the weights changed
    mean.clone() -> None :: a .grad is None now
    = for model in models: ⏎     model.grad = sum(m.grad for m in models) / len(models)
        :: a model has no .grad: its parameters have
    zip(*( -> zip(( :: zip needs the star: zip(*(...)) brings the copies of one parameter together
    """,
)


def to_backward(check: Check, answer: Any, losses: Tensor, total: int, world_size: int) -> Any:
    """Return the loss, which must lead a backward pass to the losses."""
    loss = call(check, answer, losses, total, world_size)
    told = "backward() must come through: keep it a tensor, without .item() and .detach()"
    check.that(isinstance(loss, Tensor) and loss.requires_grad, told)
    return loss


def scored(n: int) -> Tensor:
    """Return the losses of n tokens, from a forward pass."""
    return (random(n, seed=n).abs() + 1).requires_grad_()


rank_loss = lesson.exercise(
    "11.2 · ranks of unequal size",
    """
    def rank_loss(losses, total, world_size):
        return losses.sum() * world_size / total
    """,
    run=to_backward,
    cases=[(scored(3), 13, 2), (scored(5), 31, 4), (scored(0), 7, 3)],
    said="the sum of the losses · world_size / total",
    slips="""
    losses.sum() * world_size / total -> losses.mean()
        :: the mean of this rank: ranks with few tokens count too much
    * world_size / total -> / total :: the average divides by world_size once more: multiply by it
    losses.sum() * world_size / total -> losses.sum()
        :: this is the sum: divide it by the tokens of all ranks, and multiply by world_size
    / total -> :: the tokens of all ranks are missing: divide by total
    * world_size / total -> / world_size :: divide by the tokens of all ranks, not by world_size
    / total -> / len(losses) :: divide by the tokens of all ranks, `total`, not by your own
    * world_size / total -> / (total * world_size)
        :: multiply by world_size, which the average divides by: yours is divided by both
    * world_size / total -> * total / world_size :: upside down: multiply by world_size, and divide by total
    losses.sum() -> losses.mean() :: sum, not mean: the mean has already divided by your own tokens
    losses.sum() -> losses.mean() * len(losses)
        :: a rank that scores no token has the mean nan: losses.sum() is 0 there
    losses.sum() -> losses.sum() * len(losses)
        :: your own tokens do not count twice: losses.sum() has them all
    losses.sum() * world_size / total -> losses.mean() * total / world_size
        :: total / world_size is the mean number of tokens of a rank: divide the sum by it
    losses.sum() -> losses :: one number is asked: the sum over the losses
    losses.sum() -> losses.sum().item() :: without .item()
    return -> loss = :: is `return` missing?
    """,
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


ring_all_reduce = lesson.exercise(
    "11.3 · the ring",
    """
    def ring_all_reduce(pieces, send):
        n = len(pieces)
        for i in range(n - 1):  # reduce-scatter
            for r in range(n):
                right, k = (r + 1) % n, (r - i) % n
                pieces[right][k] = pieces[right][k] + send(r, pieces[r][k])
        for i in range(n - 1):  # all-gather
            for r in range(n):
                right, k = (r + 1) % n, (r + 1 - i) % n
                pieces[right][k] = send(r, pieces[r][k])
    """,
    run=on_the_wire,
    cases=[(4,), (3,), (2,)],
    said="each of {0} ranks sends 2 · (n − 1) pieces, and each piece becomes the sum over the ranks",
    slips="""
    range(n - 1):  # all-gather -> range(0):
        :: after n − 1 rounds each rank has one finished piece: pass these on for n − 1 more
    range(n - 1):  # reduce-scatter -> range(0):
        :: nothing was added up: the first n − 1 rounds add what arrives
    range(n - 1):  # all-gather -> range(n): :: one round too many: each half has n − 1 rounds
    range(n - 1) -> range(n) :: one round too many: each half has n − 1 rounds
    range(n - 1) -> range(n - 2) :: one round too few: n − 1 rounds in each half
    pieces[right][k] = send -> pieces[right][k] = pieces[right][k] + send
        :: some numbers are in a sum twice: in the second half the finished piece replaces the old
    pieces[right][k] + send -> send
        :: no sum goes round: add in the first half, begin the second with piece (r + 1) % n
    (r - i) -> (r + i)
        :: some sums are not complete: rank r sends what it has just added to, piece (r − i) % n
    (r - i) % n -> r :: some sums are not complete: rank r sends another piece in each round, (r − i) % n
    (r + 1 - i) % n -> (r - i) % n
        :: no sum goes round: add in the first half, begin the second with piece (r + 1) % n
    (r + 1 - i) % n -> (r + 1 + i) % n
        :: in the second half rank r sends what has just arrived, piece (r + 1 − i) % n
    for i in range(n - 1):  # reduce-scatter ⏎ for r in range(n): -> for r in range(n):
        ⏎     for i in range(n - 1): :: in a round every rank sends before the next round begins
    pieces[right][k] = pieces[right][k] + -> j = (k + 1) % n ⏎ pieces[right][j] = pieces[right][j] +
        :: a piece was put in the place of another: what arrives is piece k again
    for i in range(n - 1):  # all-gather -> for own in pieces: ⏎     own[:] = [piece / n for piece in own]
        ⏎ for i in range(n - 1): :: the sum is asked, not the mean
    (r + 1) % n -> r + 1 :: take the remainder, % n: rank n is rank 0, and piece n is piece 0
    pieces[right][k] + send(r, pieces[r][k]) -> send(r, pieces[r][k]) ⏎ pieces[right][k] += pieces[r][k]
        :: never reached it
    pieces[right][k] = send(r, pieces[r][k]) -> send(r, pieces[r][k]) ⏎ pieces[right][k] = pieces[r][k]
        :: never reached it
    (r + 1) % n -> (r - 1) % n :: never reached it
    = for k, column in enumerate(zip(*pieces)): ⏎     for own in pieces: ⏎         own[k] = sum(column)
        :: does not use its argument `send`
    pieces[right][k] = send(r, pieces[r][k]) -> send(r, pieces[r][k])
        :: what arrives is thrown away: put it into the neighbour's list
    send(r, pieces[r][k]) -> send(r, k) :: one piece at a time
    send(r, pieces[r][k]) -> send(r, torch.stack(pieces[r]))[k] :: one piece at a time
    """,
)


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
    "11.4 · the rows of a rank",
    """
    def rows_of(step, micro_step, rank, micro_steps, world_size, size):
        first = ((step * micro_steps + micro_step) * world_size + rank) * size
        return range(first, first + size)
    """,
    run=to_worker,
    cases=[(3, 1, 2, 4, 5, 7), (2, 3, 1, 5, 3, 2), (0, 0, 0, 1, 1, 3)],
    said="step {0}, micro-step {1} of {3}, rank {2} of {4}, {5} rows each",
    slips="""
    (step * micro_steps + micro_step) * world_size + rank
        -> (step * world_size + rank) * micro_steps + micro_step
        :: the order is step, micro-batch, rank: the parts of a micro-batch are neighbours
    (step * micro_steps + micro_step) * world_size + rank -> (rank + step) * micro_steps + micro_step
        :: each rank would meet another's rows in a later step: rank comes last
    + rank) * size -> + rank) :: each rank reads `size` rows: `first` is a number of rows, so times size
    = first = (step * micro_steps + micro_step) * world_size * size
        ⏎ return range(first + rank, first + world_size * size, world_size)
        :: the rows of a rank are side by side: first, first + 1, …
    return range(first, first + size) -> return first
        :: that is where the rows begin: return all `size` of them
    return range(first, first + size) -> return [first]
        :: that is where the rows begin: return all `size` of them
    first + size) -> first + size - 1) :: range(a, b) ends before b: first + size
    first + size) -> first + size + 1) :: one row too many: range(first, first + size) has `size` rows
    range(first, first + size) -> range(first + size, first + 2 * size) :: count ranks and steps from 0
    range(first, first + size) -> range(first) :: a range begins and ends: range(first, first + size)
    range(first, first + size) -> range(first, size) :: a range ends at a row, not after a count: first + size
    step * micro_steps + micro_step -> step + micro_step
        :: a step has micro_steps micro-batches: step · micro_steps + micro_step
    step * micro_steps + micro_step -> step :: every micro-batch reads the same rows: add micro_step
    micro_step) * world_size + rank -> micro_step) + rank
        :: a micro-step has world_size ranks: multiply by world_size before you add rank
    (step * micro_steps + micro_step) * world_size + rank
        -> step * micro_steps * world_size + micro_step + rank
        :: only the step is multiplied by world_size: the micro-step is, too
    world_size + rank) * size -> world_size * size + rank) :: multiply all of it by `size`, the rank too
    world_size + rank) -> world_size)
        :: all ranks read the same rows: your function does not use its argument `rank`
    return -> rows = :: is `return` missing?
    first = -> assert average_gradients ⏎ first = :: has no average_gradients: write it inside
    range(first, first + size) -> [row / 1 for row in range(first, first + size)]
        :: row numbers are integers: do not divide
    """,
)


class Together:
    """Ranks as threads: the n-th collective that one of them calls meets the n-th of all others."""

    def __init__(self, size: int) -> None:
        self.size, self.local, self.turn = size, threading.local(), threading.Condition()
        self.calls: list[dict[int, tuple[str, Tensor]]] = []
        self.errors: dict[int, Exception] = {}
        self.ended = 0

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Return work(rank) of each rank, or raise the first rank's error."""
        results: list[Any] = [None] * self.size

        def one(rank: int) -> None:
            self.local.rank, self.local.calls = rank, 0
            try:
                results[rank] = work(rank)
            except Exception as error:
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
            for thread in threads:
                thread.join()
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
        ops = {"amax": dist.ReduceOp.MAX, "amin": dist.ReduceOp.MIN, "prod": dist.ReduceOp.PRODUCT}
        if op == dist.ReduceOp.AVG:
            raise RuntimeError("Cannot use ReduceOp.AVG with Gloo")
        name = next((name for name, one in ops.items() if op == one), "sum")
        return self.write(tensor, getattr(self.meet("all_reduce", tensor), name)(0), async_op)

    def reduce(self, tensor, dst=0, op=dist.ReduceOp.SUM, group=None, async_op=False) -> Any:
        """Write the sum into the tensor of one rank."""
        total = self.meet("reduce", tensor).sum(0)
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


reduce_gradients = lesson.exercise(
    "11.5 · average over processes",
    """
    def reduce_gradients(model):
        for p in model.parameters():
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()
    """,
    run=in_threads,
    cases=[(3,), (2,)],
    said="every .grad becomes the mean over the {0} ranks",
    slips="""
    p.grad /= dist.get_world_size() -> :: this is the sum: divide by dist.get_world_size()
    dist.get_world_size() -> 2 :: there are not always 2 ranks: divide by dist.get_world_size()
    dist.get_world_size() -> dist.get_world_size() ** 2 :: divided by world_size twice
    dist.get_world_size() -> len(list(model.parameters()))
        :: divided by the number of parameters, not of ranks
    dist.all_reduce(p.grad) -> :: no rank hears of another
    (p.grad) ⏎ p.grad -> (p) ⏎ p.data :: the weights changed
    p.grad) ⏎ p.grad /= dist.get_world_size() -> p.grad.clone())
        :: no .grad has changed: all_reduce writes into the tensor that it is given, here a copy
    (p.grad) -> (p.grad.clone())
        :: each rank has its own gradient, divided: the sum must get back into p.grad (after wait())
    (p.grad) -> (p.grad, async_op=True) :: the sum must get back into p.grad
    dist.all_reduce(p.grad) -> dist.reduce(p.grad, 0)
        :: rank 0 has it, and the others do not: all_reduce leaves the result with every rank
    dist.all_reduce(p.grad) ⏎ p.grad /= dist.get_world_size() -> dist.reduce(p.grad, dst=0)
        :: rank 0 has it, and the others do not: all_reduce leaves the result with every rank
    dist.all_reduce(p.grad) ⏎ p.grad /= dist.get_world_size() -> dist.broadcast(p.grad, 0)
        :: all ranks have rank 0's own gradient now: the mean is asked
    (p.grad) ⏎ p.grad /= dist.get_world_size() -> (p.grad, op=dist.ReduceOp.MAX)
        :: this is the largest, not the sum: op=dist.ReduceOp.SUM, which is the default
    (p.grad) ⏎ p.grad /= dist.get_world_size() -> (p.grad, op=dist.ReduceOp.AVG)
        :: gloo has no AVG: add up, then divide
    dist.all_reduce(p.grad) -> p.grad = dist.all_reduce(p.grad)
        :: all_reduce returns nothing: it writes the sum into its tensor
    dist.all_reduce(p.grad) ⏎ p.grad /= -> p.grad = dist.all_reduce(p.grad) /
        :: all_reduce returns nothing: it writes the sum into its tensor
    dist.get_world_size() -> dist.get_world_size() ⏎ break
        :: only the first parameter was averaged: go through all of them
    dist.all_reduce(p.grad) ⏎ p.grad /= dist.get_world_size() -> mean = p.grad.mean() ⏎ dist.all_reduce(mean)
        ⏎ p.grad = mean.expand_as(p) / dist.get_world_size()
        :: one number for a whole matrix: reduce p.grad place by place
    dist.all_reduce(p.grad) -> if dist.get_rank() == 0: ⏎     dist.all_reduce(p.grad)
        :: some ranks wait for ever
    dist.all_reduce(p.grad) -> if p.grad.any(): ⏎     dist.all_reduce(p.grad)
        :: every rank calls every collective
    = dist.all_reduce(model.grad) :: a model has no .grad: go through model.parameters()
    = dist.all_reduce([p.grad for p in model.parameters()])
        :: all_reduce takes one tensor, not a list: go through the parameters
    = average_gradients([model]) :: has no average_gradients: write it inside
    """,
)


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


update = lesson.exercise(
    "11.6 · a step of many processes",
    """
    def update(model, optimizer, micro_batches, average):
        optimizer.zero_grad()
        mean = 0.0
        for tokens, targets in micro_batches:
            loss = cross_entropy(model(tokens), targets) / len(micro_batches)
            loss.backward()
            mean += loss.item()
        average(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return mean
    """,
    run=one_step,
    cases=[(4, 7), (3, 5)],
    said="zero_grad, backward for each of {0} micro-batches, average, clip, step, in this order",
    slips="""
    average(model) ⏎ torch -> torch && loss.backward() -> loss.backward() ⏎ average(model)
        :: average ran after each micro-batch: gradients add up, so one average after the last is enough
    average(model) -> :: `average` is never called: each rank would go its own way
    average(model) ⏎ torch -> torch && optimizer.step() -> average(model) ⏎ optimizer.step()
        :: clip after the average: before it, each rank would be cut by a factor of its own
    average(model) ⏎ torch -> torch && optimizer.step() -> optimizer.step() ⏎ average(model)
        :: average(model) comes before optimizer.step(): the step has to use it
    average(model) ⏎ torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) ⏎ optimizer.step()
        -> optimizer.step() ⏎ average(model)
        :: average(model) comes before optimizer.step(): the step has to use it
    average(model) ⏎ torch -> torch && optimizer.zero_grad() -> average(model) ⏎ optimizer.zero_grad()
        :: average(model) comes after the backward passes: the old gradients were averaged
    average(model) ⏎ torch -> torch && mean = 0.0 -> average(model) ⏎ mean = 0.0
        :: there is no gradient yet: average after the backward passes
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) ->
        :: the gradient is not clipped: clip_grad_norm_(model.parameters(), 1.0) before the step
    1.0) -> 0.5) :: clipped to another length than 1.0
    clip_grad_norm_ -> clip_grad_value_ :: clip_grad_norm_ shortens the whole gradient, and not each number
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) -> && loss.backward() -> loss.backward()
        ⏎ torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        :: clip once, after the average, and not after each micro-batch
    optimizer.step() -> :: optimizer.step() was never called
    optimizer.step() -> optimizer.step() ⏎ optimizer.step() :: optimizer.step() ran twice: once, at the end
    optimizer.step() -> optimizer.zero_grad() ⏎ optimizer.step()
        :: zero_grad() just before the step leaves no gradient: call it at the beginning
    / len(micro_batches) -> && return mean -> return mean / len(micro_batches)
        :: the gradients are added up: each micro-batch counts 1 / len(micro_batches)
    / len(micro_batches) -> :: the micro-batches are added up: each counts 1 / len(micro_batches)
    loss.backward() -> (loss / len(micro_batches)).backward()
        :: the gradient is divided by len(micro_batches) twice
    optimizer.zero_grad() -> :: the gradients of the step before are still in it: optimizer.zero_grad() first
    optimizer.zero_grad() -> && / len(micro_batches) -> && return mean -> return mean / len(micro_batches)
        :: the old gradients are still in it, and nothing divides by len(micro_batches)
    loss.backward() -> optimizer.zero_grad() ⏎ loss.backward()
        :: only the last micro-batch counts: backward() for each, and zero_grad() once, before all of them
    loss.backward() ⏎ mean -> mean && average(model) -> loss.backward() ⏎ average(model)
        :: only the last micro-batch counts: backward() for each, and zero_grad() once, before all of them
    mean += loss.item() -> mean += loss.item() ⏎ break :: only the first micro-batch counts: go through all
    return mean -> return loss.item()
        :: this is the loss of the last micro-batch, over their number: the mean of all is asked
    return mean -> return loss.item() * len(micro_batches)
        :: this is the loss of the last micro-batch: the mean of all is asked
    return mean -> return mean / len(micro_batches) :: the loss is divided by len(micro_batches) twice
    return mean -> return mean * len(micro_batches) :: the mean of the losses, not their sum
    mean += loss.item() -> mean += loss :: one number is asked
    mean = 0.0 -> mean = [] && mean += loss.item() -> mean += [loss.item()] :: one number is asked
    return mean -> print(mean) :: is `return` missing?
    average(model) -> average_gradients([model]) :: does not use its argument `average`
    return mean -> return mean + 0 * len(str(rows_of)) :: has no rows_of: write it inside
    """,
)

reduce_seconds = lesson.exercise(
    "11.7 · what a step sends",
    """
    def reduce_seconds(parameters, ranks, bytes_per_second):
        sent = 4 * parameters * 2 * (ranks - 1) / ranks
        return sent / bytes_per_second
    """,
    cases=[(51_000_000, 6, 1.25e9), (7_000, 3, 400.0), (124_000_000, 2, 4.5e11)],
    said="4 · N · 2 · (n − 1) / n, over the speed",
    atol=0.0,
    slips="""
    4 * -> 2 * :: half of it: a float32 number has 4 bytes, and the ring goes round twice
    parameters * 2 -> parameters :: half of it: a float32 number has 4 bytes, and the ring goes round twice
    4 * parameters -> parameters :: a float32 number has 4 bytes
    4 * parameters -> 8 * parameters :: that is twice as much: a float32 number has 4 bytes
    / ranks -> :: each piece is 1 / ranks of the gradient: divide by ranks
    (ranks - 1) / ranks -> 1 :: the first rank needs no round: (n − 1) / n of 2 · 4 · N bytes
    * 2 * (ranks - 1) / ranks -> * (ranks - 1)
        :: each rank sends over a cable of its own: not all of it over one
    (ranks - 1) / ranks -> 1 / ranks
        :: each piece is 1 / ranks of the gradient, and 2 · (n − 1) of them are sent
    (ranks - 1) / ranks -> ranks / (ranks - 1) :: upside down: (n − 1) / n of 2 · 4 · N bytes
    (ranks - 1) / ranks -> (ranks + 1) / ranks :: n − 1 rounds in each half, not n + 1
    * 2 * (ranks - 1) / ranks -> :: that is the gradient once: a rank sends 2 · (n − 1) of n pieces
    sent / bytes_per_second -> sent * bytes_per_second :: bytes over bytes per second: divide
    sent / bytes_per_second -> bytes_per_second / sent :: upside down: seconds = bytes / (bytes per second)
    sent / bytes_per_second -> sent :: these are the bytes: divide by bytes_per_second
    sent / bytes_per_second -> 8 * sent / bytes_per_second :: the speed is in bytes already: not 8 bits
    return -> seconds = :: is `return` missing?
    """,
)
