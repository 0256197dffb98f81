"""Losses against plain arithmetic in float64, written here; those in pieces against the one at once."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.settings import OTHERS, SMALL, lively, random_tokens, tied_and_untied
from tinylm.errors import InputError
from tinylm.model.gpt import GPT
from tinylm.model.losses import (
    IGNORE_INDEX,
    RecallLoss,
    answers,
    chunked_loss,
    cross_entropy,
    graded_loss,
    masked_loss,
    next_token_loss,
    select_targets,
    token_losses,
)
from tinylm.text import batches

B, T, V = 3, 5, 11


LOGITS = torch.randn(B, T, V, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(2))


def surprise(b, t):
    row = [math.exp(x) for x in LOGITS[b, t].double().tolist()]
    return -math.log(row[TARGETS[b, t]] / sum(row))


def texts(*ignored, batch=B, length=T):
    """Tokens and targets of SMALL, some of which are not to be scored."""
    tokens = random_tokens(batch=batch, length=length)
    targets = random_tokens(batch=batch, length=length, seed=1)
    for place in ignored:
        targets[place] = IGNORE_INDEX
    return tokens, targets


def value_and_gradients(model, loss_fn, *given):
    model.zero_grad()
    nats, metrics = loss_fn(model, *given)
    nats.backward()
    assert nats.shape == () and nats.dtype == torch.float32 and metrics == {}
    return nats.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("ignored", [[], [(0, 1), (2, 4)]], ids=["all", "some"])
def test_losses_are_mean_sum_and_each_of_minus_log_probability_without_the_ignored(ignored):
    targets = TARGETS.clone()
    for place in ignored:
        targets[place] = IGNORE_INDEX
    by_hand = [[0 if (b, t) in ignored else surprise(b, t) for t in range(T)] for b in range(B)]
    nats = sum(map(sum, by_hand))
    assert_close(token_losses(LOGITS, targets), torch.tensor(by_hand))
    assert cross_entropy(LOGITS, targets).item() == pytest.approx(nats / (B * T - len(ignored)), rel=1e-6)
    assert next_token_loss(lambda _: LOGITS, targets, targets)[0].item() == pytest.approx(nats, rel=1e-6)


def test_ignore_index_is_the_same_for_texts_and_models():
    assert batches.IGNORE_INDEX == IGNORE_INDEX == torch.nn.CrossEntropyLoss().ignore_index


def test_losses_of_half_precision_logits_are_summed_in_float32():
    loss = cross_entropy(LOGITS.bfloat16(), TARGETS)
    assert_close(loss, cross_entropy(LOGITS.bfloat16().float(), TARGETS), rtol=0, atol=0)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match=r"\(3, 5, 11\) and targets \(3, 4\)"):
        cross_entropy(LOGITS, TARGETS[:, :4])


@pytest.mark.parametrize("rows", [1, 4, 15, 1024])  # of 15
@tied_and_untied
def test_chunked_loss_equals_the_plain_one_in_value_and_gradient(choice, rows):
    model = lively(GPT(replace(SMALL, **choice)))
    given = texts((0, 1), (2, slice(None)))
    plain = value_and_gradients(model, next_token_loss, *given)
    assert_close(value_and_gradients(model, chunked_loss(rows), *given), plain, rtol=1e-4, atol=1e-5)
    nats, gradients = value_and_gradients(model, chunked_loss(rows), *texts(slice(None)))
    assert nats == 0 and not any(gradient.any() for gradient in gradients.values())


def test_chunked_loss_under_autocast_equals_the_plain_one_to_bfloat16():
    model, given = lively(GPT(SMALL), 0.1), texts((1, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = value_and_gradients(model, next_token_loss, *given)
        found = value_and_gradients(model, chunked_loss(4), *given)
    assert_close(found[0], plain[0], rtol=1e-5, atol=0)
    for name, gradient in plain[1].items():
        assert (found[1][name] - gradient).norm() < 0.01 * gradient.norm(), name


class MostLogits(TorchDispatchMode):
    """The most rows of V numbers that lay in memory at once, wherever they were kept."""

    def __init__(self):
        super().__init__()
        self.alive, self.rows = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (SMALL.vocab_size,):
                storage = tensor.untyped_storage()
                self.alive[StorageWeakRef(storage)] = storage.nbytes() // 4 // SMALL.vocab_size
        self.alive = {storage: rows for storage, rows in self.alive.items() if not storage.expired()}
        self.rows = max(self.rows, sum(self.alive.values()))
        return out


def test_chunked_loss_never_holds_more_logits_however_large_the_batch():
    model = lively(GPT(SMALL))

    def most(loss_fn, batch):
        with MostLogits() as most:  # forward and backward
            value_and_gradients(model, loss_fn, *texts(batch=batch, length=SMALL.context_length))
        return most.rows

    assert most(next_token_loss, 20) > most(next_token_loss, 10) > 2 * 10 * 23
    assert most(chunked_loss(37), 20) == most(chunked_loss(37), 10) < 5 * 37


def test_masked_losses_put_into_one_another_score_what_all_keep():
    model, (tokens, targets) = lively(GPT(SMALL)), texts((0, 1))
    low = masked_loss(lambda tokens, targets: targets < 50, chunked_loss(4))
    both = masked_loss(lambda tokens, targets: (targets > 20) & (tokens != tokens[0, 0]), low)
    kept = (targets > 20) & (targets < 50) & (tokens != tokens[0, 0])
    assert 0 < kept.sum() < B * T - 1
    assert torch.equal(select_targets(both, tokens, targets) != IGNORE_INDEX, kept)
    assert_close(both(model, tokens, targets)[0], token_losses(model(tokens), targets)[kept].sum())


@pytest.mark.parametrize("choice", [{}, OTHERS | {"vocab_multiple": 64}], ids=["gpt2", "others"])
@pytest.mark.parametrize("loss_fn", [next_token_loss, chunked_loss(4)], ids=["plain", "chunked"])
def test_losses_compile_without_a_graph_break_and_to_the_same_bits(choice, loss_fn):
    torch._dynamo.reset()
    model, given = lively(GPT(replace(SMALL, **choice))), texts((0, 2))
    compiled = torch.compile(loss_fn, fullgraph=True, backend="eager")  # the graph is what is asked about
    found = value_and_gradients(model, compiled, *given)
    assert_close(found, value_and_gradients(model, loss_fn, *given), rtol=0, atol=0)
    keep = torch.compile(masked_loss(lambda tokens, targets: targets > 20, loss_fn), backend="eager")
    assert select_targets(keep, *given) is not given[1]  # a compiled loss still says what it scores
    assert select_targets(loss_fn, *given) is given[1]


def after_the_mark(row, mark, end):
    """Which targets of a row of tokens are part of an answer, by a walk along it."""
    inside, found = False, []
    for token in row:
        inside = token == mark or (inside and token != end)
        found.append(inside)
    return found


def test_answers_are_what_follows_a_mark_up_to_and_with_the_next_end():
    text = "12=3\n4=5=6\n\n7\n=89"  # an answer, one with a mark in it, none, and one that is cut off
    tokens, targets = (torch.tensor([[ord(c) for c in part]]) for part in (text[:-1], text[1:]))
    kept = answers(ord("="), ord("\n"))(tokens, targets)[0]
    assert "".join(c for c, keep in zip(text[1:], kept, strict=True) if keep) == "3\n5=6\n89"
    tokens = random_tokens(batch=17, length=23) % 5
    expected = [after_the_mark(row, 3, 1) for row in tokens.tolist()]
    assert answers(3, 1)(tokens, tokens).tolist() == expected


def test_exact_match_counts_the_rows_in_which_every_kept_target_comes_first():
    model, (tokens, targets) = GPT(SMALL).eval(), texts()
    first = model(tokens).argmax(-1)  # (B, T)
    keep = torch.rand(targets.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    targets = torch.where(keep, first, (first + 1) % SMALL.vocab_size)  # what is not kept is wrong everywhere
    graded = graded_loss(lambda *_: keep)
    assert graded(model, tokens, targets)[1]["exact_match"] == 1
    place = keep[1].nonzero()[0]
    targets[1, place] = (first[1, place] + 1) % SMALL.vocab_size
    nats, metrics = graded(model, tokens, targets)
    assert metrics["exact_match"] == pytest.approx(1 - 1 / B)
    assert_close(nats, next_token_loss(model, tokens, targets)[0])
    targets[1, place] = IGNORE_INDEX  # what is not scored cannot be wrong
    assert graded(model, tokens, targets)[1]["exact_match"] == 1
    masked = masked_loss(lambda *_: keep, graded)(model, tokens, targets)
    assert masked[1]["exact_match"] == 1 and masked[0] < nats


def recalled_slowly(tokens, targets, rare, end):
    """Row by row and place by place, as the definition says."""
    found = torch.zeros(targets.shape, dtype=torch.bool)
    for row, place in np.ndindex(*targets.shape):
        document = tokens[row, : place + 1].tolist()
        begins = max((i for i, token in enumerate(document) if token == end), default=0)
        target = int(targets[row, place])
        found[row, place] = target >= 0 and bool(rare[target]) and target in document[begins:]
    return found


def test_recall_loss_counts_a_rare_target_that_its_document_has_held_as_often_as_it_says():
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 11, (7, 30), generator=generator)
    tokens, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[2, 19:] = IGNORE_INDEX
    rare, table = torch.arange(11) % 3 > 0, torch.randn(11, 11, generator=generator, requires_grad=True)
    loss_fn = RecallLoss(rare, end=4, weight=1.0)
    model = nn.Embedding.from_pretrained(table, freeze=False)
    plain = next_token_loss(model, tokens, targets)[0]
    torch.testing.assert_close(loss_fn(model, tokens, targets)[0], plain)  # at 1 it is the plain one
    recalled = recalled_slowly(tokens, targets, rare, end=4)
    assert 20 < int(recalled.sum()) < 150
    assert torch.equal(loss_fn.recalled(tokens, targets), recalled)
    loss_fn.weight.fill_(5.0)
    scored = targets != IGNORE_INDEX
    weights = (1 + 4 * recalled) * scored
    expected = (token_losses(table[tokens], targets) * weights).sum() * scored.sum() / weights.sum()
    torch.testing.assert_close(loss_fn(model, tokens, targets)[0], expected)
