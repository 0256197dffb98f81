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


def test_shape_leaves_out_what_the_weights_do_not_depend_on():
    free = {"dropout", "attention", "residual_init", "vocab_multiple", "activation_checkpointing"}
    assert SMALL.to_json().keys() - SMALL.shape().keys() == free
