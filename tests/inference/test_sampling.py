"""Each rule equals Hugging Face's, and tokens are drawn as often as their probabilities say."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tinylm.errors import InputError
from tinylm.inference import sampling
from tinylm.inference.config import DEFAULT, SamplingConfig
from tinylm.inference.sampling import keep_min_p, keep_top_k, keep_top_p, probabilities, sample, tokens_seen

V = 7
WIDE = 101


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(rows: int = 5, width: int = V) -> torch.Tensor:
    return torch.randn(rows, width, generator=generator(3)) * 2


def at(temperature: float) -> SamplingConfig:
    return SamplingConfig(temperature=temperature)


CALM = torch.randn(11, WIDE, generator=generator(5))
KINDS = {  # (11, 101) each, without NaN and with at least one finite number in every row
    "calm": CALM,
    "peaked": 30 * CALM,
    "flat": 1e-3 * CALM,
    "extreme": 1e30 * CALM,
    "holes": CALM.masked_fill(torch.rand(11, WIDE, generator=generator(6)) < 0.4, -math.inf),
    "ties": torch.randint(-3, 4, (11, WIDE), generator=generator(7)).float(),  # full of equal logits
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def theirs(name: str, *settings, previous=None):
    """A function from logits to logits by Hugging Face's transformers."""
    from transformers.generation import logits_process

    processor = getattr(logits_process, name)(*settings)
    return lambda scores: processor(previous, scores)


@every_kind
@pytest.mark.parametrize(
    "cut, name, settings",
    [
        (keep_top_k, "TopKLogitsWarper", [1, 2, 17, WIDE, 10 * WIDE]),
        (keep_min_p, "MinPLogitsWarper", [1e-6, 0.03, 0.04, 0.5, 0.9, 1.0]),
        (keep_top_p, "TopPLogitsWarper", [1e-50, 1e-6, 0.1, 0.5, 0.9, 0.99]),
    ],
)
def test_cuts_equal_hugging_faces(kind, cut, name, settings):
    given = KINDS[kind]
    for setting in settings:
        if (kind, cut) != ("ties", keep_top_p):  # which has its own law
            assert torch.equal(cut(given, setting), theirs(name, setting)(given))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9])
def test_top_p_keeps_as_many_equal_logits_as_hugging_faces_and_the_smaller_ids(p):
    given = KINDS["ties"]
    kept = keep_top_p(given, p)
    assert torch.equal(kept.sort(dim=-1).values, theirs("TopPLogitsWarper", p)(given).sort(dim=-1).values)
    for row, before in zip(kept, given, strict=True):
        last = row[row > -math.inf].min()  # the value at which the cut goes through equals
        stays = (row == last)[before == last].tolist()  # in the order of the ids
        assert stays == sorted(stays, reverse=True)


def test_top_p_of_one_drops_nothing_however_many_tokens_there_are():
    given = 5 * torch.randn(3, 50_257, generator=torch.Generator().manual_seed(0))
    assert torch.equal(keep_top_p(given, 1.0), given)


@every_kind
@pytest.mark.parametrize("penalty", [0.7, 1.3, 50.0])
def test_repetition_penalty_equals_hugging_faces(kind, penalty):
    given = KINDS[kind]
    previous = torch.randint(WIDE, (11, 43), generator=generator(8))
    expected = theirs("RepetitionPenaltyLogitsProcessor", penalty, previous=previous)(given)
    assert torch.equal(sampling.penalise_seen(given, tokens_seen(previous, WIDE), penalty), expected)


@pytest.mark.parametrize(
    "rule", [lambda x: keep_top_k(x, 3), lambda x: keep_top_p(x, 0.6), lambda x: keep_min_p(x, 0.2)]
)
def test_cuts_take_any_shape_and_do_not_write_into_their_input(rule):
    given = torch.randn(2, 3, WIDE, generator=generator())
    before, kept = given.clone(), rule(given)
    assert torch.equal(given, before)
    assert torch.equal(kept[1, 2], rule(given[1, 2]))


ALL_AT_ONCE = SamplingConfig(temperature=0.7, top_k=40, top_p=0.93, min_p=0.02, repetition_penalty=1.4)


def test_rules_are_applied_in_hugging_faces_order():
    given = 2 * KINDS["calm"]
    previous = torch.randint(WIDE, (11, 43), generator=generator(8))
    expected = theirs("RepetitionPenaltyLogitsProcessor", 1.4, previous=previous)(given)
    expected = theirs("TemperatureLogitsWarper", 0.7)(expected)
    expected = theirs("TopKLogitsWarper", 40)(expected)
    expected = theirs("TopPLogitsWarper", 0.93)(expected)
    expected = theirs("MinPLogitsWarper", 0.02)(expected)
    seen = tokens_seen(previous, WIDE)
    assert torch.equal(sampling.apply_filters(given, ALL_AT_ONCE, seen), expected)
    assert_close(probabilities(given, ALL_AT_ONCE, seen), expected.softmax(-1))
    assert torch.equal(
        sampling.apply_filters(given, DEFAULT, seen), given
    )  # the defaults switch every rule off


def test_logits_of_half_precision_are_judged_in_single_precision():
    given = logits(11, WIDE).bfloat16()
    for config in (DEFAULT, replace(ALL_AT_ONCE, repetition_penalty=1.0), at(0.0)):
        chances = probabilities(given, config)
        assert chances.dtype == torch.float32
        assert torch.equal(chances, probabilities(given.float(), config))


def test_temperature_zero_is_the_limit_of_small_temperatures_and_no_temperature_overflows():
    assert_close(probabilities(logits(), at(0.0)), probabilities(logits(), at(1e-5)))
    assert torch.equal(probabilities(logits() * 1e4, at(1e-5)), probabilities(logits(), at(0.0)))


def test_temperature_zero_takes_the_smallest_of_equal_ids_and_leaves_the_generator_alone():
    source, equal = generator(5), torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    before = source.get_state()
    assert sample(equal, at(0.0), generator=source).tolist() == [1, 0]
    assert torch.equal(source.get_state(), before)


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


CONFIGS = {"default": DEFAULT, "greedy": at(0.0), "cut": replace(ALL_AT_ONCE, repetition_penalty=1.0)}
BAD = {"nan": (3, math.nan, 1), "infinite": (3, math.inf, 1), "none left": (slice(None), -math.inf, 7)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("place, value, n", BAD.values(), ids=BAD)
def test_logits_from_which_nothing_can_be_drawn_are_refused_and_counted(config, place, value, n):
    broken = logits()
    broken[1, place] = value
    with pytest.raises(InputError, match=f"{n} of 35 logits are not finite: the training diverged"):
        sample(broken, config, generator=generator())
    with pytest.raises(InputError, match="not finite"):
        probabilities(broken, config)


def test_repetition_penalty_without_the_tokens_so_far_is_refused():
    with pytest.raises(InputError, match=r"repetition_penalty 1\.2 needs the tokens: pass seen"):
        sample(logits(), SamplingConfig(repetition_penalty=1.2), generator=generator())
