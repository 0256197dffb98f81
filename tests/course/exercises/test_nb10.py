"""Answers that people give to 10_speed: none that is wrong passes, and most are told why."""

import statistics
import time

import pytest

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb10
from tinylm.model.cost import parameter_counts


def seconds(work):
    """As the notebook has it."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


NOTEBOOK = {"seconds": seconds, "statistics": statistics, "time": time, "parameter_counts": parameter_counts}

WARM = "before(), after()\n"
RATIOS = WARM + "ratios = [seconds(before) / seconds(after) for _ in range(rounds)]\n"
APART = WARM + "a = [seconds(before) for _ in range(rounds)]\nb = [seconds(after) for _ in range(rounds)]\n"
BOTH = (
    WARM
    + "a, b = [], []\nfor _ in range(rounds):\n    a.append(seconds(before))\n    b.append(seconds(after))\n"
)
TURNS = function(
    "compare(before, after, rounds)",
    (
        "return statistics.median([seconds(before) / seconds(after) for _ in range(rounds)])",
        "the first run of each",
    ),
    (RATIOS + "return statistics.mean(ratios)", "not the mean"),
    (RATIOS + "return sum(ratios) / rounds", "not the mean"),
    (RATIOS + "return min(ratios)", "not the worst"),
    (RATIOS + "return max(ratios)", "not the best"),
    (RATIOS + "return ratios", "one number"),
    (RATIOS + "return ratios[rounds // 2]", "sort"),
    (RATIOS + "return sorted(ratios)[rounds // 2]", "mean of the middle two"),
    (RATIOS + "return sorted(ratios)[(rounds - 1) // 2]", "take statistics.median"),
    (RATIOS + "print(statistics.median(ratios))", "is `return` missing?"),
    (RATIOS.replace("seconds(before) / seconds(after)", "seconds(after) / seconds(before)"), None),
    (
        WARM + "return statistics.median([1 / (seconds(before) / seconds(after)) for _ in range(rounds)])",
        "turned over",
    ),
    (APART + "return statistics.median(a) / statistics.median(b)", "in turns"),
    (APART + "return statistics.median([x / y for x, y in zip(a, b)])", "in turns"),
    (BOTH + "return statistics.median(a) / statistics.median(b)", "ratio of each round"),
    (BOTH + "return sum(a) / sum(b)", "ratio of the sums"),
    (BOTH + "return min(a) / min(b)", "different rounds"),
    (BOTH + "return statistics.median([x - y for x, y in zip(a, b)])", "not a difference"),
    (
        WARM + "for _ in range(rounds):\n    ratio = seconds(before) / seconds(after)\nreturn ratio",
        "only the last round",
    ),
    (WARM + "for _ in range(rounds):\n    return seconds(before) / seconds(after)", "yours ran 2 times"),
    (WARM + "return seconds(before) / seconds(after)", None),
    (
        WARM + "return statistics.median([seconds(before) / seconds(after) for _ in range(31)])",
        "argument `rounds`",
    ),
    (
        RATIOS.removeprefix(WARM).replace("rounds", "rounds + 1") + "return statistics.median(ratios)",
        "warm-up does not count",
    ),
    (
        "before()\nreturn statistics.median([seconds(before) / seconds(after) for _ in range(rounds)])",
        "in turns",
    ),
    (RATIOS.replace("range(rounds)", "range(rounds - 1)") + "return statistics.median(ratios)", None),
    ("return statistics.median([before() / after() for _ in range(rounds)])", "TypeError"),
)
N = "counts = parameter_counts(config)\n"
N += "N = counts['total'] - counts['norms'] - counts['position_embedding']\n"
N += "if not config.tied_head:\n    N -= counts['token_embedding']\n"
L, C, T = "config.n_layer", "config.n_embd", "config.context_length"
FLOPS = function(
    "flops_per_token(config)",
    (N + "return 6 * N", "look back too"),
    (f"return 6 * parameter_counts(config)['total'] + 12 * {L} * {C} * {T}", "norms and the positions"),
    (N + f"return 6 * (N + counts['norms']) + 12 * {L} * {C} * {T}", "norms are no matrices"),
    (N + f"return 6 * (N + counts['position_embedding']) + 12 * {L} * {C} * {T}", "positions are looked up"),
    (N.split("if")[0] + f"return 6 * N + 12 * {L} * {C} * {T}", "only looked up"),
    (N + f"return 2 * N + 4 * {L} * {C} * {T}", "way forward"),
    (N + f"return 2 * N + 12 * {L} * {C} * {T}", "not 2"),
    (N + f"return 4 * N + 12 * {L} * {C} * {T}", "not 4"),
    (N + f"return 4 * N + 8 * {L} * {C} * {T}", "backward alone"),
    (N + f"return 6 * N + 12 * {C} * {T}", "each of the L layers"),
    (N + f"return 6 * N + 12 * {L} * {T}", "C is missing"),
    (N + f"return 6 * N + 12 * {L} * {C}", "T is missing"),
    (N + f"return 6 * N + 6 * {L} * {C} * {T}", "12, not 6"),
    (N + f"return 6 * (N + 12 * {L} * {C} * {T})", "before N alone"),
    (N + f"return (6 * N + 12 * {L} * {C} * {T}) * {T}", "for one token"),
    (N + f"return N + 12 * {L} * {C} * {T}", "is missing"),
    (N + f"print(6 * N + 12 * {L} * {C} * {T})", "is `return` missing?"),
    (
        N.split("if")[0] + f"return 6 * (N - counts['token_embedding']) + 12 * {L} * {C} * {T}",
        "it is the head",
    ),
    (N + f"return 6 * N + 12 * {L} * {C} * {T} ** 2", None),
    ("return 6 * parameter_counts(config)['total']", "and positions look back too"),
    (
        N.split("\n")[0]
        + "\nN = sum(counts.values()) - counts['norms'] - counts['position_embedding']\n"
        + "if not config.tied_head:\n    N -= counts['token_embedding']\n"
        + f"return 6 * N + 12 * {L} * {C} * {T}",
        "counts all twice",
    ),
)
PARTS = function(
    "whole_speedup(share, times)",
    ("return 1 - share + share / times", "time that is left"),
    ("return times", "only the part becomes faster"),
    ("return share * times", "what becomes of the rest"),
    ("return 1 / (share + (1 - share) / times)", "only `share`"),
    ("return 1 / (1 - share)", "still takes share / times"),
    ("return 1 + share * (times - 1)", "do not"),
    ("return share * times + (1 - share)", "do not"),
    ("return times / share", "the rest takes"),
    ("return share - share / times", "how much less"),
    ("return 1 / (1 - share + share * times)", "divide, do not multiply"),
    ("return 1 / (1 - share / times)", "what is saved"),
    ("return 1 / (1 - share + share / times) - 1", "not what it is above 1"),
    ("print(1 / (1 - share + share / times))", "is `return` missing?"),
    ("return 1.25", "does not use its argument"),
    ("return 1 / (1 - share) + times / share", None),
    ("return 1 + share - share / times", "is the time saved"),
    ("return (1 - share) + times", "does not get `times` as fast"),
)
ROWS = "rows = torch.arange(len(targets))\nlog_sums = logits.logsumexp(1, keepdim=True)\n"
LOSS = "loss = (log_sums[:, 0] - logits[rows, targets]).sum()\n"
EXP = "logits.sub_(log_sums).exp_()\n"
ONE = "logits[rows, targets] -= 1\n"
IN_PLACE = function(
    "loss_into_gradient(logits, targets)",
    (ROWS + LOSS + EXP + "return loss", "one-hot is missing"),
    (ROWS + LOSS + EXP + ONE + "logits.neg_()\nreturn loss", "the sign"),
    (ROWS + LOSS + EXP + ONE + "logits.div_(len(targets))\nreturn loss", "divided by nothing"),
    (ROWS + LOSS + "logits.sub_(log_sums)\nreturn loss", "exp_() comes next"),
    (ROWS + LOSS + "logits.sub_(log_sums)\n" + ONE + "return loss", "exp_() comes before"),
    (ROWS + EXP + ONE + "return (log_sums[:, 0] - logits[rows, targets]).sum()", "take it first"),
    (
        ROWS + EXP + "loss = (log_sums[:, 0] - logits[rows, targets]).sum()\n" + ONE + "return loss",
        "take it first",
    ),
    (ROWS + EXP + ONE + "return F.cross_entropy(logits, targets, reduction='sum')", None),
    (ROWS + LOSS + EXP + ONE + "return loss / len(targets)", "not the mean"),
    (ROWS + LOSS.replace("[:, 0]", "") + EXP + ONE + "return loss", "(N, 1) − (N,) is (N, N)"),
    (ROWS + LOSS + EXP + ONE + "return -loss", "the sign is wrong"),
    (ROWS + LOSS + EXP + ONE + "return loss.item()", ".item() makes a plain number"),
    (ROWS + LOSS + EXP + ONE + "return loss, logits", "the loss alone"),
    (ROWS + LOSS + EXP + ONE, "is `return` missing?"),
    (ROWS + LOSS + EXP + ONE + "return log_sums.sum()", "the second is missing"),
    (ROWS + LOSS.replace(".sum()", "") + EXP + ONE + "return loss", "one number"),
    (ROWS + LOSS + "logits = logits.softmax(1)\n" + ONE + "return loss", "as it was"),
    (
        ROWS + LOSS + "p = logits.softmax(1)\np[rows, targets] -= 1\nlogits.copy_(p)\nreturn loss",
        "second table",
    ),
    (ROWS + LOSS + "logits.copy_((logits - log_sums).exp())\n" + ONE + "return loss", "second table"),
    (ROWS + LOSS + EXP + "logits.sub_(F.one_hot(targets, logits.shape[1]))\nreturn loss", "second table"),
    (
        ROWS + LOSS + "logits.exp_()\nlogits.div_(logits.sum(1, keepdim=True))\n" + ONE + "return loss",
        "infinite",
    ),
    (ROWS + LOSS + "logits.sub_(logits.logsumexp(0)).exp_()\n" + ONE + "return loss", "dim=1"),
    (ROWS + LOSS + EXP + "logits -= 1\nreturn loss", "whole row"),
    (ROWS + LOSS + EXP + "logits[rows, targets] += 1\nreturn loss", "plus in place of minus"),
    (ROWS + LOSS + EXP + "logits[:, targets] -= 1\nreturn loss", "each row has its own target"),
    (
        ROWS + LOSS + "logits.sub_(logits.amax(1, keepdim=True)).exp_()\n" + ONE + "return loss",
        "not the maximum",
    ),
    ("return F.cross_entropy(logits, targets, reduction='sum')", "as it was"),
    (
        "loss = F.cross_entropy(logits, targets, reduction='sum')\ntorch.softmax(logits, 1, out=logits)\n"
        + ONE.replace("rows", "torch.arange(len(targets))")
        + "return loss",
        "`log_softmax` makes a second table",
    ),
    (
        "leaf = logits.detach().clone().requires_grad_()\nwith torch.enable_grad():\n"
        "    loss = F.cross_entropy(leaf, targets, reduction='sum')\n    loss.backward()\n"
        "logits.copy_(leaf.grad)\nreturn loss.detach()",
        "second table",
    ),
)
HEAD = "P, tokens = parameter_counts(config)['total'], rows * config.context_length\n"


def table(head=HEAD, weights="4 * P", gradients="4 * P", averages="8 * P", blocks=None, logits=None):
    blocks = blocks or "64 * tokens * config.n_embd * config.n_layer"
    logits = logits or "4 * copies * tokens * config.vocab_size"
    parts = {
        "weights": weights,
        "gradients": gradients,
        "averages": averages,
        "blocks": blocks,
        "logits": logits,
    }
    return head + "return {" + ", ".join(f"{name!r}: {value}" for name, value in parts.items()) + "}"


TABLES = function(
    "memory_table(config, rows, copies)",
    (table(weights="P"), "weights: a number has 4 bytes"),
    (table(weights="8 * P"), "not 8"),
    (table(gradients="P"), "gradients: a number has 4 bytes"),
    (table(averages="4 * P"), "two averages"),
    (table(averages="2 * P"), "averages: a number has 4 bytes"),
    (table(blocks="16 * tokens * config.n_embd * config.n_layer"), "blocks: a number has 4 bytes"),
    (table(blocks="64 * tokens * config.n_embd"), "n_layer"),
    (table(blocks="64 * rows * config.n_embd * config.n_layer"), "rows · context_length"),
    (table(blocks="64 * tokens * config.n_layer"), "n_embd channels"),
    (table(blocks="4 * tokens * config.n_embd * config.n_layer"), "16 numbers"),
    (table(blocks="60 * tokens * config.n_embd * config.n_layer"), "16 numbers, not 15"),
    (table(blocks="64 * copies * tokens * config.n_embd * config.n_layer"), "is for the logits"),
    (table(logits="4 * tokens * config.vocab_size"), "`copies` times"),
    (table(logits="12 * tokens * config.vocab_size"), "does not use its argument `copies`"),
    (table(logits="copies * tokens * config.vocab_size"), "logits: a number has 4 bytes"),
    (table(logits="4 * copies * rows * config.vocab_size"), "each position"),
    (table(logits="4 * copies * tokens * config.n_embd"), "V numbers, not C"),
    (table(head=HEAD.replace("rows * ", "")), "all rows are in memory"),
    (table().replace("'averages'", "'adamw'"), "the names are"),
    (table().replace("return {", "return tuple({").replace("}", "}.values())"), "return a dictionary"),
    (table().replace("return ", "print(") + ")", "is `return` missing?"),
)
RECORDED = "with torch.enable_grad():\n    y = function(x)\n"
DETACHED = "x = x.detach().requires_grad_()\n"
AGAIN = function(
    "run_again(function, x, gradient)",
    (DETACHED + "y = function(x)\ny.backward(gradient)\nreturn x.grad", "enable_grad"),
    (DETACHED + RECORDED + "y.sum().backward()\nreturn x.grad", "argument `gradient`"),
    (DETACHED + RECORDED + "y.backward(torch.ones_like(y))\nreturn x.grad", "not ones"),
    (DETACHED + RECORDED + "y.backward()\nreturn x.grad", "argument `gradient`"),
    (DETACHED + RECORDED + "y.backward(gradient)", "None came back"),
    (DETACHED + RECORDED + "y.backward(gradient)\nreturn y", "this is function(x)"),
    (DETACHED + RECORDED + "y.backward(gradient)\nreturn x", "x itself"),
    (DETACHED + RECORDED + "y.backward(gradient)\nreturn gradient", "which was given"),
    ("x = x.detach()\n" + RECORDED + "y.backward(gradient)\nreturn x.grad", "None came back"),
    (RECORDED + "y.backward(gradient)\nreturn x.grad", "detach"),
    ("x.retain_grad()\n" + RECORDED + "y.backward(gradient)\nreturn x.grad", "detach"),
    (DETACHED + RECORDED + "return torch.autograd.grad(y, x, gradient)[0]", "weights got no gradient"),
    (
        DETACHED
        + RECORDED
        + "y.backward(gradient, retain_graph=True)\ny.backward(gradient)\nreturn x.grad / 2",
        None,
    ),
    (
        DETACHED
        + "with torch.enable_grad():\n    function(x).backward(gradient)\n    function(x)\nreturn x.grad",
        "ran 2 times",
    ),
    ("return gradient * x", "argument `function`"),
    (
        DETACHED + RECORDED + "y.backward(torch.ones_like(y))\nreturn x.grad * gradient",
        "not times the result",
    ),
    (DETACHED + RECORDED + "(y * gradient).backward()\nreturn x.grad", "enable_grad"),
)
AFFORDABLE = function(
    "affordable(hours, flops_per_second)",
    ("return math.sqrt(hours * flops_per_second / 120)", "not seconds yet"),
    ("return hours * 3600 * flops_per_second / 120", "take the root"),
    ("return hours * 3600 * flops_per_second / 120 / 2", "not the half"),
    ("return math.sqrt(hours * 3600 * flops_per_second / 6)", "20 for each parameter"),
    ("return hours * 3600 * flops_per_second / 6", "20 tokens go with each"),
    ("return math.sqrt(hours * 3600 * flops_per_second / 20)", "the 6 is missing"),
    ("return math.sqrt(hours * 3600 * flops_per_second * 120)", "divided by"),
    ("return math.sqrt(hours * 3600 * flops_per_second) / 120", "the root is of all of it"),
    ("return 20 * math.sqrt(hours * 3600 * flops_per_second / 120)", "how many tokens"),
    ("print(math.sqrt(hours * 3600 * flops_per_second / 120))", "is `return` missing?"),
    ("return math.sqrt(48 * 3600 * flops_per_second / 120)", "argument `hours`"),
    ("return math.sqrt(hours * 60 * flops_per_second / 120)", "an hour has 3,600"),
    ("return math.sqrt(hours * 3600 * flops_per_second / 26)", None),
    ("return math.sqrt(hours * 3600 * flops_per_second / 6 * 20)", "tokens = 20 · N"),
)
ANSWERS = {
    "compare": TURNS,
    "flops_per_token": FLOPS,
    "whole_speedup": PARTS,
    "loss_into_gradient": IN_PLACE,
    "memory_table": TABLES,
    "run_again": AGAIN,
    "affordable": AFFORDABLE,
}
RIGHT = {  # other ways that are as good as the solution's
    "compare": [
        "after(), before()\nratios = sorted(seconds(before) / seconds(after) for _ in range(rounds))\n"
        "return (ratios[(rounds - 1) // 2] + ratios[rounds // 2]) / 2",
        "seconds(before)\nseconds(after)\nratios = []\n"
        "for _ in range(rounds):\n    a = time.perf_counter()\n    before()\n"
        "    b = time.perf_counter()\n    after()\n    ratios.append((b - a) / (time.perf_counter() - b))\n"
        "return statistics.median(ratios)",
        BOTH + "return statistics.median(x / y for x, y in zip(a, b))",
    ],
    "flops_per_token": [
        "counts = parameter_counts(config)\n"
        "N = counts['attention'] + counts['mlp'] + config.vocab_size * config.n_embd\n"
        f"return 6.0 * N + 12.0 * {L} * {C} * {T}"
    ],
    "whole_speedup": ["return times / (times - share * times + share)"],
    "loss_into_gradient": [
        ROWS
        + LOSS
        + EXP
        + "logits.scatter_add_(1, targets[:, None], -torch.ones(len(targets), 1))\nreturn loss",
        ROWS + LOSS + "torch.softmax(logits, 1, out=logits)\n" + ONE + "return loss",
        "loss = 0.0\nfor row, target in zip(logits, targets):\n    loss += row.logsumexp(0) - row[target]\n"
        "    row.copy_(row.softmax(0))\n    row[target] -= 1\nreturn loss",
    ],
    "memory_table": [table(averages="2 * (4 * P)")],
    "run_again": [
        DETACHED + RECORDED + "    (y * gradient).sum().backward()\nreturn x.grad",
        "with torch.enable_grad():\n    x = x.detach().clone().requires_grad_(True)\n"
        "    function(x).backward(gradient)\n    return x.grad",
    ],
    "affordable": ["return (hours * 30 * flops_per_second) ** 0.5"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb10, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb10, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


def test_what_the_notebook_goes_on_with_is_right():
    names = ["compare", "flops_per_token", "whole_speedup", "loss_into_gradient", "memory_table", "run_again"]
    assert {name: verdict_on_given(nb10, name) for name in names} == dict.fromkeys(names, "correct")


def test_time_is_told_right_again_after_the_check_of_the_stopwatch(capsys):
    before = time.perf_counter
    nb10.compare(lambda before, after, rounds: 1 / 0)
    assert "ZeroDivisionError" in capsys.readouterr().out and time.perf_counter is before
