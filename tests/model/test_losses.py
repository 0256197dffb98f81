"""Losses against plain arithmetic in float64, written here; those in pieces against the one at once."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.support.settings import OTHERS, SMALL, lively, random_tokens, tied_and_untied
from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.errors import InputError
from tinylm.model.gpt import GPT
from tinylm.model.losses import answers, cross_entropy, fused_loss, graded_loss, next_token_loss, token_losses

B, T, V = 3, 5, 11


LOGITS = torch.randn(B, T, V, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(2))


def surprise(b, t):
    row = [math.exp(x) for x in LOGITS[b, t].double().tolist()]
    return -math.log(row[TARGETS[b, t]] / sum(row))


def texts(*ignored, batch=B, length=T):
    """A batch of SMALL, some of whose targets are not to be scored."""
    tokens = random_tokens(batch=batch, length=length)
    targets = random_tokens(batch=batch, length=length, seed=1)
    for place in ignored:
        targets[place] = IGNORE_INDEX
    return Batch(tokens, targets)


def value_and_gradients(model, loss_fn, given, scale=1.0):
    """The nats of each target, and the gradient of a sum that weighs each of them in its own way."""
    model.zero_grad()
    nats, metrics = loss_fn(model, given)
    (nats * torch.linspace(0.5, 2.0, nats.numel()).view(nats.shape)).sum().mul(scale).backward()
    assert nats.shape == given.targets.shape and nats.dtype == torch.float32 and metrics == {}
    return nats.detach(), {name: p.grad / scale for name, p in model.named_parameters()}


@pytest.mark.parametrize("ignored", [[], [(0, 1), (2, 4)]], ids=["all", "some"])
def test_losses_are_mean_sum_and_each_of_minus_log_probability_without_the_ignored(ignored):
    targets = TARGETS.clone()
    for place in ignored:
        targets[place] = IGNORE_INDEX
    by_hand = [[0 if (b, t) in ignored else surprise(b, t) for t in range(T)] for b in range(B)]
    nats = sum(map(sum, by_hand))
    assert_close(token_losses(LOGITS, targets), torch.tensor(by_hand))
    assert cross_entropy(LOGITS, targets).item() == pytest.approx(nats / (B * T - len(ignored)), rel=1e-6)
    assert_close(next_token_loss(lambda _: LOGITS, Batch(targets, targets))[0], torch.tensor(by_hand))


def test_losses_of_half_precision_logits_are_summed_in_float32():
    loss = cross_entropy(LOGITS.bfloat16(), TARGETS)
    assert_close(loss, cross_entropy(LOGITS.bfloat16().float(), TARGETS), rtol=0, atol=0)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match=r"logits \(3, 5, 11\) and targets \(3, 4\)"):
        cross_entropy(LOGITS, TARGETS[:, :4])
    with pytest.raises(InputError, match=r"the stream \(3, 5, 30\) and targets \(3, 4\)"):
        fused_loss(GPT(SMALL), Batch(texts().tokens, TARGETS[:, :4]))


DOCUMENTS = torch.tensor([[4, 4, 0, 4, 4], [0, 1, 1, 1, 1], [2, 2, 2, 2, 2]])  # packed
EACH_LOSS = [next_token_loss, fused_loss]
WIDE = replace(SMALL, vocab_size=4099, n_layer=1)  # of its 299 positions a block holds 255
WIDE_TEXTS = {"batch": 13, "length": 23}


@pytest.mark.parametrize("multiple", [1, 64])
@tied_and_untied
def test_fused_loss_equals_the_plain_one_in_value_and_gradient(choice, multiple):
    """In one block of rows, and in several."""
    for config, sizes in ((SMALL, {}), (WIDE, WIDE_TEXTS)):
        model = lively(GPT(replace(config, **choice, vocab_multiple=multiple)), 0.1)
        given = texts((0, 1), (2, slice(None)), **sizes)
        plain = value_and_gradients(model, next_token_loss, given)
        assert_close(value_and_gradients(model, fused_loss, given), plain, rtol=1e-5, atol=1e-5)
    nats, gradients = value_and_gradients(model, fused_loss, texts(slice(None)))
    assert not nats.any() and not any(gradient.any() for gradient in gradients.values())


def test_fused_loss_passes_on_the_gradient_that_it_is_given_as_often_as_it_is():
    model, first, second = lively(GPT(SMALL)), texts((0, 2)), texts(length=T + 2)

    def gradients(loss_fn):
        one, two = (loss_fn(model, b)[0].sum() for b in (first, second))  # both before either's backward
        loss = one * -3.7 + two.square() / 100
        return [
            torch.autograd.grad(loss, list(model.parameters()), retain_graph=again) for again in (True, False)
        ]

    assert_close(gradients(fused_loss), gradients(next_token_loss), rtol=1e-5, atol=1e-4)


def test_fused_loss_refuses_a_second_derivative():
    model, given = lively(GPT(SMALL)), texts()
    with pytest.raises(InputError, match="no second derivative: take next_token_loss, or no create_graph"):
        fused_loss(model, given)[0].sum().backward(create_graph=True)


@pytest.mark.parametrize("dtype, scale", [(torch.bfloat16, 1.0), (torch.float16, 1024.0)], ids=str)
@tied_and_untied
def test_fused_loss_under_autocast_is_as_near_to_float32_as_the_plain_one(choice, dtype, scale):
    model, given = lively(GPT(replace(SMALL, **choice)), 0.1), texts((1, 3))
    _, exact = value_and_gradients(model, next_token_loss, given)
    with torch.autocast("cpu", dtype=dtype):
        plain, found = (value_and_gradients(model, f, given, scale) for f in EACH_LOSS)
    assert_close(found[0], plain[0], rtol=1e-5, atol=0)
    for name, gradient in exact.items():
        distance = (plain[1][name] - gradient).norm()
        assert (found[1][name] - gradient).norm() < 1.1 * distance + 1e-4 * gradient.norm(), name


def test_fused_loss_in_float16_keeps_what_a_scaler_saves_and_overflows_with_the_plain_one():
    def run(loss_fn):
        model, given = lively(GPT(replace(SMALL, tied_head=False)), 0.3), texts((1, 3))
        model.head.weight.data *= 20  # so that most ids are improbable
        optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.01), torch.amp.GradScaler("cpu", 2.0**19)
        nats, scales = [], []
        for _ in range(9):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                nats.append(loss_fn(model, given)[0].sum())
            scaler.scale(nats[-1] / B / T).backward()
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        return torch.stack(nats).detach(), scales, model.head.weight.grad  # unscaled by the step

    plain, found = run(next_token_loss), run(fused_loss)
    assert found[1] == plain[1] and 1 < len(set(plain[1])) < 9  # steps skipped, and steps made
    assert_close(found[0], plain[0], rtol=1e-4, atol=0)
    sizes = plain[2].norm(dim=1)
    rare = (sizes > 1e-9) & (sizes < 1e-7)  # too small for float16 without a scale
    assert rare.sum() > 5
    assert ((found[2] - plain[2]).norm(dim=1) < 0.05 * sizes)[rare].all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("choice", [{}, OTHERS | {"vocab_multiple": 64}], ids=["gpt2", "others"])
@pytest.mark.parametrize("loss_fn", EACH_LOSS, ids=["plain", "fused"])
def test_losses_compile_without_a_graph_break_and_to_the_same_bits(choice, loss_fn):
    torch._dynamo.reset()
    model, given = lively(GPT(replace(SMALL, **choice))), replace(texts((0, 2)), documents=DOCUMENTS)
    compiled = torch.compile(loss_fn, fullgraph=True, backend="eager")  # the graph is what is asked about
    found = value_and_gradients(model, compiled, given)
    assert_close(found, value_and_gradients(model, loss_fn, given), rtol=0, atol=0)


def test_answers_are_what_follows_a_mark_up_to_and_with_the_next_end():
    text = "12=3\n4=5=6\n\n7\n=89"  # an answer, one with a mark in it, none, and one that is cut off
    tokens, targets = (torch.tensor([[ord(c) for c in part]]) for part in (text[:-1], text[1:]))
    kept = answers(ord("="), ord("\n"))(tokens, targets)[0]
    assert "".join(c for c, keep in zip(text[1:], kept, strict=True) if keep) == "3\n5=6\n89"


def test_exact_match_asks_for_the_kept_targets_that_are_scored_and_the_nats_stay_the_plain_ones():
    """That one target which does not come first spoils its row is seen in tests/runs/test_task.py."""
    model, given = GPT(SMALL).eval(), texts()
    first = model(given.tokens).argmax(-1)  # (B, T)
    keep = torch.rand(first.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    targets = torch.where(keep, first, (first + 1) % SMALL.vocab_size)  # what is not kept is wrong everywhere
    targets[1, keep[1].nonzero()[0]] = IGNORE_INDEX  # what is not scored cannot be wrong
    nats, metrics = graded_loss(lambda *_: keep)(model, Batch(given.tokens, targets))
    assert metrics["exact_match"] == 1
    assert_close(nats, next_token_loss(model, Batch(given.tokens, targets))[0])


@pytest.mark.parametrize("loss_fn", EACH_LOSS, ids=["plain", "fused"])
@tied_and_untied
def test_losses_of_packed_rows_are_those_of_each_document_in_a_row_of_its_own(choice, loss_fn):
    model, given = lively(GPT(replace(SMALL, **choice))), texts(batch=1, length=9)
    packed = replace(given, documents=torch.tensor([[0, 0, 0, 0, 1, 1, 2, 2, 2]]))
    parts = zip(*(ids.split([4, 2, 3], dim=1) for ids in (given.tokens, given.targets)), strict=True)
    alone = torch.cat([loss_fn(model, Batch(*part))[0] for part in parts], dim=1)
    assert_close(loss_fn(model, packed)[0], alone)
    assert (alone != loss_fn(model, given)[0])[:, 4:].all()
