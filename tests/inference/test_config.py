"""Every setting of a text's continuation is taken within its range and refused outside, with the way out."""

import math

import pytest

from tinylm.errors import ConfigError
from tinylm.inference.config import GenerationConfig

SETTINGS = {  # what is taken, what is refused, and what is said then
    "temperature": ([0, 3, 1e6], [-0.1, math.nan, math.inf, 1e39, "0.8"], "at most 1000000: use 0.8"),
    "top_k": ([0, 10**9], [-1, 2.0], "it must be"),
    "top_p": ([1e-9, 1], [0, -0.5, 1.01, math.nan], "above 0 and at most 1: use 0.9"),
    "min_p": ([0, 1.0], [-0.01, 1.01, math.nan], "at least 0 and at most 1: use 0.1"),
    "repetition_penalty": ([0.01, 100], [0, 1e-300, 1e30, math.nan], "at most 100: use 1.2"),
    "max_new_tokens": ([1, 10**9], [0, -1, False], "it must be"),
    "stop": ([(), ("\n\n", "KING")], ["\n", ["\n"], (3,), ("",)], "give a tuple of texts"),
    "use_cache": ([False], [1], "use True or False"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_taken_as_it_is_or_refused_with_its_name_its_value_and_the_way_out(name):
    taken, refused, sentence = SETTINGS[name]
    for value in taken:
        assert getattr(GenerationConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ConfigError) as refusal:
            GenerationConfig(**{name: value})
        message = str(refusal.value)
        assert message.startswith(f"{name} is {value!r}") and sentence in message
