"""TrainConfig: every setting that cannot work is refused with both numbers and what to use."""

import pytest

from tinylm.errors import ConfigError
from tinylm.training.config import TrainConfig


def test_grad_accum_steps_follow_from_the_global_batch():
    config = TrainConfig(micro_batch_size=3, tokens_per_step=3 * 7 * 10)
    assert config.grad_accum_steps(7) == 10
    assert config.grad_accum_steps(7, world_size=5) == 2


@pytest.mark.parametrize("tokens, world_size, nearest", [(100, 1, 84), (10, 1, 21), (100, 2, 84)])
def test_grad_accum_steps_of_what_cannot_be_cut_name_the_nearest_good_number(tokens, world_size, nearest):
    with pytest.raises(ConfigError, match=f"use {nearest}$"):
        TrainConfig(micro_batch_size=3, tokens_per_step=tokens).grad_accum_steps(7, world_size)
    TrainConfig(micro_batch_size=3, tokens_per_step=nearest).grad_accum_steps(7, world_size)


@pytest.mark.parametrize(
    "name, bad, good, others, said",
    [
        ("min_learning_rate", 3e-3, 1e-3, {}, r"rate 0\.003 .* learning_rate 0\.001: use .* 0\.0001"),
        ("warmup_steps", 50, 49, {"steps": 50}, "50 never ends within steps 50: use 5 "),
        ("patience", 3, 0, {"eval_every": 0}, "3 has nothing to wait for with eval_every 0: use eval_every"),
    ],
)
def test_settings_that_contradict_one_another_are_refused_with_both_numbers(name, bad, good, others, said):
    with pytest.raises(ConfigError, match=said):
        TrainConfig(**others, **{name: bad})
    TrainConfig(**others, **{name: good})


LOWEST = dict.fromkeys(("steps", "micro_batch_size", "tokens_per_step", "log_every"), 1)
LOWEST |= dict.fromkeys(("warmup_steps", "eval_every", "eval_tokens", "patience", "seed"), 0)
LOWEST |= dict.fromkeys(("learning_rate", "min_learning_rate", "muon_learning_rate", "weight_decay"), 0.0)
LOWEST |= dict.fromkeys(("grad_clip", "beta1", "beta2", "muon_momentum"), 0.0)


def test_every_number_can_be_as_low_as_it_makes_sense_and_no_lower():
    config = TrainConfig(**LOWEST).to_json()
    assert config.items() >= LOWEST.items()
    assert LOWEST.keys() == {name for name, value in config.items() if type(value) in (int, float)}
    for name, lowest in LOWEST.items():
        with pytest.raises(ConfigError, match=f"^{name} is {lowest - 1}: it must be at least 0?1?"):
            TrainConfig(**{name: lowest - 1})
