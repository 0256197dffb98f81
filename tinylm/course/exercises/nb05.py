"""Exercises of notebook 05_sampling."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import numbered, random
from tinylm.course.slips import Lesson, call

lesson = Lesson("05", "import math\nimport torch\nfrom torch import nn")

temperature = lesson.exercise(
    "5.1 · temperature",
    """
    def temperature(logits, tau):
        return logits / tau
    """,
    cases=[(2 * random(7, seed=1), 0.5), (2 * random(7, seed=2), 1.7)],
    said="each logit divided by τ",
    slips="""
    / tau -> * tau :: multiplied: divide, so that a small τ stretches the differences
    logits / tau -> (logits / tau).softmax(-1)
        :: these are probabilities already: softmax comes after all rules
    logits / tau -> logits.softmax(-1) / tau :: softmax comes after the division, not before it
    logits / tau -> logits.log_softmax(-1) / tau :: these are log-probabilities: return logits
    logits / tau -> (logits / tau).log_softmax(-1) :: these are log-probabilities: softmax comes later
    / tau -> - tau :: subtracting a number from all logits changes no probability: divide
    logits / tau -> logits.abs() ** (1 / tau) :: 1/τ is an exponent of the odds: divide the logits by τ
    logits / tau -> (logits / tau).exp() :: that is e to the power: softmax does this later
    logits / tau -> (logits - logits.max()) / tau :: the largest logit is divided as all others are
    / tau ->  :: the logits came back as they were: divide by τ
    / tau -> / tau**2 :: divide by τ once, not by its square
    / tau -> / tau**0.5 :: divide by τ, not by its root
    / tau -> / 0.8 :: does not use its argument `tau`
    = logits /= tau ⏎ return logits :: changes a tensor
    return -> cool = :: is `return` missing?
    / tau -> // tau
    / tau -> / int(tau + 0.6)
    logits / tau -> torch.where(logits > 0, logits / tau, logits)
    """,
)


def cut(check: Check, answer: Callable[..., Any], logits: torch.Tensor, limit: float) -> Any:
    """Return the logits that an answer gives, and which of them stay."""
    out = call(check, answer, logits, limit)
    told = "a tensor of logits is asked, with −∞ for what goes, and not which tokens stay or their places"
    check.that(isinstance(out, torch.Tensor) and out.is_floating_point(), told)
    told = "every token keeps its place in the row: return V logits, with −∞ for what goes"
    check.that(out.shape == logits.shape, told)
    return {"stays": out.isfinite(), "logits": out}


def shares(*parts: float) -> torch.Tensor:
    """Return logits (V,) of tokens with these probabilities, none of them ln p itself."""
    return torch.tensor(parts).log() + 3.0


FILL = """
-math.inf -> 0.0 :: a dropped token gets −∞: a logit of 0 is a score like any other
-math.inf -> -1.0 :: a dropped token gets −∞: a logit of −1 is a score like any other
-math.inf -> -1e9 :: −1e9 is finite, and the contract says −∞
"""
EQUAL = torch.tensor([1.0, 4.0, -2.0, 3.0, 3.0, 0.5])

top_k = lesson.exercise(
    "5.2 · top-k",
    """
    def top_k(logits, k):
        smallest_kept = logits.topk(k).values[-1]
        return logits.masked_fill(logits < smallest_kept, -math.inf)
    """,
    run=cut,
    cases=[(random(9, seed=4), 3), (-1.0 - random(9, seed=5).abs(), 2), (EQUAL, 2), (EQUAL, 6)],
    said="keep the k largest, k = {1}",
    slips=FILL
    + """
    -math.inf) -> -math.inf).softmax(-1) :: these are probabilities: return logits, softmax comes later
    -math.inf) -> -math.inf).log_softmax(-1) :: these are log-probabilities: return logits
    logits.masked -> logits.softmax(-1).masked :: these are probabilities, with −∞ among them: return logits
    logits.masked -> logits.log_softmax(-1).masked :: these are log-probabilities: return logits
    logits.masked -> logits.softmax(-1).masked && -math.inf -> 0.0
        :: these are probabilities, with zeros: return logits
    < smallest_kept -> <= smallest_kept :: the k-th itself stays: drop only what is below it
    .topk(k).values[-1] -> .sort(descending=True).values[k] :: one too many: that keeps k + 1
    .topk(k).values[-1] -> .sort().values[k - 1] && < -> > :: that keeps the k smallest
    .topk(k).values[-1] -> .sort().values[k - 1] && < -> <= :: that drops the k smallest: keep the k largest
    < smallest_kept -> < k :: compare with the k-th largest, not with the number k
    smallest_kept, -> logits.max(), :: that is greedy: k tokens stay
    logits < smallest_kept -> torch.arange(len(logits)) >= k :: the first k of the row are not the k largest
    = logits = logits.sort(descending=True).values
        ⏎ return logits.masked_fill(torch.arange(len(logits)) >= k, -math.inf)
        :: every token keeps its place in the row: these are sorted
    < smallest_kept -> > smallest_kept :: the wrong way round: you drop the largest
    < smallest_kept -> >= smallest_kept :: the wrong way round: that drops what should stay
    logits < smallest_kept -> logits < logits.min() :: nothing is dropped
    = top = logits.topk(k) ⏎ return torch.full_like(logits, -math.inf).scatter(0, top.indices, top.values)
        :: a logit equal to the k-th stays too: compare with its value, and do not take k places
    = kth = logits.unique().sort(descending=True).values[k - 1]
        ⏎ return logits.masked_fill(logits < kth, -math.inf)
        :: k = V keeps all, and yours count equal logits once
    topk(k) -> topk(5) :: does not use its argument `k`
    return logits.masked_fill(logits < smallest_kept, -math.inf) -> return logits >= smallest_kept
        :: a tensor of logits is asked
    = return logits.topk(k).indices :: a tensor of logits is asked
    = return logits.topk(k).values :: every token keeps its place in the row
    = logits[logits < logits.topk(k).values[-1]] = -math.inf ⏎ return logits :: changes a tensor
    return -> kept = :: is `return` missing?
    smallest_kept, -> logits.mean() + 0 * k,
    topk(k) -> topk(max(k - 1, 1))
    """,
)

EXACT = shares(0.25, 0.5, 0.125, 0.125)

top_p = lesson.exercise(
    "5.3 · top-p",
    """
    def top_p(logits, p):
        ordered, order = logits.sort(descending=True)  # (V,) each
        chances = ordered.softmax(-1)  # (V,)
        before = chances.cumsum(dim=0) - chances  # (V,): what the more probable ones hold
        keep = order[before < p]
        cut = torch.full_like(logits, -math.inf)
        cut[keep] = logits[keep]
        return cut
    """,
    run=cut,
    cases=[
        (shares(0.06, 0.07, 0.3, 0.02, 0.058, 0.2, 0.035, 0.055, 0.065, 0.05, 0.04, 0.047), 0.6),
        (shares(0.02, 0.01, 0.96, 0.01), 0.9),
        (shares(0.5, 0.05, 0.05, 0.1, 0.3), 0.55),
        (EXACT, float(EXACT.softmax(-1)[1])),
    ],
    said="a token stays while the more probable ones together hold less than p",
    slips=FILL
    + """
    return cut -> return cut.softmax(-1) :: these are probabilities: return logits, softmax comes later
    return cut -> return cut.log_softmax(-1) :: these are log-probabilities: return logits
    logits[keep] -> logits.softmax(-1)[keep] :: these are probabilities, with −∞ among them: return logits
    -math.inf -> 0.0 && logits[keep] -> logits.softmax(-1)[keep]
        :: these are probabilities, with zeros: return logits
    logits[keep] -> logits.log_softmax(-1)[keep] :: these are log-probabilities: return logits
    before < p -> before + chances < p
        :: the token that reaches p stays: without it, the rest holds less than p
    before < p -> before + chances <= p
        :: the token that reaches p stays: without it, the rest holds less than p
    before < p -> before <= p :: one too many: where the tokens before hold exactly p, the next one goes
    before < p] -> before < p] ⏎ keep = order[: len(keep) + 1]
        :: one too many: a token stays only while those before it hold less than p
    before < p -> before >= p :: the wrong way round: you drop the most probable
    before < p -> before + chances > p :: the wrong way round: you drop the largest
    before < p -> chances >= p :: p is a share that tokens hold together, no bound for each of them
    before < p -> chances >= 1 - p :: p is a share that tokens hold together, no bound for each of them
    before < p -> chances >= p * chances[0] :: that is min-p: here the tokens' probabilities are added up
    before < p -> before < math.inf :: nothing is dropped
    return cut -> return ordered.masked_fill(before >= p, -math.inf)
        :: these are sorted: bring every logit back to its place
    return cut -> return logits.masked_fill(before >= p, -math.inf)
        :: your choice is in the sorted order, the logits are not: `sort` also gives their places
    return cut -> return logits.masked_fill((before >= p)[order], -math.inf)
        :: `sort` says where the i-th largest came from: write to these places, do not read from them
    descending=True ->  :: sort with descending=True: yours begins with the least probable
    ordered.softmax(-1) -> ordered :: softmax first: you added up logits
    logits.sort(descending=True) -> logits, torch.arange(len(logits))
        :: sort first: the more probable ones come before
    logits.sort(descending=True) -> logits, torch.arange(len(logits)) && before < p -> before + chances < p
        :: sort first, and the token that reaches p stays
    before < p -> before < 0.9 :: does not use its argument `p`
    return cut -> return before < p :: a tensor of logits is asked
    return cut -> return ordered[before < p] :: every token keeps its place in the row
    return cut -> return :: is `return` missing?
    before < p -> (before < p) & (order != order[1])
    order[before < p] -> order[before < p].flip(0)[:-1]
    """,
)

# Parts of the favourite's probability, chosen so that every usual mistake keeps other tokens.
PARTS = (0.37, 0.05, 1.0, 0.55, 0.08, 0.885, 0.14, 0.8, 0.11, 0.25, 0.68, 0.065, 0.95)

min_p = lesson.exercise(
    "5.4 · min-p",
    """
    def min_p(logits, m):
        share = (logits - logits.max()).exp()  # (V,): compared with the favourite
        return logits.masked_fill(share < m, -math.inf)
    """,
    run=cut,
    cases=[
        (shares(*PARTS) - 2.5, 0.12),
        (shares(0.02, 0.15, 0.6, 0.23) - 6, 0.2),
        *(
            (torch.tensor([0.0, -5.0, -6.0, -1.0, -80.0]) + top, 0.1)
            for top in (95.0, 1000.0, -120.0, -1000.0)
        ),
        (torch.tensor([1.5, 2.0, 2.0, -1.0]), 1.0),
    ],
    said="a token stays if its probability is at least m = {1} times the favourite's",
    slips=FILL
    + """
    -math.inf) -> -math.inf).softmax(-1) :: these are probabilities: return logits, softmax comes later
    -math.inf) -> -math.inf).log_softmax(-1) :: these are log-probabilities: return logits
    logits.masked -> logits.softmax(-1).masked :: these are probabilities, with −∞ among them: return logits
    logits.masked -> logits.log_softmax(-1).masked :: these are log-probabilities: return logits
    logits.masked -> logits.softmax(-1).masked && -math.inf -> 0.0
        :: these are probabilities, with zeros: return logits
    logits.masked -> share.masked :: these are shares: compare with them and return the logits
    logits.masked -> (logits - logits.max()).masked :: shifted: what stays keeps its value
    (logits - logits.max()).exp() -> logits.softmax(-1)
        :: m is a share of the largest probability, not a probability
    share < m -> logits < m * logits.max() :: m times the largest *logit* is no share: softmax first
    share < m -> logits.softmax(-1) < m * logits.max() :: m times the largest probability, not *logit*
    share < m -> logits < logits.max() + math.log10(m) :: log10 is another logarithm: exp's is math.log
    (logits - logits.max()).exp() -> logits.exp()
        :: compare with the favourite: exp of a logit alone is no share
    share < m -> logits.exp() < m * logits.max().exp()
        :: exp(95) is infinite here, and exp(−120) is 0: subtract the largest logit first, or use softmax
    share < m -> logits.exp() / logits.max().exp() < m
        :: exp(95) is infinite here, and exp(−120) is 0: subtract the largest logit first, or use softmax
    = p = logits.exp() / logits.exp().sum() ⏎ return logits.masked_fill(p < m * p.max(), -math.inf)
        :: exp(95) is infinite here, and exp(−120) is 0: subtract the largest logit first, or use softmax
    share < m -> logits.double().exp() < m * logits.double().max().exp()
        :: exp(1000) is infinite even in float64: subtract the largest logit first, or use softmax
    share < m -> logits - logits.max() < -m :: a difference of logits is no share: take exp of it
    share < m -> logits - logits.max() < m :: exp of a difference is a share: the difference is never above 0
    = p, at = logits.sort(descending=True)[0].softmax(-1), logits.sort(descending=True)[1]
        ⏎ keep = at[p.cumsum(0) - p < m]
            ⏎ return torch.full_like(logits, -math.inf).scatter(0, keep, logits[keep])
        :: that is top-p: here each token is compared with the favourite
    (logits - logits.max()).exp() -> logits.softmax(-1) / logits.softmax(-1).mean()
        :: compare with the favourite, not with the mean
    < m -> < 1 - m :: at least m, and not 1 − m, of the favourite's
    share < m -> share >= m :: the wrong way round: that drops what should stay
    share < m -> share <= m :: at m = 1 the favourites stay: *at least*, so >= and not >
    share < m -> share < 0 :: nothing is dropped
    < m -> < 0.1 :: does not use its argument `m`
    = return (logits - logits.max()).exp() >= m :: a tensor of logits is asked
    = return logits[(logits - logits.max()).exp() >= m] :: every token keeps its place in the row
    return -> kept = :: is `return` missing?
    .exp() -> .exp2()
    share < m -> share < m / 2
    """,
)

SAID = (1, 4, *(7, 8, 2) * 50)  # what was said long ago counts too

penalise = lesson.exercise(
    "5.5 · the repetition penalty",
    """
    def penalise(logits, ids, r):
        lower = torch.where(logits < 0, logits * r, logits / r)  # (V,)
        penalised = logits.clone()
        penalised[ids] = lower[ids]  # a place that is written twice gets the same number
        return penalised
    """,
    cases=[
        (2 * random(9, seed=seed), torch.tensor(ids), r)
        for r, seed, ids in ((1.5, 2, (2, 5, 2, 0, 7, 2)), (1.2, 3, (1, 1, 3, 6, 4)), (1.3, 4, SAID))
    ],
    said="for every id in ids: a positive logit is divided by r, a negative one multiplied",
    slips="""
    logits * r, -> logits / r, :: a negative logit goes *up* when it is divided: multiply it
    logits / r) -> logits * r) :: a positive logit goes *up* when it is multiplied: divide it
    logits < 0 -> logits > 0 :: the wrong way round: that makes what was said more probable
    return penalised -> return lower :: only the tokens of the text are penalised
    = low = torch.where(logits < 0, logits * r, logits / r) ⏎ low[ids] = logits[ids] ⏎ return low
        :: the others: penalise those that are in the text
    penalised[ids] = lower[ids] -> for i in ids: ⏎     z = penalised[i]
        ⏎     penalised[i] = z / r if z > 0 else z * r
        :: a token is penalised once, however often it comes: use set(ids.tolist()), not set(ids)
    [ids] -> [ids[-1]] :: every token of the text, not only the last
    [ids] -> [ids[0]] :: every token of the text, not only the first
    [ids] -> [ids[-64:]] :: every token of the text, however long ago: not only the last 64 or 100
    lower[ids] -> logits[ids] - r :: that subtracts r: divide or multiply by it
    penalised[ids] = lower[ids] -> for i in ids: ⏎     penalised[i] -= r
        :: divide or multiply once: that subtracts r each time
    lower[ids] -> -math.inf :: a token may come again: it is not forbidden
    return penalised -> return penalised.softmax(-1)
        :: these are probabilities: return logits, softmax comes later
    logits * r, -> logits, :: a negative logit goes down too: multiply it
    lower[ids] -> logits[ids] - logits[ids].abs() * (r - 1)
        :: divide a positive logit by r: that subtracts a share
    = p = logits.softmax(-1) ⏎ p[ids] = p[ids] / r ⏎ return p.log() :: divide the logits, not probabilities
    = p = logits.softmax(-1) ⏎ p[ids] = p[ids] / r ⏎ return p :: divide the logits, not their probabilities
    return penalised -> return lower[ids] :: return V logits, also of the tokens that are not in the text
    penalised[ids] = lower[ids] -> penalised[ids].copy_(lower[ids])
        :: nothing is penalised: did you change a copy?
    penalised[ids] = lower[ids] -> n = len(ids) ⏎ penalised[:n] = lower[:n]
        :: the place of a token in the row is its id, not its place in the text
    logits.clone() -> logits :: changes a tensor
    return penalised ->  :: is `return` missing?
    lower[ids] -> logits[ids].abs() / r
    lower[ids] -> logits[ids] / r**2
    """,
)


def remembers(check: Check, answer: Callable[..., Any], sizes: tuple[int, int], x: Any, *more: Any) -> Any:
    """Return the result, and the keys and values; the past must stay as it was."""
    own = copy.deepcopy(more)
    out = nb03.outputs(check, answer, sizes, x, *own)
    told = "your layer changes the past that it was given: torch.cat makes new tensors"
    check.that(difference(own, more) is None, told)
    pair = isinstance(out, tuple | list) and len(out) == 2 and isinstance(out[1], tuple | list)
    check.that(pair and len(out[1]) == 2, "return two things: the result, and the pair (keys, values)")
    return {"result": out[0], "keys": out[1][0], "values": out[1][1]}


def remembered() -> list[tuple[Any, ...]]:
    """Return sizes, x, past and mask for two layers, with and without past and mask."""
    cases: list[tuple[Any, ...]] = []
    for B, T, C, H, before in ((2, 1, 12, 3, 4), (3, 4, 10, 2, 2)):
        past = tuple(random(B, H, before, C // H, seed=seed) for seed in (1, 2))
        hidden = random(B, 1, T, before + T, seed=6) > 0.3
        hidden[..., -T:] |= torch.eye(T).bool()  # each looks at itself at least
        whole = torch.ones(B, 1, 5, 5).tril().bool()
        whole[0, :, 1:, 0] = False
        x = [random(B, size, C, seed=seed) for size, seed in ((5, 3), (T, 4), (T, 5), (5, 7))]
        cases += [
            ((C, H), *case) for case in ((x[0],), (x[1], past), (x[2], past, hidden), (x[3], None, whole))
        ]
    return cases


CausalSelfAttention = lesson.exercise(
    "5.6 · attention that remembers",
    """
    def split_heads(x, n_head):
        B, T, C = x.shape
        return x.view(B, T, n_head, C // n_head).transpose(1, 2)  # (B, H, T, D)


    class CausalSelfAttention(nn.Module):
        def __init__(self, n_embd, n_head):
            super().__init__()
            self.n_head = n_head
            self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)

        def forward(self, x, past=None, mask=None):
            q, k, v = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
            if past is not None:
                k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)  # (B, H, S, D)
            T, S = q.shape[2], k.shape[2]
            if mask is None:
                mask = torch.ones(T, S).tril(S - T).bool()
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, S)
            out = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1) @ v  # (B, H, T, D)
            return self.proj(out.transpose(1, 2).flatten(2)), (k, v)
    """,
    run=remembers,
    cases=remembered,
    said="02's formula: queries of what is new, keys and values of all S slots",
    rtol=1e-3,
    atol=1e-4,
    slips="""
    if past is not None: -> if False: :: the past is not looked at
    [past[0], k] -> [k, past[0]] && [past[1], v] -> [v, past[1]] :: the past comes first, then what is new
    past[0], k -> past[1], k && past[1], v -> past[0], v :: past is (keys, values), in this order
    dim=2 -> dim=1 :: old and new follow each other in time: torch.cat(..., dim=2)
    dim=2 -> dim=0 :: old and new follow each other in time: torch.cat(..., dim=2)
    dim=2 -> dim=-1 :: old and new follow each other in time: torch.cat(..., dim=2)
    torch.cat([past[1], v], dim=2) -> v :: keys and values are both joined with the past: past[0] and past[1]
    torch.cat([past[0], k], dim=2) -> k :: keys and values are both joined with the past: past[0] and past[1]
    v], dim=2) -> v], dim=2) ⏎ q = torch.cat([past[0], q], dim=2)
        :: no query joins the past: the result has a row for each new position, not for all S
    .tril(S - T) -> .tril() :: query i of T stands at slot S − T + i: tril(S - T), not tril()
    .tril(S - T) -> .tril(S - T + 1) :: one too many: a position may not see the next one
    .tril(S - T) ->  :: it sees what comes after it: is the mask missing?
    .masked_fill(~mask, -math.inf) ->  :: it sees what comes after it: is the mask missing?
    torch.ones(T, S).tril(S - T) -> torch.ones(S, S).tril()
        :: the mask has T rows and S columns: S counts the past too
    torch.ones(T, S).tril(S - T) -> torch.ones(T, T).tril()
        :: the mask has T rows and S columns: S counts the past too
    if mask is None -> if True :: use the mask that is given
    if mask is None -> if past is None or mask is None :: use the mask that is given
    if mask is None -> if not mask :: ask `mask is None`, and the same of past
    scores = -> mask = mask & torch.ones(T, S).tril(S - T).bool() ⏎ scores =
        :: a mask that is given says all: do not join it with the causal one
    ~mask -> mask :: the mask is inverted: True means *may look*, and ~mask gets −∞
    / math.sqrt(q.shape[-1]) ->  :: divide the scores by the root of D
    q.shape[-1] -> x.shape[-1] :: the root of D, the width of a head, not of C
    -math.inf -> 0.0 :: a masked score must be −∞: 0 is a score like any other
    scores.masked_fill(~mask, -math.inf) -> scores * mask
        :: a masked score must be −∞: 0 is a score like any other
    dim=-1) @ v -> dim=-2) @ v :: softmax runs over the columns, which are the keys: dim=-1
    self.proj(out.transpose(1, 2).flatten(2)) -> out.transpose(1, 2).flatten(2) :: proj is missing
    out.transpose(1, 2).flatten(2) -> out.reshape(x.shape) :: move H behind T again before you join the heads
    q, k, v = -> k, q, v = :: queries and keys are exchanged: q, k, v is the order
    flatten(2)), -> flatten(2)) + x, :: the stream itself is not added here: the block does that
    flatten(2)), (k, v) -> flatten(2)) :: return two things
    flatten(2)), (k, v) -> flatten(2)), k, v :: return two things
    flatten(2)), (k, v) -> flatten(2)), (v, k) :: the pair is (keys, values), in this order
    if past is not None -> new = k, v ⏎ if past is not None && flatten(2)), (k, v) -> flatten(2)), new
        :: return all keys and values so far, not only the new ones
    (2)), (k, v) -> (2)), past or (k, v) :: return all keys and values so far, not only the past
    flatten(2)), (k, v) -> flatten(2)), (k.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2))
        :: keys and values are kept as heads, (B, H, S, D)
    T, S = -> past is None or past[0].zero_() ⏎ T, S = :: your layer changes the past that it was given
    3 * n_embd) -> 3 * n_embd, bias=False) :: `qkv` has no bias
    split_heads(part -> cut_heads(part :: your class uses `cut_heads`, which this notebook does not have yet
    return self.proj -> both = self.proj :: is `return` missing?
    q @ k -> k @ k
    """,
)


class Block(nn.Module):
    """The notebook's block around the layer that remembers."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attn_norm, self.mlp_norm = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn, self.mlp = CausalSelfAttention.given(n_embd, n_head), nb03.GivenMLP(n_embd)

    def forward(self, x, past=None, mask=None):
        """Return x (B, T, C) after the block, and the layer's keys and values so far."""
        found, kept = self.attn(self.attn_norm(x), past, mask)
        x = x + found
        return x + self.mlp(self.mlp_norm(x)), kept


def small() -> nn.Module:
    """Return a GPT of four blocks that remember, with three heads and a context of 13."""
    model = nb03.GivenGPT(vocab_size=11, context_length=13, n_layer=0, n_head=3, n_embd=15)
    model.blocks = nn.ModuleList(Block(15, 3) for _ in range(4))
    return numbered(model)


@torch.no_grad()
def reads(check: Check, answer: Callable[..., Any], start: int, tokens: torch.Tensor) -> Any:
    """Return the logits of the tokens from `start` on, and what each block keeps."""
    model = small()
    past = check.given(model, tokens[:, :start])[1] if start else None
    own, inside = past and [*past], copy.deepcopy(past)
    out = check.run(answer, model, tokens[:, start:], *([past] if past else []))
    same = not past or (len(past) == len(own) and all(a is b for a, b in zip(past, own, strict=True)))
    told = "your function writes into the list of the past that it was given: collect the pairs in a new list"
    check.that(same and difference(past, inside) is None, told)
    told = "return two things: the logits, and the list of what each block keeps"
    check.that(isinstance(out, tuple | list) and len(out) == 2, told)
    logits, kept = out
    told = "the second thing has a pair (keys, values) for each block: collect what the blocks return"
    check.that(isinstance(kept, list | tuple) and len(kept) == len(model.blocks), told)
    check.that(all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in kept), told)
    return {"logits": logits, "keys": [k for k, _ in kept], "values": [v for _, v in kept]}


TOKENS = torch.randint(11, (2, 13), generator=torch.Generator().manual_seed(1))

read = lesson.exercise(
    "5.7 · a GPT that remembers",
    """
    def read(model, tokens, past=None):
        T = tokens.shape[1]
        start = 0 if past is None else past[0][0].shape[2]
        x = model.token_embedding(tokens) + model.position_embedding(torch.arange(start, start + T))
        now = []
        for i, block in enumerate(model.blocks):
            x, kept = block(x, None if past is None else past[i])
            now.append(kept)
        return model.head(model.final_norm(x)), now
    """,
    run=reads,
    cases=[(start, TOKENS[:, :end]) for start, end in ((0, 7), (7, 8), (8, 10), (10, 13))],
    said="embed at the right positions, each block with its own past, norm, head",
    rtol=1e-3,
    atol=1e-3,
    slips="""
    0 if past is None else past[0][0].shape[2] -> 0 :: the new token comes after the past, not at position 0
    past[0][0].shape[2] -> len(past) :: len(past) counts the blocks: how many tokens do the keys have?
    shape[2] -> shape[1] :: shape[1] counts the heads: the tokens are shape[2]
    shape[2] -> shape[0] :: shape[0] counts the texts: the tokens are shape[2]
    shape[2] -> shape[3] :: shape[3] is the width of a head: the tokens are shape[2]
    shape[2] -> shape[2] - 1 :: one too early: after S tokens, the next one is at position S
    (start, start + T) -> (start + 1, start + T + 1) :: positions count from 0
    torch.arange(start, start + T) -> torch.tensor(start)
        :: the T new tokens need T positions, from `start` on
    + model.position_embedding(torch.arange(start, start + T)) ->  :: the positions are missing
    None if past is None else past[i] -> None :: the past is not looked at
    else past[i] -> else None && else past[0][0].shape[2] -> else 0
        :: the past is not looked at, nor the position
    past[i] -> past[0] :: each block has its own past: past[i], not past[0]
    x, kept = block -> _, kept = block :: a block's result is forgotten: it goes into the next block
    now = [] -> now, first = [], x && block(x -> block(first :: each block reads the result of the one before
    model.final_norm(x) -> x :: the final norm is missing
    model.head(model.final_norm(x)) -> model.final_norm(x) :: these are vectors: the head makes logits of them
    model.final_norm(x)) -> model.final_norm(x)).softmax(-1) :: logits, not probabilities: softmax comes later
    model.final_norm(x)) -> model.final_norm(x))[:, -1] :: return the logits of all T, not only of the last
    x, kept = block -> x = block && (kept) -> (x[1]) :: a block returns two things: x, and what it keeps
    now.append(kept)
        -> now.append(kept if past is None else tuple(torch.cat(two, 2) for two in zip(past[i], kept)))
        :: the blocks have joined past and new already: collect what they return
    , now ->  :: return two things
    x)), now -> x)), past or now :: that is the old past: return what the blocks return
    x)), now -> x)), past :: for each block
    x)), now -> x)), kept :: for each block
    in enumerate(model.blocks) -> in enumerate(model.blocks[:1]) :: for each block
    now = [] -> now = past or [] :: writes into the list
    now.append(kept) -> now.append(kept) ⏎ if past is not None: ⏎     past[i] = kept :: writes into the list
    now = [] -> now = [] ⏎ if past: ⏎     past[0][0].zero_() :: writes into the list
    return -> both = :: is `return` missing?
    torch.arange(start, start + T) -> torch.arange(start, start + T).flip(0)
    """,
)


def two_parts(check: Check, answer: Callable[..., Any], padding: torch.Tensor, S: int) -> Any:
    """Return the mask and the positions, in this order."""
    both = call(check, answer, padding, S)
    check.that(isinstance(both, tuple) and len(both) == 2, "return two things: mask, positions")
    exchanged = getattr(both[0], "ndim", 3) == 2 and getattr(both[1], "ndim", 2) == 3
    check.that(not exchanged, "the mask first, then the positions")
    return {"mask": both[0], "positions": both[1]}


padding_mask = lesson.exercise(
    "5.8 · the padding mask",
    """
    def padding_mask(padding, S):
        slots = torch.arange(S)
        seen = (slots <= slots[:, None]) & (slots >= padding[:, None, None])  # (B, S, S)
        mask = seen | torch.eye(S).bool()
        positions = (slots - padding[:, None]).clamp(min=0)  # (B, S)
        return mask, positions
    """,
    run=two_parts,
    cases=[(torch.tensor([3, 0, 1]), 5), (torch.tensor([0, 2]), 4)],
    said="slot t may look at slot s where s <= t and s is no padding, and at itself; its position is "
    "t − padding[b], and never below 0",
    slips="""
    | torch.eye(S).bool() ->  :: padding that may look at nothing makes softmax NaN: let each look at itself
    | torch.eye(S).bool() -> & ~torch.eye(S).bool() :: a slot also sees itself
    seen | -> seen.any(0) | (slots <= slots[:, None]).expand(len(padding), S, S) |
        :: the padding is not hidden
    (slots <= slots[:, None]) & ->  :: it sees the future
    (slots <= slots[:, None]) & ->  && | torch.eye(S).bool() ->
        :: it sees the future, and padding that sees nothing would be NaN
    slots >= padding -> slots < S - padding :: padding comes at the beginning of a row, not at its end
    slots >= padding -> slots > padding :: the first real token is at slot padding[b]: >=, not >
    return mask -> return ~mask :: inverted: True should mean *may look*
    slots <= slots -> slots >= slots :: it looks ahead and not back: s <= t
    return mask -> return mask.transpose(1, 2) :: transposed: row t says what slot t may look at
    slots >= padding -> slots[:, None] >= padding :: hide the padding from the others: it must not be seen
    torch.eye(S).bool() -> (slots[:, None] < padding[:, None, None]) & (slots <= slots[:, None])
        :: padding may look at itself alone: what it sees is of no use
    (slots - padding[:, None]).clamp(min=0) -> slots.expand(len(padding), S)
        :: that counts the padding: a row's first real token has position 0
    .clamp(min=0) ->  :: no position is below 0, not even padding's: clamp
    .clamp(min=0) -> .abs() :: no position is below 0: clamp, because abs makes −3 a 3
    slots - padding -> slots + padding :: padding is subtracted, not added
    (slots - padding[:, None]) -> (slots - padding[:, None] + 1) :: positions count from 0
    return mask, positions -> return positions, mask :: the mask first
    return mask, positions -> return mask :: return two things
    return mask -> return mask[:, None] :: a dimension of size 1 is in the way
    return -> both = :: is `return` missing?
    & (slots >= padding[:, None, None]) ->
    (slots <= slots[:, None]) -> (slots < slots[:, None]) && | torch.eye(S).bool() ->
    torch.eye(S).bool() -> (slots[:, None] < padding[:, None, None])
    """,
)
