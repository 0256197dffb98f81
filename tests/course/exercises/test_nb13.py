"""Answers that people give to 13_evaluation: none that is wrong passes, and most are told why."""

import math
import re

import numpy as np
import pytest
import torch

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb13

NOTEBOOK = {"np": np, "re": re, "math": math, "words": nb13.words}

LOSS = "loss = nats.sum() / counts.sum()\n"
AWAY = "away = nats - loss * counts\n"
SQUARES = LOSS + AWAY + "k, total = len(nats), counts.sum()\nsquares = (away ** 2).sum()\n"
LOSSES = function(
    "loss_and_error(nats, counts)",
    (
        "each = nats / counts\nreturn each.mean(), each.std(ddof=1) / np.sqrt(len(each))",
        "as much as a long one",
    ),
    (
        LOSS + "each = nats / counts\nreturn loss, each.std(ddof=1) / np.sqrt(len(each))",
        "documents' own losses",
    ),
    (LOSS + "each = nats / counts\nreturn loss, each.std() / np.sqrt(len(each))", "documents' own losses"),
    (LOSS + "return loss, (nats / counts).std(ddof=1)", "one document lies off"),
    ("return nats.mean(), nats.std() / np.sqrt(len(nats))", "nats per document"),
    (LOSS + "return loss", "return two numbers"),
    (SQUARES + "return loss, np.sqrt(squares) / total", "k / (k - 1) is missing"),
    (SQUARES + "return loss, np.sqrt((k - 1) / k * squares) / total", "k - 1 goes below"),
    (SQUARES + "return loss, k / (k - 1) * squares / total", "root is missing"),
    (SQUARES + "return loss, k / (k - 1) * np.sqrt(squares) / total", "inside the root"),
    (SQUARES + "return loss, np.sqrt(k / (k - 1) * squares)", "counts.sum(), is missing"),
    (SQUARES + "return loss, np.sqrt(k / (k - 1) * squares) / k", "not by the documents"),
    (SQUARES + "return loss, np.sqrt(k / (k - 1) * squares / total)", "outside the root"),
    (
        LOSS + "k = len(nats)\naway = nats - loss\n"
        "return loss, np.sqrt(k / (k - 1) * (away ** 2).sum()) / counts.sum()",
        "L · n nats",
    ),
    (
        LOSS + "k = len(nats)\naway = nats - nats.mean()\n"
        "return loss, np.sqrt(k / (k - 1) * (away ** 2).sum()) / counts.sum()",
        "L · n nats",
    ),
    (SQUARES + "return loss, np.sqrt(k / (k - 1) * away.sum() ** 2) / total", None),
    (SQUARES + "return np.sqrt(k / (k - 1) * squares) / total, loss", "the loss comes first"),
    (SQUARES + "print(loss, np.sqrt(k / (k - 1) * squares) / total)", "is `return` missing?"),
    (
        LOSS + "nats -= loss * counts\nk = len(nats)\n"
        "return loss, np.sqrt(k / (k - 1) * (nats ** 2).sum()) / counts.sum()",
        "belongs to the caller",
    ),
    ("return counts.sum() / nats.sum(), 0.1", "not tokens over nats"),
    (LOSS + "return loss, loss / np.sqrt(len(nats))", None),
)
IDS = 'begin, ids = len(encode(context)), torch.tensor(encode(f"{context} {ending}"))\n'
LOGS = "with torch.no_grad():\n    logs = model(ids[None])[0].log_softmax(-1)\n"
TAKE = "return logs[begin - 1:-1].gather(1, ids[begin:, None]).sum().item()"
WHOLE = IDS + LOGS + TAKE
SCORES = function(
    "score(model, encode, context, ending)",
    (IDS + LOGS + "return logs[begin:].gather(1, ids[begin:, None]).sum().item()", "the token at t + 1"),
    (
        IDS + LOGS + "return logs[begin:-1].gather(1, ids[begin + 1:, None]).sum().item()",
        "first token is missing",
    ),
    (IDS + LOGS + "return logs[:-1].gather(1, ids[1:, None]).sum().item()", "scores the context too"),
    (WHOLE.replace(".sum()", ".mean()"), "mean over the tokens"),
    (WHOLE.replace("return ", "return -"), "has the other sign"),
    (WHOLE.replace(".log_softmax(-1)", ""), "these are logits"),
    (WHOLE.replace("log_softmax", "softmax"), "logarithms are added"),
    (WHOLE.replace(".sum()", ".sum().exp()"), "its logarithm is asked for"),
    (WHOLE.replace("log_softmax(-1)", "log_softmax(0)"), "the last dimension"),
    (WHOLE.replace("len(encode(context))", "len(context)"), None),
    (WHOLE.replace("{context} {ending}", "{context}{ending}"), "the space between"),
    (
        "ids = torch.tensor(encode(ending))\n"
        + LOGS
        + "return logs[:-1].gather(1, ids[1:, None]).sum().item()",
        "must read the context",
    ),
    (
        WHOLE.replace("begin - 1:-1", "begin - 2:-1").replace("ids[begin:", "ids[begin - 1:"),
        "one token of the context",
    ),
    (
        WHOLE.replace("begin - 1:-1", "begin - 1:-2").replace("ids[begin:", "ids[begin:-1"),
        "last token is missing",
    ),
    (WHOLE.replace(".sum().item()", "[:, 0]"), "one number is asked for"),
    (WHOLE.replace(".item()", ".item() / math.log(2)"), "these are bits"),
    (IDS + LOGS + "return logs[begin - 1:-1].max(-1).values.sum().item()", "not the ending's"),
    (WHOLE.replace("ids[None]", "ids"), "the model reads rows"),
    (WHOLE.replace("return ", "_ = "), "is `return` missing?"),
    (
        IDS + "with torch.no_grad():\n    logits = model(ids[None])[0]\n"
        "return F.cross_entropy(logits[begin - 1:-1], ids[begin:], reduction='sum').item()",
        "has the other sign",
    ),
    (
        IDS + "with torch.no_grad():\n    logits = model(ids[None])[0]\n"
        "return -F.cross_entropy(logits[begin - 1:-1], ids[begin:]).item()",
        "mean over the tokens",
    ),
)
PAIRED_IDS = "return logs[range(begin - 1, len(ids) - 1), ids[begin:]].sum()"
SCORES += function(
    "score(model, encode, context, ending)",
    (
        WHOLE.replace("len(encode(context))", "-len(encode(ending))"),
        "the ending alone, without its space, is cut into other tokens",
    ),
    (
        "ids = torch.tensor(encode(f'{context} {ending}'))\nn = len(ids) - len(encode(ending))\n"
        "logs = model(ids[None])[0].log_softmax(-1)\n"
        "return sum(logs[t - 1, ids[t]].item() for t in range(n, len(ids)))",
        "`len(encode(context))` from the front",
    ),
    (
        IDS + "p = model(ids[None])[0].softmax(-1)\n"
        "return math.log(math.prod(p[t - 1, ids[t]].item() for t in range(begin, len(ids))))",
        "add their logarithms",
    ),
    (
        IDS + "p = model(ids[None])[0].softmax(-1)\n"
        "return p[range(begin - 1, len(ids) - 1), ids[begin:]].prod().log().item()",
        "add their logarithms",
    ),
    (IDS + LOGS.replace("with torch.no_grad():\n    ", "") + PAIRED_IDS, "one float is asked for"),
    (IDS + LOGS + PAIRED_IDS, "one float is asked for"),
    (
        IDS + LOGS.replace("with torch.no_grad():\n    ", "") + PAIRED_IDS[:-6] + ".numpy().sum()",
        "requires grad",
    ),
    (
        WHOLE.replace('torch.tensor(encode(f"{context} {ending}"))', 'encode(f"{context} {ending}")'),
        "as_tensor",
    ),
    (
        WHOLE.replace('encode(f"{context} {ending}")', "encode(context) + encode(ending)"),
        "adds arrays number by number",
    ),
    (
        "begin = len(encode(context))\nids = torch.tensor([*encode(context), *encode(ending)])\n"
        + LOGS
        + TAKE,
        "the space between",
    ),
    (IDS + LOGS + "return logs[begin - 1:-1, ids[begin:]].sum().item()", "pair them"),
)
BEST = "each = nats if lengths is None else nats / lengths\n"
ACCURACIES = function(
    "accuracy(nats, labels, lengths=None)",
    (BEST + "return (each.argmax(axis=1) == labels).sum()", "this counts"),
    (BEST + "return each.argmax(axis=1) == labels", "one answer for each item"),
    (BEST + "return 100 * (each.argmax(axis=1) == labels).mean()", "between 0 and 1"),
    (BEST + "return (each.argmin(axis=1) == labels).mean()", "the largest is the likeliest"),
    (BEST + "return (each.argmax(axis=1) != labels).mean()", "the share of wrong ones"),
    ("return (nats.argmax(axis=1) == labels).mean()", "change nothing here"),
    (
        "each = nats if lengths is None else nats * lengths\nreturn (each.argmax(axis=1) == labels).mean()",
        "has more to add up",
    ),
    (
        "each = nats if lengths is None else lengths / nats\nreturn (each.argmax(axis=1) == labels).mean()",
        "not length over nats",
    ),
    (
        "each = nats if lengths is None else nats - lengths\nreturn (each.argmax(axis=1) == labels).mean()",
        "no score per character",
    ),
    (
        "each = nats if lengths is None else nats / lengths.mean(axis=1, keepdims=True)\n"
        "return (each.argmax(axis=1) == labels).mean()",
        "own ending's length",
    ),
    (
        "if lengths is not None:\n    nats /= lengths\nreturn (nats.argmax(axis=1) == labels).mean()",
        "belongs to the caller",
    ),
    (BEST + "return (each.argmax() == labels).mean()", None),
    (BEST + "return (each.argmax(axis=0) == labels).mean()", None),
    (BEST + "print((each.argmax(axis=1) == labels).mean())", "is `return` missing?"),
    (BEST + "return each[np.arange(len(labels)), labels].mean()", None),
    (
        BEST + "return np.mean([row[label] == row.max() for row, label in zip(each, labels)])",
        "of equal scores the first counts",
    ),
    (BEST + "return (each.argmax(axis=0) == labels).mean()", "an item is a row"),
    (BEST.replace("/ lengths", "// lengths") + "return (each.argmax(axis=1) == labels).mean()", "`//` drops"),
    (
        "if lengths:\n    nats = nats / lengths\nreturn (nats.argmax(axis=1) == labels).mean()",
        "neither true nor false",
    ),
)
MIDDLE = "middle = correct + z * z / 2\nroot = math.sqrt(correct * (n - correct) / n + z * z / 4)\n"
ENDS = "return (middle - z * root) / (n + z * z), (middle + z * root) / (n + z * z)"
P = "p = correct / n\n"
INTERVALS = function(
    "interval(correct, n, z=1.96)",
    (
        P + "error = math.sqrt(p * (1 - p) / n)\nreturn p - z * error, p + z * error",
        "no width where all are right",
    ),
    (
        P + "error = math.sqrt(p * (1 - p) / n)\nreturn max(0, p - z * error), min(1, p + z * error)",
        "no width",
    ),
    (P + "error = math.sqrt(p * (1 - p) / n)\nreturn p - error, p + error", "z is missing"),
    (MIDDLE.replace(" + z * z / 4", "") + ENDS, "z²/4 inside the root"),
    (MIDDLE.replace(" + z * z / 2", "") + ENDS, "belongs to the middle"),
    (MIDDLE + ENDS.replace("(n + z * z)", "n"), "not by n"),
    (MIDDLE + "return middle - z * root, middle + z * root", "division by n + z² is missing"),
    (MIDDLE + ENDS.replace("z * root", "root"), "z in front of the root"),
    (MIDDLE + ENDS.replace("z * root", "z * z * root"), "z, not z²"),
    (
        MIDDLE + "low = (middle - z * root) / (n + z * z)\nhigh = (middle + z * root) / (n + z * z)\n"
        "return high, low",
        "lower end comes first",
    ),
    (
        MIDDLE + "return 100 * (middle - z * root) / (n + z * z), 100 * (middle + z * root) / (n + z * z)",
        "percent",
    ),
    ("z = 1.96\n" + MIDDLE + ENDS, "z is an argument"),
    (
        MIDDLE.replace("correct * (n - correct) / n", P[4:-1] + " * (1 - correct / n) / n") + ENDS,
        "inside the root",
    ),
    (MIDDLE.replace("math.sqrt(", "(") + ENDS, "root is missing"),
    (MIDDLE + "return middle / (n + z * z)", "return two numbers"),
    (
        "middle = (correct + z * z / 2) / (n + z * z)\n"
        "width = z * math.sqrt(middle * (1 - middle) / (n + z * z))\n"
        "return middle - width, middle + width",
        "Agresti",
    ),
    (P + "return p - 1 / math.sqrt(n), p + 1 / math.sqrt(n)", None),
    (MIDDLE + ENDS.replace("(n + z * z)", "n + z * z"), "n + z² divides both"),
    (
        MIDDLE + "return middle - z * root / (n + z * z), middle + z * root / (n + z * z)",
        "n + z² divides the middle too",
    ),
    (MIDDLE.replace("correct * (", "correct (") + ENDS, "correct * (n - correct)"),
    (MIDDLE + "return middle / (n + z * z), z * root / (n + z * z)", "the two ends"),
)
APART = "apart = a.astype(float) - b.astype(float)\n"
PAIRS = function(
    "paired(a, b)",
    (
        "return a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))",
        "items of their own",
    ),
    (
        "p, q, n = a.mean(), b.mean(), len(a)\nreturn p - q, np.sqrt(a.var() / n + b.var() / n)",
        "items of their own",
    ),
    ("return a.mean() - b.mean(), (a.std(ddof=1) + b.std(ddof=1)) / np.sqrt(len(a))", "are added"),
    (APART + "return apart.mean(), apart.std() / np.sqrt(len(a))", "ddof=1 is missing"),
    (APART + "return apart.mean(), apart.std(ddof=1)", "one item lies off"),
    (APART + "return apart.mean(), apart.std(ddof=1) / len(a)", "not by N"),
    (APART + "return apart.mean(), apart.var(ddof=1) / len(a)", "variance of the mean"),
    (APART + "return -apart.mean(), apart.std(ddof=1) / np.sqrt(len(a))", "first minus the second"),
    (
        APART + "apart = apart[apart != 0]\nreturn apart.mean(), apart.std(ddof=1) / np.sqrt(len(apart))",
        "where both are alike",
    ),
    (
        APART + "some = apart[apart != 0]\nreturn apart.mean(), some.std(ddof=1) / np.sqrt(len(some))",
        "where both are alike",
    ),
    (
        APART + "apart = np.abs(apart)\nreturn apart.mean(), apart.std(ddof=1) / np.sqrt(len(a))",
        "have a sign",
    ),
    (APART + "return apart.mean(), np.abs(apart).std(ddof=1) / np.sqrt(len(a))", "not of its size"),
    (APART + "return 100 * apart.mean(), 100 * apart.std(ddof=1) / np.sqrt(len(a))", "points of a hundred"),
    (APART + "return apart.sum(), apart.std(ddof=1) * np.sqrt(len(a))", "this is a sum"),
    ("apart = a - b\nreturn apart.mean(), apart.std(ddof=1) / np.sqrt(len(a))", "numpy boolean subtract"),
    (
        APART.replace("float", "int") + "return apart.mean(), apart.std(ddof=1) / np.sqrt(len(a))",
        "losses have decimals",
    ),
    (APART + "return apart.mean()", "return two numbers"),
    (APART + "return apart.mean(), 1 / np.sqrt(len(a))", None),
)
ROWS = "def rows(text):\n    found = words(text)\n"
ROWS += "    return [tuple(found[i:i + n]) for i in range(len(found) - n + 1)]\n"
KNOWN = "known = {row for document in training for row in rows(document)}\n"
SHARE = "mine = rows(text)\nreturn sum(row in known for row in mine) / len(mine)"
OVERLAPS = function(
    "overlap(text, training, n)",
    (ROWS + KNOWN + "return sum(row in known for row in rows(text))", "this counts rows"),
    (
        ROWS + KNOWN + "mine = set(rows(text))\nreturn len(mine & known) / len(mine)",
        "no set of the text's own",
    ),
    (ROWS + "known = set(rows(' '.join(training)))\n" + SHARE, "one document into the next"),
    (ROWS.replace("words(text)", "text.split()") + KNOWN + SHARE, "split() does neither"),
    (ROWS.replace("words(text)", "text.lower().split()") + KNOWN + SHARE, "lower().split() keeps it"),
    (
        ROWS.replace("words(text)", "text.lower()").replace("tuple(found[i:i + n])", "found[i:i + n]")
        + KNOWN
        + SHARE,
        "not of letters",
    ),
    (
        "known = {word for document in training for word in words(document)}\nmine = words(text)\n"
        "return sum(word in known for word in mine) / len(mine)",
        "single words",
    ),
    (
        "found = words(text)\nmine = [' '.join(found[i:i + n]) for i in range(len(found) - n + 1)]\n"
        "everything = ' '.join(' '.join(words(d)) for d in training)\n"
        "return sum(row in everything for row in mine) / len(mine)",
        "inside longer words",
    ),
    (ROWS.replace("len(found) - n + 1", "len(found) - n") + KNOWN + SHARE, "last row is missing"),
    (
        ROWS + KNOWN + "mine = rows(text)\nreturn sum(row in known for row in mine) / len(words(text))",
        "n - 1 fewer",
    ),
    (
        ROWS + KNOWN + "return sum(row in known for row in rows(text)) / len(known)",
        "not by those of the training",
    ),
    (ROWS + KNOWN + "return any(row in known for row in rows(text))", "not whether there is any"),
    (
        ROWS + KNOWN + "mine = rows(text)\nreturn 1 - sum(row in known for row in mine) / len(mine)",
        "not there",
    ),
    (ROWS + "for document in training:\n    known = set(rows(document))\n" + SHARE, "only the last document"),
    (ROWS.replace("found = words(text)", "found = sorted(words(text))") + KNOWN + SHARE, None),
    (ROWS + KNOWN + SHARE.replace("return ", "_ = "), "is `return` missing?"),
    (ROWS.replace("- n + 1", "").replace("range(len(found) )", "range(len(found))") + KNOWN + SHARE, None),
    (ROWS + KNOWN + "training.clear()\n" + SHARE, "belongs to the caller"),
    (
        ROWS + "mine = rows(text)\nreturn sum(sum(r in rows(d) for r in mine) for d in training) / len(mine)",
        "a share is at most 1",
    ),
    (ROWS.replace("tuple(", "''.join(") + KNOWN + SHARE, "take a tuple"),
    (ROWS.replace("tuple(", "frozenset(") + KNOWN + SHARE, "the order of the words counts"),
    (
        ROWS.replace("tuple(found[i:i + n])", "tuple(sorted(found[i:i + n]))") + KNOWN + SHARE,
        "the order of the words counts",
    ),
    (
        ROWS + "mine = rows(text)\nreturn max(sum(r in rows(d) for r in mine) / len(mine) for d in training)",
        "the documents count together",
    ),
    (
        ROWS + "mine = [' '.join(row) for row in rows(text)]\n"
        "return sum(any(row in ' '.join(words(d)) for d in training) for row in mine) / len(mine)",
        "'art' in 'cart'",
    ),
    (ROWS.replace("words(text)", "re.findall(r'[a-zA-Z]+', text)") + KNOWN + SHARE, None),
)
ANSWERS = {
    "loss_and_error": LOSSES,
    "score": SCORES,
    "accuracy": ACCURACIES,
    "interval": INTERVALS,
    "paired": PAIRS,
    "overlap": OVERLAPS,
}
RIGHT = {
    "loss_and_error": [
        SQUARES + "return loss, math.sqrt(squares * k / (k - 1)) / total",
        "k = len(nats)\nL = sum(nats) / sum(counts)\n"
        "squares = sum((s - L * n) ** 2 for s, n in zip(nats, counts))\n"
        "return [L, (k / (k - 1) * squares) ** 0.5 / sum(counts)]",
    ],
    "score": [
        WHOLE,
        "before = encode(context)\nids = torch.as_tensor(encode(context + ' ' + ending))\ntotal = 0.0\n"
        "for t in range(len(before), len(ids)):\n"
        "    total += model(ids[None, :t])[0, -1].log_softmax(-1)[ids[t]].item()\nreturn total",
        "ids = torch.as_tensor(encode(f'{context} {ending}'))\nbegin = len(encode(context))\n"
        "logits = model(ids[None, :-1])[0, begin - 1:]\n"
        "return -F.cross_entropy(logits, ids[begin:], reduction='sum').item()",
        IDS + LOGS + PAIRED_IDS + ".item()",
        IDS + LOGS + "return np.float32(sum(logs[t - 1, ids[t]].item() for t in range(begin, len(ids))))",
    ],
    "accuracy": [
        "if lengths is None:\n    lengths = np.ones_like(nats)\n"
        "right = [row.argmax() == label for row, label in zip(nats / lengths, labels)]\n"
        "return sum(right) / len(right)",
    ],
    "interval": [
        P + "middle = (p + z * z / (2 * n)) / (1 + z * z / n)\n"
        "width = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))\n"
        "return middle - width, middle + width",
        MIDDLE + ENDS.replace("return ", "return [") + "]",
    ],
    "paired": [
        "apart = 1.0 * a - 1.0 * b\nreturn apart.mean(), np.std(apart, ddof=1) / np.sqrt(len(apart))",
        "apart = [float(x) - float(y) for x, y in zip(a, b)]\nn = len(apart)\nmean = sum(apart) / n\n"
        "return mean, (sum((x - mean) ** 2 for x in apart) / (n - 1) / n) ** 0.5",
    ],
    "overlap": [
        ROWS + KNOWN + SHARE,
        ROWS + "mine = rows(text)\nhits = [any(row in rows(d) for d in training) for row in mine]\n"
        "return np.mean(hits)",
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb13, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb13, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


def test_what_the_notebook_goes_on_with_is_right():
    assert {name: verdict_on_given(nb13, name) for name in ANSWERS} == dict.fromkeys(ANSWERS, "correct")


def test_given_parts_are_the_packages():
    from tinylm.inference.choices import interval, paired
    from tinylm.inference.evaluate import summarize
    from tinylm.text.contamination import overlap

    draw = np.random.default_rng(1)
    counts = draw.integers(1, 90, size=31)
    nats = draw.random(31) * counts
    theirs = summarize(nats, counts, unit="")
    assert nb13.given_loss_and_error(nats, counts) == pytest.approx((theirs.loss, theirs.standard_error))
    assert nb13.given_interval(41, 60) == pytest.approx(interval(41, 60), rel=1e-4)
    for a, b in ((nats < 20, counts < 40), (nats, nats.mean() + 0 * nats)):
        theirs = paired(a, b)
        assert nb13.given_paired(a, b) == pytest.approx((theirs.mean, theirs.standard_error))
    shares = [nb13.given_overlap(text, nb13.STORE, 3) for text, _ in nb13.TEXTS]
    assert shares == pytest.approx(overlap([text for text, _ in nb13.TEXTS], nb13.STORE, n=3))


def test_the_checks_model_sees_no_later_token():
    ids = torch.arange(24).view(2, 12) % nb13.VOCABULARY
    later = ids.clone()
    later[:, 7:] += 1
    assert torch.equal(nb13.causal(ids)[:, :7], nb13.causal(later)[:, :7])
