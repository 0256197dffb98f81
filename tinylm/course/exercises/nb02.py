"""Checks of notebook 02_attention, and what it goes on with where a part is blank."""

import math

import torch
from torch import nn

from tinylm.course.checks import exercise, marked
from tinylm.model.attention import causal_mask as package_mask
from tinylm.model.attention import explicit_attention


def given_attend_one(x, t, W_q, W_k, W_v):
    """Attention for the word at position t, (D,)."""
    seen = x[: t + 1]  # (t + 1, C)
    q, k, v = x[t] @ W_q, seen @ W_k, seen @ W_v  # (D,), (t + 1, D), (t + 1, D)
    return torch.softmax(k @ q / math.sqrt(q.shape[0]), dim=0) @ v  # (D,)


class GivenHead(nn.Module):
    """One causal head."""

    def __init__(self, n_embd: int, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(n_embd, head_dim, bias=False)
        self.key = nn.Linear(n_embd, head_dim, bias=False)
        self.value = nn.Linear(n_embd, head_dim, bias=False)

    def forward(self, x):
        """x (B, T, C) to (B, T, D)."""
        return explicit_attention(self.query(x), self.key(x), self.value(x))[0]


class GivenMultiHead(nn.Module):
    """Several heads in a loop, side by side, then mixed."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(GivenHead(n_embd, n_embd // n_head) for _ in range(n_head))
        self.proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        """x (B, T, C) to (B, T, C)."""
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


def given_split_heads(x, n_head):
    """Each row of C numbers cut into heads, (B, T, C) to (B, H, T, D)."""
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).transpose(1, 2)


def given_looks_back(weights, n):
    """The mean weight on the position n before."""
    return weights.diagonal(-n).mean()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers with a spread of 1."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@marked("2.1 · the causal mask", given=package_mask)
def causal_mask(check: exercise, mine) -> None:
    """True where s <= t."""
    for T in (5, 3):
        right = torch.ones(T, T).tril().bool()
        usual = {
            "turned over: rows look at columns, and the past lies to the left": right.T,
            "turned over: True should mean *may look*": ~right,
            "True should mean *may look*, and a position may look at itself": ~right.T,
            "a position also sees itself: s = t is allowed": right.tril(-1),
            "one too many: a position may not see the next one": torch.ones(T, T).tril(1).bool(),
            "that is the position itself only: what of those before it?": torch.eye(T).bool(),
            "everything is allowed: where is the mask?": torch.ones(T, T).bool(),
        }
        mask = check.run(mine, T)
        check.that(isinstance(mask, torch.Tensor), "a tensor is asked: torch.ones(T, T) makes one")
        infinite = mask.is_floating_point() and bool(mask.isinf().any())
        check.that(not infinite, "these are scores with −∞: True and False are asked")
        check.that(mask.dtype == torch.bool, "these are numbers: .bool() makes True and False of them")
        check.close(mask, right, "row t has t + 1 times True, from the left", usual=usual)


@marked("2.2 · attention for one word", given=given_attend_one)
def attend_one(check: exercise, mine) -> None:
    """softmax(k q / √D) v over the positions up to t."""
    for T, C, D, t, seed in ((6, 4, 3, 3, 0), (5, 3, 7, 2, 1)):
        x, (W_q, W_k, W_v) = random(T, C, seed=seed), random(3, C, D, seed=seed + 9)
        seen = x[: t + 1]
        q, k, v = x[t] @ W_q, seen @ W_k, seen @ W_v
        score, root = k @ q, math.sqrt(D)
        all_scores, all_v = x @ W_k @ q, x @ W_v
        mixed = torch.softmax(all_scores / root, 0) @ all_v
        usual = {
            "the scores are not divided by √D": torch.softmax(score, 0) @ v,
            "divide by the root of D, not by D": torch.softmax(score / D, 0) @ v,
            "D was 2 in the example only: take it from W_q": torch.softmax(score / math.sqrt(2), 0) @ v,
            "D is the number of columns of W_q, not the length of x[t]": torch.softmax(
                score / math.sqrt(C), 0
            )
            @ v,
            "divide the scores before softmax, not the weights after it": torch.softmax(score, 0) / root @ v,
            "multiplied by √D: divide": torch.softmax(score * root, 0) @ v,
            "it sees the future: only the positions 0 to t": mixed,
            "position t itself may be looked at too: x[: t + 1]": torch.softmax(score[:-1] / root, 0)
            @ v[:-1],
            "the softmax is missing": score / root @ v,
            "the values are averaged, not the keys": torch.softmax(score / root, 0) @ k,
            "queries and keys are exchanged": torch.softmax(seen @ W_q @ (x[t] @ W_k) / root, 0) @ v,
            "that is only the value of the word with the highest score": v[score.argmax()],
            "these are equal weights: where are the scores?": v.mean(0),
            "that is the sum of the values: weigh them": v.sum(0),
        }
        if t + 1 < T:
            usual["one too far: x[: t + 1] ends with position t"] = (
                torch.softmax(all_scores[: t + 2] / root, 0) @ all_v[: t + 2]
            )
        answer = check.run(mine, x, t, W_q, W_k, W_v)
        check.that(isinstance(answer, torch.Tensor), "a tensor of shape (D,) is asked")
        check.that(
            answer.shape != (t + 1,) or t + 1 == D, "these are the weights: average the values with them"
        )
        right = given_attend_one(x, t, W_q, W_k, W_v)
        check.close(answer, right, "compare with the steps above, one by one", usual=usual)
    check.close(check.run(mine, x, 0, W_q, W_k, W_v), x[0] @ W_v, "position 0 can only see itself")


@marked("2.3 · attention", given=explicit_attention)
def attention(check: exercise, mine) -> None:
    """The formula, for any number of dimensions in front."""
    check.forbid(mine, "scaled_dot_product_attention", "explicit_attention", "fused_attention")
    for shape in ((5, 3), (2, 3, 4, 7)):
        q, k, v = random(3, *shape, seed=shape[-1])
        T, D = shape[-2:]
        seen = torch.ones(T, T).tril().bool()
        scores, root = q @ k.transpose(-2, -1), math.sqrt(D)

        def soft(scores, mask=seen, dim=-1):
            return torch.softmax(scores.masked_fill(~mask, -math.inf), dim)

        unmasked = torch.softmax(scores / root, -1)
        usual = {
            "the scores are not divided by √D": soft(scores),
            "divide by the root of D, not by D": soft(scores / D),
            "the root of D, the last dimension, not of T": soft(scores / math.sqrt(T)),
            "multiplied by √D: divide": soft(scores * root),
            "divide the scores before softmax, not the weights after it": soft(scores) / root,
            "the mask is missing": unmasked,
            "a masked score must be −∞: 0 is a score like any other": torch.softmax(scores / root * seen, -1),
            "mask the scores before softmax: now the rows no longer sum to 1": unmasked * seen,
            "the mask is turned over": soft(scores / root, seen.T),
            "softmax runs over the columns, dim=-1": soft(scores / root, dim=-2),
            "rows are queries and columns are keys: yours are exchanged": soft(
                k @ q.transpose(-2, -1) / root
            ),
            "a position also sees itself": soft(scores / root, seen.tril(-1)),
            "the softmax is missing": (scores / root).masked_fill(~seen, 0.0),
            "the softmax is missing: these are scores": (scores / root).masked_fill(~seen, -math.inf),
        }
        try:
            answer = check.run(mine, q, k, v)
        except (RuntimeError, ValueError):
            front = len(shape) > 2  # with two dimensions it ran
            check.that(
                not front, "count from the end: T is q.shape[-2], D is q.shape[-1], for any dimensions"
            )
            raise
        check.that(isinstance(answer, tuple) and len(answer) == 2, "return two things: results and weights")
        out, weights = answer
        right = soft(scores / root)
        if weights.shape == v.shape and out.shape == right.shape and T != D:
            check.that(False, "the results come first, then the weights")
        turned = soft(scores / root, ~seen)  # its last row is nan
        same = isinstance(weights, torch.Tensor) and weights.shape == turned.shape
        same = same and torch.allclose(weights, turned, equal_nan=True)
        check.that(
            not same, "the past is hidden, and the future seen: masked_fill hides where it gets True, ~mask"
        )
        nan = isinstance(weights, torch.Tensor) and bool(weights.isnan().any())
        check.that(not nan, "nan: a row in which everything is hidden has no softmax; a position sees itself")
        check.close(weights, right, "compare the weights with the formula", usual=usual)
        usual = {"the values are averaged, not the keys": right @ k, "nor the queries": right @ q}
        usual |= {"weights @ v: rows of weights, columns of v": right.transpose(-2, -1) @ v}
        usual |= {"these are the values: weights @ v averages them": v}
        check.close(out, right @ v, "the results are weights @ v", usual=usual)


def same_weights(check: exercise, mine: nn.Module, theirs: nn.Module) -> None:
    """Give the learner's module the numbers of ours, which needs the names of the contract."""
    names = dict(mine.named_parameters(remove_duplicate=False))  # a buffer, such as a mask, is free
    shapes = {name: p.shape for name, p in theirs.named_parameters(remove_duplicate=False)}
    if extra := [name for name in names if name not in shapes]:
        check.that(not extra[0].endswith("bias"), f"{extra[0]} is one too many: bias=False")
        asked = ", ".join(dict.fromkeys(name.split(".")[0] for name in shapes))
        check.that(False, f"`{extra[0]}` is not in the contract, which names {asked}")
    for name, shape in shapes.items():
        part, _, kind = name.rpartition(".")
        without = name not in names and kind == "bias" and f"{part}.weight" in names
        check.that(not without, f"`{part}` has no bias: leave out bias=False")
        check.that(name in names, f"`{name}` is missing: set it in __init__, as self.{name.split('.')[0]}")
        check.that(
            names[name].shape == shape, f"{name} has the shape {tuple(names[name].shape)}, not {tuple(shape)}"
        )
    mine.load_state_dict(theirs.state_dict(), strict=False)


def learns(check: exercise, module: nn.Module, x: torch.Tensor) -> None:
    """A gradient reaches every parameter."""
    module.zero_grad()
    out = module(x)
    check.that(out.requires_grad, "nothing can be learnt through it: no detach and no no_grad in forward")
    out.square().sum().backward()
    stuck = next((name for name, p in module.named_parameters() if p.grad is None), "")
    check.that(not stuck, f"no gradient reaches {stuck}: is there a detach?")


def blank_module(check: exercise, module: nn.Module, x: torch.Tensor) -> None:
    """End here where a class is still the stub: nothing in it, and `...` handed back."""
    if not list(module.parameters()):
        check.run(module, x)


@marked("2.4 · one head", given=GivenHead)
def Head(check: exercise, mine) -> None:
    """query, key, value without bias; the results of causal attention."""
    for B, T, C, D, seed in ((2, 5, 6, 3, 0), (3, 4, 5, 7, 1)):
        module, ours, x = mine(C, D), GivenHead(C, D), random(B, T, C, seed=seed)
        blank_module(check, module, x)
        same_weights(check, module, ours)
        with torch.no_grad():
            q, k, v = ours.query(x), ours.key(x), ours.value(x)
            unmasked = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(D), -1)
            usual = {
                "query and key are exchanged": explicit_attention(k, q, v)[0],
                "the values go last: attention(query, key, value)": explicit_attention(q, v, k)[0],
                "the values come from self.value, not from self.key": explicit_attention(q, k, k)[0],
                "the queries come from self.query": explicit_attention(k, k, v)[0],
                "it sees the future: use your attention, which is causal": unmasked @ v,
                "these are the values of each position itself: nobody looks back": v,
            }
            answer = check.run(module, x)
            check.that(not isinstance(answer, tuple), "return the results alone: out, _ = attention(...)")
            right = ours(x)
            if T != D:
                check.that(answer.shape[-1] != T, "these are the weights: the first of the two is wanted")
        check.close(
            answer.detach(), right, "attention of self.query(x), self.key(x), self.value(x)", usual=usual
        )
        learns(check, module, x)


@marked("2.5 · several heads", given=GivenMultiHead)
def MultiHead(check: exercise, mine) -> None:
    """Heads side by side, then proj."""
    for B, T, C, H, seed in ((2, 5, 6, 3, 0), (3, 4, 10, 2, 1)):
        module, ours, x = mine(C, H), GivenMultiHead(C, H), random(B, T, C, seed=seed)
        blank_module(check, module, x)
        heads = getattr(module, "heads", None)
        listed = isinstance(heads, list | tuple)
        check.that(not listed, "a plain list hides its parameters from torch: use torch.nn.ModuleList")
        check.that(heads is None or len(heads) == H, "as many heads as n_head says")
        alone = heads is None or len({id(head) for head in heads}) == H
        check.that(alone, "your heads are one and the same object: make a new Head each time")
        same_weights(check, module, ours)
        with torch.no_grad():
            found = [head(x) for head in ours.heads]
            side = torch.cat(found, dim=-1)
            usual = {
                "proj is missing: it mixes what the heads found": side,
                "the heads stand in the wrong order": ours.proj(torch.cat(found[::-1], dim=-1)),
                "side by side, not added up: torch.cat(..., dim=-1)": ours.proj(sum(found).repeat(1, 1, H)),
                "every head counts, not only the first": ours.proj(found[0].repeat(1, 1, H)),
                "stacked, then flattened in the wrong order": ours.proj(
                    torch.stack(found, dim=-1).flatten(2)
                ),
                "the stream itself is not added here: that comes in 03": ours(x) + x,
            }
            answer = check.run(module, x)
            right = ours(x)
        check.close(answer.detach(), right, "proj of all heads side by side", usual=usual)
        learns(check, module, x)


@marked("2.6 · split the heads", given=given_split_heads)
def split_heads(check: exercise, mine) -> None:
    """Slices of D neighbours, one after the other: the loop's heads."""
    for B, T, H, D, seed in ((2, 5, 3, 7, 0), (3, 4, 2, 6, 1)):
        x = random(B, T, H * D, seed=seed)
        right = torch.stack([x[:, :, h * D : (h + 1) * D] for h in range(H)], dim=1)
        usual = {
            "view alone: head 0 holds the beginning of the text, cut into slices": x.view(B, H, T, D),
            "a head has D numbers that stand side by side, not every H-th": x.view(B, T, D, H).permute(
                0, 3, 1, 2
            ),
            "the heads stand in the wrong order": right.flip(1),
            "every head has numbers of its own: yours are all the same": right[:, :1].expand(B, H, T, D),
        }
        shapes = {
            (B, T, H, D): "T still stands in front of H: transpose(1, 2) exchanges them",
            (B, H, D, T): "H in front of T, and D stays last: transpose(1, 2) exchanges H and T",
            (B, D, T, H): "the heads come second, D last: cut into (B, T, H, D), then bring H in front of T",
            (B, T, D, H): "the heads come second: cut into (B, T, H, D), then bring H in front of T",
            (H, B, T, D): "the texts come first, (B, H, T, D)",
            (B, T, H * D): "nothing is cut: (B, H, T, D) has four dimensions",
            (B, H, T, H): "D = C / H: the numbers are shared among the heads",
        }
        answer = check.run(mine, x, H)
        one = isinstance(answer, torch.Tensor)
        check.that(one, "a single tensor is asked, (B, H, T, D), and not a list of heads")
        check.that(answer.shape not in shapes, shapes.get(tuple(answer.shape), ""))
        fixed = answer.ndim == 4 and answer.shape[::2] == (B, T) and answer.shape[1] != H
        check.that(not fixed, "as many heads as n_head says: yours are always the same number")
        check.close(answer, right, "head h holds the numbers h·D to (h + 1)·D − 1 of each row", usual=usual)


@marked("2.7 · how far a head looks back", given=given_looks_back)
def looks_back(check: exercise, mine) -> None:
    """The mean of a line below the diagonal."""
    for T, n, seed in ((9, 3, 0), (7, 1, 0), (6, 0, 2), (8, 2, 3)):
        weights = random(T, T, seed=seed).softmax(-1)
        line = weights.diagonal(-n)  # (T - n,)
        usual = {
            "rows look at columns: the position n before is to the left": weights.diagonal(n).mean(),
            "that is the weight on the position itself: n is not used": weights.diagonal().mean(),
            "that is the last row alone: take the mean over all": line[-1],
            "that is the first row that can look back so far: take the mean over all": line[0],
            "the mean, not the largest": line.max(),
            "the mean, not the sum": line.sum(),
            "the mean, not the median": line.median(),
            "only T − n positions have one that is n before them: divide by T − n": line.sum() / T,
            "one too far: weights[t, t − n]": weights.diagonal(-n - 1).mean(),
            "one too near: weights[t, t − n]": weights.diagonal(-n + 1).mean(),
            "that is the mean over all the past: only the position n before counts": weights.tril(-n)
            .sum(-1)[n:]
            .mean(),
            "that is the mean of a whole block: only the position n before counts": weights[
                n:, : T - n
            ].mean(),
        }
        answer = check.run(mine, weights, n)
        several = getattr(answer, "ndim", 0) == 1 or isinstance(answer, list)
        check.that(not several, "that is one weight for each position: one number is asked, their mean")
        check.close(answer, line.mean(), "the mean of weights[t, t − n] over t = n to T − 1", usual=usual)
