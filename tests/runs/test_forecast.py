"""Forecasts are plain arithmetic."""

from dataclasses import replace

import pytest

from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token
from tinylm.runs.forecast import forecast
from tinylm.training.config import TrainConfig

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)


def test_forecast_is_plain_arithmetic_and_calls_itself_one():
    train = TrainConfig(steps=1000, micro_batch_size=5, tokens_per_step=5 * 37 * 4)
    result = forecast(SMALL, train, tokens_per_second=740.0)
    assert (result.tokens, result.seconds) == (740_000, 1000.0)
    for settings, evaluated in (({}, 4), ({"eval_every": 0}, 1), ({"eval_every": 600, "eval_tokens": 11}, 2)):
        read = evaluated * settings.get(
            "eval_tokens", 222
        )  # at the speed of a forward pass, three times a step's
        more = forecast(SMALL, replace(train, **settings), tokens_per_second=740.0, validation_tokens=222)
        assert more.seconds == pytest.approx(1000.0 + read / 3 / 740)
    assert result.flops == 740_000 * flops_per_token(SMALL)
    assert str(result).startswith("forecast: about 17 minutes for 740,000 tokens")
    largest = replace(SMALL, n_layer=2**62, context_length=2**17)
    said = str(forecast(largest, TrainConfig(steps=2**62, tokens_per_step=2**62), tokens_per_second=1.0))
    assert "years" in said and "of memory" in said
