"""Answers that people give to 05_sampling: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb05

ENTROPY = (
    "log_p = torch.log_softmax(logits, dim=-1)\nh = torch.where(log_p > -1e9, -log_p.exp() * log_p, 0.0)\n"
)
P = "p = logits.softmax(-1)\n"
SIZE = "n = rows * config.n_head * tokens * config.head_dim\n"
WRONG = {
    "choices": function(
        "choices(logits)",
        (ENTROPY + "return h.sum(-1)", "take exp of it"),
        (ENTROPY + "return 2 ** h.sum(-1)", "its base is e"),
        (ENTROPY + "return torch.exp(h.sum(-1) / math.log(2))", "H is in nats"),
        (ENTROPY + "return (-h.sum(-1)).exp()", "H has a minus"),
        (ENTROPY + "return h.sum().exp()", "one number for each row"),
        (ENTROPY + "return h.mean(-1).exp()", "is not their sum"),
        ("p = logits.softmax(0)\nreturn (-(p * p.log()).sum(-1)).exp()", "softmax runs over the last"),
        (P + "return (-(p * p.log()).sum(-1)).exp()", "what should 0 · ln 0 count as?"),
        (P + "return 1 / p.amax(-1)", "the favourite's probability"),
        (P + "return (-p.log()).mean(-1).exp()", "weigh each surprise"),
        (ENTROPY + "print(h.sum(-1).exp())", "is `return` missing?"),
        ("return torch.isfinite(logits).sum(-1).float()", "counts the tokens"),
        (ENTROPY + "return h.sum(-1).exp().round()", None),
    ),
    "keep_epsilon": function(
        "keep_epsilon(logits, epsilon)",
        ("return logits.masked_fill(logits < epsilon, -math.inf)", "softmax first"),
        (P + "return p.masked_fill(p < epsilon, 0.0)", "these are probabilities"),
        (P + "return logits.masked_fill(p >= epsilon, -math.inf)", "turned over"),
        (P + "return logits.masked_fill(p < epsilon, 0.0)", "still a chance"),
        (P + "return logits.masked_fill(p < epsilon, -math.inf)", "keep the favourite"),
        (
            P + "best = logits == logits.amax(-1, keepdim=True)\n"
            "return logits.masked_fill((p <= epsilon) & ~best, -math.inf)",
            "exactly epsilon stays",
        ),
        (
            P + "best = logits == logits.amax()\nreturn logits.masked_fill((p < epsilon) & ~best, -math.inf)",
            "in every row",
        ),
        (
            "p = logits.softmax(0)\nreturn logits.masked_fill(p < epsilon, -math.inf)",
            "softmax runs over the last dimension",
        ),
        (P + "return logits.masked_fill(p < 0.05, -math.inf)", "does not use its argument `epsilon`"),
        (P + "return p >= epsilon", "which stay"),
        (P + "logits[p < epsilon] = -math.inf\nreturn logits", "changes a tensor"),
        (
            P + "p /= p.amax(-1, keepdim=True)\nreturn logits.masked_fill(p < epsilon, -math.inf)",
            "min-p",
        ),
        P + "return logits[p >= epsilon]",
    ),
    "cache_bytes": function(
        "cache_bytes(config, rows, tokens)",
        (SIZE + "return config.n_layer * n * 4", "half"),
        (SIZE + "return 2 * config.n_layer * n", "4 bytes"),
        (SIZE + "return 2 * config.n_layer * n * 32", "not 32"),
        (SIZE + "return 2 * n * 4", "one layer"),
        ("return 2 * config.n_layer * rows * tokens * config.head_dim * 4", "one head"),
        ("return 2 * config.n_layer * config.n_head * tokens * config.head_dim * 4", "one of the texts"),
        ("return 2 * config.n_layer * rows * config.n_head * tokens * config.n_embd * 4", "not n_embd"),
        (SIZE + "return 2 * config.n_layer * n * tokens * 4", "one row a token"),
        (SIZE + "return 3 * config.n_layer * n * 4", "queries are not kept"),
        (SIZE + "print(2 * config.n_layer * n * 4)", "is `return` missing?"),
        (
            "return 8 * config.n_layer * rows * config.context_length * config.n_embd",
            "does not use its argument `tokens`",
        ),
        (SIZE + "return 2 * config.n_layer * n * 4 / 2**20", None),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    assert_wrong(nb05, name, WRONG[name], capsys)
