"""Checks of notebook 11_ddp, and what it goes on with where a part is blank."""

import builtins
import dis
import threading
from collections.abc import Callable
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises.nb02 import random
from tinylm.model.losses import cross_entropy

TRAVEL = {
    "math",
    "os",
    "sys",
    "time",
    "np",
    "torch",
    "nn",
    "F",
    "dist",
    "cross_entropy",
}  # the worker has them
PRIMES = (23, 29, 31, 37)  # what is in a sum twice or three times is told from what is another piece
WAIT = 2  # seconds in which all ranks of a check have come to a collective


def given_average_gradients(models):
    """Every .grad becomes the mean of what the models have at that place."""
    for copies in zip(*(model.parameters() for model in models), strict=True):
        mean = torch.stack([p.grad for p in copies]).mean(0)
        for p in copies:
            p.grad = mean.clone()


def given_rank_loss(losses, total, world_size):
    """What a rank sends backward, so that the mean over ranks is the gradient of the mean over all tokens."""
    return losses.sum() * world_size / total


def given_ring_all_reduce(pieces, send):
    """n - 1 rounds that add, and n - 1 rounds that pass the finished pieces on."""
    n = len(pieces)
    for i in range(n - 1):
        for r in range(n):
            right, k = (r + 1) % n, (r - i) % n
            pieces[right][k] = pieces[right][k] + send(r, pieces[r][k])
    for i in range(n - 1):
        for r in range(n):
            right, k = (r + 1) % n, (r + 1 - i) % n
            pieces[right][k] = send(r, pieces[r][k])


def given_rows_of(step, micro_step, rank, micro_steps, world_size, size):
    """Rows counted step by step, micro-batch by micro-batch, rank by rank."""
    first = ((step * micro_steps + micro_step) * world_size + rank) * size
    return range(first, first + size)


def given_reduce_gradients(model):
    """Every .grad becomes the mean over all processes."""
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def given_update(model, optimizer, micro_batches, average):
    """One step: gradients add up over the micro-batches, are averaged once, clipped, and used."""
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


def given_reduce_seconds(parameters, ranks, bytes_per_second):
    """What a rank sends in a ring, over the speed of its cable."""
    return 4 * parameters * 2 * (ranks - 1) / ranks / bytes_per_second


def ring_states(n):
    """After each round of the ring, of how many ranks each rank's pieces are the sum: (2 n - 1, n, n)."""
    pieces = [[torch.ones(()) for _ in range(n)] for _ in range(n)]
    states, sent = [torch.ones(n, n)], []

    def send(r, piece):
        if sent and len(sent) % n == 0:  # a round is over: what arrived last is in its place
            states.append(torch.tensor([[float(piece) for piece in own] for own in pieces]))
        sent.append(r)
        return piece.clone()

    given_ring_all_reduce(pieces, send)
    return torch.stack([*states, torch.tensor([[float(piece) for piece in own] for own in pieces])])


def started(check: exercise, answer) -> None:
    """A function that returns nothing is blank while it returns `...`."""
    if answer is ...:
        check.attempted(answer)


def can_travel(check: exercise, mine) -> None:
    """The function goes into a file of its own, without what else the notebook has defined."""
    if code := getattr(mine, "__code__", None):
        used = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
        others = used - TRAVEL - vars(builtins).keys() - {code.co_name}
        unknown = [name for name in sorted(others) if name in mine.__globals__]
        said = (
            f"your function goes to another process, which has no {' and no '.join(unknown)}: write it inside"
        )
        check.that(not unknown, said)


def with_gradients(seed: int, width: int = 5) -> nn.Module:
    """A small model whose gradients are drawn from the seed; the weights are the same for every seed."""
    model = nn.Sequential(nn.Linear(width, 7), nn.Linear(7, 2), nn.Linear(2, 3, bias=False))
    for i, p in enumerate(model.parameters()):
        p.data, p.grad = random(*p.shape, seed=i), random(*p.shape, seed=97 * seed + i)
    return model


def grads(model: nn.Module) -> list[Tensor]:
    """Copies of its gradients."""
    return [p.grad.clone() for p in model.parameters()]


@marked("11.1 · average the gradients", given=given_average_gradients)
def average_gradients(check: exercise, mine) -> None:
    """The mean over the models at every place, in every one of them; the weights stay."""
    for n in (3, 4):
        models = [with_gradients(seed) for seed in range(n)]
        before = [grads(model) for model in models]
        weights = [p.detach().clone() for p in models[0].parameters()]
        answer = mine(models)
        started(check, answer)
        mean = [torch.stack(one).mean(0) for one in zip(*before, strict=True)]
        for model in models:
            own = zip(model.parameters(), weights, strict=True)
            stay = "the weights changed: it is the .grad of each parameter that becomes the mean"
            check.that(all(torch.equal(p, weight) for p, weight in own), stay)
            gone = "a .grad is None now: every model goes on with the mean"
            check.that(all(p.grad is not None for p in model.parameters()), gone)
        after = [grads(model) for model in models]
        same = [all(map(torch.equal, a, b)) for a, b in zip(after, before, strict=True)]
        check.that(not all(same), "no .grad has changed: write the mean into each p.grad of each model")
        one = "only the first model has the mean: the others need it too"
        check.that(not (all(same[1:]) and not same[0]), one)
        running, overwritten = [*before[0]], [list(own) for own in before]
        for own in before[1:]:
            running = [(a + b) / 2 for a, b in zip(running, own, strict=True)]
        for r in range(n):
            overwritten[r] = [torch.stack(one).mean(0) for one in zip(*overwritten, strict=True)]
        total = [n * one for one in mean]
        slips = {
            "this is the sum: divide it by the number of models": [total] * n,
            "(a + b) / 2 again and again gives the last model half of the weight: add up, divide once": (
                [running] * n
            ),
            "a mean that was written already went into the next one: compute it first, then write it": (
                overwritten
            ),
            "one number for a whole matrix: the mean goes over the models, dim 0, place by place": (
                [[one.mean().expand_as(one) for one in mean]] * n
            ),
            "divided by the number of models twice": [[one / n for one in mean]] * n,
            "divided by the number of parameters: the number of models is asked for": (
                [[one / len(mean) for one in total]] * n
            ),
            "this is the gradient of one model, given to all": [before[0]] * n,
            "this is the gradient of the last model, given to all": [before[-1]] * n,
        }
        for said, wrong in slips.items():
            check.that(not all(map(_alike, after, wrong)), said)
        first = "only the first parameter has the mean: go through all of them"
        check.that(
            not (_alike(after[0][:1], mean[:1]) and all(map(torch.equal, after[0][1:], before[0][1:]))), first
        )
        for own in after:
            check.close(own, mean, "the mean of the models' gradients")


def _alike(mine: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a, b, 1e-4, 1e-6) for a, b in zip(mine, theirs, strict=True)
    )


@marked("11.2 · ranks of unequal size", given=given_rank_loss)
def rank_loss(check: exercise, mine) -> None:
    """The sum of this rank's losses, times the ranks, over the tokens of all."""
    for n, total, world in ((3, 13, 2), (5, 31, 4)):
        losses = random(n, seed=n).abs() + 1
        summed, mean = losses.sum(), losses.mean()
        right = summed * world / total
        usual = {
            "the mean of this rank: ranks with few tokens would count too much": mean,
            "the average over the ranks divides by world_size once more: multiply by it": summed / total,
            "this is the sum: a rank with more tokens is right to count more, but of how many?": summed,
            "divide by the tokens of all ranks, not by world_size": summed / world,
            "divide by the tokens of all ranks, `total`, not by your own": summed * world / n,
            "times world_size, because the average divides by it: yours is divided by both": (
                summed / (total * world)
            ),
            "this is turned over: the tokens of all stand below": summed * total / world,
            "sum, not mean: the mean has already divided by your own tokens": mean * world / total,
            "your own tokens over all of them are a share: the average still divides by world_size": (
                mean * n / total
            ),
            "your own tokens do not count twice: losses.sum() has them all": summed * n * world / total,
            "total / world_size is the mean number of tokens of a rank: divide by it": mean * total / world,
            "one number is asked for, the sum over the losses": losses * world / total,
        }
        answer = check.run(mine, losses, total, world)
        check.close(answer, right, "the sum of the losses · world_size / total", usual=usual)
        leaf = losses.clone().requires_grad_()
        answer = mine(leaf, total, world)
        cut = "backward() must come through: leave a tensor a tensor, without .item() and .detach()"
        check.that(isinstance(answer, Tensor) and answer.requires_grad, cut)


class Wire:
    """What ranks send to the right in a check; it knows whose numbers each of them can have."""

    def __init__(self, n: int) -> None:
        self.n, self.sent = n, [0] * n
        self.known = [{(r, k) for k in range(n)} for r in range(n)]
        self.early, self.whole, self.foreign = "", False, ""

    def send(self, r: int, piece: Tensor) -> Tensor:
        """What arrives at rank r + 1: a copy."""
        self.sent[r % self.n] += 1
        self.whole |= not isinstance(piece, Tensor) or piece.shape != (self.n,)
        if self.whole:
            return piece.clone() if isinstance(piece, Tensor) else piece
        parts = {(rank, k) for rank, k, _ in self.read(piece)}
        if strange := {(rank, k) for rank, k in parts - self.known[r % self.n] if k >= 0}:
            rank, _ = min(strange)
            self.foreign = self.foreign or f"rank {r} sends numbers of rank {rank} that never reached it"
        self.known[(r + 1) % self.n] |= parts
        return piece.clone()

    def read(self, piece: Tensor) -> list[tuple[int, int, float]]:
        """Which rank's which piece is in it, and its value there; each piece has a prime of its own."""
        place = {prime: k for k, prime in enumerate(PRIMES[: self.n])}
        found = []
        for rank, value in enumerate(piece.tolist()):
            if value:
                prime = next((p for p in place if value % p == 0), None)
                found.append((rank, place.get(prime, -1), value))
        return found


@marked("11.3 · the ring", given=given_ring_all_reduce)
def ring_all_reduce(check: exercise, mine) -> None:
    """Every piece of every rank is the sum; each rank sent 2 (n - 1) pieces, and only what it had."""
    for n in (4, 3, 2):
        eye, wire = torch.eye(n), Wire(n)
        pieces = [[eye[r] * PRIMES[k] for k in range(n)] for r in range(n)]
        right = [[torch.full((n,), float(PRIMES[k])) for k in range(n)] for _ in range(n)]
        answer = mine(pieces, wire.send)
        started(check, answer)
        check.that(
            sum(wire.sent), "nothing was sent: a rank gets at another's numbers only by send(r, piece)"
        )
        check.that(not wire.whole, "one piece at a time: send(r, pieces[r][k])")
        check.that(
            not wire.foreign, f"{wire.foreign}: in a round, every rank sends before the next round begins"
        )
        half = f"after {n - 1} rounds each rank has one finished piece: pass these on for {n - 1} more"
        check.that(set(wire.sent) != {n - 1}, half)
        few = f"each of {n} ranks sends 2 · (n − 1) = {2 * n - 2} pieces, and yours sent {wire.sent}"
        check.that(set(wire.sent) == {2 * n - 2}, few)
        own = [[wire.read(piece) for piece in row] for row in pieces]
        for r, row in enumerate(own):
            unknown = {(rank, k) for piece in row for rank, k, _ in piece} - wire.known[r]
            stolen = f"rank {r} has numbers of another rank that were never sent to it"
            check.that(not unknown or any(k < 0 for _, k in unknown), stolen)
        mean = [[piece / n for piece in row] for row in right]
        check.that(not all(map(_alike, pieces, mean)), "the sum is asked for, not the mean")
        check.that(_same_prime(own), "a piece was put in the place of another: what arrives is piece k again")
        twice = "some numbers are in a sum twice: in the second half the finished piece replaces the old one"
        check.that(all(value == PRIMES[k] for row in own for piece in row for _, k, value in piece), twice)
        short = "some sums are not complete: rank r sends what it has just added to, piece (r − i) % n"
        check.that(all(len(piece) == n for row in own for piece in row), short)
        check.close(pieces, right, "each piece should be the sum over the ranks")


def _same_prime(own: list) -> bool:
    """Whether the numbers in place k are all of pieces k."""
    return all(found in (k, -1) for row in own for k, piece in enumerate(row) for _, found, _ in piece)


@marked("11.4 · the rows of a rank", given=given_rows_of)
def rows_of(check: exercise, mine) -> None:
    """((step · micro_steps + micro_step) · world_size + rank) · size, and the next ones."""
    can_travel(check, mine)
    for step, i, rank, micro_steps, world, size in (
        (3, 1, 2, 4, 5, 7),
        (2, 3, 1, 5, 3, 2),
        (0, 0, 0, 1, 1, 3),
    ):
        asked = (step, i, rank, micro_steps, world, size)
        right = list(given_rows_of(*asked))

        def run(first, n=size):
            return list(range(first, first + n))

        usual = {
            "the order is step, micro-batch, rank: a micro-batch of all ranks stands together": run(
                ((step * world + rank) * micro_steps + i) * size
            ),
            "each rank reads `size` rows: `first` is a number of rows, so times size": run(right[0] // size),
            "the rows of a rank stand side by side: first, first + 1, …": [
                (step * micro_steps + i) * world * size + rank + world * j for j in range(size)
            ],
            "that is where the rows begin: return all `size` of them": right[0],
            "that is where the rows begin: return all of them": right[:1],
            "range(a, b) ends before b: first + size": run(right[0], size - 1),
            "count ranks and steps from 0": run(right[0] + size),
            "a step has micro_steps micro-batches: step · micro_steps + micro_step": run(
                ((step + i) * world + rank) * size
            ),
            "a micro-step has world_size ranks: · world_size + rank": run(
                (step * micro_steps + i + rank) * size
            ),
            "only the step is multiplied by world_size: the micro-step is, too": run(
                (step * micro_steps * world + i + rank) * size
            ),
            "`size` times all of it, the rank too": run((step * micro_steps + i) * world * size + rank),
            "a range begins and ends: range(first, first + size)": list(range(right[0])),
            "in a row of its own each rank would meet another's rows: rank comes last": run(
                rank * micro_steps * size + (step * micro_steps + i) * size
            ),
        }
        usual = {said: value for said, value in usual.items() if value != right}
        answer = check.run(mine, *asked)
        answer = answer if not isinstance(answer, range) else list(answer)
        told = f"step {step}, micro-step {i} of {micro_steps}, rank {rank} of {world}, {size} rows each"
        check.close(answer, right, told, usual=usual)


class Together:
    """The ranks of a check as threads: what they call of torch.distributed meets here."""

    def __init__(self, size: int) -> None:
        self.size, self.local = size, threading.local()
        self.door, self.brought, self.called = threading.Barrier(size), [None] * size, []
        self.errors: list[BaseException | None] = [None] * size

    def run(self, work: Callable[[int], None]) -> None:
        """work(rank) in a thread for each rank; their errors are kept."""

        def one(rank: int) -> None:
            self.local.rank = rank
            try:
                work(rank)
            except Exception as error:
                self.errors[rank] = error
                self.door.abort()

        threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(self.size)]
        names = ("all_reduce", "reduce", "broadcast", "all_gather", "barrier", "get_rank", "get_world_size")
        with mock.patch.multiple("torch.distributed", **{name: getattr(self, name) for name in names}):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def meet(self, name: str, tensor: Tensor) -> list[Tensor]:
        """What every rank brought; it waits for all of them, as a collective does."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} takes a tensor, and was given {type(tensor).__name__}")
        self.brought[self.local.rank] = tensor.detach().clone()
        self.door.wait(WAIT)
        brought = list(self.brought)
        if self.local.rank == 0:
            self.called.append((name, tensor.numel()))
        self.door.wait(WAIT)
        if len({one.shape for one in brought}) > 1:
            raise RuntimeError("the ranks bring tensors of different shapes")
        return brought

    def all_reduce(self, tensor, op=dist.ReduceOp.SUM, group=None, async_op=False):
        """The sum, or what `op` says, into every rank's tensor; at once, or when it is waited for."""
        if op == dist.ReduceOp.AVG:
            raise RuntimeError("gloo has no AVG: take the sum, and divide")
        stacked = torch.stack(self.meet("all_reduce", tensor))
        ways = {
            dist.ReduceOp.MAX: stacked.amax,
            dist.ReduceOp.MIN: stacked.amin,
            dist.ReduceOp.PRODUCT: stacked.prod,
        }
        result = next((way for one, way in ways.items() if op == one), stacked.sum)(0)
        return self.now_or_later(tensor, result, async_op)

    def reduce(self, tensor, dst=None, op=dist.ReduceOp.SUM, group=None, async_op=False, group_dst=None):
        """The sum, on one rank."""
        result = torch.stack(self.meet("reduce", tensor)).sum(0)
        return self.now_or_later(
            tensor, result if self.local.rank == dst else tensor.detach().clone(), async_op
        )

    def broadcast(self, tensor, src=None, group=None, async_op=False, group_src=None):
        """What one rank has, on all of them."""
        return self.now_or_later(tensor, self.meet("broadcast", tensor)[src], async_op)

    def all_gather(self, tensor_list, tensor, group=None, async_op=False):
        """What every rank has, on all of them."""
        for place, one in zip(tensor_list, self.meet("all_gather", tensor), strict=True):
            place.copy_(one)

    def barrier(self, *_, **__) -> None:
        """Wait for all."""
        self.meet("barrier", torch.zeros(()))

    def now_or_later(self, tensor: Tensor, result: Tensor, later: bool) -> "Later | None":
        """Written now, or by the wait() of what comes back."""
        work = Later(tensor, result)
        return work if later else work.wait()

    def get_rank(self, group=None) -> int:
        """Which rank this is."""
        return self.local.rank

    def get_world_size(self, group=None) -> int:
        """How many there are."""
        return self.size


class Later:
    """A collective under way: its result is there once it was waited for."""

    def __init__(self, tensor: Tensor, result: Tensor) -> None:
        self.tensor, self.result = tensor, result

    def wait(self, timeout=None) -> None:
        """Writes the result."""
        with torch.no_grad():
            self.tensor.copy_(self.result)


@marked("11.5 · average over processes", given=given_reduce_gradients)
def reduce_gradients(check: exercise, mine) -> None:
    """The mean over the ranks, on each of them, whatever collectives it takes."""
    can_travel(check, mine)
    for n in (3, 2):
        models = [with_gradients(seed) for seed in range(n)]
        before = [grads(model) for model in models]
        weights = [p.detach().clone() for p in models[0].parameters()]
        together, answers = Together(n), [None] * n

        def work(rank, answers=answers, models=models):
            answers[rank] = mine(models[rank])

        together.run(work)
        raised = [e for e in together.errors if e and not isinstance(e, threading.BrokenBarrierError)]
        if raised:
            raise raised[0]
        started(check, answers[0])
        waits = "some ranks wait for ever, because others do not come: every rank calls every collective"
        check.that(not any(together.errors), waits)
        for model in models:
            own = zip(model.parameters(), weights, strict=True)
            stay = "the weights changed: all_reduce(p.grad), not all_reduce(p)"
            check.that(all(torch.equal(p, weight) for p, weight in own), stay)
            gone = "a .grad is None now: all_reduce writes into its tensor and returns nothing"
            check.that(all(isinstance(p.grad, Tensor) for p in model.parameters()), gone)
        alone = "no rank heard of another: dist.all_reduce(tensor) adds up over all processes"
        check.that(together.called, alone)
        mean, after = (
            [torch.stack(one).mean(0) for one in zip(*before, strict=True)],
            [grads(m) for m in models],
        )
        own = all(map(_alike, after, before))
        check.that(
            not own, "no .grad has changed: all_reduce writes into the tensor that it is given, here a copy"
        )
        divided = [[one / n for one in own] for own in before]
        copied = "each has its own gradient, divided: what all_reduce wrote has to get back into p.grad"
        check.that(not all(map(_alike, after, divided)), copied)
        slips = {
            "this is the sum: divide by dist.get_world_size()": [n * one for one in mean],
            "divided by world_size twice: before and after": [one / n for one in mean],
            "this is the largest, not the sum: op=dist.ReduceOp.SUM, which is the default": [
                torch.stack(one).amax(0) for one in zip(*before, strict=True)
            ],
            "rank 0 told all the others its own gradient: the mean is asked for": before[0],
            "divided by the number of parameters: dist.get_world_size() is the number of ranks": [
                n * one / len(mean) for one in mean
            ],
            "one number for a whole matrix: the mean goes over the ranks, place by place": [
                one.mean().expand_as(one) for one in mean
            ],
        }
        for said, wrong in slips.items():
            check.that(not all(_alike(own, wrong) for own in after), said)
        if _alike(after[0], mean) or _alike(
            after[0], slips["this is the sum: divide by dist.get_world_size()"]
        ):
            some = "rank 0 has it, and the others do not: all_reduce leaves the result with every rank"
            check.that(all(_alike(own, after[0]) for own in after), some)
        first = "only the first parameter was averaged: go through all of them"
        check.that(not all(torch.equal(a[-1], b[-1]) for a, b in zip(after, before, strict=True)), first)
        for own in after:
            check.close(own, mean, "the mean over the ranks")


class Watched(torch.optim.SGD):
    """An optimiser that notes what is done to it, and with which gradients it steps."""

    def __init__(self, parameters, events: list[str]) -> None:
        self.events, self.used = events, []
        super().__init__(parameters, lr=0.1)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Noted."""
        self.events.append("zero_grad")
        super().zero_grad(set_to_none)

    def step(self, closure=None) -> None:
        """Noted, with the gradients."""
        self.events.append("step")
        self.used = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        super().step(closure)


@marked("11.6 · a step of many processes", given=given_update)
def update(check: exercise, mine) -> None:
    """zero_grad, every micro-batch backward by its share, one average, clip, one step; the mean loss."""
    can_travel(check, mine)
    for n, V in ((4, 7), (3, 5)):
        model, events = nn.Sequential(nn.Embedding(V, 4), nn.Linear(4, V)), []
        for i, p in enumerate(model.parameters()):
            p.data = 3 * random(*p.shape, seed=i)
        ids = torch.randint(V, (n, 2, 2, 6), generator=torch.Generator().manual_seed(n))
        batches, parameters = [(one[0], one[1]) for one in ids], [*model.parameters()]
        losses = [cross_entropy(model(tokens), targets) for tokens, targets in batches]
        each = [torch.autograd.grad(loss, parameters) for loss in losses]
        mean = [sum(one) / n for one in zip(*each, strict=True)]
        other = [random(*p.shape, seed=50 + i) for i, p in enumerate(parameters)]  # of another rank
        for p in parameters:
            p.grad = torch.ones_like(p)  # of the step before
        optimizer, values = Watched(parameters, events), [loss.item() for loss in losses]

        def average(net, events=events, other=other):
            events.append("average")
            for p, theirs in zip(net.parameters(), other, strict=True):
                if p.grad is None:
                    raise RuntimeError("there is no gradient yet: average after the backward passes")
                p.grad = (p.grad + theirs) / 2

        answer = mine(model, optimizer, batches, average)
        started(check, answer)
        counts = {name: events.count(name) for name in ("zero_grad", "average", "step")}
        check.that(counts["average"], "average(model) was never called: each rank would go its own way")
        once = f"average ran {counts['average']} times: gradients add up, so once after the last is enough"
        check.that(counts["average"] == 1, once)
        check.that(counts["step"], "optimizer.step() was never called")
        check.that(counts["step"] == 1, f"optimizer.step() ran {counts['step']} times: once, at the end")
        late = "average(model) comes before optimizer.step(), or the step does not use it"
        check.that(events.index("average") < events.index("step"), late)

        def both(own, other=other):
            return [(a + b) / 2 for a, b in zip(own, other, strict=True)]

        total, stale = [n * one for one in mean], [one + 1 for one in mean]
        usual = {
            "the gradient is not clipped: clip_grad_norm_(model.parameters(), 1.0) before the step": both(
                mean
            ),
            "clip after the average: each rank would be cut by a factor of its own": both(clipped(mean)),
            "the micro-batches are added up: each counts 1 / len(micro_batches)": clipped(both(total)),
            "the gradients of the step before are still in it: optimizer.zero_grad() first": clipped(
                both(stale)
            ),
            "the old gradients are still in it, and nothing divides by len(micro_batches)": clipped(
                both([one + 1 for one in total])
            ),
            "only the last micro-batch counts: zero_grad() once, before all of them": clipped(both(each[-1])),
            "only the last micro-batch counts: backward() for each": clipped(
                both([one / n for one in each[-1]])
            ),
            "only the first micro-batch counts: the loop has to go on": clipped(
                both([one / n for one in each[0]])
            ),
            "only the first micro-batch counts": clipped(both(each[0])),
            "divided by len(micro_batches) twice": clipped(both([one / n for one in mean])),
            "micro-batches are not clipped one by one: add them up first": clipped(
                both([sum(one) / n for one in zip(*map(clipped, each), strict=True)])
            ),
            "clipped to another length than 1.0": optimizer.used,
        }
        right, used = clipped(both(mean)), optimizer.used
        longer = [_length(used), _length(right)]
        direction = [one / longer[0] * longer[1] for one in used]
        if not _alike(direction, right):
            usual.pop("clipped to another length than 1.0")
        check.close(used, right, "the gradient that optimizer.step() uses", usual=usual)
        check.that(answer is not None, "your function returned None: is `return` missing?")
        wrong = {
            "the mean of the losses, not their sum": sum(values),
            "this is the loss of the last micro-batch: the mean of all is asked for": values[-1],
            "this is the loss of the last micro-batch, over their number": values[-1] / n,
            "this is the loss of the first micro-batch: the mean of all is asked for": values[0],
            "divided by len(micro_batches) twice": sum(values) / n**2,
            "one number: the mean of the losses": values,
        }
        check.close(answer, sum(values) / n, "the mean loss of the micro-batches", usual=wrong)


def _length(own: list[Tensor]) -> Tensor:
    return torch.cat([one.flatten() for one in own]).norm()


def clipped(own: list[Tensor]) -> list[Tensor]:
    """Shortened to a length of 1, where it is longer."""
    return [one / max(1.0, float(_length(own))) for one in own]


@marked("11.7 · what a step sends", given=given_reduce_seconds)
def reduce_seconds(check: exercise, mine) -> None:
    """4 bytes · N · 2 (n - 1) / n, over the bytes per second."""
    for N, n, speed in ((51_000_000, 6, 1.25e9), (7_000, 3, 400.0), (124_000_000, 2, 4.5e11)):
        sent = 4 * N * 2 * (n - 1) / n
        usual = {
            "a float32 number has 4 bytes": sent / 4 / speed,
            "the ring goes round twice: adding, then passing on": sent / 2 / speed,
            "n ranks cut the gradient in n pieces: 2 · (n − 1) of them, so / ranks": sent * n / speed,
            "of n rounds one is spared: (n − 1), not n": 8 * N / speed,
            "each rank sends over a cable of its own: not all of it over one": sent * n / 2 / speed,
            "bytes over bytes per second: divide": sent * speed,
            "the speed is in bytes already: not 8 bits": 8 * sent / speed,
            "turned over: seconds = bytes / (bytes per second)": speed / sent,
            "(n − 1) / n of 2 · 4 · N bytes: n stands below": 8 * N * n / (n - 1) / speed,
            "each rank sends its own gradient only once to each neighbour": 4 * N / speed,
            "these are the bytes: divide by bytes_per_second": sent,
            "each piece is 1 / ranks of the gradient, and 2 · (n − 1) are sent": 8 * N / n / speed,
        }
        usual = {said: value for said, value in usual.items() if value != sent / speed}
        answer = check.run(mine, N, n, speed)
        check.close(answer, sent / speed, "4 · N · 2 · (n − 1) / n, over the speed", usual=usual, atol=0.0)
