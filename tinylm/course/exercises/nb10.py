"""Exercises of notebook 10_speed."""

import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call
from tinylm.device import best_device, synchronize
from tinylm.model.config import ModelConfig

IMPORTS = "import math, statistics, time, torch; import torch.nn.functional as F"
lesson = Lesson("10", f"{IMPORTS}; from tinylm.model.cost import parameter_counts")


def seconds(work: Callable[[], Any]) -> float:
    """Return the time that work() takes."""
    synchronize(best_device())
    began = time.perf_counter()
    work()
    synchronize(best_device())
    return time.perf_counter() - began


lesson.names["seconds"] = seconds


def stepwise(observe: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a `run` that observes one mistake at a time: what comes after the first is None."""

    def run(check: Check, answer: Any, *case: Any) -> dict[str, Any]:
        right, mine = observe(check, check.given, *case), observe(check, answer, *case)
        good = True
        for name in right:
            mine[name] = mine[name] if good else None
            good = good and difference(mine[name], right[name]) is None
        return mine

    return run


class Machine:
    """A machine whose clock only work moves: it slows down, starts slowly, and is disturbed in some runs."""

    def __init__(self, before: float, after: float, disturbed: dict[int, float]) -> None:
        self.base, self.disturbed = {"before": before, "after": after}, disturbed
        self.now, self.ran, self.timed = 100.0, [], []

    def work(self, name: str) -> Callable[[], None]:
        """Return a function that takes its time on this machine's clock."""

        def run() -> None:
            slow = 1 + 0.03 * len(self.ran) + 20 * (name not in self.ran)
            self.now += self.base[name] * slow * self.disturbed.get(len(self.ran), 1)
            self.ran.append(name)
            self.timed.append(
                any(f.f_code.co_name == "seconds" for f, _ in traceback.walk_stack(sys._getframe()))
            )

        return run


def turns(check: Check, answer: Any, rounds: int, *machine: Any) -> dict[str, Any]:
    """Return what ran in which order, whether `seconds` timed the rounds, and the answer."""
    mine = Machine(*machine)
    moved = {"perf_counter": lambda: mine.now, "perf_counter_ns": lambda: int(mine.now * 1e9)}
    with mock.patch.multiple(time, **moved, time=lambda: mine.now):
        ratio = check.run(answer, mine.work("before"), mine.work("after"), rounds)
    ran = " ".join([*sorted(mine.ran[:2], reverse=True), *mine.ran[2:]])  # either may warm up first
    return {"order": ran, "timed by seconds(...)": all(mine.timed[-2 * rounds :]), "ratio": ratio}


compare = lesson.exercise(
    "10.1 · compare in turns",
    """
    def compare(before, after, rounds):
        before()
        after()
        ratios = [seconds(before) / seconds(after) for _ in range(rounds)]
        return statistics.median(ratios)
    """,
    run=stepwise(turns),
    cases=[(7, 3.0, 2.0, {2: 3, 5: 9, 6: 30, 8: 4, 15: 2}), (6, 1.0, 4.0, {4: 12})],
    said="run each once to warm up, then both in each of {0} rounds, and take the median of before / after",
    slips="""
    before() ⏎ after() ⏎ ratios -> ratios
        :: each runs once to warm up, uncounted, since its first run is slow, and then once in each round
    before() ⏎ after() -> before() :: both need a warm-up: run after() once too, before the rounds
    seconds(before) / seconds(after) for _ in range(rounds)] -> seconds(before) for _ in range(rounds)]
        ⏎ others = [seconds(after) for _ in range(rounds)]
        :: take turns: before, after, before, after. The machine gets slower while it runs
    seconds(before) / seconds(after) -> 1 / (seconds(after) / seconds(before))
        :: in each round `before` comes first, then `after`
    range(rounds) -> range(rounds - 1)
        :: each runs once to warm up, uncounted, since its first run is slow, and then once in each round
    range(rounds) -> range(rounds + 1) :: that is one round too many: range(rounds)
    range(rounds) -> range(31) :: your function does not use its argument `rounds`
    = before() ⏎ after() ⏎ return seconds(before) / seconds(after)
        :: that is a single round: collect a ratio in each of the rounds
    = return 1.5 :: your function runs nothing: call seconds(before) and seconds(after)
    seconds(before) / seconds(after) -> before() / after()
        :: before() returns nothing: seconds(before) is the time that it takes
    seconds(before) / seconds(after) -> seconds(before()) / seconds(after())
        :: pass the function itself: seconds(before), without () after its name
    = before() ⏎ after() ⏎ times = [] ⏎ for _ in range(rounds): ⏎     a = time.perf_counter() ⏎     before()
        ⏎     b = time.perf_counter() ⏎     after() ⏎     times.append((b - a) / (time.perf_counter() - b))
        ⏎ return statistics.median(times)
        :: time with seconds(...): on a GPU a clock of your own stops before the work is done
    before() ⏎ after() ⏎ ratios -> ratios && range(rounds) -> range(rounds + 1)
        :: the warm-up does not count: leave the first ratio out
    statistics.median(ratios) -> statistics.median([1 / ratio for ratio in ratios])
        :: the ratio is upside down: before / after is above 1 when `after` is faster
    statistics.median -> statistics.mean :: the median, not the mean: one disturbed round moves the mean
    statistics.median -> max :: the median of all rounds, not the best one
    statistics.median -> min :: the median of all rounds, not the worst one
    statistics.median(ratios) -> ratios :: return one number: the median of the ratios
    statistics.median(ratios) -> ratios[-1] :: only the last round counts here: collect all ratios
    statistics.median(ratios) -> ratios[0] :: only the first round counts here: collect all ratios
    statistics.median(ratios) -> ratios[rounds // 2] :: sort first, or use statistics.median
    statistics.median(ratios) -> sorted(ratios)[rounds // 2]
        :: the median of an even number of ratios is the mean of the middle two
    statistics.median(ratios) -> sorted(ratios)[(rounds - 1) // 2]
        :: the median of an even number of ratios is the mean of the middle two
    seconds(before) / seconds(after) -> seconds(before) - seconds(after)
        :: a ratio is asked for, not a difference: before / after
    seconds(before) / seconds(after) -> (seconds(before), seconds(after)) && return statistics.median(ratios)
        -> a, b = zip(*ratios) ⏎ return statistics.median(a) / statistics.median(b)
        :: take the ratio of each round first, then one median: the two runs of a round meet the same machine
    seconds(before) / seconds(after) -> (seconds(before), seconds(after)) && return statistics.median(ratios)
        -> a, b = zip(*ratios) ⏎ return sum(a) / sum(b) :: the median of the ratios, not the ratio of the sums
    seconds(before) / seconds(after) -> (seconds(before), seconds(after)) && return statistics.median(ratios)
        -> a, b = zip(*ratios) ⏎ return min(a) / min(b)
        :: the fastest runs come from different rounds: take the ratio of each round
    return -> ratio = :: is `return` missing?
    """,
)

tiny = ModelConfig(211, 31, 3, 2, 22)
flops_per_token = lesson.exercise(
    "10.2 · FLOPs per token",
    """
    from tinylm.model.cost import parameter_counts


    def flops_per_token(config):
        counts = parameter_counts(config)
        N = counts["total"] - counts["norms"] - counts["position_embedding"]
        if not config.tied_head:
            N -= counts["token_embedding"]
        return 6 * N + 12 * config.n_layer * config.n_embd * config.context_length
    """,
    cases=[(tiny,), (replace(tiny, n_layer=5, tied_head=False),), (replace(tiny, n_embd=26),)],
    said="6 · N + 12 · L · C · T",
    slips="""
    + 12 -> + 0 :: each position looks at others too: add 12 · L · C · T
    - counts["norms"] - counts["position_embedding"] ->
        :: the norms and the position table multiply nothing: leave them out of N
    - counts["position_embedding"] -> :: positions are looked up and added: leave their table out of N
    - counts["norms"] -> :: norms have no matrix to multiply by: leave them out of N
    N -= counts -> N -= 0 * counts :: without a tied head the token table is only looked up: leave it out of N
    if not config.tied_head: -> if True:
        :: with a tied head the token table multiplies, since it is also the head: it belongs to N
    if not config.tied_head: -> if config.tied_head:
        :: the other way round: the token table is left out where config.tied_head is False
    return 6 * N + 12 -> return 2 * N + 4 :: this is the forward pass alone: the backward pass costs 4 more
    return 6 * N -> return 2 * N :: 6 for each weight, not 2: 2 forward and 4 backward
    return 6 * N -> return 4 * N :: 6 for each weight, not 4: 2 forward and 4 backward
    return 6 * N + 12 -> return 4 * N + 8 :: this is the backward pass alone: the forward pass costs 2 more
    return 6 * N -> return N :: the 6 of 6 · N is missing
    12 * config.n_layer * -> 12 * :: L is missing in 12 · L · C · T: each layer looks back
    config.n_layer * config.n_embd -> config.n_layer :: C is missing in 12 · L · C · T
    * config.context_length -> :: T is missing in 12 · L · C · T
    context_length -> context_length**2 :: T, not T²: one token looks at T positions
    12 * -> 6 * :: looking back costs 12 for each layer, channel and position, not 6
    + 12 -> + 6 * 12 :: the 6 multiplies N alone: 12 · L · C · T is complete
    return 6 * N + 12 -> return config.context_length * 6 * N + config.context_length * 12
        :: the cost of one token is asked for, not that of all T
    = return 6 * parameter_counts(config)["total"] :: no norms or position table in N; then add 12 · L · C · T
    counts["total"] -> sum(counts.values())
        :: `total` is already the sum of the others: adding it up again counts everything twice
    return 6 -> flops = 6 :: is `return` missing?
    """,
)

whole_speedup = lesson.exercise(
    "10.3 · a part and the whole",
    """
    def whole_speedup(share, times):
        return 1 / (1 - share + share / times)
    """,
    cases=[(0.3, 2.0), (0.07, 30.0), (0.9, 1.5)],
    said="divide the old time by the new time",
    slips="""
    = return 1 - share + share / times :: this is the time that is left: the speed-up is 1 divided by it
    = return times :: only the part becomes faster: the rest takes its old time
    1 - share + share / times -> share + (1 - share) / times :: only `share` becomes faster: the rest stays
    + share / times -> :: the part still takes share / times
    = return 1 + share * (times - 1) :: add up times, not speeds: 1 − share + share / times
    = return share * times + 1 - share :: add up times, not speeds: 1 − share + share / times
    = return times / share :: the rest still takes 1 − share: add it
    = return share * times :: share · times forgets the rest, which takes 1 − share
    = return share - share / times :: this is the time saved: the speed-up is the old time / the new time
    share / times -> share * times :: the part takes share / times: divide, don't multiply
    1 - share + share / times -> 1 - share / times :: share − share / times is saved: 1 − that is left
    = return 1 / (1 - share + share / times) - 1 :: return the speed-up itself, not how far it is above 1
    = return 1 + share - share / times :: share − share / times is saved: return 1 / the time that is left
    = return 1 - share + times :: the rest keeps its time: 1 − share is added to share / times
    = return 1.25 :: your function does not use its argument `share`
    return -> speedup = :: is `return` missing?
    = return 1 / (1 - share) + times / share
    """,
)


class Tables(TorchDispatchMode):
    """Record the first operation that makes a new tensor of at least this many numbers."""

    def __init__(self, numel: int, known: Tensor) -> None:
        super().__init__()
        self.numel, self.known, self.maker = numel, known.untyped_storage().data_ptr(), ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        """Run the operation and look at what it made."""
        result = operation(*args, **kwargs or {})
        for made in result if isinstance(result, tuple | list) else (result,):
            large = isinstance(made, Tensor) and made.numel() >= self.numel
            if large and made.untyped_storage().data_ptr() != self.known:
                self.maker = self.maker or operation.name().partition("::")[2].partition(".")[0].strip("_")
        return result


def in_place(check: Check, answer: Any, N: int, V: int, scale: float) -> dict[str, Any]:
    """Return what has become of the logits, the loss, and which operation made a second table."""
    logits, targets = scale * random(N, V, seed=N), torch.arange(1, N + 1)
    with torch.no_grad(), Tables(N * V, logits) as tables:
        loss = answer(logits, targets)
    check.that(loss is not None, "your function returned None: is `return` missing?")
    check.attempted(loss)
    check.that(not isinstance(loss, tuple | list), "return the loss alone: the gradient is in `logits`")
    check.that(
        isinstance(loss, Tensor), "return a tensor, as `.sum()` gives it: .item() makes a plain number"
    )
    told = "`targets` belongs to the caller: change only `logits`"
    check.that(torch.equal(targets, torch.arange(1, N + 1)), told)
    return {"logits": logits, "loss": loss, "operation that makes a second table": tables.maker}


def without_second(check: Check, answer: Any, N: int, V: int, scale: float) -> Any:
    """Return the observed. An answer whose only fault is a second table is told which operation makes it."""
    seen = stepwise(in_place)(check, answer, N, V, scale)
    maker = seen["operation that makes a second table"]
    told = f"`{maker}` makes a second table of {N} × {V} numbers: work in place, as sub_ and exp_ do"
    check.that(not maker, told)
    return seen


loss_into_gradient = lesson.exercise(
    "10.4 · the gradient in place",
    """
    def loss_into_gradient(logits, targets):
        rows = torch.arange(len(targets), device=targets.device)
        log_sums = logits.logsumexp(1, keepdim=True)  # (N, 1)
        loss = (log_sums[:, 0] - logits[rows, targets]).sum()
        logits.sub_(log_sums).exp_()  # softmax
        logits[rows, targets] -= 1  # minus one-hot
        return loss
    """,
    run=without_second,
    cases=[(5, 7, 1.0), (3, 11, 400.0)],
    said="`logits` should hold softmax − one-hot, and the loss is the summed −ln p of the targets",
    slips="""
    logits[rows, targets] -= 1 -> :: the one-hot is missing: subtract 1 at each target
    return loss -> logits.neg_() ⏎ return loss :: the sign is wrong: softmax − one-hot
    return loss -> logits.div_(len(targets)) ⏎ return loss
        :: the loss is a sum: don't divide the gradient by N
    .exp_() -> && logits[rows, targets] -= 1 -> :: these are log-probabilities: exp_() comes next
    .exp_() -> :: these are log-probabilities minus the one-hot: call exp_() before you subtract the one-hot
    logits.sub_(log_sums).exp_() -> :: the softmax is missing: subtract log_sums, then take exp_()
    logits.sub_(log_sums) -> logits.sub_(logits.logsumexp(0)) :: softmax runs over the vocabulary, dim=1
    logits[rows, targets] -= 1 -> logits -= 1 :: subtract 1 at the target only, not in the whole row
    logits[rows, targets] -= 1 -> logits[rows, targets] += 1 :: minus, not plus: softmax − one-hot
    logits[rows, targets] -= 1 -> logits[rows, targets] = -1 :: subtract 1 from p: `-= 1`, not `= -1`
    logits[rows, targets] -= 1 -> logits[:, targets] -= 1
        :: each row has its own target: logits[rows, targets], not logits[:, targets]
    logits.sub_(log_sums) -> logits.sub_(logits.amax(1, keepdim=True))
        :: the probabilities of a row must sum to 1: subtract logsumexp, not the maximum
    logits.sub_(log_sums).exp_() -> logits.exp_() ⏎ logits.div_(logits.sum(1, keepdim=True))
        :: exp of a large logit is infinite: subtract logsumexp first, then take exp_()
    = return F.cross_entropy(logits, targets, reduction="sum")
        :: `logits` is unchanged: write the gradient into it, with sub_, exp_ or logits[...] = …
    logits.sub_(log_sums).exp_() -> logits = logits.softmax(1)
        :: `logits` is unchanged: write the gradient into it, with sub_, exp_ or logits[...] = …
    .exp_() -> .exp_() ⏎ loss = (log_sums[:, 0] - logits[rows, targets]).sum()
        :: take the loss before the exp: it needs the logits as they were
    return loss -> return (log_sums[:, 0] - logits[rows, targets]).sum()
        :: take the loss before you overwrite the logits: it needs them as they were
    .exp_() -> .exp_() ⏎ loss = -logits[rows, targets].log().sum()
        :: take the loss before the exp: a small p becomes 0, and its −ln p infinite
    .exp_() -> .exp_() ⏎ loss = -logits[rows, targets].sum()
        :: take the loss before the exp: −ln p is the negative of what was there before exp_()
    return loss -> return -logits[rows, targets].sum()
        :: take the loss before you overwrite the logits: by now the gradient is in them
    return loss -> return (logits.logsumexp(1) - logits[rows, targets]).sum()
        :: take the loss before you overwrite the logits: by now the gradient is in them
    .exp_() -> .exp_() ⏎ loss = F.cross_entropy(logits, targets, reduction="sum")
        :: take the loss before the exp: cross_entropy wants logits, and by now these are probabilities
    return loss -> return torch.zeros(()) :: the loss is 0 here: take it before you overwrite the logits
    return loss -> return loss / len(targets) :: the loss is the sum over the rows, not the mean
    log_sums[:, 0] - -> log_sums - :: (N, 1) − (N,) gives (N, N): take log_sums[:, 0]
    return loss -> return -loss :: the sign of the loss is wrong: −ln p is logsumexp − the target's logit
    log_sums[:, 0] - logits[rows, targets] -> log_sums :: half is missing: logsumexp − the target's logit
    log_sums[:, 0] - logits[rows, targets] -> -logits[rows, targets]
        :: half is missing: logsumexp − the target's logit
    logits[rows, targets]).sum() -> logits[rows, targets]) :: return one number: the sum over the rows
    return loss -> return loss.item() :: .item() makes a plain number
    return loss -> return loss, logits :: return the loss alone
    return -> loss = :: is `return` missing?
    return loss -> targets.zero_() ⏎ return loss :: `targets` belongs to the caller
    logits.sub_(log_sums).exp_() -> logits.copy_((logits - log_sums).exp()) :: `sub` makes a second table
    logits.sub_(log_sums).exp_() -> logits.copy_(logits.softmax(1)) :: `softmax` makes a second table
    logits[rows, targets] -= 1 -> logits.sub_(F.one_hot(targets, logits.shape[1])) :: makes a second table
    loss = (log_sums[:, 0] - logits[rows, targets]).sum()
        -> loss = F.cross_entropy(logits, targets, reduction="sum") :: `log_softmax` makes a second table
    = leaf = logits.detach().clone().requires_grad_() ⏎ with torch.enable_grad():
        ⏎     loss = F.cross_entropy(leaf, targets, reduction="sum") ⏎     loss.backward()
        ⏎ logits.copy_(leaf.grad) ⏎ return loss.detach() :: `clone` makes a second table
    """,
)

PARTS = ("weights", "gradients", "averages", "blocks", "logits")


def table(check: Check, answer: Any, config: ModelConfig, rows: int, copies: int) -> dict[str, Any]:
    """Return the dictionary, whose names must be those of the contract."""
    found = call(check, answer, config, rows, copies)
    check.that(isinstance(found, dict), "return a dictionary that begins with 'weights': …, 'gradients': …")
    check.that(found.keys() == {*PARTS}, f"the names are {', '.join(PARTS)}")
    return dict(found)


memory_table = lesson.exercise(
    "10.5 · where the memory goes",
    """
    def memory_table(config, rows, copies):
        P, tokens = parameter_counts(config)["total"], rows * config.context_length
        return {
            "weights": 4 * P,
            "gradients": 4 * P,
            "averages": 4 * 2 * P,
            "blocks": 4 * 16 * tokens * config.n_embd * config.n_layer,
            "logits": 4 * copies * tokens * config.vocab_size,
        }
    """,
    run=stepwise(table),
    cases=[(ModelConfig(211, 31, 3, 2, 22), 5, 3), (ModelConfig(97, 13, 2, 2, 34), 3, 2)],
    said="compare each part with the contract: how many numbers, and 4 bytes for each",
    slips="""
    "weights": 4 -> "weights": 1 :: weights: a number in float32 takes 4 bytes
    "weights": 4 -> "weights": 8 :: weights: 4 bytes each, not 8, and `total` already holds all parameters
    "weights": 4 -> "weights": 2 :: weights: a number in float32 takes 4 bytes, not 2 as in bfloat16
    "weights": 4 -> "weights": 16 :: weights: 4 bytes for each parameter: the rest has its own entries
    ["total"], rows -> ["total"] - config.vocab_size * config.n_embd, rows
        :: weights: the embedding counts too
    parameter_counts(config)["total"]
        -> sum(parameter_counts(config)[name] for name in ("attention", "mlp", "norms", "head"))
        :: weights: the embeddings count too: take `total`
    parameter_counts(config)["total"] -> sum(parameter_counts(config).values())
        :: weights: 4 bytes each, not 8, and `total` already holds all parameters
    "gradients": 4 -> "gradients": 1 :: gradients: a number in float32 takes 4 bytes
    "gradients": 4 -> "gradients": 8 :: gradients: there is one for each weight, of 4 bytes
    4 * 2 * P -> 4 * P :: averages: AdamW keeps two averages for each weight
    4 * 2 * P -> 2 * P :: averages: a number in float32 takes 4 bytes
    4 * 16 -> 16 :: blocks: a number in float32 takes 4 bytes
    4 * 16 -> 4 :: blocks: a block keeps 16 numbers for each token and channel
    4 * 16 -> 4 * 15 :: blocks: a block keeps 16 numbers for each token and channel, not 15
    config.n_embd * config.n_layer -> config.n_embd :: blocks: there are n_layer of them
    config.n_embd * config.n_layer -> config.n_layer :: blocks: 16 numbers for each of the n_embd channels
    16 * tokens -> 16 * rows :: blocks: there are rows · context_length tokens
    16 * tokens -> 16 * config.context_length :: blocks: all rows are in memory at once
    16 * tokens -> 16 * copies * tokens :: blocks: `copies` belongs to the logits alone
    4 * copies -> 12 :: your function does not use its argument `copies`
    copies * -> :: logits: they are in memory `copies` times
    4 * copies -> copies :: logits: a number in float32 takes 4 bytes
    copies * tokens -> copies * rows :: logits: every position has its own: rows · context_length tokens
    copies * tokens -> copies * config.context_length :: logits: all rows are in memory at once
    config.vocab_size -> config.n_embd :: logits: V numbers for each token, not C
    * config.vocab_size -> :: logits: each token has vocab_size of them
    config.vocab_size -> config.vocab_size * config.n_layer :: logits: there is one head, not one a layer
    rows * config.context_length -> config.context_length :: blocks: all rows are in memory at once
    "averages": -> "adamw": :: the names are
    return { -> return 0, { :: return a dictionary
    return -> parts = :: is `return` missing?
    """,
)


def rerun(check: Check, answer: Any, n: int, width: int) -> dict[str, Any]:
    """Return how often the function ran, whether x's past was left alone, and the gradients."""
    block = numbered(nn.Sequential(nn.Linear(width, 11), nn.Tanh(), nn.Linear(11, width)))
    for weight in block.parameters():
        weight.grad = torch.ones_like(weight)  # of an earlier micro-batch
    leaf, gradient, calls = random(n, width, seed=n).requires_grad_(), random(n, width, seed=n + 9), []

    def function(z: Tensor) -> Tensor:
        calls.append(z)
        return block(z)

    x = 0.5 * leaf  # it has a past, which belongs to others
    with warnings.catch_warnings(), torch.no_grad():  # as inside a backward pass
        warnings.simplefilter("ignore")  # of an x whose past was not cut off
        found = answer(function, x, gradient)
    if not calls and found is not None:
        check.attempted(found)
    ran = {"runs of function(x)": len(calls), "backward stops at x": leaf.grad is None}
    return ran | {"gradient of x": found, "gradients of the weights": [w.grad for w in block.parameters()]}


run_again = lesson.exercise(
    "10.6 · run it again",
    """
    def run_again(function, x, gradient):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            y = function(x)
        y.backward(gradient)
        return x.grad
    """,
    run=stepwise(rerun),
    cases=[(5, 3), (2, 7)],
    said="return the gradient of x, and let backward() add to those of the weights",
    slips="""
    with torch.enable_grad(): ⏎ y = function(x) -> y = function(x)
        :: torch recorded nothing: function(x) and what uses it belong inside `with torch.enable_grad():`
    y.backward(gradient) -> (y * gradient).sum().backward()
        :: torch recorded nothing: function(x) and what uses it belong inside `with torch.enable_grad():`
    y.backward(gradient) -> y.backward() :: start with `gradient`: y.backward(gradient)
    = return gradient * x :: your function never calls function(x): only x was kept, so run it again
    y.backward(gradient) -> function(x) ⏎ y.backward(gradient) :: function(x) ran twice: once is enough
    x = x.detach().requires_grad_() -> x.retain_grad()
        :: the backward pass went on beyond x: cut it off with x.detach()
    x.detach().requires_grad_() -> x :: the backward pass went on beyond x: cut it off with x.detach()
    return -> found = :: None came back: is `return` missing, or x.detach() without requires_grad_()?
    .requires_grad_() -> :: None came back: is `return` missing, or x.detach() without requires_grad_()?
    y.backward(gradient) -> y.backward(torch.ones_like(y)) :: pass `gradient`, not ones: y.backward(gradient)
    y = function(x) -> y = function(x).sum() && y.backward(gradient) -> y.backward()
        :: pass `gradient`, not ones: y.backward(gradient)
    return x.grad -> return y.detach() :: this is function(x): return the gradient of x, x.grad
    return x.grad -> return gradient :: this is the gradient of function(x), which was given: return x.grad
    return x.grad -> return x.detach() :: this is x itself: return x.grad
    return x.grad -> return gradient * x.detach()
        :: the gradient goes backward through function: multiplying it by x is not enough
    y.backward(gradient) -> y.backward(torch.ones_like(y)) && return x.grad -> return x.grad * gradient
        :: pass `gradient` to backward(gradient): don't multiply the result by it
    y.backward(gradient) -> return torch.autograd.grad(y, x, gradient)[0]
        :: the weights got no gradient: backward() adds to their .grad, autograd.grad does not
    y.backward(gradient) -> y.backward(gradient, retain_graph=True) ⏎ y.backward(gradient) && return x.grad
        -> return x.grad / 2 :: the weights got their gradients twice: call backward() once
    y.backward(gradient) -> y.backward(-gradient)
    """,
)

affordable = lesson.exercise(
    "10.7 · the model for your weekend",
    """
    def affordable(hours, flops_per_second):
        flops = hours * 3600 * flops_per_second
        return math.sqrt(flops / (6 * 20))
    """,
    cases=[(48, 1e11), (5, 3e13)],
    said="solve FLOPs = 6 · N · 20 · N for N",
    slips="""
    hours * 3600 -> hours :: hours are not seconds yet: an hour has 3,600
    hours * 3600 -> hours * 60 :: hours are not seconds yet: an hour has 3,600
    math.sqrt(flops / (6 * 20)) -> flops / (6 * 20) :: N appears twice in the formula: take the square root
    math.sqrt(flops / (6 * 20)) -> flops / (6 * 20) / 2 :: take the square root, not the half
    math.sqrt(flops / (6 * 20)) -> math.sqrt(flops / 6) :: the tokens depend on N too: 20 for each parameter
    math.sqrt(flops / (6 * 20)) -> flops / 6 :: take the root: the tokens depend on N too, 20 each
    6 * 20 -> 20 :: the 6 is missing: FLOPs = 6 · N · tokens
    flops / (6 * 20) -> flops * 6 * 20 :: divide by 6 · 20, don't multiply
    math.sqrt(flops / (6 * 20)) -> math.sqrt(flops) / (6 * 20) :: the square root covers 6 · 20 too
    return math.sqrt(flops / (6 * 20)) -> return 20 * math.sqrt(flops / (6 * 20))
        :: 20 times too many: return N, not tokens, and keep 6 · 20 in brackets
    flops / (6 * 20) -> flops / 6 * 20 :: 20 times too many: return N, not tokens, and keep 6 · 20 in brackets
    math.sqrt(flops / (6 * 20)) -> (flops / (6 * 20)) ** (1 / 3) :: N², not N³: take the square root
    hours * 3600 -> 48 * 3600 :: your function does not use its argument `hours`
    return -> N = :: is `return` missing?
    6 * 20 -> 6 + 20
    """,
)
