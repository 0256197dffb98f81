"""Checks of notebook 05_sampling, and what it goes on with where a part is blank."""

import math
import operator
from collections.abc import Callable

import torch
from torch import nn

from tinylm.course.checks import exercise, marked
from tinylm.course.exercises.nb02 import blank_module, given_split_heads, random
from tinylm.course.exercises.nb03 import GivenGPT, GivenMLP, same_weights
from tinylm.inference import sampling
from tinylm.model.attention import explicit_attention
from tinylm.model.context import KVCache

LOGITS = "return logits: softmax comes after all rules"
CUT = "a dropped token gets −∞: a logit of {} is a score like any other"
PLACES = "that says which stay: return the logits, with −∞ for the others"
LOGS = "these are log-probabilities: leave the logits as they are"


def given_temperature(logits, tau):
    """The logits divided by tau."""
    return logits / tau


def given_penalise(logits, ids, r):
    """Logits (V,) of the tokens in ids go down: positive ones are divided by r, negative ones multiplied."""
    return sampling.penalise_seen(logits, sampling.tokens_seen([ids.tolist()], len(logits))[0], r)


class GivenAttention(nn.Module):
    """03's layer, which also looks at the keys and values of what came before, and hands on all of them."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x, past=None, mask=None):
        """x (B, T, C) to (B, T, C), and the keys and values so far, (B, H, S, D) each."""
        q, k, v = (given_split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        if past is not None:
            k, v = (torch.cat([old, new], dim=2) for old, new in zip(past, (k, v), strict=True))
        return self.joined(explicit_attention(q, k, v, mask=mask)[0]), (k, v)

    def joined(self, heads):
        """Heads (B, H, T, D) side by side again, and through proj."""
        return self.proj(heads.transpose(1, 2).flatten(2))


class GivenBlock(nn.Module):
    """03's block around it."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.attn_norm, self.mlp_norm = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn, self.mlp = GivenAttention(n_embd, n_head), GivenMLP(n_embd)

    def forward(self, x, past=None, mask=None):
        """x (B, T, C) to (B, T, C), and the layer's keys and values so far."""
        found, past = self.attn(self.attn_norm(x), past, mask)
        x = x + found
        return x + self.mlp(self.mlp_norm(x)), past


def given_read(model, tokens, past=None):
    """The logits (B, T, V) of tokens that follow those in past, and what each block keeps by then."""
    return _read(model, tokens, past, 0 if past is None else past[0][0].shape[2])


def _read(model: nn.Module, tokens, past, start: int, of: Callable[[int], int] = lambda i: i, by: int = 1):
    """Read at the positions from `start` on, `by` apart; block i gets the past of block of(i)."""
    rows = (start + by * torch.arange(tokens.shape[1])) % model.position_embedding.num_embeddings
    x, kept = model.token_embedding(tokens) + model.position_embedding(rows), []
    for i, block in enumerate(model.blocks):
        x, now = block(x, None if past is None else past[of(i)])
        kept.append(now)
    return model.head(model.final_norm(x)), kept


def given_padding_mask(padding, S):
    """Which slot may look at which, (B, S, S), and at which position each of them stands, (B, S)."""
    slots = torch.arange(S)
    seen = (slots <= slots[:, None]) & (slots >= padding[:, None, None]) | torch.eye(S).bool()  # (B, S, S)
    return seen, (slots - padding[:, None]).clamp(min=0)  # (B, S, S), (B, S)


def _row(*shares: float) -> torch.Tensor:
    """Logits (V,) of tokens with these probabilities, none of them ln p itself."""
    return torch.tensor(shares).log() + 3.0


def _cut(logits: torch.Tensor, keep: torch.Tensor, fill: float = -math.inf) -> torch.Tensor:
    return logits.masked_fill(~keep, fill)


def _slips(logits: torch.Tensor, keep: torch.Tensor) -> dict:
    """What goes wrong in any cut, whatever it keeps."""
    right = _cut(logits, keep)
    return {
        f"these are probabilities: {LOGITS}": right.softmax(-1),
        f"these are probabilities, with zeros for what is dropped: {LOGITS}": _cut(
            logits.softmax(-1), keep, 0.0
        ),
        f"these are probabilities, with −∞ among them: {LOGITS}": _cut(logits.softmax(-1), keep),
        LOGS: right.log_softmax(-1),
        f"{LOGS}, with −∞ for what is dropped": _cut(logits.log_softmax(-1), keep),
        CUT.format("0"): _cut(logits, keep, 0.0),
        CUT.format("−1"): _cut(logits, keep, -1.0),
        "−1e9 is finite, and the contract says −∞": _cut(logits, keep, -1e9),
        PLACES: keep,
        "turned over: that drops what should stay": _cut(logits, ~keep),
        "nothing is dropped": logits,
        "every token keeps its place in the row: give back V logits": logits[keep],
        "every token keeps its place in the row: yours are sorted": logits.sort(descending=True).values[
            : int(keep.sum())
        ],
    }


def _close(check: exercise, got, right: torch.Tensor, told: str, usual: dict) -> None:
    """As check.close; and where −∞ stands at a finite logit, that is no accident: a token is dropped."""
    alike = isinstance(got, torch.Tensor) and got.shape == right.shape and not got.isnan().any()
    if alike and (lost := int((got.isneginf() & right.isfinite()).sum())):
        tokens = "a token that should stay is" if lost == 1 else f"{lost} tokens that should stay are"
        usual = usual | {f"{tokens} dropped: {told}": got}
    check.close(got, right, told, usual=usual)


@marked("5.1 · temperature", given=given_temperature)
def temperature(check: exercise, mine) -> None:
    """Divide."""
    for tau, seed in ((0.5, 1), (1.7, 2)):
        logits = 2 * random(7, seed=seed)
        usual = {
            "turned over: divide, so that a small τ stretches the differences": logits * tau,
            f"these are probabilities already: {LOGITS}": (logits / tau).softmax(-1),
            f"softmax comes after the division, not before it: {LOGITS}": logits.softmax(-1) / tau,
            LOGS: logits.log_softmax(-1) / tau,
            f"{LOGS}; softmax comes later": (logits / tau).log_softmax(-1),
            "a number taken off all logits changes no probability: divide": logits - tau,
            "τ divides the logits; 1/τ is an exponent of the odds, not of them": logits.abs() ** (1 / tau),
            "that is e to the power: softmax does this later": (logits / tau).exp(),
            "the largest logit is divided as all others are": (logits - logits.max()) / tau,
            "the logits came back as they were": logits,
            "divide by τ once, and not by its root or its square": logits / tau**2,
            "divide by τ, and not by its root": logits / tau**0.5,
        }
        check.close(check.run(mine, logits, tau), logits / tau, "each logit divided by τ", usual=usual)


@marked("5.2 · top-k", given=sampling.keep_top_k)
def top_k(check: exercise, mine) -> None:
    """-inf below the k-th largest."""
    for k, logits in ((3, random(9, seed=4)), (2, -1.0 - random(9, seed=5).abs())):
        ordered = logits.sort(descending=True).values
        keep = logits >= ordered[k - 1]
        usual = {
            "the k-th itself stays: drop only what is below it": _cut(logits, logits > ordered[k - 1]),
            "one too many: that keeps k + 1": _cut(logits, logits >= ordered[k]),
            "that keeps the k smallest": _cut(logits, logits <= ordered[-k]),
            "that drops the k smallest: keep the k largest": _cut(logits, logits > ordered[-k]),
            "these are the places of the k largest: return the logits": logits.topk(k).indices,
            "compare with the k-th largest, not with the number k": _cut(logits, logits >= k),
            "that is greedy: k tokens stay": _cut(logits, logits >= ordered[0]),
            "the first k tokens of the row are not the k largest": _cut(logits, torch.arange(9) < k),
            "every token keeps its place in the row: these are sorted": _cut(ordered, torch.arange(9) < k),
            "turned over: you drop the largest": _cut(logits, logits <= ordered[k - 1]),
        }
        usual = _slips(logits, keep) | usual
        _close(check, check.run(mine, logits, k), _cut(logits, keep), "keep the k largest", usual)
    equal = torch.tensor([1.0, 4.0, -2.0, 3.0, 3.0, 0.5])
    stays = check.run(mine, equal, 2).isfinite()
    told = "a logit equal to the k-th stays too: compare with its value, and do not take k places"
    check.close(stays, equal >= 3, told)
    try:
        check.close(check.run(mine, equal, 6), equal, "k = V keeps all")
    except IndexError:
        check.that(False, "k = V keeps all: does yours count equal logits once, or look behind the last?")


@marked("5.3 · top-p", given=sampling.keep_top_p)
def top_p(check: exercise, mine) -> None:
    """Keep while the more probable ones together hold less than p."""
    rows = (
        (0.6, _row(0.06, 0.07, 0.3, 0.02, 0.058, 0.2, 0.035, 0.055, 0.065, 0.05, 0.04, 0.047)),
        (0.9, _row(0.02, 0.01, 0.96, 0.01)),
        (0.55, _row(0.5, 0.05, 0.05, 0.1, 0.3)),
    )
    for p, logits in rows:
        ordered, order = logits.sort(descending=True)
        chances = ordered.softmax(-1)
        upto = chances.cumsum(-1)
        kept = upto - chances < p  # (V,) in the sorted order
        keep = torch.zeros_like(kept).scatter(0, order, kept)
        back = torch.zeros_like(kept)
        few = back.scatter(0, order, upto <= p)
        more = back.scatter(0, order, torch.cat([torch.tensor([True]), kept[:-1]]))
        rising, by = logits.sort()
        low = rising.softmax(-1)
        tail = back.scatter(0, by, low.cumsum(-1) - low < p)
        all_logits = back.scatter(0, order, ordered.cumsum(-1) - ordered < p)
        chance = logits.softmax(-1)
        sooner = chance.cumsum(-1)  # (V,) in the order of the ids
        usual = {
            "sort first: the more probable ones come before": _cut(logits, sooner - chance < p),
            "sort first, and the token that reaches p stays": _cut(logits, sooner < p),
            "turned over: you drop the largest": _cut(logits, back.scatter(0, order, upto > p)),
            "the token that reaches p stays: without it, what is left holds less than p": _cut(logits, few),
            "one too many: a token stays only while those before it hold less than p": _cut(logits, more),
            "sort with descending=True: yours begins with the least probable": _cut(logits, tail),
            "softmax first: you added up logits": _cut(logits, all_logits),
            "p is a share that tokens hold together, no bound for each of them": _cut(logits, chance >= p),
            "that is min-p: here the tokens' probabilities are added up": _cut(
                logits, chance >= p * chance.max()
            ),
            "sorted: bring every logit back to its place": _cut(ordered, kept),
            "what you decided is in the sorted order, the logits are not: `sort` also gives their places": (
                _cut(logits, kept)
            ),
            "`sort` says where the i-th largest came from: write to these places, do not read from them": (
                _cut(logits, kept[order])
            ),
        }
        told = "a token stays while the more probable ones together hold less than p"
        usual = _slips(logits, keep) | usual
        _close(check, check.run(mine, logits, p), _cut(logits, keep), told, usual)
    exact = _row(0.25, 0.5, 0.125, 0.125)
    told = "one too many: where the tokens before hold exactly p already, the next one goes"
    chances = exact.softmax(-1)
    check.close(check.run(mine, exact, float(chances[1])).isfinite(), chances > 0.4, told)


@marked("5.4 · min-p", given=sampling.keep_min_p)
def min_p(check: exercise, mine) -> None:
    """Keep what is at least a share m as probable as the favourite."""
    # parts of the favourite's probability, chosen so that every usual mistake keeps other tokens
    shares = torch.tensor([0.37, 0.05, 1.0, 0.55, 0.08, 0.885, 0.14, 0.8, 0.11, 0.25, 0.68, 0.065, 0.95])
    rows = (
        (0.12, shares.log() + 0.5),
        (0.2, _row(0.02, 0.15, 0.6, 0.23) - 6),
    )
    for m, logits in rows:
        chance = logits.softmax(-1)
        keep = chance >= m * chance.max()
        usual = {
            "m is a share of the favourite's probability, not a probability": _cut(logits, chance >= m),
            "m times the largest *logit* is no share of a probability: softmax first": _cut(
                logits, logits >= m * logits.max()
            ),
            "m times the largest *logit*: compare probabilities with the largest probability": _cut(
                logits, chance >= m * logits.max()
            ),
            "log10 is another logarithm: exp's is math.log": _cut(
                logits, logits >= logits.max() + math.log10(m)
            ),
            "shifted: what stays keeps its value, so compare with the shares and return the logits": _cut(
                logits - logits.max(), keep
            ),
            "these are shares: compare with them and return the logits": _cut(chance / chance.max(), keep),
            "compare with the favourite: exp of a logit alone is no share": _cut(logits, logits.exp() >= m),
            "a difference of logits is no share: take exp of it": _cut(logits, logits - logits.max() >= -m),
            "exp of a difference is a share; the difference itself is never above 0": _cut(
                logits, logits - logits.max() >= m
            ),
            "that is top-p: here each token is compared with the favourite": sampling.keep_top_p(logits, m),
            "compare with the favourite, not with the mean": _cut(logits, chance >= m * chance.mean()),
            "at least m, and not 1 − m, of the favourite's": _cut(logits, chance >= (1 - m) * chance.max()),
        }
        usual = usual | _slips(logits, keep)
        told = "a token stays if its probability is at least m times the favourite's"
        _close(check, check.run(mine, logits, m), _cut(logits, keep), told, usual)
    for high in (torch.tensor([95.0, 90.0, 89.0]), torch.tensor([-120.0, -125.0, -126.0])):
        told = "exp of a logit of 95 is infinite, and of −120 it is 0: take the largest off first, or softmax"
        check.close(check.run(mine, high, 0.1).isfinite(), high == high.max(), told)
    two = torch.tensor([1.5, 2.0, 2.0, -1.0])
    stays = check.run(mine, two, 1.0).isfinite()
    check.close(stays, two == 2, "at m = 1 the favourites stay: *at least*, so >= and not >")


@marked("5.5 · the repetition penalty", given=given_penalise)
def penalise(check: exercise, mine) -> None:
    """Seen tokens go down, once."""
    doubles = "a token that stands there several times is penalised once"
    if "set" in getattr(getattr(mine, "__code__", None), "co_names", ()):
        doubles += ": a set of tensors keeps the doubles, set(ids.tolist()) does not"
    long = (1, 4, *(7, 8, 2) * 50)  # what was said long ago counts too
    for r, seed, text in ((1.5, 2, (2, 5, 2, 0, 7, 2)), (1.2, 3, (1, 1, 3, 6, 4)), (1.3, 4, long)):
        logits, ids = 2 * random(9, seed=seed), torch.tensor(text)
        seen = torch.zeros(9).bool().index_fill(0, ids, True)
        last, first = (torch.arange(9) == ids[at] for at in (-1, 0))
        times = ids.bincount(minlength=9)
        low = torch.where(logits < 0, logits * r, logits / r)
        usual = {
            "a negative logit goes *up* when it is divided: multiply it": torch.where(
                seen, logits / r, logits
            ),
            "a positive logit goes *up* when it is multiplied: divide it": torch.where(
                seen, logits * r, logits
            ),
            "turned over: that makes what was said more probable": torch.where(
                seen, torch.where(logits < 0, logits / r, logits * r), logits
            ),
            "only the tokens of the text are penalised": low,
            "the others: penalise those that are in the text": torch.where(seen, logits, low),
            doubles: torch.where(logits < 0, logits * r**times, logits / r**times),
            "every token of the text, not only the last": torch.where(last, low, logits),
            "every token of the text, not only the first": torch.where(first, low, logits),
            "that takes r off: divide or multiply by it": torch.where(seen, logits - r, logits),
            "that takes something off for each time: divide or multiply once": logits - r * times,
            "a token may come again: it is not forbidden": logits.masked_fill(seen, -math.inf),
            f"these are probabilities: {LOGITS}": torch.where(seen, low, logits).softmax(-1),
            "a negative logit goes down too: multiply it": torch.where(seen & (logits > 0), low, logits),
            "a positive logit is divided by r: that takes a share of it off": torch.where(
                seen, logits - logits.abs() * (r - 1), logits
            ),
            "probabilities divided, and their logarithm: the logits themselves are divided": torch.where(
                seen, logits.softmax(-1) / r, logits.softmax(-1)
            ).log(),
            f"probabilities divided: {LOGITS}": torch.where(seen, logits.softmax(-1) / r, logits.softmax(-1)),
            "give back V logits, also of the tokens that are not in the text": low[ids],
            "nothing is penalised: did you change a copy?": logits,
            "the place of a token in the row is its id, not its place in the text": torch.where(
                torch.arange(9) < len(ids), low, logits
            ),
        }
        recent = [id in text[-n:] for n in (64, 100, 128) for id in range(9)]
        for n, late in zip((64, 100, 128), torch.tensor(recent).view(3, 9), strict=True):
            usual[f"every token of the text, not only the last {n}"] = torch.where(late, low, logits)
        right = torch.where(seen, low, logits)
        told = "for every id in ids: a positive logit is divided by r, a negative one multiplied"
        check.close(check.run(mine, logits, ids, r), right, told, usual=usual)


def _drawn(module: nn.Module) -> nn.Module:
    """All its numbers drawn anew, so that nothing is left out unseen."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return module.eval()


@torch.no_grad()
def _attends(check: exercise, module, ours: GivenAttention, x, past=None, mask=None) -> None:
    """One call of the layer: its result, and what it keeps."""
    T, S = x.shape[1], x.shape[1] + (0 if past is None else past[0].shape[2])
    q, k, v = (given_split_heads(part, ours.n_head) for part in ours.qkv(x).chunk(3, dim=-1))
    right, (keys, values) = ours(x, past, mask)

    def other(k=keys, v=values, seen=mask):
        return ours.joined(explicit_attention(q, k, v, mask=seen)[0])

    seen = torch.ones(T, S).tril(S - T).bool() if mask is None else mask
    usual = {"use the mask that is given": other(seen=None)} if mask is not None else {}
    if mask is not None:
        both = torch.ones(T, S).tril(S - T).bool() & mask
        usual["a mask that is given says all: do not join it with the causal one"] = other(seen=both)
    usual |= {
        "it sees what comes after it: is the mask missing?": other(seen=torch.ones(T, S).bool()),
        "the mask is turned over: True means *may look*, and ~mask gets −∞": other(seen=~seen),
        "query i of T stands at slot S − T + i: tril(S - T), not tril()": other(
            seen=torch.ones(T, S).tril().bool()
        ),
        "one too many: a position may not see the next one": other(
            seen=torch.ones(T, S).tril(S - T + 1).bool()
        ),
        "divide the scores by the root of D": ours.joined(
            explicit_attention(q * q.shape[-1] ** 0.5, keys, values, mask=mask)[0]
        ),
        "the root of D, the width of a head, not of C": ours.joined(
            explicit_attention(q / ours.n_head**0.5, keys, values, mask=mask)[0]
        ),
        "proj is missing": explicit_attention(q, keys, values, mask=mask)[0].transpose(1, 2).flatten(2),
        "queries and keys are exchanged": ours.joined(explicit_attention(k, keys, values, mask=mask)[0]),
        "the stream itself is not added here: the block does that": right + x,
        "a masked score must be −∞: 0 is a score like any other": ours.joined(
            torch.softmax((scores := q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5) * seen, -1) @ values
        ),
        "softmax runs over the columns, which are the keys: dim=-1": ours.joined(
            torch.nan_to_num(torch.softmax(scores.masked_fill(~seen, -math.inf), -2)) @ values
        ),
        "H must stand behind T again before the heads are joined: transpose(1, 2)": ours.proj(
            explicit_attention(q, keys, values, mask=mask)[0].reshape(x.shape)
        ),
    }
    given = None
    if past is not None:
        given = [part.clone() for part in past]
        usual |= {
            "the past is not looked at": ours.joined(explicit_attention(q, k, v)[0]),
            "the past comes first, then what is new": other(
                torch.cat([k, past[0]], dim=2), torch.cat([v, past[1]], dim=2)
            ),
            "past is (keys, values), in this order": other(
                torch.cat([past[1], k], dim=2), torch.cat([past[0], v], dim=2)
            ),
        }
    answer = check.run(module, x, *((past, mask) if mask is not None else (past,) if past else ()))
    pairs = isinstance(answer, tuple | list) and len(answer) == 2
    check.that(pairs, "return two things: the result, and (keys, values)")
    result, kept = answer
    if past is not None:
        same = all(torch.equal(a, b) for a, b in zip(past, given, strict=True))
        check.that(same, "your layer changes the past that it was given: torch.cat makes new tensors")
    shape = getattr(result, "shape", (0, T))
    told = (
        "the result has a row for each new position, yours for all S: no query joins the past, and the mask "
    )
    check.that(len(shape) < 2 or shape[1] == T or S == T, told + "has T rows and S columns")
    told = "02's formula: queries of what is new, keys and values of all"
    check.close(result, right, told, usual=usual, rtol=1e-3, atol=1e-5)
    pairs = isinstance(kept, tuple | list) and len(kept) == 2
    check.that(pairs, "the second thing is the pair (keys, values)")
    for name, got, wanted, new in zip(("keys", "values"), kept, (keys, values), (k, v), strict=True):
        usual = {
            f"hand back all {name} so far, not only the new ones": new,
            "the pair is (keys, values), in this order": values if name == "keys" else keys,
            "keys and values are kept as heads, (B, H, S, D)": wanted.transpose(1, 2).flatten(2),
        }
        if past is not None:
            old = past[name == "values"]
            usual["hand back all so far, not only the past"] = old
            usual["the past comes first, then what is new: torch.cat([old, new], dim=2)"] = torch.cat(
                [new, old], dim=2
            )
        check.close(got, wanted, f"these are not the {name} of all S slots", usual=usual, rtol=1e-3)


@marked("5.6 · attention that remembers", given=GivenAttention)
def CausalSelfAttention(check: exercise, mine) -> None:
    """New queries, old and new keys and values."""
    for B, T, C, H, before in ((2, 1, 12, 3, 4), (3, 4, 10, 2, 2)):
        module, ours = mine(C, H).eval(), _drawn(GivenAttention(C, H))
        blank_module(check, module, random(B, T, C))
        same_weights(check, module, ours)
        S = before + T
        past = tuple(random(B, H, before, C // H, seed=seed) for seed in (1, 2))
        hidden = random(B, 1, T, S, seed=6) > 0.3
        hidden[..., -T:] |= torch.eye(T).bool()  # each looks at itself at least
        try:
            _attends(check, module, ours, random(B, 5, C, seed=3))
            _attends(check, module, ours, random(B, T, C, seed=4), past)
            _attends(check, module, ours, random(B, T, C, seed=5), past, hidden)
            whole = torch.ones(B, 1, 5, 5).tril().bool()
            whole[0, :, 1:, 0] = False
            _attends(check, module, ours, random(B, 5, C, seed=7), None, whole)
        except NameError as error:
            told = f"your class uses `{error.name}`, which this notebook does not have yet: bring it too"
            check.that(False, told)
        except RuntimeError as error:
            shapes = "Sizes of tensors must match" in str(error)
            check.that(not shapes, "old and new stand one after the other in time: torch.cat(..., dim=2)")
            masks = "must match the size" in str(error)
            check.that(not masks, "the mask has T rows and S columns: S counts the past too")
            alone = "batch2" in str(error)  # as many weights as keys, and another number of values
            told = (
                "keys and values are both joined with the past: torch.cat([past[1], v], dim=2) is the second"
            )
            check.that(not alone, told)
            check.that("Boolean value" not in str(error), "ask `mask is None`, and the same of past")
            raise


def _small(context: int = 13) -> nn.Module:
    """A GPT of four remembering blocks with three heads."""
    model = GivenGPT(vocab_size=11, context_length=context, n_layer=4, n_head=3, n_embd=15)
    model.blocks = nn.ModuleList(GivenBlock(15, 3) for _ in range(4))
    return _drawn(model)


@torch.no_grad()
def _reads(check: exercise, mine, model: nn.Module, tokens, past) -> list:
    """One call; what ours keeps by then is returned."""
    start = 0 if past is None else past[0][0].shape[2]
    right, kept = given_read(model, tokens, past)
    x = model.token_embedding(tokens)
    places = model.position_embedding(torch.arange(start, start + tokens.shape[1]))
    for i, block in enumerate(model.blocks):
        x = block(x, past and past[i])[0]
    y = model.token_embedding(tokens) + places
    first = model.blocks[0](y, past and past[0])[0]
    last = model.blocks[-1](y, past and past[-1])[0]
    for i, block in enumerate(model.blocks):
        y = block(y, past and past[i])[0]
    usual = {
        "the positions are missing": model.head(model.final_norm(x)),
        "the final norm is missing": model.head(y),
        "these are vectors: the head makes logits of them": model.final_norm(y),
        "logits, not probabilities: softmax comes later": right.softmax(-1),
        "only the last position is there: return the logits of all T": right[:, -1],
        "only the first block is used": model.head(model.final_norm(first)),
        "what a block makes of x is forgotten: it goes into the next block": model.head(
            model.final_norm(model.token_embedding(tokens) + places)
        ),
        "each block gets the same x: what the block before made of it goes in": model.head(
            model.final_norm(last)
        ),
        "positions count from 0": _read(model, tokens, past, start + 1)[0],
    }
    if tokens.shape[1] > 1:
        told = "all new tokens stand at one position: the T rows from `start` on are needed"
        usual[told] = _read(model, tokens, past, start, by=0)[0]
    if past is not None:
        wrong = {
            "the new token stands behind those in the past, not at position 0": 0,
            "len(past) counts the blocks: how many tokens do the keys have?": len(past),
            "shape[1] counts the heads: the tokens are shape[2]": past[0][0].shape[1],
            "shape[0] counts the texts: the tokens are shape[2]": past[0][0].shape[0],
            "one too early: after S tokens, the next stands at position S": start - 1,
            "shape[-1] is the width of a head: the tokens are shape[2]": past[0][0].shape[3],
        }
        usual |= {told: _read(model, tokens, past, at)[0] for told, at in wrong.items() if at != start}
        usual |= {
            "the past is not looked at": _read(model, tokens, None, start)[0],
            "the past is not looked at, nor the position": _read(model, tokens, None, 0)[0],
            "each block has its own past: past[i], not past[0]": _read(
                model, tokens, past, start, lambda i: 0
            )[0],
        }
    given = past and [*past]
    try:
        answer = check.run(mine, model, tokens, *(() if past is None else (past,)))
    except TypeError as error:
        check.that("not tuple" not in str(error), "a block hands back two things: x, and what it keeps")
        raise
    same = past is None or (len(past) == len(given) and all(map(operator.is_, past, given)))
    told = (
        "your function writes into the list that it was given, and whoever asks twice of one past is misled"
    )
    check.that(same, f"{told}: collect the pairs in a new list")
    pair = isinstance(answer, tuple) and len(answer) == 2
    check.that(pair, "return two things: the logits, and the list of what each block keeps")
    logits, got = answer
    told = "embed at the right positions, each block with its own past, norm, head"
    check.close(logits, right, told, usual=usual, rtol=1e-3, atol=1e-4)
    told = "the second thing has a pair (keys, values) for each block: collect what the blocks hand back"
    check.that(isinstance(got, list | tuple) and len(got) == len(model.blocks), told)
    for own, theirs in zip(got, kept, strict=True):
        check.that(isinstance(own, tuple | list) and len(own) == 2, told)
        if past is not None:
            old = own[0].shape[2] == start
            check.that(not old, "that is the old past: hand on what the blocks hand back")
            twice = own[0].shape[2] > theirs[0].shape[2]
            check.that(not twice, "the blocks have joined past and new already: collect what they hand back")
        check.close(own[0], theirs[0], told, rtol=1e-3, atol=1e-5)
    return kept


@marked("5.7 · a GPT that remembers", given=given_read)
def read(check: exercise, mine) -> None:
    """Positions go on where the past ends; each block has its own past."""
    model = _small()
    tokens = torch.randint(11, (2, 13), generator=torch.Generator().manual_seed(1))
    past, at = None, 0
    for size in (7, 1, 2, 3):  # the last reaches the end of the context
        new = None if past is None else [tuple(part.clone() for part in pair) for pair in past]
        past, at = _reads(check, mine, model, tokens[:, at : at + size], new), at + size


@marked("5.8 · the padding mask", given=given_padding_mask)
def padding_mask(check: exercise, mine) -> None:
    """May look back, never at padding, always at itself; positions count from the first real token."""
    for padding, S in (((3, 0, 1), 5), ((0, 2), 4)):
        padding = torch.tensor(padding)
        slots, itself = torch.arange(S), torch.eye(S).bool()
        causal, pad = slots <= slots[:, None], padding[:, None, None]
        mask, positions = given_padding_mask(padding, S)
        answer = check.run(mine, padding, S)
        check.that(isinstance(answer, tuple) and len(answer) == 2, "return two things: mask, positions")
        shapes = [getattr(part, "shape", None) for part in answer]
        check.that(shapes != [positions.shape, mask.shape], "the mask first, then the positions")
        usual = {
            "a slot of padding that may look at nothing makes softmax NaN: let each look at itself": causal
            & (slots >= pad),
            "the padding is not hidden": causal.expand(len(padding), S, S),
            "it sees the future": (slots >= pad).expand(len(padding), S, S) | itself,
            "it sees the future, and padding that sees nothing would be NaN": (slots >= pad).expand(
                len(padding), S, S
            ),
            "padding stands at the beginning of a row, not at its end": causal & (slots < S - pad) | itself,
            "the first real token stands at slot padding[b]: >=, not >": causal & (slots > pad) | itself,
            "turned over: True should mean *may look*": ~mask,
            "it looks ahead and not back: s <= t": (slots >= slots[:, None]) & (slots >= pad) | itself,
            "rows look at columns: yours are exchanged": mask.transpose(1, 2),
            "hide the padding from the others: that only keeps it from looking": causal
            & (slots[:, None] >= pad)
            | itself,
            "a slot also sees itself": mask & ~itself,
            "padding may look at itself alone: what it sees is of no use": causal
            & ((slots >= pad) | (slots[:, None] < pad)),
        }
        told = "slot t may look at slot s where s <= t and s is no padding, and at itself"
        check.close(answer[0], mask, told, usual=usual)
        usual = {
            "that counts the padding: a row's first real token stands at position 0": slots.expand(
                len(padding), S
            ),
            "no position is below 0, not even padding's: clamp": slots - padding[:, None],
            "no position is below 0: clamp, because abs makes −3 a 3": (slots - padding[:, None]).abs(),
            "padding is taken off, not added": slots + padding[:, None],
            "positions count from 0": (slots - padding[:, None] + 1).clamp(min=0),
        }
        told = "slot t of row b stands at position t − padding[b], and never below 0"
        check.close(answer[1], positions, told, usual=usual)
        cache = KVCache(S, padding)
        check.close(answer[1], cache.positions(len(padding), S), "not the positions of tinylm's cache")
        check.close(answer[0], cache.mask[:, 0], "not the mask of tinylm's cache")
