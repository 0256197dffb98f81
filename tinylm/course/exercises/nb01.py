"""Checks of notebook 01_characters."""

import math

import numpy as np
import torch

from tinylm.course.checks import exercise, marked


@marked("1.1 · how many bits?")
def bits(check: exercise, mine) -> None:
    """The total of -log2 table[i, j] over the pairs of a word; with a table that is not the toy's."""
    generator = torch.Generator().manual_seed(1)
    for vocabulary, word in ((list("abcdr"), "abracad"), (list("eikln"), "inkling"[:5])):
        table = torch.rand(5, 5, generator=generator) + 0.1
        table /= table.sum(dim=1, keepdim=True)
        ids = torch.tensor([vocabulary.index(c) for c in word if c in vocabulary])
        word = "".join(vocabulary[i] for i in ids)
        p = table[ids[:-1], ids[1:]].double()  # (N - 1,)
        right, n, ln2 = -p.log2().sum().item(), len(p), math.log(2)
        turned = -table[ids[1:], ids[:-1]].log2().sum().item()
        usual = {
            "these are nats: divide by ln 2, or use log2": right * ln2,
            f"this is the mean over the {n} pairs: the total is asked": right / n,
            f"this is the mean, and over {n + 1}: the total over the {n} pairs is asked": right / (n + 1),
            "a surprise is never negative: is the minus sign missing?": -right,
            "nats, and no minus: a surprise is -log2(p)": -right * ln2,
            "this is the mean, in nats: the total in bits is asked": right * ln2 / n,
            "nats become bits when divided by ln 2, not multiplied": right * ln2**2,
            "that is log base 10: bits are log base 2": right * math.log10(2),
            "table[i, j]: the first index is the character before": turned,
            "this is the probability, not its surprise": p.prod().item(),
            "these are probabilities added up: add up their surprises": p.sum().item(),
            "the last pair is missing": -p[:-1].log2().sum().item(),
            "the first pair counts too: only the first *character* is left out": -p[1:].log2().sum().item(),
            "the first character is not predicted from anything: leave it out": right
            - table[ids[0], ids[0]].log2().item(),
        }
        check.close(check.run(mine, word, table, vocabulary), right, "add up -log2(p)", usual=usual)


@marked("1.2 · look two back")
def count_triples(check: exercise, mine) -> None:
    """[i, j, k] is how often i, j, k stand in a row."""
    for V, n, seed in ((5, 40, 0), (3, 23, 1)):
        ids = torch.from_numpy(np.random.default_rng(seed).integers(V, size=n))
        right = torch.zeros(V, V, V)
        for i, j, k in zip(ids[:-2], ids[1:-1], ids[2:], strict=True):
            right[i, j, k] += 1
        first, second, third = ids[:-2], ids[1:-1], ids[2:]

        def folded(numbers: torch.Tensor, V: int = V) -> torch.Tensor:
            return torch.bincount(numbers, minlength=V**3)[: V**3].view(V, V, V).float()

        usual = {
            "the order is turned: the first dimension is the oldest character": right.permute(2, 1, 0),
            "the first two are exchanged": right.permute(1, 0, 2),
            "the last two are exchanged": right.permute(0, 2, 1),
            "these are probabilities: counts are asked": right / right.sum(dim=2, keepdim=True).clamp(1),
            "the first character needs V · V": folded((first + second) * V + third),
            "i counts V · V, j counts V: only one of them is multiplied": folded(first * V + second + third),
            "these are the shares of all triples: counts are asked": right / right.sum(),
            "one triple is left out: there are N - 2": folded((first * V + second)[:-1] * V + third[:-1]),
            "that only says which triples occur: how often?": (right > 0).float(),
        }
        answer = check.run(mine, ids, V)
        check.that(isinstance(answer, torch.Tensor), "a tensor is asked: torch.bincount makes one")
        shapes = {(V**3,): "fold the numbers into a table: .view(V, V, V)"}
        shapes |= {(V, V): "these are pairs: three characters in a row", (V * V, V): "fold it into (V, V, V)"}
        check.that(tuple(answer.shape) not in shapes, shapes.get(tuple(answer.shape), ""))
        check.close(answer.float(), right, "compare with a loop over three neighbours", usual=usual)


@marked("1.3 · why counting was right")
def all_slopes(check: exercise, mine) -> None:
    """(n p - counts) / N: the gradient of the mean loss over all pairs."""
    check.forbid(mine, "backward", "grad", "autograd", "requires_grad", "requires_grad_", "func")
    generator = torch.Generator().manual_seed(2)
    for V in (5, 4):
        counts = torch.randint(4, (V, V), generator=generator).float() + torch.eye(V)
        start = torch.randn(V, V, generator=generator).requires_grad_()
        (-(counts * torch.log_softmax(start, dim=1)).sum() / counts.sum()).backward()
        z, n, total = start.detach(), counts.sum(dim=1, keepdim=True), counts.sum()
        p, across = torch.softmax(z, dim=1), counts.sum(dim=0, keepdim=True)
        usual = {
            "this is the sum over the pairs: divide by their number": n * p - counts,
            "p counts once for each pair: multiply it by the row's number of pairs": (p - counts) / total,
            "multiply p by the row's number of pairs, then divide by the number of pairs": p - counts,
            "a frequent row weighs more: multiply p by the row's number of pairs": p - counts / n,
            "the sign is turned: what was predicted less what happened": (counts - n * p) / total,
            "is a keepdim=True missing in the sums of the rows?": (n.squeeze(1) * p - counts) / total,
            "the sums run over the rows: dim=1, not dim=0": (across * p - counts) / total,
            "the sums run over the rows, dim=1, and stay a column": (across.T * p - counts) / total,
            "does your softmax run along the rows, dim=1?": (n * torch.softmax(z, dim=0) - counts) / total,
            "divide by the number of pairs, not of cells": (n * p - counts) / V**2,
            "divide by the number of pairs, not of rows": (n * p - counts) / V,
            "these are logits: softmax makes probabilities of them": (n * z - counts) / total,
        }
        check.close(check.run(mine, counts, z), start.grad, "the slopes differ from autograd's", usual=usual)
    bottom = check.run(mine, counts, (counts + 1e-30).log())
    check.that(bottom.abs().max() < 1e-6, "at the counted table every slope should be 0")
