"""Every setting that cannot work is refused with both numbers and the way out; earlier versions are read."""

import pytest

from tinylm.errors import ConfigError
from tinylm.training.config import TrainConfig


def test_grad_accum_steps_follow_from_the_global_batch():
    config = TrainConfig(micro_batch_size=3, tokens_per_step=3 * 7 * 10)
    assert config.grad_accum_steps(7) == 10
    assert config.grad_accum_steps(7, world_size=5) == 2


@pytest.mark.parametrize(
    ("tokens", "world_size", "nearest"),
    [(100, 1, "use 84"), (10, 1, "use 21"), (100, 2, "use 84")],
)
def test_grad_accum_steps_of_a_batch_that_cannot_be_cut_name_the_nearest_good_ones(
    tokens, world_size, nearest
):
    config = TrainConfig(micro_batch_size=3, tokens_per_step=tokens)
    with pytest.raises(ConfigError) as caught:
        config.grad_accum_steps(7, world_size)
    assert str(caught.value).endswith(nearest)
    number = int(nearest.removeprefix("use "))
    TrainConfig(micro_batch_size=3, tokens_per_step=number).grad_accum_steps(7, world_size)


def test_minimum_rate_above_the_peak_is_refused_with_both_numbers():
    with pytest.raises(
        ConfigError, match=r"min_learning_rate 0\.003 .* learning_rate 0\.001: use .* 0\.0001"
    ):
        TrainConfig(learning_rate=1e-3, min_learning_rate=3e-3)
    TrainConfig(learning_rate=1e-3, min_learning_rate=1e-3)


def test_warmup_that_never_ends_is_refused_with_both_numbers():
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
        {"steps": 10.0},
        {"seed": 2**63},
        {"eval_tokens": -1},
        {"eval_dtype": "half"},
        {"compile": 1},
    ],
)
def test_setting_out_of_range_is_refused_by_name_and_value(bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**bad)
    assert str(caught.value).startswith(f"{name} is {value!r}: ") and str(caught.value).count(":") == 1


def test_patience_without_evaluations_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match="patience 3 has nothing to wait for with eval_every 0: use"):
        TrainConfig(patience=3, eval_every=0)
    TrainConfig(patience=3, eval_every=1)


def test_from_json_is_the_inverse_of_to_json():
    config = TrainConfig(steps=777, optimizer="muon", compile=True, eval_tokens=5)
    assert TrainConfig.from_json(config.to_json()) == config


def test_from_json_reads_an_earlier_version_with_what_it_could_not_say_yet():
    earlier = TrainConfig(muon_learning_rate=0.07, muon_momentum=0.8).to_json()
    for name in ("compile", "eval_tokens", "eval_dtype"):
        del earlier[name]
    earlier["matrix_learning_rate"] = earlier.pop("muon_learning_rate")
    earlier["matrix_momentum"] = earlier.pop("muon_momentum")
    config = TrainConfig.from_json(earlier)
    assert (config.muon_learning_rate, config.muon_momentum) == (0.07, 0.8)
    assert (config.compile, config.eval_tokens, config.eval_dtype) == (False, 0, "auto")


def test_from_json_refuses_a_setting_that_is_unknown():
    with pytest.raises(ConfigError, match="unknown 'warmup': use the tinylm that wrote it"):
        TrainConfig.from_json(TrainConfig().to_json() | {"warmup": 3})
