"""Answers that people give to 02_attention: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb02


def one(seen="x[: t + 1]", scale=" / math.sqrt(q.shape[0])", result="weights @ v", q="x[t] @ W_q"):
    return (
        f"seen = {seen}\nq, k, v = {q}, seen @ W_k, seen @ W_v\n"
        f"weights = torch.softmax(k @ q{scale}, dim=0)\nreturn {result}"
    )


def formula(
    scores="q @ k.transpose(-2, -1) / math.sqrt(D)",
    mask="scores.masked_fill(~causal_mask(T), -math.inf)",
    dim="-1",
    result="weights @ v, weights",
):
    return (
        f"T, D = q.shape[-2:]\nscores = {scores}\nweights = torch.softmax({mask}, dim={dim})\nreturn {result}"
    )


def module(name, init, forward):
    body = "".join(f"        {line}\n" for line in init.splitlines())
    rest = "".join(f"        {line}\n" for line in forward.splitlines())
    size = "head_dim" if name == "Head" else "n_head"
    head = f"class {name}(nn.Module):\n    def __init__(self, n_embd, {size}):\n"
    return f"{head}        super().__init__()\n{body}\n    def forward(self, x):\n{rest}"


def cut(result):
    return f"B, T, C = x.shape\nreturn {result}"


LINEARS = "".join(f"self.{n} = nn.Linear(n_embd, head_dim, bias=False)\n" for n in ("query", "key", "value"))
LOOK = "out, _ = attention({}, {}, {})\nreturn out"
Q, K, V = (f"self.{name}(x)" for name in ("query", "key", "value"))
HEADS = (
    "self.heads = nn.ModuleList(Head(n_embd, n_embd // n_head) for _ in range(n_head))\n"
    "self.proj = nn.Linear(n_embd, n_embd)"
)
SIDE = "return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))"
WRONG = {
    "causal_mask": function(
        "causal_mask(T)",
        ("return torch.ones(T, T).triu().bool()", "turned over: rows look at columns"),
        ("return ~torch.ones(T, T).tril().bool()", "True should mean *may look*"),
        ("return ~torch.ones(T, T).triu().bool()", "may look at itself"),
        ("return torch.ones(T, T).tril(-1).bool()", "may look at itself"),
        ("return torch.ones(T, T).tril(1).bool()", "one too many"),
        ("return torch.ones(T, T).bool()", "where is the mask?"),
        ("return torch.eye(T).bool()", "what of those before it?"),
        ("return torch.ones(T, T).tril()", "these are numbers"),
        ("return torch.zeros(T, T).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)", "−∞"),
        ("print(torch.ones(T, T).tril().bool())", "is `return` missing?"),
        ("return torch.ones(7, 7).tril().bool()", "your shape is (7, 7)"),
        ("return [[s <= t for s in range(T)] for t in range(T)]", "a tensor is asked"),
        ("return torch.ones(T).bool()", None),
    ),
    "attend_one": function(
        "attend_one(x, t, W_q, W_k, W_v)",
        (one(scale=""), "not divided by √D"),
        (one(scale=" / q.shape[0]"), "not by D"),
        (one(scale=" / math.sqrt(x.shape[1])"), "the number of columns"),
        (one(scale=" * math.sqrt(q.shape[0])"), "multiplied by √D"),
        (one(seen="x"), "it sees the future"),
        (one(seen="x[:t]"), "position t itself may be looked at too"),
        (one(seen="x[: t + 2]"), "one too far"),
        (
            one().replace("torch.softmax(k @ q", "(k @ q").replace(", dim=0)", ")"),
            "softmax is missing",
        ),
        (one(result="weights @ k"), "not the keys"),
        (one(result="weights"), "these are the weights"),
        (one(result="v[weights.argmax()]"), "the highest score"),
        (one(result="v.mean(0)"), "equal weights"),
        (one().replace("return", "print(") + ")", "is `return` missing?"),
        (one().replace("seen @ W_k", "x[t] @ W_k"), None),
        (one(q="x[t] @ W_k").replace("seen @ W_k", "seen @ W_q"), "exchanged"),
    ),
    "attention": function(
        "attention(q, k, v)",
        (formula(scores="q @ k.transpose(-2, -1)"), "not divided by √D"),
        (formula(scores="q @ k.transpose(-2, -1) / D"), "not by D"),
        (formula(scores="q @ k.transpose(-2, -1) / math.sqrt(T)"), "not of T"),
        (formula(scores="q @ k.transpose(-2, -1) * math.sqrt(D)"), "multiplied by √D"),
        (formula(mask="scores"), "the mask is missing"),
        (formula(mask="scores * causal_mask(T)"), "must be −∞"),
        (formula(mask="scores.masked_fill(causal_mask(T), -math.inf)"), "the past is hidden"),
        (formula(mask="scores.masked_fill(~causal_mask(T).tril(-1), -math.inf)"), "a position sees itself"),
        (formula(mask="scores.masked_fill(~causal_mask(T).T, -math.inf)"), "turned over"),
        (formula(dim="-2"), "dim=-1"),
        (
            formula(mask="scores", result="(weights * causal_mask(T)) @ v, weights * causal_mask(T)"),
            "before softmax",
        ),
        (formula(scores="k @ q.transpose(-2, -1) / math.sqrt(D)"), "yours are exchanged"),
        (formula(result="weights @ v"), "return two things"),
        (formula(result="weights, weights @ v"), "the results come first"),
        (formula(result="weights @ k, weights"), "not the keys"),
        (formula(scores="q @ k / math.sqrt(D)"), None),
        (formula().replace("T, D = q.shape[-2:]", "T, D = q.shape[0], q.shape[-1]"), "count from the end"),
        (formula().replace("T, D = q.shape[-2:]", "T, D = q.shape"), "count from the end"),
        (formula(scores="q @ k.transpose(0, 1) / math.sqrt(D)"), "count from the end"),
        (
            "out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)\nreturn out, out",
            "do without",
        ),
    ),
    "Head": [
        (module("Head", LINEARS, LOOK.format(K, Q, V)), "query and key are exchanged"),
        (module("Head", LINEARS, LOOK.format(Q, K, K)), "not from self.key"),
        (module("Head", LINEARS, LOOK.format(Q, V, K)), "the values go last"),
        (module("Head", LINEARS, f"return attention({Q}, {K}, {V})"), "return the results alone"),
        (module("Head", LINEARS, f"return attention({Q}, {K}, {V})[1]"), "these are the weights"),
        (
            module(
                "Head",
                LINEARS,
                f"return torch.softmax({Q} @ {K}.transpose(-2, -1) / math.sqrt({Q}.shape[-1]), -1) @ {V}",
            ),
            "it sees the future",
        ),
        (module("Head", LINEARS, f"return {V}"), "nobody looks back"),
        (module("Head", LINEARS.replace(", bias=False", ""), LOOK.format(Q, K, V)), "bias=False"),
        (
            module("Head", LINEARS.replace("query", "q"), LOOK.format("self.q(x)", K, V)),
            "is not in the contract",
        ),
        (
            module("Head", LINEARS.replace("head_dim, bias", "n_embd, bias"), LOOK.format(Q, K, V)),
            "has the shape",
        ),
        (module("Head", LINEARS, f"print(attention({Q}, {K}, {V})[0])"), "is `return` missing?"),
        (
            module(
                "Head",
                "self.query = nn.Linear(n_embd, head_dim, bias=False)",
                LOOK.format("self.query(x)", "self.query(x)", "self.query(x)"),
            ),
            "`key.weight` is missing",
        ),
        (module("Head", LINEARS, LOOK.format("self.query", "self.key", "self.value")), None),
    ],
    "MultiHead": [
        (module("MultiHead", HEADS, SIDE.replace("self.proj(", "(")), "proj is missing"),
        (module("MultiHead", HEADS, SIDE.replace("self.heads]", "reversed(self.heads)]")), "wrong order"),
        (
            module(
                "MultiHead",
                HEADS,
                "return self.proj(sum(head(x) for head in self.heads).repeat(1, 1, len(self.heads)))",
            ),
            "not added up",
        ),
        (module("MultiHead", HEADS, SIDE + " + x"), "comes in 03"),
        (module("MultiHead", HEADS.replace("nn.ModuleList(", "list("), SIDE), "use torch.nn.ModuleList"),
        (
            module(
                "MultiHead", HEADS.replace("self.proj", "self.mix"), SIDE.replace("self.proj", "self.mix")
            ),
            "is not in the contract",
        ),
        (module("MultiHead", HEADS.replace("n_embd // n_head)", "n_embd)"), SIDE), "has the shape"),
        (module("MultiHead", HEADS.replace("range(n_head)", "range(2 * n_head)"), SIDE), "as many heads"),
        (
            module(
                "MultiHead",
                HEADS.replace("Linear(n_embd, n_embd)", "Linear(n_embd, n_embd, bias=False)"),
                SIDE,
            ),
            "`proj` has no bias",
        ),
        (module("MultiHead", HEADS, "print(" + SIDE[7:] + ")"), "is `return` missing?"),
        (
            module(
                "MultiHead",
                HEADS,
                "return self.proj(torch.stack([h(x) for h in self.heads], dim=-1).flatten(2))",
            ),
            "wrong order",
        ),
        (
            module(
                "MultiHead",
                HEADS.replace(" for _ in range(n_head))", "] * n_head)").replace("(Head", "([Head"),
                SIDE,
            ),
            "make a new Head each time",
        ),
        (module("MultiHead", HEADS, SIDE.replace("dim=-1", "dim=1")), None),
        (module("MultiHead", HEADS, "for head in self.heads:\n    x = head(x)\nreturn self.proj(x)"), None),
    ],
    "split_heads": function(
        "split_heads(x, n_head)",
        (cut("x.view(B, n_head, T, C // n_head)"), "the beginning of the text"),
        (cut("x.view(B, T, n_head, C // n_head)"), "T still stands in front of H"),
        (cut("x.view(B, T, n_head, C // n_head).transpose(2, 3).transpose(1, 2)"), "D last"),
        (cut("x.view(B, T, C // n_head, n_head).transpose(2, 3).transpose(1, 2)"), "not every H-th"),
        (cut("x.view(B, T, n_head, C // n_head).permute(0, 2, 3, 1)"), "D stays last"),
        (cut("x.view(B, T, n_head, C // n_head).permute(2, 0, 1, 3)"), "the texts come first"),
        (cut("torch.stack(x.chunk(n_head, dim=-1))"), "the texts come first"),
        (cut("x.chunk(n_head, dim=-1)"), "not a list of heads"),
        (cut("torch.stack(x.chunk(n_head, dim=-1)[::-1], dim=1)"), "wrong order"),
        (cut("x[:, None, :, : C // n_head].expand(B, n_head, T, C // n_head)"), "all the same"),
        (cut("x.view(B, T, 3, C // 3).transpose(1, 2)"), "does not use its argument `n_head`"),
        (cut("x.view(B, T, n_head, C // n_head).transpose(1, 2)").replace("return", "y ="), "`return`"),
        (cut("x.view(B, T, n_head, C).transpose(1, 2)"), "your code raised"),
        (cut("x"), "does not use its argument `n_head`"),
        (cut("x.view(B, T, n_head, n_head).transpose(1, 2)"), None),
    ),
    "looks_back": function(
        "looks_back(weights, n)",
        ("return weights.diagonal(n).mean()", "to the left"),
        ("return weights.diagonal().mean()", "n is not used"),
        ("return weights[-1, -1 - n]", "the last row alone"),
        ("return weights[n, 0]", "the first row"),
        ("return weights.diagonal(-n).max()", "not the largest"),
        ("return weights.diagonal(-n).sum()", "not the sum"),
        ("return weights.diagonal(-n).median()", "not the median"),
        ("return weights.diagonal(-n).sum() / len(weights)", "divide by T − n"),
        ("return weights.diagonal(-n - 1).mean()", "one too far"),
        ("return weights.diagonal(1 - n).mean()", "one too near"),
        ("return weights.diagonal(-n)", "their mean"),
        ("return weights[n:, : len(weights) - n].mean()", "a whole block"),
        ("return weights.tril(-n).sum(-1)[n:].mean()", "over all the past"),
        ("print(weights.diagonal(-n).mean())", "is `return` missing?"),
        ("return sum(weights[t, t - n] for t in range(len(weights))) / len(weights)", None),
    ),
}
NOTEBOOK = {"causal_mask": nb02.package_mask, "attention": nb02.explicit_attention, "Head": nb02.GivenHead}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    names = {key: value for key, value in NOTEBOOK.items() if key != name}
    assert_wrong(nb02, name, WRONG[name], capsys, **names)
