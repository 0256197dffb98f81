"""Checks of notebook 10_speed, and what it goes on with where a part is blank."""

import math
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises.nb02 import random
from tinylm.device import best_device, synchronize
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token as given_flops_per_token
from tinylm.model.cost import parameter_counts


def given_compare(before, after, rounds):
    """The median over the rounds of the time of `before` over the time of `after`."""

    def seconds(work):
        synchronize(best_device())
        began = time.perf_counter()
        work()
        synchronize(best_device())
        return time.perf_counter() - began

    before(), after()
    return statistics.median(seconds(before) / seconds(after) for _ in range(rounds))


def given_whole_speedup(share, times):
    """How many times as fast the whole is when `share` of its time becomes `times` as fast."""
    return 1 / (1 - share + share / times)


def given_loss_into_gradient(logits, targets):
    """The summed nats; the logits become the gradient that they have."""
    rows = torch.arange(len(targets), device=targets.device)
    log_sums = logits.logsumexp(1, keepdim=True)  # (N, 1)
    loss = (log_sums[:, 0] - logits[rows, targets]).sum()
    logits.sub_(log_sums).exp_()
    logits[rows, targets] -= 1
    return loss


def given_memory_table(config, rows, copies):
    """Bytes of each part in training with AdamW, in float32."""
    n, tokens = parameter_counts(config)["total"], rows * config.context_length
    return {
        "weights": 4 * n,
        "gradients": 4 * n,
        "averages": 8 * n,
        "blocks": 4 * tokens * 16 * config.n_embd * config.n_layer,
        "logits": 4 * tokens * copies * config.vocab_size,
    }


def given_run_again(function, x, gradient):
    """The gradient of x, from the gradient of function(x); the weights get theirs in .grad."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        function(x).backward(gradient)
    return x.grad


class Machine:
    """A machine whose clock only work moves: it slows down, starts slowly, and is now and then disturbed."""

    def __init__(self, before: float, after: float, disturbed: dict[int, float]) -> None:
        self.base, self.disturbed = {"before": before, "after": after}, disturbed
        self.now, self.ran = 100.0, []

    def work(self, name: str) -> Callable[[], None]:
        """A function that takes its time on this machine's clock."""

        def run() -> None:
            slow = 1 + 0.03 * len(self.ran) + 20 * (name not in self.ran)
            self.now += self.base[name] * slow * self.disturbed.get(len(self.ran), 1)
            self.ran.append(name)

        return run

    @contextmanager
    def clock(self):
        """Inside, Python's stopwatches show this machine's time."""
        moved = {"perf_counter": lambda: self.now, "perf_counter_ns": lambda: int(self.now * 1e9)}
        with mock.patch.multiple(time, **moved, time=lambda: self.now):
            yield


@marked("10.1 · compare in turns", given=given_compare)
def compare(check: exercise, mine) -> None:
    """Warm up, in turns, the median of the rounds' ratios."""
    for rounds, before, after, disturbed in (
        (7, 3.0, 2.0, {3: 9, 6: 30, 8: 4, 11: 5}),
        (6, 1.0, 4.0, {4: 12}),
    ):
        machine = Machine(before, after, disturbed)
        with machine.clock():
            answer = check.run(mine, machine.work("before"), machine.work("after"), rounds)
        ran, turns = machine.ran, ["before", "after"] * rounds
        check.attempted(answer)
        check.that(ran, "your function runs nothing: call seconds(before) and seconds(after)")
        counted = [ran.count(name) for name in ("before", "after")]
        cold = "the first run of each is slow: run both once, uncounted, before the rounds"
        check.that(counted != [rounds] * 2, cold)
        check.that(counted[0] == counted[1], f"before ran {counted[0]} times, after {counted[1]}: in turns")
        once = (
            f"each runs once to warm up, then once in each of {rounds} rounds: yours ran {counted[0]} times"
        )
        check.that(counted[0] == rounds + 1, once)
        said = "in turns: before, after, before, after, since the machine changes while it runs"
        check.that(ran[2:] == turns, said)
        fresh = Machine(before, after, disturbed)
        works, times = {name: fresh.work(name) for name in turns[:2]}, []
        for name in [*turns[:2], *turns]:
            began = fresh.now
            works[name]()
            times.append(fresh.now - began)
        cold, a, b = [times[0] / times[1]], times[2::2], times[3::2]
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        right, middle = statistics.median(ratios), statistics.median
        usual = {
            "turned over: before / after is above 1 when `after` is faster": middle(
                [1 / ratio for ratio in ratios]
            ),
            "the median, not the mean: one disturbed round moves the mean": statistics.mean(ratios),
            "the ratio of each round first, then one median: a round has the same neighbours": (
                middle(a) / middle(b)
            ),
            "the median of all rounds, not the best": max(ratios),
            "the median of all rounds, not the worst": min(ratios),
            "the median of the ratios, not the ratio of the sums": sum(a) / sum(b),
            "the fastest runs come from different rounds: take each round's ratio": min(a) / min(b),
            "only the last round counts here: collect all ratios": ratios[-1],
            "only the first round counts here: collect all ratios": ratios[0],
            "a ratio, not a difference": middle([x - y for x, y in zip(a, b, strict=True)]),
            "sort the ratios before you take the middle one, or take statistics.median": (
                ratios[len(ratios) // 2]
            ),
            "of an even number of ratios the median is the mean of the middle two": sorted(ratios)[
                len(ratios) // 2
            ],
            "the warm-up does not count": middle(cold + ratios),
            "one number: the median of the ratios, not all of them": ratios,
        }
        check.close(answer, right, "the median of the rounds' ratios before / after", usual=usual)


@marked("10.2 · FLOPs per token", given=given_flops_per_token)
def flops_per_token(check: exercise, mine) -> None:
    """6 N + 12 L C T."""
    small = ModelConfig(211, 31, 3, 2, 22)
    for config in (small, replace(small, n_layer=5, tied_head=False), replace(small, n_embd=26)):
        counts, right = parameter_counts(config), given_flops_per_token(config)
        L, C, T, total = config.n_layer, config.n_embd, config.context_length, counts["total"]
        looks = 12 * L * C * T
        N = (right - looks) // 6
        usual = {
            "positions look back too: 12 · L · C · T": 6 * N,
            "the norms and the positions multiply nothing: leave them out of N": 6 * total + looks,
            "the positions are looked up and added: leave them out of N": (
                6 * (N + counts["position_embedding"]) + looks
            ),
            "the norms are no matrices: leave them out of N": 6 * (N + counts["norms"]) + looks,
            "without a tied head the token table is only looked up": (
                6 * (N + counts["token_embedding"]) + looks
            ),
            "this is the way forward: backward costs 4 more": 2 * N + 4 * L * C * T,
            "6 for each weight: 2 forward and 4 backward, not 2": 2 * N + looks,
            "6 for each weight: 2 forward and 4 backward, not 4": 4 * N + looks,
            "this is the way backward alone: 4 of the 6": 4 * N + 8 * L * C * T,
            "12 · L · C · T: each of the L layers looks back": 6 * N + 12 * C * T,
            "12 · L · C · T: C is missing": 6 * N + 12 * L * T,
            "12 · L · C · T: T is missing": 6 * N + 12 * L * C,
            "looking back costs 12, not 6, for each layer, channel and position": 6 * N + 6 * L * C * T,
            "looking back comes on top: 6 stands before N alone": 6 * (N + looks),
            "for one token, not for all T": T * right,
            "the token table of a tied head multiplies: it is the head": (
                6 * (N - counts["token_embedding"]) + looks
            ),
            "6 for each weight is missing": N + looks,
            "the norms and positions multiply nothing, and positions look back too": 6 * total,
            "`total` is the sum of the others: adding it up counts all twice": 6 * (N + total) + looks,
        }
        usual = {said: value for said, value in usual.items() if value != right}
        check.close(check.run(mine, config), right, "6 · N + 12 · L · C · T", usual=usual)


@marked("10.3 · a part and the whole", given=given_whole_speedup)
def whole_speedup(check: exercise, mine) -> None:
    """1 / (1 - share + share / times)."""
    for share, times in ((0.3, 2.0), (0.07, 30.0), (0.9, 1.5)):
        time_left = 1 - share + share / times
        usual = {
            "this is the time that is left: the speed-up is 1 over it": time_left,
            "only the part becomes faster: the rest takes its old time": times,
            "only `share` becomes faster, and the rest stays": 1 / (share + (1 - share) / times),
            "the part still takes share / times": 1 / (1 - share),
            "times add up, speed-ups do not": 1 + share * (times - 1),
            "times add up, speed-ups do not: 1 − share + share / times": share * times + 1 - share,
            "the rest takes 1 − share": times / share,
            "share · times is no speed-up: what becomes of the rest?": share * times,
            "this is how much less time it takes: the speed-up is old time / new time": 1 - time_left,
            "the part takes share / times: divide, do not multiply": 1 / (1 - share + share * times),
            "what is saved is share − share / times": 1 / (1 - share / times),
            "the speed-up itself, not what it is above 1": 1 / time_left - 1,
            "share − share / times is the time saved: the speed-up is 1 over what is left": (
                1 + share - share / times
            ),
            "the rest does not get `times` as fast: it is added to share / times": 1 - share + times,
        }
        check.close(check.run(mine, share, times), 1 / time_left, "old time over new time", usual=usual)


class Tables(TorchDispatchMode):
    """Notes the first operation that makes a new tensor of so many numbers."""

    def __init__(self, numel: int, known: Tensor) -> None:
        super().__init__()
        self.numel, self.known, self.maker = numel, known.untyped_storage().data_ptr(), ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Runs the operation and looks at what it made."""
        result = operation(*args, **kwargs or {})
        for made in result if isinstance(result, tuple | list) else (result,):
            large = isinstance(made, Tensor) and made.numel() >= self.numel
            if large and made.untyped_storage().data_ptr() != self.known:
                self.maker = self.maker or operation.name().partition("::")[2].partition(".")[0].strip("_")
        return result


@marked("10.4 · the gradient in place", given=given_loss_into_gradient)
def loss_into_gradient(check: exercise, mine) -> None:
    """The summed loss comes back; the logits have become softmax minus one-hot, in their own memory."""
    for N, V, scale in ((5, 7, 1.0), (3, 11, 400.0)):
        logits, targets = scale * random(N, V, seed=N), torch.arange(1, N + 1)
        leaf = logits.clone().requires_grad_()
        loss = F.cross_entropy(leaf, targets, reduction="sum")
        loss.backward()
        loss, right, p, given = loss.detach(), leaf.grad, logits.softmax(1), targets.clone()
        own, one_hot = logits.clone(), F.one_hot(targets, V)
        with torch.no_grad(), Tables(N * V, own) as tables:
            answer = mine(own, given)
        if answer is not None:
            check.attempted(answer)
        check.that(answer is not None, "your function returned None: is `return` missing?")
        said = "return the loss alone: the gradient stands in `logits`"
        check.that(not isinstance(answer, tuple | list), said)
        number = "a tensor, as `.sum()` gives it: .item() makes a plain number of it"
        check.that(isinstance(answer, Tensor), number)
        check.that(torch.equal(given, targets), "`targets` belongs to the caller: change only `logits`")
        forgot = "`logits` is as it was: write the gradient into it, with sub_, exp_ or logits[...] = …"
        check.that(not torch.equal(own, logits), forgot)
        overflow = "exp of a large logit is infinite: subtract logsumexp first, then take exp_()"
        check.that(bool(torch.isfinite(own).all()), overflow)
        usual = {
            "the one-hot is missing: subtract 1 at each target": p,
            "the sign: softmax minus one-hot": -right,
            "a sum, so the gradient is divided by nothing": right / N,
            "these are log-probabilities: exp_() comes next": logits.log_softmax(1),
            "these are log-probabilities minus the one-hot: exp_() comes before": (
                logits.log_softmax(1) - one_hot
            ),
            "softmax over the vocabulary, dim=1, not over the rows": logits.softmax(0) - one_hot,
            "minus 1 at the target only: this subtracts it from the whole row": p - 1,
            "plus in place of minus: softmax − one-hot": p + one_hot,
            "each row has its own target: logits[rows, targets], not logits[:, targets]": (
                p - one_hot.amax(0, keepdim=True)
            ),
            "the probabilities have to sum to 1: subtract logsumexp, not the maximum": (
                (logits - logits.amax(1, keepdim=True)).exp() - one_hot
            ),
        }
        check.close(own, right, "logits should have become softmax − one-hot", usual=usual)
        mean = {"the sum over the rows, not the mean": loss / N, "−ln p: the sign is wrong": -loss}
        mean |= {"the loss needs the logits as they were: take it before you overwrite them": 0.0}
        log_sums, rows = logits.logsumexp(1), torch.arange(N)
        mean |= {"logsumexp − logit at the target: the second is missing": log_sums.sum()}
        mean |= {"logsumexp − logit at the target: the first is missing": -logits[rows, targets].sum()}
        mean |= {"the loss needs the logits as they were: take it first": log_sums.sum() - right.sum()}
        mean |= {"(N, 1) − (N,) is (N, N): take log_sums[:, 0]": N * loss}
        mean |= {"one number: the sum over the rows": F.cross_entropy(logits, targets, reduction="none")}
        late = [(log_sums - own[rows, targets]).sum(), -own[rows, targets].sum()]
        late += [(own.logsumexp(1) - own[rows, targets]).sum(), F.cross_entropy(p, targets, reduction="sum")]
        late += [(log_sums - p[rows, targets]).sum(), -p[rows, targets].sum()]
        for value in late:
            mean |= {f"the loss needs the logits as they were: take it first{' ' * len(mean)}": value}
        check.close(answer, loss, "the summed −ln p of the targets", usual=mean)
        second = (
            f"`{tables.maker}` makes a second table of {N} × {V} numbers: work in place, as sub_ and exp_ do"
        )
        check.that(not tables.maker, second)


@marked("10.5 · where the memory goes", given=given_memory_table)
def memory_table(check: exercise, mine) -> None:
    """Weights, gradients, two averages, what the blocks keep, the logits so many times: in bytes."""
    for *sizes, rows, copies in ((211, 31, 3, 2, 22, 5, 3), (97, 13, 2, 2, 34, 3, 2)):
        config = ModelConfig(*sizes)
        right, answer = given_memory_table(config, rows, copies), check.run(mine, config, rows, copies)
        n, T, V = right["weights"] // 4, config.context_length, config.vocab_size
        check.that(isinstance(answer, dict), "return a dictionary, as in {'weights': …, 'gradients': …}")
        check.close(sorted(answer), sorted(right), f"the names are {', '.join(right)}")
        slips = {
            "weights": {"a number has 4 bytes": n, "float32: 4 bytes, not 8": 8 * n, "not 2": 2 * n},
            "gradients": {"a number has 4 bytes": n, "one gradient for each weight": 8 * n},
            "averages": {"AdamW keeps two averages": 4 * n, "a number has 4 bytes": 2 * n},
            "blocks": {
                "a number has 4 bytes": right["blocks"] // 4,
                "the blocks are n_layer": right["blocks"] // config.n_layer,
                "tokens = rows · context_length": right["blocks"] // T,
                "16 numbers for each channel": right["blocks"] // 16,
                "16 numbers for each of n_embd channels": right["blocks"] // config.n_embd,
                "all rows are in memory at once": right["blocks"] // rows,
                "16 numbers, not 15": right["blocks"] // 16 * 15,
                "`copies` is for the logits": right["blocks"] * copies,
            },
            "logits": {
                "they are there `copies` times": right["logits"] // copies,
                "a number has 4 bytes": right["logits"] // 4,
                "all rows are in memory at once": right["logits"] // rows,
                "each position of a row has logits: tokens = rows · context_length": right["logits"] // T,
                "V numbers, not C, for each token": 4 * copies * rows * T * config.n_embd,
                "each token has vocab_size logits": right["logits"] // V,
                "the head is there once, not in each layer": right["logits"] * config.n_layer,
            },
        }
        for name, bytes_ in right.items():
            usual = {f"{name}: {said}": value for said, value in slips[name].items()}
            check.close(answer[name], bytes_, f"{name}, in bytes", usual=usual)


@marked("10.6 · run it again", given=given_run_again)
def run_again(check: exercise, mine) -> None:
    """The gradient of x, as if the function had been recorded; the weights' gradients are added to."""
    for n, width in ((5, 3), (2, 7)):
        layers = (nn.Linear(width, 11), nn.GELU(), nn.Linear(11, width))
        block, earlier = nn.Sequential(*layers).requires_grad_(), torch.ones(())
        for i, weight in enumerate(block.parameters()):
            weight.data = 0.5 * random(*weight.shape, seed=i)
            weight.grad = torch.ones_like(weight)  # of an earlier micro-batch
        leaf, gradient = random(n, width, seed=n).requires_grad_(), random(n, width, seed=n + 9)
        x = 2 * leaf  # it has a past, which belongs to others
        recorded = x.detach().requires_grad_()
        y = block(recorded)
        right, *of_weights = torch.autograd.grad(
            y, [recorded, *block.parameters()], gradient, retain_graph=True
        )
        summed = torch.autograd.grad(y, recorded, torch.ones_like(y))[0]
        calls = []

        def function(z, block=block, calls=calls):
            calls.append(z)
            return block(z)

        try:
            with warnings.catch_warnings(), torch.no_grad():  # as inside a backward pass
                warnings.simplefilter("ignore")  # of an x whose past was not cut off
                answer = mine(function, x, gradient)
        except RuntimeError as error:
            unrecorded = "torch recorded nothing: all of it belongs inside `with torch.enable_grad():`"
            check.that("does not require grad" not in str(error), unrecorded)
            check.that("implicitly created" not in str(error), "start with `gradient`: backward(gradient)")
            raise
        if not calls and answer is not None:
            check.attempted(answer)
        check.that(calls, "your function never calls function(x): only x was kept, run it again")
        check.that(len(calls) == 1, f"function(x) ran {len(calls)} times: once is enough")
        past = "the backward pass went on into what came before x: cut it off with x.detach()"
        check.that(leaf.grad is None, past)
        nothing = "None came back: is `return` there, and has the detached x requires_grad_()?"
        check.that(answer is not None, nothing)
        usual = {
            "send `gradient` backward, not ones: backward(gradient)": summed,
            "this is function(x): its backward pass is asked for": y.detach(),
            "this is the gradient of function(x), which was given": gradient,
            "this is x itself: return x.grad": x.detach(),
            "the gradient goes through function first: it is not only multiplied by x": gradient * x.detach(),
            "`gradient` belongs into backward(gradient), not times the result": summed * gradient,
        }
        check.close(answer, right, "the gradient of x", usual=usual)
        grads = [weight.grad for weight in block.parameters()]
        if all(torch.equal(grad, earlier.expand_as(grad)) for grad in grads):
            check.that(
                False, "the weights got no gradient: backward() fills their .grad, autograd.grad does not"
            )
        zeroed = "the weights' gradients are added to those of earlier micro-batches: do not clear them"
        kept = all(torch.isfinite(grad).all() if grad is not None else False for grad in grads)
        check.that(kept, zeroed)
        alone = all(torch.allclose(g, w) for g, w in zip(grads, of_weights, strict=True))
        check.that(not alone, zeroed)
        added = [w + 1 for w in of_weights]
        check.close(grads, added, "the weights' gradients, added to what was there")


@marked("10.7 · the model for your weekend")
def affordable(check: exercise, mine) -> None:
    """FLOPs = 6 · N · 20 · N, solved for N."""
    for hours, speed in ((48, 1e11), (5, 3e13)):
        flops = hours * 3600 * speed
        right = math.sqrt(flops / 120)
        usual = {
            "hours are not seconds yet": math.sqrt(hours * speed / 120),
            "hours are not seconds yet: an hour has 3,600": math.sqrt(hours * 60 * speed / 120),
            "N stands in the formula twice: take the root": flops / 120,
            "take the root, not the half": flops / 240,
            "the tokens depend on N too: 20 for each parameter": math.sqrt(flops / 6),
            "N stands in the formula twice, and 20 tokens go with each": flops / 6,
            "the 6 is missing: FLOPs = 6 · N · tokens": math.sqrt(flops / 20),
            "6 · 20 are divided by, not multiplied with": math.sqrt(flops * 120),
            "the root is of all of it: 6 · 20 too": math.sqrt(flops) / 120,
            "that is how many tokens: N is asked for, and tokens = 20 · N": 20 * right,
            "N squared, not N cubed": (flops / 120) ** (1 / 3),
        }
        check.close(check.run(mine, hours, speed), right, "solve FLOPs = 6 · N · 20 · N for N", usual=usual)
