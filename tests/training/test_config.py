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
        (
            "patience",
            3,
            0,
            {"eval_every": 0},
            "3 has nothing to wait for with eval_every 0: use eval_every 200",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused_with_both_numbers(name, bad, good, others, said):
    with pytest.raises(ConfigError, match=said):
        TrainConfig(**others, **{name: bad})
    TrainConfig(**others, **{name: good})


LEAST = dict.fromkeys(("steps", "micro_batch_size", "tokens_per_step", "log_every"), 1)
LEAST |= dict.fromkeys(("warmup_steps", "eval_every", "eval_tokens", "patience", "seed"), 0)
RATES = ("learning_rate", "min_learning_rate", "muon_learning_rate", "weight_decay", "grad_clip")
CHOICES = {"optimizer": "adam", "schedule": "cosin", "dtype": "fp16", "eval_dtype": "half", "compile": 1}
CHOICES |= {"fused_loss": None}
LOWEST = LEAST | dict.fromkeys((*RATES, "beta1", "beta2", "muon_momentum"), 0.0)
BAD = [
    *((name, least - 1) for name, least in LEAST.items()),
    *((name, number) for name in RATES for number in (-1e-3, float("inf"), float("nan"))),
    *((name, number) for name in ("beta1", "beta2", "muon_momentum") for number in (-0.1, 1.0)),
    *CHOICES.items(),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_setting_out_of_range_is_refused_by_name_and_value(name, value):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}: ") and str(caught.value).count(":") == 1


def test_setting_at_the_end_of_its_range_is_taken():
    assert TrainConfig(**LOWEST).to_json().items() >= LOWEST.items()
    assert LOWEST.keys() | CHOICES.keys() == TrainConfig().to_json().keys()
