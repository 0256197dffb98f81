"""ModelConfig refuses what cannot work, and says on which settings the weights depend."""

import itertools

import pytest

from tests.support.settings import CHOICES, SMALL
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_embd": 100, "n_head": 12}, "n_embd 100 is not a multiple of n_head 12: use 96 or 108"),
        (
            {"n_embd": 100, "n_head": 4, "position": "rotary"},
            "n_embd 100 is not a multiple of 2 × n_head 4, as rotary positions need: use 96 or 104",
        ),
        ({"n_kv_head": 4, "n_head": 6, "n_embd": 36}, "n_kv_head 4 does not divide n_head 6: use 1, 2, 3, 6"),
        ({"n_expert": 4, "n_expert_active": 1}, "n_expert_active 1 does not fit n_expert 4: use 2 to 4"),
        ({"n_expert": 1}, "n_expert_active 2 does not fit n_expert 1: use 1"),
        ({"context_length": 3 * 10**7}, "context_length is 30000000: it must be at most 131072"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and below 1"),
        ({"rope_base": 1.0}, "rope_base is 1.0: it must be above 1: use 10000.0, which is usual"),
    ],
)
def test_config_that_cannot_work_is_refused_with_the_numbers_and_the_way_out(settings, sentence):
    with pytest.raises(ConfigError) as error:
        ModelConfig(**settings)
    assert str(error.value) == sentence


def test_suggested_widths_are_all_accepted():
    for n_embd, n_head, position in itertools.product(range(1, 60), range(1, 12), CHOICES["position"]):
        sizes = {"n_head": n_head, "position": position}
        try:
            ModelConfig(n_embd=n_embd, **sizes)
        except ConfigError as error:
            suggested = [int(word) for word in str(error).split("use")[-1].split() if word.isdigit()]
            assert suggested
            for width in suggested:
                ModelConfig(n_embd=width, **sizes)


def test_later_settings_are_written_where_they_are_no_default_and_may_be_missing():
    old = ModelConfig().to_json()
    assert (
        not {"n_kv_head", "n_inner", "norm_eps"} & old.keys() and ModelConfig.from_json(old) == ModelConfig()
    )
    assert not any("expert" in name or "router" in name for name in old)
    for told in ({"n_kv_head": 2}, {"n_inner": 37}, {"norm_eps": 1e-6}, {"n_expert": 3, "router_bias": True}):
        assert told.items() <= ModelConfig(**told).to_json().items()
        assert ModelConfig.from_json(old | told) == ModelConfig(**told)
    with pytest.raises(ConfigError, match="lacks or does not know 'n_head'"):
        ModelConfig.from_json({name: value for name, value in old.items() if name != "n_head"})


def test_settings_that_mean_the_same_model_are_equal():
    for activation, hidden in (("gelu", 4 * 128), ("swiglu", 344)):  # 344 is 8/3 of 128, 341.3, in steps of 8
        plain = ModelConfig(activation=activation)
        assert plain == ModelConfig(activation=activation, n_kv_head=4, n_inner=hidden)
        assert (plain.kv_heads, plain.mlp_hidden) == (4, hidden)


def test_shape_leaves_out_what_the_weights_do_not_depend_on():
    free = {"dropout", "attention", "residual_init", "vocab_multiple", "activation_checkpointing"}
    assert SMALL.to_json().keys() - SMALL.shape().keys() == free
