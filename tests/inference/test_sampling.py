"""Tests of tinylm.inference.sampling."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tinylm.errors import InputError
from tinylm.inference.config import DEFAULT, SamplingConfig
from tinylm.inference.sampling import (
    apply_filters,
    greedy,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_seen,
    probabilities,
    sample,
    tokens_seen,
)

V = 7
WIDE = 101


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(rows: int = 5, width: int = V) -> torch.Tensor:
    return torch.randn(rows, width, generator=generator(3)) * 2


def at(temperature: float) -> SamplingConfig:
    return SamplingConfig(temperature=temperature)


def kinds_of_logits() -> dict[str, torch.Tensor]:
    """(11, 101) each, without NaN and with at least one finite number in every row."""
    calm = torch.randn(11, WIDE, generator=generator(5))
    holes = calm.masked_fill(torch.rand(11, WIDE, generator=generator(6)) < 0.4, -math.inf)
    ties = torch.randint(
        -3, 4, (11, WIDE), generator=generator(7)
    ).float()  # every row is full of equal logits
    kinds = {"calm": calm, "peaked": 30 * calm, "flat": 1e-3 * calm, "extreme": 1e30 * calm, "holes": holes}
    return kinds | {"ties": ties}


every_kind = pytest.mark.parametrize("kind", kinds_of_logits())


def theirs(name: str, *settings, previous=None):
    """A function from logits to logits by Hugging Face's transformers."""
    from transformers.generation import logits_process

    processor = getattr(logits_process, name)(*settings)
    return lambda scores: processor(previous, scores)


@every_kind
@pytest.mark.parametrize("k", [1, 2, 17, WIDE, 10 * WIDE])
def test_top_k_equals_hugging_faces(kind, k):
    given = kinds_of_logits()[kind]
    assert torch.equal(keep_top_k(given, k), theirs("TopKLogitsWarper", k)(given))


@pytest.mark.parametrize("kind", [kind for kind in kinds_of_logits() if kind != "ties"])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.99])
def test_top_p_equals_hugging_faces(kind, p):
    given = kinds_of_logits()[kind]
    assert torch.equal(keep_top_p(given, p), theirs("TopPLogitsWarper", p)(given))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9])
def test_top_p_keeps_as_many_equal_logits_as_hugging_faces_and_the_smaller_ids(p):
    given = kinds_of_logits()["ties"]
    kept = keep_top_p(given, p)
    assert torch.equal(kept.sort(dim=-1).values, theirs("TopPLogitsWarper", p)(given).sort(dim=-1).values)
    for row, before in zip(kept, given, strict=True):
        last = row[row > -math.inf].min()  # the value at which the cut goes through equals
        stays = (row == last)[before == last].tolist()  # in the order of the ids
        assert stays == sorted(stays, reverse=True)


@every_kind
@pytest.mark.parametrize("p", [1e-6, 0.03, 0.04, 0.5, 0.9, 1.0])
def test_min_p_equals_hugging_faces(kind, p):
    given = kinds_of_logits()[kind]
    assert torch.equal(keep_min_p(given, p), theirs("MinPLogitsWarper", p)(given))


@every_kind
@pytest.mark.parametrize("penalty", [0.7, 1.3, 50.0])
def test_repetition_penalty_equals_hugging_faces(kind, penalty):
    given = kinds_of_logits()[kind]
    previous = torch.randint(WIDE, (11, 43), generator=generator(8))
    expected = theirs("RepetitionPenaltyLogitsProcessor", penalty, previous=previous)(given)
    assert torch.equal(penalise_seen(given, tokens_seen(previous, WIDE), penalty), expected)


def test_repetition_penalty_makes_seen_tokens_less_probable_whatever_their_sign_and_no_others():
    given = torch.tensor([[2.0, -2.0, 0.5, -0.5]])
    penalised = penalise_seen(given, torch.tensor([[True, True, False, False]]), 1.5)
    assert (penalised[0, :2] < given[0, :2]).all()
    assert torch.equal(penalised[0, 2:], given[0, 2:])


def test_tokens_seen_says_whether_and_not_how_often_for_rows_of_any_length():
    seen = tokens_seen([[2, 2, 2, 5], [0], []], V)
    assert [row.nonzero().flatten().tolist() for row in seen] == [[2, 5], [0], []]
    for outside in (-1, V):
        with pytest.raises(InputError, match=f"do not fit vocab_size {V}"):
            tokens_seen([[2, outside]], V)


def test_top_p_keeps_just_enough_and_always_the_favourite():
    given = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
    for p, kept in (
        (0.01, [1]),
        (0.49, [1]),
        (0.51, [1, 3]),
        (0.79, [1, 3]),
        (0.81, [0, 1, 3]),
        (0.99, [0, 1, 2, 3]),
    ):
        assert (keep_top_p(given, p) > -math.inf).nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("p", [1e-30, 1e-50, 5e-324])
def test_top_p_keeps_the_favourite_even_where_float32_takes_p_for_zero(p):
    given = torch.tensor([[0.0, 1.0, -1.0]])
    assert probabilities(given, SamplingConfig(top_p=p)).tolist() == [[0.0, 1.0, 0.0]]


def test_top_p_drops_a_token_where_the_mass_before_it_is_exactly_p_as_hugging_faces_does():
    quarters = torch.zeros(1, 4)  # a probability of exactly 0.25 each
    for p, kept in ((0.25, 1), (0.5, 2), (0.75, 3)):
        assert (keep_top_p(quarters, p) > -math.inf).sum() == kept
        assert (theirs("TopPLogitsWarper", p)(quarters) > -math.inf).sum() == kept


@pytest.mark.parametrize(
    "rule", [lambda x: keep_top_k(x, 3), lambda x: keep_top_p(x, 0.6), lambda x: keep_min_p(x, 0.2)]
)
def test_cuts_keep_logits_as_they_are_in_any_shape_and_do_not_write_into_their_input(rule):
    given = torch.randn(2, 3, WIDE, generator=generator())
    before = given.clone()
    kept = rule(given)
    assert torch.equal(given, before)
    assert torch.equal(kept, torch.where(kept > -math.inf, given, -math.inf))
    assert torch.equal(kept[1, 2], rule(given[1, 2]))
    assert 0 < (kept > -math.inf).sum() < kept.numel()


ALL_AT_ONCE = SamplingConfig(temperature=0.7, top_k=40, top_p=0.93, min_p=0.02, repetition_penalty=1.4)


def test_rules_are_applied_in_hugging_faces_order():
    given = 2 * kinds_of_logits()["calm"]
    previous = torch.randint(WIDE, (11, 43), generator=generator(8))
    expected = theirs("RepetitionPenaltyLogitsProcessor", 1.4, previous=previous)(given)
    expected = theirs("TemperatureLogitsWarper", 0.7)(expected)
    expected = theirs("TopKLogitsWarper", 40)(expected)
    expected = theirs("TopPLogitsWarper", 0.93)(expected)
    expected = theirs("MinPLogitsWarper", 0.02)(expected)
    seen = tokens_seen(previous, WIDE)
    assert torch.equal(apply_filters(given, ALL_AT_ONCE, seen), expected)
    assert_close(probabilities(given, ALL_AT_ONCE, seen), expected.softmax(-1))
    assert (sample(given, ALL_AT_ONCE, generator=generator(), seen=seen) != greedy(given)).any()


@pytest.mark.parametrize("neutral", ["top_k", "top_p", "min_p", "repetition_penalty"])
def test_each_setting_counts_and_its_default_switches_it_off(neutral):
    given, seen = logits(11, WIDE), tokens_seen([[3, 5, 7]] * 11, WIDE)
    off = {name: getattr(DEFAULT, name) for name in ("top_k", "top_p", "min_p", "repetition_penalty")}
    strong = {"top_k": 2, "top_p": 0.2, "min_p": 0.5, "repetition_penalty": 3.0}
    alone = SamplingConfig(**(off | {neutral: strong[neutral]}))
    assert torch.equal(apply_filters(given, SamplingConfig(**off), seen), given)
    assert not torch.equal(apply_filters(given, alone, seen), given)


def test_repetition_penalty_comes_before_the_greedy_choice():
    row, seen = torch.tensor([[3.0, 2.9, 0.0]]), torch.tensor([[True, False, False]])
    config = SamplingConfig(temperature=0.0, repetition_penalty=1.2)
    assert sample(row, config, generator=generator(), seen=seen).tolist() == [1]
    assert probabilities(row, config, seen).tolist() == [[0.0, 1.0, 0.0]]


def test_repetition_penalty_without_the_tokens_so_far_is_refused():
    with pytest.raises(InputError, match=r"repetition_penalty 1\.2 needs the tokens so far"):
        sample(logits(), SamplingConfig(repetition_penalty=1.2), generator=generator())


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature():
    assert_close(probabilities(logits(), at(0.7)), torch.softmax(logits() / 0.7, dim=-1))
    assert_close(probabilities(logits()), torch.softmax(logits(), dim=-1))


def test_probabilities_keep_any_leading_shape():
    assert probabilities(torch.randn(2, 3, V, generator=generator()), at(1.3)).shape == (2, 3, V)


def test_logits_of_half_precision_are_judged_in_single_precision():
    given = logits(11, WIDE).bfloat16()
    for config in (DEFAULT, replace(ALL_AT_ONCE, repetition_penalty=1.0), at(0.0)):
        chances = probabilities(given, config)
        assert chances.dtype == torch.float32
        assert torch.equal(chances, probabilities(given.float(), config))


def test_logits_plus_a_constant_have_the_same_probabilities():
    assert_close(probabilities(logits() + 31.0, at(0.9)), probabilities(logits(), at(0.9)))


def test_temperature_that_is_lower_moves_weight_to_the_favourite():
    favourite = [float(probabilities(logits(), at(t)).amax(dim=-1).min()) for t in (2.0, 1.0, 0.5, 0.1)]
    assert favourite == sorted(favourite)


def test_temperature_that_is_tiny_does_not_overflow():
    weights = probabilities(logits() * 1e4, at(1e-5))
    assert torch.isfinite(weights).all()
    assert torch.equal(weights.argmax(dim=-1), greedy(logits()))


def test_temperature_zero_is_the_limit_of_small_temperatures():
    assert_close(probabilities(logits(), at(0.0)), probabilities(logits(), at(1e-5)))


def test_temperature_zero_draws_the_greedy_token_and_leaves_the_generator_alone():
    source = generator(5)
    before = source.get_state()
    assert torch.equal(sample(logits(), at(0.0), generator=source), greedy(logits()))
    assert torch.equal(source.get_state(), before)


def test_greedy_takes_the_smallest_id_of_equal_logits():
    equal = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    assert greedy(equal).tolist() == [1, 0]
    assert sample(equal, at(0.0), generator=generator()).tolist() == [1, 0]


def test_draws_come_with_the_frequencies_that_the_probabilities_say():
    row = logits(1)
    n = 40_009
    for config in (at(0.8), SamplingConfig(top_k=3), SamplingConfig(top_p=0.7), SamplingConfig(min_p=0.2)):
        drawn = sample(row.expand(n, V), config, generator=generator(11))
        frequencies = torch.bincount(drawn, minlength=V) / n
        expected = probabilities(row, config)[0]
        error = torch.sqrt(expected * (1 - expected) / n)
        assert ((frequencies - expected).abs() < 4 * error + 1e-9).all()
        assert (frequencies[expected == 0] == 0).all()


def test_logit_of_minus_infinity_is_never_drawn():
    row = torch.zeros(1, V)
    row[0, 2] = -torch.inf
    assert 2 not in sample(row.expand(997, V), generator=generator(2)).tolist()


def test_seed_draws_the_same_tokens_and_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    first = sample(logits(101), generator=generator(7))
    assert torch.equal(first, sample(logits(101), generator=generator(7)))
    assert not torch.equal(first, sample(logits(101), generator=generator(8)))
    assert torch.equal(torch.get_rng_state(), before)


def test_row_generators_make_a_rows_draws_independent_of_the_other_rows():
    given = torch.randn(3, WIDE, generator=generator(4))
    together = sample(given, generator=[generator(seed) for seed in (5, 6, 7)])
    for row, seed, token in zip(given, (5, 6, 7), together, strict=True):
        assert sample(row[None], generator=generator(seed)).tolist() == [token]


CONFIGS = {"default": DEFAULT, "greedy": at(0.0), "cut": replace(ALL_AT_ONCE, repetition_penalty=1.0)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_nan_logits_are_refused_and_counted(config):
    broken = logits()
    broken[1, 3] = torch.nan
    with pytest.raises(InputError, match=f"1 of {5 * V} logits are NaN"):
        sample(broken, config, generator=generator())
    with pytest.raises(InputError, match=f"1 of {5 * V} logits are NaN"):
        probabilities(broken, config)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_rows_that_leave_nothing_to_draw_are_refused(config):
    broken = logits()
    broken[2] = -math.inf
    with pytest.raises(InputError, match=f"all {V} logits of a row are -inf: leave at least 1"):
        sample(broken, config, generator=generator())
    broken[2, 3] = math.inf
    with pytest.raises(InputError, match=f"1 of {5 * V} logits are infinite"):
        sample(broken, config, generator=generator())
