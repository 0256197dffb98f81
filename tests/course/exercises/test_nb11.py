"""Answers that people give to 11_ddp: none that is wrong passes, and most are told why."""

import numpy as np
import pytest
import torch.distributed as dist

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb11
from tinylm.model.losses import cross_entropy

models = "as the notebook has it"
NOTEBOOK = {"dist": dist, "cross_entropy": cross_entropy, "np": np, "models": models}

EACH = "for copies in zip(*(model.parameters() for model in models)):\n"
MEAN = "    mean = sum(p.grad for p in copies) / len(models)\n"
AVERAGE = function(
    "average_gradients(models)",
    (
        EACH
        + "    total = sum(p.grad for p in copies)\n    for p in copies:\n        p.grad = total.clone()",
        "the sum",
    ),
    (EACH + "    copies[0].grad = sum(p.grad for p in copies) / len(models)", "only the first model"),
    (
        EACH
        + "    mean = sum(p.data for p in copies) / len(models)\n    for p in copies:\n        p.data = mean",
        "weights",
    ),
    (
        "with torch.no_grad():\n    for copies in zip(*(model.parameters() for model in models)):\n"
        "        mean = torch.stack([*copies]).mean(0)\n        for p in copies:\n            p.add_(mean)",
        "weights changed",
    ),
    (
        EACH + "    for p in copies:\n        p.grad = sum(q.grad for q in copies) / len(models)",
        "written already",
    ),
    (
        EACH + "    mean = copies[0].grad\n    for p in copies[1:]:\n        mean = (mean + p.grad) / 2\n"
        "    for p in copies:\n        p.grad = mean.clone()",
        "again and again",
    ),
    (
        EACH + "    mean = torch.stack([p.grad for p in copies]).mean()\n    for p in copies:\n"
        "        p.grad = mean.expand_as(p).clone()",
        "one number for a whole matrix",
    ),
    (
        EACH + "    mean = sum(p.grad / len(models) for p in copies) / len(models)\n    for p in copies:\n"
        "        p.grad = mean.clone()",
        "twice",
    ),
    (
        "n = len(list(models[0].parameters()))\n" + EACH + "    mean = sum(p.grad for p in copies) / n\n"
        "    for p in copies:\n        p.grad = mean.clone()",
        None,
    ),
    (EACH + "    for p in copies:\n        p.grad = copies[0].grad.clone()", "of one model"),
    (EACH + "    for p in copies:\n        p.grad = copies[-1].grad.clone()", "last model"),
    (
        "return [torch.stack([p.grad for p in c]).mean(0) for c in zip(*(m.parameters() for m in models))]",
        "no .grad",
    ),
    (EACH + "    mean = sum(p.grad for p in copies) / len(models)\n    grad = mean", "no .grad has changed"),
    (
        EACH + "    mean = sum(p.grad for p in copies) / len(models)\n    for p in copies:\n"
        "        p.grad = mean.clone()\n    break",
        "only the first parameter",
    ),
    (EACH + "    for p in copies:\n        p.grad = None", "None"),
    (
        EACH + MEAN + "    for p in copies:\n        p.grad += mean",
        None,
    ),
    ("for model in models:\n    model.grad = sum(m.grad for m in models) / len(models)", "AttributeError"),
)
LOSS = function(
    "rank_loss(losses, total, world_size)",
    ("return losses.mean()", None),
    ("return losses.mean() + 0 * total * world_size", "few tokens"),
    ("return losses.sum() / total", "divides by world_size once more"),
    ("return losses.sum() / world_size", "not by world_size"),
    ("return losses.sum() * world_size / len(losses)", "not by your own"),
    ("return losses.mean() * world_size / total", "sum, not mean"),
    ("return losses.sum() / (total * world_size)", "divided by both"),
    ("return losses.sum() * total / world_size", "turned over"),
    ("return losses.mean() * len(losses) / total + 0 * world_size", "once more"),
    ("return (losses * world_size / total).sum().item()", "without .item()"),
    ("return (losses.sum() * world_size / total).detach()", ".detach()"),
    ("return losses * world_size / total", "one number"),
    ("print(losses.sum() * world_size / total)", "is `return` missing?"),
    ("return losses.sum() * len(losses) * world_size / total", "do not count twice"),
    ("return losses.mean() / (total / world_size)", "sum, not mean"),
    ("return losses.mean() * world_size + total * 0", None),
)
N = "n = len(pieces)\n"
ADD = (
    "for i in range(n - 1):\n    for r in range(n):\n        k = (r - i) % n\n"
    "        pieces[(r + 1) % n][k] += send(r, pieces[r][k])\n"
)
PASS = (
    "for i in range(n - 1):\n    for r in range(n):\n        k = (r + 1 - i) % n\n"
    "        pieces[(r + 1) % n][k] = send(r, pieces[r][k])\n"
)
RING = function(
    "ring_all_reduce(pieces, send)",
    (N + ADD, "pass these on"),
    (N + ADD + PASS.replace("] = send", "] += send"), "twice"),
    (N + ADD.replace("r - i", "r + i") + PASS, "not complete"),
    (N + ADD + PASS.replace("r + 1 - i", "r - i"), None),
    (N + ADD + PASS.replace("r + 1 - i", "r + 1 + i"), None),
    (N + ADD.replace("n - 1", "n") + PASS, "2 · (n − 1)"),
    (N + ADD + PASS.replace("n - 1", "n"), "2 · (n − 1)"),
    (
        N + "for k in range(n):\n    total = sum(own[k] for own in pieces)\n"
        "    for own in pieces:\n        own[k] = total",
        "argument `send`",
    ),
    (
        N + "for k in range(n):\n    total = sum(own[k] for own in pieces)\n    for r in range(n):\n"
        "        send(r, pieces[r][k])\n        pieces[r][k] = total",
        "2 · (n − 1)",
    ),
    (
        N + "totals = [sum(own[k] for own in pieces) for k in range(n)]\nfor i in range(2 * n - 2):\n"
        "    for r in range(n):\n        send(r, pieces[r][(r - i) % n])\n"
        "for own in pieces:\n    own[:] = totals",
        "never sent to it",
    ),
    (
        N + ADD + PASS + "for own in pieces:\n    for k in range(n):\n        own[k] = own[k] / n",
        "not the mean",
    ),
    (
        N + "for i in range(n - 1):\n    for r in range(n):\n"
        "        arrived = send(r, torch.stack(pieces[r]))\n"
        "        pieces[(r + 1) % n] = [a + b for a, b in zip(pieces[(r + 1) % n], arrived)]",
        "one piece at a time",
    ),
    (
        N + "for r in range(n):\n    for i in range(n - 1):\n        k = (r - i) % n\n"
        "        pieces[(r + 1) % n][k] += send(r, pieces[r][k])\n" + PASS,
        None,
    ),
    (N + ADD.replace("+= send", "= send") + PASS, None),
    (N + ADD.replace("][k] += send", "][(k + 1) % n] += send") + PASS, None),
    (
        N + "for r in range(1, n):\n    for k in range(n):\n        pieces[0][k] += send(r, pieces[r][k])\n"
        "for r in range(1, n):\n    for k in range(n):\n        pieces[r][k] = send(0, pieces[0][k])",
        "never reached it",
    ),
    (N + ADD.replace("send(r, pieces[r][k])", "send(r, k)") + PASS, "one piece at a time"),
    (N + ADD + "return pieces", "pass these on"),
)
FIRST = "first = ((step * micro_steps + micro_step) * world_size + rank) * size\n"


def span(first, n="size"):
    return f"first = {first}\nreturn list(range(first, first + {n}))"


ROWS = function(
    "rows_of(step, micro_step, rank, micro_steps, world_size, size)",
    (span("((step * world_size + rank) * micro_steps + micro_step) * size"), "stands together"),
    (span("(step * micro_steps + micro_step) * world_size + rank"), "times size"),
    (FIRST + "return first", "return all"),
    (FIRST + "return [first]", None),
    (FIRST + "return list(range(first, first + size - 1))", "ends before b"),
    (FIRST + "return list(range(first + size, first + 2 * size))", "from 0"),
    (FIRST + "return range(first)", "begins and ends"),
    (span("((step + micro_step) * world_size + rank) * size"), "step · micro_steps + micro_step"),
    (span("(step * micro_steps + micro_step + rank) * size"), "has world_size ranks"),
    (span("(step * micro_steps + micro_step) * size"), "argument `rank`"),
    (span("((step * micro_steps + micro_step) * world_size) * size"), "argument `rank`"),
    (span("(step * micro_steps + micro_step) * world_size * size + rank"), "the rank too"),
    (
        "first = (step * micro_steps + micro_step) * world_size * size\n"
        "return list(range(first + rank, first + world_size * size, world_size))",
        "side by side",
    ),
    (span("rank * micro_steps * size + (step * micro_steps + micro_step) * size"), "rank comes last"),
    (span("(step * micro_steps * world_size + micro_step + rank) * size"), "micro-step is, too"),
    (FIRST + "print(range(first, first + size))", "is `return` missing?"),
    (FIRST + "return np.arange(first, first + size) / 1", None),
    (FIRST + "assert models\nreturn range(first, first + size)", "has no models"),
)
P = "for p in model.parameters():\n"
SIZE = "    p.grad /= dist.get_world_size()\n"
REDUCE = function(
    "reduce_gradients(model)",
    (P + "    dist.all_reduce(p.grad)", "the sum"),
    (P + SIZE + "    dist.all_reduce(p.grad)\n" + SIZE, "twice"),
    (P + SIZE, "no rank heard of another"),
    (P + "    dist.all_reduce(p.data)\n    p.data /= dist.get_world_size()", "weights changed"),
    (P + "    dist.all_reduce(p.grad.clone())", "a copy"),
    (P + "    dist.all_reduce(p.grad.clone())\n" + SIZE, "get back into p.grad"),
    (
        "if dist.get_rank() == 0:\n    for p in model.parameters():\n        dist.all_reduce(p.grad)",
        "wait for ever",
    ),
    (P + "    dist.reduce(p.grad, 0)\n" + SIZE, "rank 0 has it"),
    (P + "    dist.reduce(p.grad, dst=0)", "rank 0 has it"),
    (P + "    dist.broadcast(p.grad, 0)", "its own gradient"),
    (P + "    dist.all_reduce(p.grad, op=dist.ReduceOp.MAX)", "the largest"),
    (P + "    dist.all_reduce(p.grad, op=dist.ReduceOp.AVG)", "gloo has no AVG"),
    (P + "    p.grad = dist.all_reduce(p.grad)", "None"),
    (P + "    dist.all_reduce(p.grad, async_op=True)\n" + SIZE, "get back into p.grad"),
    (P + "    dist.all_reduce(p.grad)\n" + SIZE + "    break", "only the first parameter"),
    (P + "    dist.all_reduce(p.grad)\n    p.grad /= len(list(model.parameters()))", None),
    (P + "    dist.all_reduce(p.grad)\n    p.grad /= len(models)", "has no models"),
    (
        P + "    mean = p.grad.mean() / dist.get_world_size()\n    dist.all_reduce(mean)\n"
        "    p.grad = mean.expand_as(p)",
        "one number",
    ),
    ("dist.all_reduce(model.grad)", "AttributeError"),
    ("dist.all_reduce([p.grad for p in model.parameters()])", "takes a tensor"),
)
LOOP = (
    "optimizer.zero_grad()\nmean = 0.0\nfor tokens, targets in micro_batches:\n"
    "    loss = cross_entropy(model(tokens), targets) / len(micro_batches)\n    loss.backward()\n"
    "    mean += loss.item()\n"
)
CLIP = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
END = "average(model)\n" + CLIP + "optimizer.step()\n"
UPDATE = function(
    "update(model, optimizer, micro_batches, average)",
    (
        LOOP.replace("    mean +=", "    average(model)\n    mean +=")
        + CLIP
        + "optimizer.step()\nreturn mean",
        "average ran",
    ),
    (LOOP + CLIP + "optimizer.step()\nreturn mean", "argument `average`"),
    (LOOP + "average(model)\noptimizer.step()\nreturn mean", "not clipped"),
    (LOOP + CLIP + "average(model)\noptimizer.step()\nreturn mean", "clip after the average"),
    (LOOP + "average(model)\n" + CLIP + "return mean", "optimizer.step() was never called"),
    (LOOP + "optimizer.step()\naverage(model)\nreturn mean", "comes before"),
    (LOOP.replace(" / len(micro_batches)", "") + END + "return mean / len(micro_batches)", "are added up"),
    (LOOP.removeprefix("optimizer.zero_grad()\n") + END + "return mean", "step before"),
    (
        LOOP.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
        + END
        + "return mean",
        "only the last micro-batch",
    ),
    (LOOP + END, "is `return` missing?"),
    (LOOP + END + "return loss.item()", "last micro-batch, over their number"),
    (LOOP + END + "return mean / len(micro_batches)", "twice"),
    (LOOP + END + "return mean * len(micro_batches)", "not their sum"),
    (
        LOOP.replace("    loss.backward()\n", "") + "loss.backward()\n" + END + "return mean",
        "backward() for each",
    ),
    (LOOP + END.replace("1.0", "0.5") + "return mean", "another length"),
    (LOOP + "average(model)\n" + CLIP + "optimizer.step()\noptimizer.step()\nreturn mean", "ran 2 times"),
    (
        LOOP.replace("    mean +=", "    " + CLIP + "    mean +=")
        + "average(model)\noptimizer.step()\nreturn mean",
        None,
    ),
    ("average(model)\n" + LOOP + CLIP + "optimizer.step()\nreturn mean", None),
    (LOOP + "if models:\n    average(model)\n" + CLIP + "optimizer.step()\nreturn mean", "has no models"),
)
SECONDS = function(
    "reduce_seconds(parameters, ranks, bytes_per_second)",
    ("return parameters * 2 * (ranks - 1) / ranks / bytes_per_second", "4 bytes"),
    ("return 4 * parameters * (ranks - 1) / ranks / bytes_per_second", "goes round twice"),
    ("return 4 * parameters * 2 * (ranks - 1) / bytes_per_second", "/ ranks"),
    ("return 8 * parameters / bytes_per_second + 0 * ranks", "one is spared"),
    ("return 4 * parameters * (ranks - 1) / bytes_per_second", "of its own"),
    ("return 4 * parameters * 2 * (ranks - 1) / ranks * bytes_per_second", "divide"),
    ("return 8 * 4 * parameters * 2 * (ranks - 1) / ranks / bytes_per_second", "bytes already"),
    ("return bytes_per_second / (4 * parameters * 2 * (ranks - 1) / ranks)", "turned over"),
    ("return 4 * parameters / bytes_per_second", "only once"),
    ("return 4 * parameters * 2 * (ranks - 1) / ranks", "these are the bytes"),
    ("return 8 * parameters / ranks / bytes_per_second", "2 · (n − 1) are sent"),
    ("return 8 * parameters * ranks / (ranks - 1) / bytes_per_second", "n stands below"),
    ("print(8 * parameters * (ranks - 1) / ranks / bytes_per_second)", "is `return` missing?"),
    ("return 2 * 2 * parameters * 2 * (ranks + 1) / ranks / bytes_per_second", None),
)
ANSWERS = {
    "average_gradients": AVERAGE,
    "rank_loss": LOSS,
    "ring_all_reduce": RING,
    "rows_of": ROWS,
    "reduce_gradients": REDUCE,
    "update": UPDATE,
    "reduce_seconds": SECONDS,
}
RIGHT = {  # other ways that are as good as the solution's
    "average_gradients": [
        EACH + MEAN + "    for p in copies:\n        p.grad.copy_(mean)",
        EACH + "    mean = torch.stack([p.grad for p in copies]).mean(dim=0)\n"
        "    for p in copies:\n        p.grad = mean",
        "every = [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in models]\n"
        "mean = sum(every) / len(every)\nfor m in models:\n    at = 0\n    for p in m.parameters():\n"
        "        p.grad = mean[at:at + p.numel()].view_as(p).clone()\n        at += p.numel()\nreturn models",
    ],
    "rank_loss": [
        "return losses.mean() * len(losses) * world_size / total",
        "return (losses / (total / world_size)).sum()",
    ],
    "ring_all_reduce": [
        N
        + ADD.replace("+= send(r, pieces[r][k])", "= pieces[(r + 1) % n][k] + send(r, pieces[r][k])")
        + PASS,
        N + "for i in range(2 * n - 2):\n"
        "    arrived = [send(r, pieces[r][(r - i) % n]) for r in range(n)]\n    for r in range(n):\n"
        "        k, own = (r - 1 - i) % n, pieces[r]\n"
        "        own[k] = own[k] + arrived[r - 1] if i < n - 1 else arrived[r - 1]\nreturn pieces",
    ],
    "rows_of": [
        FIRST + "return [first + i for i in range(size)]",
        FIRST + "return np.arange(first, first + size)",
        FIRST + "return torch.arange(first, first + size)",
    ],
    "reduce_gradients": [
        P + SIZE + "    dist.all_reduce(p.grad)",
        "work = [dist.all_reduce(p.grad, async_op=True) for p in model.parameters()]\n"
        "for one in work:\n    one.wait()\n" + P + SIZE,
        "flat = torch.cat([p.grad.flatten() for p in model.parameters()])\ndist.all_reduce(flat)\n"
        "flat /= dist.get_world_size()\nat = 0\nfor p in model.parameters():\n"
        "    p.grad = flat[at:at + p.numel()].view_as(p)\n    at += p.numel()",
        P + "    every = [torch.empty_like(p.grad) for _ in range(dist.get_world_size())]\n"
        "    dist.all_gather(every, p.grad)\n    p.grad = sum(every) / len(every)",
        P + "    dist.reduce(p.grad, 0)\n    dist.broadcast(p.grad, 0)\n" + SIZE + "dist.barrier()",
    ],
    "update": [
        LOOP.replace(" / len(micro_batches)", "").replace(
            "loss.backward()", "(loss / len(micro_batches)).backward()"
        )
        + END
        + "return mean / len(micro_batches)",
        "model.zero_grad()\noptimizer.zero_grad()\nlosses = []\nfor batch in micro_batches:\n"
        "    losses.append(cross_entropy(model(batch[0]), batch[1]))\n"
        "torch.stack(losses).mean().backward()\n" + END + "return torch.stack(losses).mean()",
    ],
    "reduce_seconds": ["return 8 * parameters * (1 - 1 / ranks) / bytes_per_second"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb11, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb11, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_notebook_goes_on_with_is_right(name):
    assert verdict_on_given(nb11, name) == "correct"


@pytest.mark.parametrize("name", ANSWERS)
def test_a_blank_is_not_attempted(name, capsys):
    getattr(nb11, name)(lambda *_, **__: ...)
    assert ": not attempted yet" in capsys.readouterr().out


def test_the_drawn_ring_ends_with_every_number_everywhere():
    states = nb11.ring_states(4)
    assert states.shape == (7, 4, 4) and (states[0] == 1).all() and (states[-1] == 4).all()
    assert states[3].amax(1).tolist() == [4, 4, 4, 4] and (states[3] == 4).sum() == 4
