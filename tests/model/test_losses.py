"""Losses against plain arithmetic in float64, written here."""

import math

import pytest
import torch

from tinylm.errors import InputError
from tinylm.model.losses import IGNORE_INDEX, cross_entropy, nats_to_bits, token_losses

B, T, V = 3, 5, 11


@pytest.fixture
def logits():
    return torch.randn(B, T, V, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def targets():
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(2))


def surprise(logits, targets, b, t):
    row = [math.exp(x) for x in logits[b, t].double().tolist()]
    return -math.log(row[targets[b, t]] / sum(row))


def test_the_loss_is_the_mean_of_minus_log_probability(logits, targets):
    by_hand = [surprise(logits, targets, b, t) for b in range(B) for t in range(T)]
    assert cross_entropy(logits, targets).item() == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-6)
    torch.testing.assert_close(
        token_losses(logits, targets).flatten().double(), torch.tensor(by_hand).double()
    )


def test_equal_logits_cost_the_log_of_the_vocabulary(targets):
    assert cross_entropy(torch.zeros(B, T, V), targets).item() == pytest.approx(math.log(V))


def test_ignored_targets_count_neither_above_nor_below_the_line(logits, targets):
    some = targets.clone()
    some[0, 1] = some[2, 4] = IGNORE_INDEX
    kept = [surprise(logits, targets, b, t) for b in range(B) for t in range(T) if some[b, t] >= 0]
    assert cross_entropy(logits, some).item() == pytest.approx(sum(kept) / (B * T - 2), rel=1e-6)
    assert token_losses(logits, some)[0, 1] == 0
    assert token_losses(logits, some).shape == (B, T)


def test_half_precision_logits_are_summed_in_float32(logits, targets):
    loss = cross_entropy(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.bfloat16().float(), targets), rtol=0, atol=0)


def test_shapes_that_do_not_belong_together_are_refused(logits, targets):
    with pytest.raises(InputError, match=r"\(3, 5, 11\) and targets \(3, 4\)"):
        cross_entropy(logits, targets[:, :4])
    with pytest.raises(InputError):
        token_losses(logits, targets.flatten())


def test_one_bit_is_ln_2_nats():
    assert nats_to_bits(math.log(2)) == 1
    assert nats_to_bits(math.log(256)) == pytest.approx(8)
