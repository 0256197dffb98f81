"""Forecasts are plain arithmetic."""

from dataclasses import replace

import pytest

from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.cost import flops_per_token, memory_bytes
from tinylm.runs.recipes import recipe
from tinylm.training.config import TrainConfig
from tinylm.training.forecast import CARDS, check_memory, forecast, forecast_on

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)


def test_forecast_is_plain_arithmetic_and_calls_itself_one():
    train = TrainConfig(steps=1000, micro_batch_size=5, tokens_per_step=5 * 37 * 4)
    result = forecast(SMALL, train, tokens_per_second=740.0)
    assert (result.tokens, result.seconds) == (740_000, 1000.0)
    for settings, evaluated in (({}, 4), ({"eval_every": 0}, 1), ({"eval_every": 600, "eval_tokens": 11}, 2)):
        # At the speed of a forward pass, three times a step's.
        read = evaluated * settings.get("eval_tokens", 222)
        more = forecast(SMALL, replace(train, **settings), tokens_per_second=740.0, validation_tokens=222)
        assert more.seconds == pytest.approx(1000.0 + read / 3 / 740)
    assert result.flops == 740_000 * flops_per_token(SMALL)
    assert str(result).startswith("forecast: about 17 minutes for 740,000 tokens")
    said = str(forecast(SMALL, TrainConfig(steps=2**62, tokens_per_step=2**62), tokens_per_second=1.0))
    assert "years" in said and "MiB of memory" in said and "for each token" not in said


def test_forecast_of_a_mixture_says_how_many_of_its_parameters_a_token_uses():
    result = forecast(recipe("lightlm_moe").model, TrainConfig(), tokens_per_second=740.0)
    assert "394,213,248 parameters (135,427,968 for each token)" in str(result)


def test_memory_that_is_there_is_asked_for_with_the_loss_that_trains():
    made = recipe("tinystories_51m")
    fused, plain = (
        memory_bytes(made.model, made.train.micro_batch_size, fused_loss=fused) for fused in (True, False)
    )
    assert fused < plain
    for with_fused, least in ((True, fused), (False, plain)):
        train = replace(made.train, fused_loss=with_fused)
        for enough in (least, None):
            check_memory(made.model, train, enough)
        with pytest.raises(ConfigError, match=r"MiB of memory and this machine has .* MiB: use a micro"):
            check_memory(made.model, train, least - 1)


def needed(model, n):
    return memory_bytes(model, n, "float16", fused_loss=True)


@pytest.mark.parametrize("card", CARDS)
def test_forecast_on_a_card_is_the_work_over_a_share_of_its_peak_with_the_largest_micro_batch_that_fits(card):
    peak, gib = CARDS[card]
    for width in (512, 1536, 4096):  # a tenth of the memory is left free
        made = recipe("tinystories_51m")
        model, room = replace(made.model, n_embd=width), 0.9 * gib * 2**30
        result, micro_batch_size = forecast_on(card, model, made.train, utilisation=0.5)
        fitting = [n for n in (32, 16, 8, 4, 2, 1) if needed(model, n) <= room]
        assert micro_batch_size == max(fitting, default=0) and (result is None) == (not fitting)
        if fitting:
            assert result.tokens == 327_680_000 and result.memory_bytes <= room
            assert result.seconds == pytest.approx(2 * result.flops / peak)
    assert forecast_on("RTX 3060", recipe("tinystories_51m").model, made.train)[1] == 32
    assert forecast_on("T4", model, made.train) == (None, 0)
