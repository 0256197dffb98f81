"""Tests of tinylm.inference.sampling."""

import pytest
import torch

from tinylm.inference.sampling import SamplingError, greedy, probabilities, sample

V = 7


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, V, generator=generator(3)) * 2


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature():
    torch.testing.assert_close(probabilities(logits(), 0.7), torch.softmax(logits() / 0.7, dim=-1))


def test_probabilities_keep_any_leading_shape():
    assert probabilities(torch.randn(2, 3, V, generator=generator()), 1.3).shape == (2, 3, V)


def test_a_constant_added_to_the_logits_changes_nothing():
    torch.testing.assert_close(probabilities(logits() + 31.0, 0.9), probabilities(logits(), 0.9))


def test_a_colder_temperature_moves_weight_to_the_favourite():
    favourite = [float(probabilities(logits(), t).amax(dim=-1).min()) for t in (2.0, 1.0, 0.5, 0.1)]
    assert favourite == sorted(favourite)


def test_a_tiny_temperature_does_not_overflow():
    weights = probabilities(logits() * 1e4, 1e-5)
    assert torch.isfinite(weights).all()
    assert torch.equal(weights.argmax(dim=-1), greedy(logits()))


def test_temperature_zero_is_the_limit_of_small_temperatures():
    torch.testing.assert_close(probabilities(logits(), 0.0), probabilities(logits(), 1e-5))


def test_temperature_zero_draws_the_greedy_token_and_leaves_the_generator_alone():
    source = generator(5)
    before = source.get_state()
    assert torch.equal(sample(logits(), temperature=0.0, generator=source), greedy(logits()))
    assert torch.equal(source.get_state(), before)


def test_of_equal_logits_greedy_takes_the_smallest_id():
    assert greedy(torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])).tolist() == [1, 0]


def test_draws_come_with_the_frequencies_that_the_probabilities_say():
    row = logits(1)
    n = 40_009
    drawn = sample(row.expand(n, V), temperature=0.8, generator=generator(11))
    frequencies = torch.bincount(drawn, minlength=V) / n
    expected = probabilities(row, 0.8)[0]
    error = torch.sqrt(expected * (1 - expected) / n)
    assert ((frequencies - expected).abs() < 4 * error + 1e-9).all()


def test_a_token_with_logit_minus_infinity_is_never_drawn():
    row = torch.zeros(1, V)
    row[0, 2] = -torch.inf
    assert 2 not in sample(row.expand(997, V), generator=generator(2)).tolist()


def test_the_same_seed_draws_the_same_tokens_and_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    first = sample(logits(101), generator=generator(7))
    assert torch.equal(first, sample(logits(101), generator=generator(7)))
    assert not torch.equal(first, sample(logits(101), generator=generator(8)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_an_impossible_temperature_is_refused_with_the_way_out(temperature):
    with pytest.raises(SamplingError, match="of at least 0: use"):
        sample(logits(), temperature=temperature, generator=generator())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nan_logits_are_refused_and_counted(temperature):
    broken = logits()
    broken[1, 3] = torch.nan
    with pytest.raises(SamplingError, match=f"1 of {5 * V} logits are NaN"):
        sample(broken, temperature=temperature, generator=generator())
