"""Tests of tinylm.inference.config."""

import math

import pytest

from tinylm.errors import ConfigError
from tinylm.inference.config import PLAIN, GenerationConfig, SamplingConfig

SETTINGS = {
    "temperature": [0, 0.0, 0.8, 3],
    "top_k": [0, 1, 10**9],
    "top_p": [1e-9, 0.9, 1],
    "min_p": [0, 0.05, 1.0],
    "repetition_penalty": [0.5, 1, 1.2],
    "max_new_tokens": [0, 1, 10**9],
    "stop": [(), ("\n\n", "KING")],
}
WRONG = {
    "temperature": ([-0.1, math.nan, math.inf, 1e39, 10**400, True, "0.8"], "of at least 0: use 0.8"),
    "top_k": ([-1, 2.0, True, "20"], "a whole number of at least 0: use 20"),
    "top_p": ([0, 0.0, -0.5, 1.01, math.nan], "above 0 and at most 1: use 0.9"),
    "min_p": ([-0.01, 1.01, math.nan], "between 0 and 1: use 0.1"),
    "repetition_penalty": ([0, -1.2, math.inf, math.nan], "above 0: use 1.2"),
    "max_new_tokens": ([-1, 2.5, False], "a whole number of at least 0: use 500"),
    "stop": (["\n", ["\n"], (3,)], "give a tuple of texts"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in SETTINGS for value in SETTINGS[name]])
def test_what_can_work_is_taken_as_it_is(name, value):
    assert getattr(GenerationConfig(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name][0]])
def test_what_cannot_work_is_refused_by_name_with_the_value_and_the_way_out(name, value):
    with pytest.raises(ConfigError) as refusal:
        GenerationConfig(**{name: value})
    message = str(refusal.value)
    assert message.startswith(name) and WRONG[name][1] in message
    assert repr(value) in message


def test_an_empty_stop_sequence_is_refused_because_it_would_end_every_text():
    with pytest.raises(ConfigError, match="0 characters"):
        GenerationConfig(stop=("\n", ""))


def test_the_defaults_change_nothing_and_cut_nothing():
    assert GenerationConfig() == PLAIN
    assert (PLAIN.temperature, PLAIN.top_k, PLAIN.top_p, PLAIN.min_p) == (1.0, 0, 1.0, 0.0)
    assert (PLAIN.repetition_penalty, PLAIN.stop) == (1.0, ())
    assert isinstance(PLAIN, SamplingConfig)
