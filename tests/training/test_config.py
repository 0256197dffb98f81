"""Every number that cannot work is refused with both numbers and the way out."""

import pytest

from tinylm.errors import ConfigError
from tinylm.training.config import TrainConfig


def test_accumulation_is_derived_from_the_global_batch():
    config = TrainConfig(micro_batch_size=3, tokens_per_step=3 * 7 * 10)
    assert config.grad_accum_steps(7) == 10
    assert config.grad_accum_steps(7, world_size=5) == 2


@pytest.mark.parametrize(
    ("tokens", "world_size", "nearest"),
    [(100, 1, "use 84 or 105"), (10, 1, "use 21"), (100, 2, "use 84 or 126")],
)
def test_a_global_batch_that_cannot_be_cut_names_the_nearest_good_ones(tokens, world_size, nearest):
    config = TrainConfig(micro_batch_size=3, tokens_per_step=tokens)
    with pytest.raises(ConfigError) as caught:
        config.grad_accum_steps(7, world_size)
    assert str(caught.value).endswith(nearest)
    for number in nearest.removeprefix("use ").split(" or "):
        TrainConfig(micro_batch_size=3, tokens_per_step=int(number)).grad_accum_steps(7, world_size)


def test_a_minimum_rate_above_the_peak_is_refused_with_both_numbers():
    with pytest.raises(
        ConfigError, match=r"min_learning_rate 0\.003 .* learning_rate 0\.001: use .* 0\.0001"
    ):
        TrainConfig(learning_rate=1e-3, min_learning_rate=3e-3)
    TrainConfig(learning_rate=1e-3, min_learning_rate=1e-3)


def test_a_warm_up_that_never_ends_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"warmup_steps 50 never ends within steps 50: use 5 "):
        TrainConfig(steps=50, warmup_steps=50)
    TrainConfig(steps=50, warmup_steps=49)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"micro_batch_size": 0},
        {"tokens_per_step": -768},
        {"log_every": 0},
        {"eval_every": -1},
        {"patience": -1},
        {"learning_rate": -1e-3, "min_learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -0.1},
        {"grad_clip": -1.0},
        {"muon_learning_rate": -0.02},
        {"muon_momentum": 1.0},
        {"optimizer": "adam"},
        {"beta1": 1.0},
        {"beta2": 1.5},
        {"schedule": "cosin"},
        {"dtype": "fp16"},
        {"seed": -1},
        {"grad_clip": float("inf")},
        {"learning_rate": float("inf")},
        {"weight_decay": float("inf")},
    ],
)
def test_every_number_out_of_range_is_refused_by_name_and_value(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**bad)
    assert name in str(caught.value) and str(value) in str(caught.value) and ": use " in str(caught.value)


def test_patience_without_evaluations_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match="patience 3 has nothing to wait for with eval_every 0: use"):
        TrainConfig(patience=3, eval_every=0)
    TrainConfig(patience=3, eval_every=1)
