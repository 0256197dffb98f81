"""Answers that people give to 01_characters: none that is wrong passes, and most are told why."""

import pytest
import torch

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb01


def encode(text, vocabulary):
    return [vocabulary.index(character) for character in text]


TOY = list("abcdr")
NOTEBOOK = {
    "encode": encode,
    "toy_vocabulary": TOY,
    "toy_ids": torch.tensor(encode("abracadabra", TOY)),
    "toy_table": torch.full((5, 5), 0.2),
}
PAIRS = "ids = encode(word, vocabulary)\npairs = list(zip(ids[:-1], ids[1:]))\n"
TRIPLES = "i, j, k = ids[:-2], ids[1:-1], ids[2:]\n"
COUNT = "return torch.bincount({}, minlength=V**3).view(V, V, V).float()"
SLOPES = "p, n = torch.softmax(logits, dim=1), counts.sum(dim=1, keepdim=True)\n"
WRONG = {
    "bits": function(
        "bits(word, table, vocabulary)",
        (PAIRS + "return sum(-math.log(table[i, j]) for i, j in pairs)", "these are nats"),
        (PAIRS + "return sum(-math.log2(table[i, j]) for i, j in pairs) / len(pairs)", "this is the mean"),
        (PAIRS + "return sum(-math.log2(table[i, j]) for i, j in pairs) / len(ids)", "this is the mean"),
        (PAIRS + "return sum(math.log2(table[i, j]) for i, j in pairs)", "never negative"),
        (PAIRS + "return sum(math.log(table[i, j]) for i, j in pairs)", "nats, and no minus"),
        (PAIRS + "return sum(-math.log(table[i, j]) * math.log(2) for i, j in pairs)", "divided by ln 2"),
        (PAIRS + "return sum(-math.log10(table[i, j]) for i, j in pairs)", "log base 10"),
        (PAIRS + "return sum(-math.log2(table[j, i]) for i, j in pairs)", "the first index"),
        (PAIRS + "return math.prod(table[i, j] for i, j in pairs)", "not its surprise"),
        (PAIRS + "return sum(table[i, j] for i, j in pairs)", "add up their surprises"),
        (PAIRS + "return sum(-math.log2(table[i, j]) for i, j in pairs[:-1])", "the last pair"),
        (PAIRS + "print(sum(-math.log2(table[i, j]) for i, j in pairs))", "is `return` missing?"),
        (
            "ids = encode(word, toy_vocabulary)\n"
            "return sum(-math.log2(toy_table[i, j]) for i, j in zip(ids, ids[1:]))",
            "does not use its argument `table` and reads `toy_vocabulary` from outside",
        ),
        PAIRS + "for i, j in pairs:\n    total = -math.log2(table[i, j])\nreturn total",
    ),
    "count_triples": function(
        "count_triples(ids, V)",
        (TRIPLES + COUNT.format("(k * V + j) * V + i"), "the order is turned"),
        (TRIPLES + COUNT.format("(j * V + i) * V + k"), "the first two are exchanged"),
        (TRIPLES + COUNT.format("(i * V + k) * V + j"), "the last two are exchanged"),
        (TRIPLES + COUNT.format("(i + j) * V + k"), "the first character needs V · V"),
        (TRIPLES + COUNT.format("i * V + j + k"), "only one of them is multiplied"),
        (TRIPLES + "return torch.bincount((i * V + j) * V + k, minlength=V**3).float()", "fold the numbers"),
        ("return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V)", "these are pairs"),
        (TRIPLES + "t = " + COUNT[7:].format("(i * V + j) * V + k") + "\nreturn t / t.sum()", "the shares"),
        (TRIPLES + "t = " + COUNT[7:].format("(i * V + j) * V + k") + "\nreturn t > 0", "how often?"),
        ("ids = toy_ids\n" + TRIPLES + COUNT.format("(i * V + j) * V + k"), "compare with a loop"),
        (TRIPLES + "t = " + COUNT[7:].format("(i * V + j) * V + k") + "\nprint(t)", "is `return` missing?"),
        (TRIPLES + "return torch.bincount((i * V + j) * V + k).view(V, V, V).float()", None),
        ("i, j, k = ids[:-3], ids[1:-2], ids[2:-1]\n" + COUNT.format("(i * V + j) * V + k"), "left out"),
    ),
    "all_slopes": function(
        "all_slopes(counts, logits)",
        (SLOPES + "return n * p - counts", "divide by their number"),
        (SLOPES + "return (p - counts) / counts.sum()", "multiply it by the row's number"),
        (SLOPES + "return p - counts", "then divide by the number of pairs"),
        (SLOPES + "return p - counts / n", "a frequent row weighs more"),
        (SLOPES + "return (counts - n * p) / counts.sum()", "the sign is turned"),
        (
            "p, n = torch.softmax(logits, dim=1), counts.sum(dim=1)\nreturn (n * p - counts) / counts.sum()",
            "is a keepdim=True missing",
        ),
        (
            "p, n = torch.softmax(logits, dim=1), counts.sum(dim=0, keepdim=True)\n"
            "return (n * p - counts) / counts.sum()",
            "dim=1, not dim=0",
        ),
        (
            "p, n = torch.softmax(logits, dim=0), counts.sum(dim=1, keepdim=True)\n"
            "return (n * p - counts) / counts.sum()",
            "does your softmax run along the rows",
        ),
        (SLOPES + "return (n * p - counts) / counts.numel()", "not of cells"),
        (SLOPES + "return (n * p - counts) / len(counts)", "not of rows"),
        (SLOPES + "return (n * logits - counts) / counts.sum()", "softmax makes probabilities"),
        (SLOPES + "print((n * p - counts) / counts.sum())", "is `return` missing?"),
        (
            "z = logits.clone().requires_grad_()\n"
            "loss = -(counts * torch.log_softmax(z, 1)).sum() / counts.sum()\nloss.backward()\nreturn z.grad",
            "do without",
        ),
        SLOPES + "return p * n / counts.sum()",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    assert_wrong(nb01, name, WRONG[name], capsys, **NOTEBOOK)
