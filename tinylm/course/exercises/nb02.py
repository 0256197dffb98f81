"""Exercises of notebook 02_attention."""

from typing import Any

import torch

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import module, random
from tinylm.course.slips import Lesson, call

lesson = Lesson("02", "import math\nimport torch")


def boolean(check: Check, answer: Any, T: int) -> Any:
    """Return the mask, which must be a tensor of booleans."""
    mask = call(check, answer, T)
    check.that(isinstance(mask, torch.Tensor), "a tensor is asked: torch.ones(T, T) makes one")
    check.that(
        not mask.is_floating_point() or not mask.isinf().any(),
        "these are scores with −∞: True and False are asked",
    )
    check.that(mask.dtype == torch.bool, "these are numbers: .bool() makes True and False of them")
    return mask


causal_mask = lesson.exercise(
    "2.1 · the causal mask",
    """
    def causal_mask(T):
        return torch.ones(T, T).tril().bool()
    """,
    run=boolean,
    cases=[(5,), (3,)],
    said="row t has t + 1 times True, from the left",
    slips="""
    .tril() -> .triu() :: turned over: rows look at columns, and the past lies to the left
    return torch -> return ~torch :: turned over: True should mean *may look*
    .tril() -> .tril(-1) :: a position also sees itself: s = t is allowed
    .tril() -> .tril(1) :: one too many: a position may not see the next one
    .tril() ->  :: everything is allowed: where is the mask?
    torch.ones(T, T).tril() -> torch.eye(T) :: that is the position itself only: what of those before it?
    .bool() ->  :: these are numbers
    = return torch.zeros(T, T).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        :: these are scores with −∞
    = return [[s <= t for s in range(T)] for t in range(T)] :: a tensor is asked
    return -> mask = :: is `return` missing?
    torch.ones(T, T) -> torch.ones(7, 7) :: your shape is (7, 7)
    torch.ones(T, T).tril() -> torch.ones(T)
    """,
)


def tensor(check: Check, answer: Any, *case: Any) -> Any:
    """Return a tensor of shape (D,), and not the weights."""
    out, (_, t, W_q, *_) = call(check, answer, *case), case
    check.that(isinstance(out, torch.Tensor), "a tensor of shape (D,) is asked")
    told = "these are the weights: average the values with them"
    check.that(out.shape != (t + 1,) or t + 1 == W_q.shape[1], told)
    return out


def words(T: int, C: int, D: int, t: int, seed: int) -> tuple[Any, ...]:
    """Return x, t and the three matrices."""
    return random(T, C, seed=seed), t, *random(3, C, D, seed=seed + 9)


attend_one = lesson.exercise(
    "2.2 · attention for one word",
    """
    def attend_one(x, t, W_q, W_k, W_v):
        seen = x[: t + 1]  # (t + 1, C)
        q, k, v = x[t] @ W_q, seen @ W_k, seen @ W_v  # (D,), (t + 1, D), (t + 1, D)
        weights = torch.softmax(k @ q / math.sqrt(q.shape[0]), dim=0)  # (t + 1,)
        return weights @ v  # (D,)
    """,
    run=tensor,
    cases=[words(6, 4, 3, 3, 0), words(5, 3, 7, 2, 1), words(5, 3, 7, 0, 1)],
    said="compare with the steps above, one by one",
    slips="""
    / math.sqrt(q.shape[0]) ->  :: the scores are not divided by √D
    math.sqrt(q.shape[0]) -> q.shape[0] :: divide by the root of D, not by D
    math.sqrt(q.shape[0]) -> math.sqrt(2) :: D was 2 in the example only: take it from W_q
    q.shape[0] -> x.shape[1] :: D is the number of columns of W_q, not the length of x[t]
    / math.sqrt(q.shape[0]), dim=0) -> , dim=0) / math.sqrt(q.shape[0])
        :: divide the scores before softmax, not the weights after it
    / math.sqrt(q.shape[0]) -> * math.sqrt(q.shape[0]) :: multiplied by √D: divide
    x[: t + 1] -> x :: it sees the future: only the positions 0 to t
    x[: t + 1] -> x[:t] :: position t itself may be looked at too: x[: t + 1]
    x[: t + 1] -> x[: t + 2] :: one too far: x[: t + 1] ends with position t
    torch.softmax(k @ q / math.sqrt(q.shape[0]), dim=0) -> k @ q / math.sqrt(q.shape[0])
        :: the softmax is missing
    return weights @ v -> return weights @ k :: the values are averaged, not the keys
    x[t] @ W_q, seen @ W_k -> x[t] @ W_k, seen @ W_q :: queries and keys are exchanged
    weights @ v -> v[weights.argmax()] :: that is only the value of the word with the highest score
    weights @ v -> v.mean(0) :: these are equal weights: where are the scores?
    weights @ v -> v.sum(0) :: that is the sum of the values: weigh them
    return weights @ v -> return weights :: these are the weights
    return weights -> out = weights :: is `return` missing?
    seen @ W_k -> x[t] @ W_k
    """,
)


def two_things(check: Check, answer: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    """Return the weights and the results, in this order."""
    answer = call(check, answer, q, k, v)
    check.that(isinstance(answer, tuple) and len(answer) == 2, "return two things: results and weights")
    return {"weights": answer[1], "results": answer[0]}


def qkv(*shape: int) -> tuple[torch.Tensor, ...]:
    """Return queries, keys and values of this shape."""
    return tuple(random(3, *shape, seed=shape[-1]))


attention = lesson.exercise(
    "2.3 · attention",
    """
    def attention(q, k, v):
        T, D = q.shape[-2:]
        scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (..., T, T)
        weights = torch.softmax(scores.masked_fill(~causal_mask(T), -math.inf), dim=-1)  # (..., T, T)
        return weights @ v, weights  # (..., T, D), (..., T, T)
    """,
    run=two_things,
    cases=[qkv(5, 3), qkv(2, 3, 4, 7)],
    said="compare the weights and the results with the formula",
    forbid=("scaled_dot_product_attention", "explicit_attention", "fused_attention"),
    slips="""
    / math.sqrt(D) ->  :: the scores are not divided by √D
    math.sqrt(D) -> D :: divide by the root of D, not by D
    math.sqrt(D) -> math.sqrt(T) :: the root of D, the last dimension, not of T
    / math.sqrt(D) -> * math.sqrt(D) :: multiplied by √D: divide
    / math.sqrt(D) -> && dim=-1) -> dim=-1) / math.sqrt(D)
        :: divide the scores before softmax, not the weights after it
    scores.masked_fill(~causal_mask(T), -math.inf) -> scores :: the mask is missing
    scores.masked_fill(~causal_mask(T), -math.inf) -> scores * causal_mask(T)
        :: a masked score must be −∞: 0 is a score like any other
    scores.masked_fill(~causal_mask(T), -math.inf) -> scores && dim=-1) -> dim=-1) * causal_mask(T)
        :: mask the scores before softmax: now the rows no longer sum to 1
    ~causal_mask(T) -> ~causal_mask(T).T :: the mask is turned over
    ~causal_mask(T) -> causal_mask(T)
        :: the past is hidden, and the future seen: masked_fill hides where it gets True, ~mask
    ~causal_mask(T) -> ~causal_mask(T).tril(-1)
        :: nan: a row in which everything is hidden has no softmax; a position sees itself
    dim=-1 -> dim=-2 :: softmax runs over the columns, dim=-1
    q @ k.transpose(-2, -1) -> k @ q.transpose(-2, -1)
        :: rows are queries and columns are keys: yours are exchanged
    torch.softmax(scores.masked_fill(~causal_mask(T), -math.inf), dim=-1)
        -> scores.masked_fill(~causal_mask(T), 0.0)
        :: the softmax is missing
    torch.softmax(scores.masked_fill(~causal_mask(T), -math.inf), dim=-1)
        -> scores.masked_fill(~causal_mask(T), -math.inf)
        :: the softmax is missing: these are scores
    return weights @ v, weights -> return weights, weights @ v :: the results come first, then the weights
    return weights @ v, weights -> return weights @ v :: return two things: results and weights
    weights @ v, weights -> weights @ k, weights :: the values are averaged, not the keys
    weights @ v, weights -> weights @ q, weights :: the values are averaged, not the queries
    weights @ v, weights -> weights.transpose(-2, -1) @ v, weights
        :: weights @ v: rows of weights, columns of v
    weights @ v, weights -> v, weights :: these are the values: weights @ v averages them
    T, D = q.shape[-2:] -> T, D = q.shape
        :: count from the end: T is q.shape[-2], D is q.shape[-1], for any dimensions
    T, D = q.shape[-2:] -> T, D = q.shape[0], q.shape[-1]
        :: count from the end: T is q.shape[-2], D is q.shape[-1], for any dimensions
    k.transpose(-2, -1) -> k.transpose(0, 1)
        :: count from the end: the last two dimensions change places, -2 and -1
    k.transpose(-2, -1) -> k
    = out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True) ⏎ return out, out
        :: do without
    """,
)

Head = lesson.exercise(
    "2.4 · one head",
    """
    class Head(torch.nn.Module):
        def __init__(self, n_embd, head_dim):
            super().__init__()
            self.query = torch.nn.Linear(n_embd, head_dim, bias=False)
            self.key = torch.nn.Linear(n_embd, head_dim, bias=False)
            self.value = torch.nn.Linear(n_embd, head_dim, bias=False)

        def forward(self, x):
            out, _ = attention(self.query(x), self.key(x), self.value(x))  # (B, T, D), (B, T, T)
            return out
    """,
    run=module,
    cases=[((6, 3), random(2, 5, 6)), ((5, 7), random(3, 4, 5, seed=1))],
    said="attention of self.query(x), self.key(x), self.value(x)",
    slips="""
    attention(self.query(x), self.key(x) -> attention(self.key(x), self.query(x)
        :: query and key are exchanged
    self.key(x), self.value(x)) -> self.value(x), self.key(x))
        :: the values go last: attention(query, key, value)
    self.value(x)) -> self.key(x)) :: the values come from self.value, not from self.key
    attention(self.query(x) -> attention(self.key(x) :: the queries come from self.query
    out, _ = attention(self.query(x), self.key(x), self.value(x))
        -> q, k, v = self.query(x), self.key(x), self.value(x)
        ⏎ out = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), -1) @ v
        :: it sees the future: use your attention, which is causal
    out, _ = attention(self.query(x), self.key(x), self.value(x)) -> out = self.value(x)
        :: these are the values of each position itself: nobody looks back
    out, _ = -> out = :: return the results alone: out, _ = attention(...)
    out, _ = -> _, out = :: these are the weights: the first of the two is wanted
    head_dim, bias=False -> head_dim :: bias=False
    self.query -> self.q :: is not in the contract
    head_dim, bias -> n_embd, bias :: has the shape
    return out -> print(out) :: is `return` missing?
    return out -> return out.detach() :: nothing can be learnt through it
    self.key = torch.nn.Linear(n_embd, head_dim, bias=False) -> && self.key(x) -> self.query(x)
        :: `key.weight` is missing
    self.query(x), self.key(x), self.value(x) -> self.query, self.key, self.value
    """,
)


def several(check: Check, answer: Any, sizes: tuple[int, int], x: torch.Tensor) -> Any:
    """Return the module's output; n_head different heads must be in a ModuleList."""
    heads = getattr(answer(*sizes), "heads", None)
    listed = isinstance(heads, list | tuple)
    check.that(not listed, "a plain list hides its parameters from torch: use torch.nn.ModuleList")
    check.that(heads is None or len(heads) == sizes[1], "as many heads as n_head says")
    alone = heads is None or len({id(head) for head in heads}) == sizes[1]
    check.that(alone, "your heads are one and the same object: make a new Head each time")
    return module(check, answer, sizes, x)


MultiHead = lesson.exercise(
    "2.5 · several heads",
    """
    class MultiHead(torch.nn.Module):
        def __init__(self, n_embd, n_head):
            super().__init__()
            self.heads = torch.nn.ModuleList(Head(n_embd, n_embd // n_head) for _ in range(n_head))
            self.proj = torch.nn.Linear(n_embd, n_embd)

        def forward(self, x):
            found = [head(x) for head in self.heads]  # H tensors of (B, T, D)
            return self.proj(torch.cat(found, dim=-1))  # (B, T, C)
    """,
    run=several,
    cases=[((6, 3), random(2, 5, 6)), ((10, 2), random(3, 4, 10, seed=1))],
    said="proj of all heads side by side",
    slips="""
    return self.proj(torch.cat(found, dim=-1)) -> return torch.cat(found, dim=-1)
        :: proj is missing: it mixes what the heads found
    torch.cat(found -> torch.cat(found[::-1] :: the heads stand in the wrong order
    torch.cat(found, dim=-1) -> sum(found).repeat(1, 1, len(found))
        :: side by side, not added up: torch.cat(..., dim=-1)
    torch.cat(found, dim=-1) -> found[0].repeat(1, 1, len(found)) :: every head counts, not only the first
    torch.cat(found, dim=-1) -> torch.stack(found, dim=-1).flatten(2)
        :: stacked, then flattened in the wrong order
    dim=-1)) -> dim=-1)) + x :: the stream itself is not added here: that comes in 03
    torch.nn.ModuleList -> list :: a plain list hides its parameters from torch: use torch.nn.ModuleList
    self.proj -> self.mix :: is not in the contract
    n_embd // n_head) -> n_embd) :: has the shape
    range(n_head) -> range(2 * n_head) :: as many heads as n_head says
    Linear(n_embd, n_embd) -> Linear(n_embd, n_embd, bias=False) :: `proj` has no bias
    ModuleList(Head(n_embd, n_embd // n_head) for _ in range(n_head))
        -> ModuleList([Head(n_embd, n_embd // n_head)] * n_head)
        :: your heads are one and the same object: make a new Head each time
    return self.proj -> found = self.proj :: is `return` missing?
    dim=-1 -> dim=1
    found = [head(x) for head in self.heads] -> for head in self.heads: ⏎     x = head(x)
        && torch.cat(found, dim=-1) -> x
    """,
)


def cut(check: Check, answer: Any, x: torch.Tensor, H: int) -> Any:
    """Return the tensor of heads; a wrong shape is named."""
    out, (B, T, C) = call(check, answer, x, H), x.shape
    D = C // H
    check.that(
        isinstance(out, torch.Tensor), "a single tensor is asked, (B, H, T, D), and not a list of heads"
    )
    shapes = {
        (B, T, H, D): "T still stands in front of H: transpose(1, 2) exchanges them",
        (B, H, D, T): "H in front of T, and D stays last: transpose(1, 2) exchanges H and T",
        (B, D, T, H): "the heads come second, D last: cut into (B, T, H, D), then bring H in front of T",
        (B, T, D, H): "the heads come second: cut into (B, T, H, D), then bring H in front of T",
        (H, B, T, D): "the texts come first, (B, H, T, D)",
        (B, T, C): "nothing is cut: (B, H, T, D) has four dimensions",
        (B, H, T, H): "D = C / H: the numbers are shared among the heads",
    }
    check.that(out.shape not in shapes, shapes.get(tuple(out.shape), ""))
    fixed = out.ndim == 4 and out.shape[::2] == (B, T) and out.shape[1] != H
    check.that(not fixed, "as many heads as n_head says: yours are always the same number")
    return out


split_heads = lesson.exercise(
    "2.6 · split the heads",
    """
    def split_heads(x, n_head):
        B, T, C = x.shape
        cut = x.view(B, T, n_head, C // n_head)  # (B, T, H, D)
        return cut.transpose(1, 2)  # (B, H, T, D)
    """,
    run=cut,
    cases=[(random(2, 5, 21), 3), (random(3, 4, 12, seed=1), 2)],
    said="head h holds the numbers h·D to (h + 1)·D − 1 of each row",
    slips="""
    x.view(B, T, n_head, C // n_head) -> x.view(B, n_head, T, C // n_head) && cut.transpose(1, 2) -> cut
        :: view alone: head 0 holds the beginning of the text, cut into slices
    x.view(B, T, n_head, C // n_head) -> x.view(B, T, C // n_head, n_head).transpose(2, 3)
        :: a head has D numbers that stand side by side, not every H-th
    cut.transpose(1, 2) -> cut.transpose(1, 2).flip(1) :: the heads stand in the wrong order
    = return torch.stack(x.chunk(n_head, dim=-1)[::-1], dim=1) :: the heads stand in the wrong order
    cut.transpose(1, 2) -> cut.transpose(1, 2)[:, :1].expand(B, n_head, T, C // n_head)
        :: every head has numbers of its own: yours are all the same
    cut.transpose(1, 2) -> cut :: T still stands in front of H
    cut.transpose(1, 2) -> cut.permute(0, 2, 3, 1) :: D stays last
    cut.transpose(1, 2) -> cut.permute(2, 0, 1, 3) :: the texts come first
    cut.transpose(1, 2) -> cut.transpose(2, 3) :: the heads come second: cut into
    cut.transpose(1, 2) -> cut.transpose(1, 3) :: the heads come second, D last
    = return x.chunk(n_head, dim=-1) :: not a list of heads
    n_head, C // n_head -> 3, C // 3 :: does not use its argument `n_head`
    return cut -> cut = cut :: is `return` missing?
    C // n_head) -> C)
    = return x :: does not use its argument `n_head`
    C // n_head) -> n_head)
    """,
)


def one_number(check: Check, answer: Any, weights: torch.Tensor, n: int) -> Any:
    """Return the answer, which must be a single number."""
    found = call(check, answer, weights, n)
    several = getattr(found, "ndim", 0) == 1 or isinstance(found, list)
    check.that(not several, "that is one weight for each position: one number is asked, their mean")
    return found


looks_back = lesson.exercise(
    "2.7 · how far a head looks back",
    """
    def looks_back(weights, n):
        return weights.diagonal(-n).mean()
    """,
    run=one_number,
    cases=[
        (random(T, T, seed=seed).softmax(-1), n)
        for T, n, seed in ((9, 3, 0), (7, 1, 0), (6, 0, 2), (8, 2, 3))
    ],
    said="the mean of weights[t, t − n] over t = n to T − 1",
    slips="""
    diagonal(-n) -> diagonal(n) :: rows look at columns: the position n before is to the left
    diagonal(-n) -> diagonal(0 * n) :: that is the weight on the position itself: n is not used
    weights.diagonal(-n).mean() -> weights[-1, -1 - n] :: that is the last row alone: take the mean over all
    weights.diagonal(-n).mean() -> weights[n, 0]
        :: that is the first row that can look back so far: take the mean over all
    .mean() -> .max() :: the mean, not the largest
    .mean() -> .sum() :: the mean, not the sum
    .mean() -> .median() :: the mean, not the median
    .mean() -> .sum() / len(weights) :: only T − n positions have one that is n before them: divide by T − n
    diagonal(-n) -> diagonal(-n - 1) :: one too far: weights[t, t − n]
    diagonal(-n) -> diagonal(1 - n) :: one too near: weights[t, t − n]
    weights.diagonal(-n) -> weights.tril(-n).sum(-1)[n:]
        :: that is the mean over all the past: only the position n before counts
    weights.diagonal(-n) -> weights[n:, : len(weights) - n]
        :: that is the mean of a whole block: only the position n before counts
    .mean() ->  :: one number is asked, their mean
    return -> mean = :: is `return` missing?
    weights.diagonal(-n).mean() -> sum(weights[t, t - n] for t in range(len(weights))) / len(weights)
    """,
)
