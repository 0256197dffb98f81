"""Tests of tinylm.inference.config."""

import math

import pytest

from tinylm.errors import ConfigError
from tinylm.inference.config import DEFAULT, GenerationConfig, SamplingConfig

SETTINGS = {
    "temperature": [0, 0.0, 0.8, 3],
    "top_k": [0, 1, 10**9],
    "top_p": [1e-9, 0.9, 1],
    "min_p": [0, 0.05, 1.0],
    "repetition_penalty": [0.5, 1, 1.2],
    "max_new_tokens": [0, 1, 10**9],
    "stop": [(), ("\n\n", "KING")],
    "window": ["half", "sliding"],
}
WRONG = {
    "temperature": ([-0.1, math.nan, math.inf, 1e39, True, "0.8"], "from 0 to 1,000,000: use 0.8"),
    "top_k": ([-1, 2.0, True, "20"], "it must be"),
    "top_p": ([0, 0.0, -0.5, 1.01, math.nan], "above 0 and at most 1: use 0.9"),
    "min_p": ([-0.01, 1.01, math.nan], "from 0 to 1: use 0.1"),
    "repetition_penalty": ([0, -1.2, 1e-300, 1e30, math.inf, math.nan], "from 0.01 to 100: use 1.2"),
    "max_new_tokens": ([-1, 2.5, False], "it must be"),
    "stop": (["\n", ["\n"], (3,)], "give a tuple of texts"),
    "window": (["whole", None], "use 'half' or 'sliding'"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in SETTINGS for value in SETTINGS[name]])
def test_setting_that_can_work_is_taken_as_it_is(name, value):
    assert getattr(GenerationConfig(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name][0]])
def test_setting_that_cannot_work_is_refused_with_its_name_its_value_and_the_way_out(name, value):
    with pytest.raises(ConfigError) as refusal:
        GenerationConfig(**{name: value})
    message = str(refusal.value)
    assert message.startswith(name) and WRONG[name][1] in message
    assert repr(value) in message


def test_empty_stop_sequence_is_refused_because_it_would_end_every_text():
    with pytest.raises(ConfigError, match="0 characters"):
        GenerationConfig(stop=("\n", ""))


def test_defaults_change_no_probability_and_cut_nothing():
    assert GenerationConfig() == DEFAULT
    assert (DEFAULT.temperature, DEFAULT.top_k, DEFAULT.top_p, DEFAULT.min_p) == (1.0, 0, 1.0, 0.0)
    assert (DEFAULT.repetition_penalty, DEFAULT.stop) == (1.0, ())
    assert isinstance(DEFAULT, SamplingConfig)
