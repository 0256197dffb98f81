"""Forecasts against torch's own FLOP counter and against the tensors that the backward pass really keeps."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.model.losses import cross_entropy
from tinylm.runs import forecast as forecasts
from tinylm.runs.forecast import flops_per_token, forecast, measure_speed, memory_bytes
from tinylm.training.config import TrainConfig

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)
WIDE = ModelConfig(vocab_size=97, context_length=128, n_layer=5, n_head=4, n_embd=128)
MODERN = {"position": "rotary", "norm": "rmsnorm", "activation": "relu2", "qk_norm": True}


@pytest.mark.parametrize("changes", [{}, {"tied_head": False}, {"position": "rotary", "norm": "rmsnorm"}])
def test_flops_per_token_agree_with_torchs_own_counter(changes):
    model = GPT(replace(SMALL, attention="explicit", **changes))
    tokens = torch.zeros(2, 37, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens), tokens).backward()
    by_torch = counter.get_total_flops() / tokens.numel()
    assert flops_per_token(model.config) == pytest.approx(by_torch, rel=0.01)


def kept_for_backward(config):
    """Bytes of the tensors that the backward pass of 7 sequences really keeps, weights left out."""
    model, kept = GPT(config), {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    tokens = torch.zeros(7, config.context_length, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        assert cross_entropy(model(tokens), tokens).isfinite()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def estimated(config):
    return memory_bytes(config, 7) - 16 * parameter_counts(config)["total"]


@pytest.mark.parametrize("changes", [{}, MODERN])
def test_memory_estimate_is_near_what_the_backward_pass_keeps(changes):
    config = replace(WIDE, **changes)
    assert 0.85 < estimated(config) / kept_for_backward(config) < 1.15


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="older torch keeps more for an RMSNorm")
@pytest.mark.parametrize("name, value", [*MODERN.items(), ("attention", "explicit"), ("dropout", 0.1)])
def test_memory_estimate_of_each_setting_by_itself_is_near_what_it_adds(name, value):
    changed = replace(WIDE, **{name: value})
    more, by_estimate = (bytes_of(changed) - bytes_of(WIDE) for bytes_of in (kept_for_backward, estimated))
    assert abs(by_estimate - more) < 0.15 * more + 0.01 * estimated(WIDE)


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


@pytest.mark.parametrize("optimizer", ("adamw", "muon"))
def test_measure_speed_takes_steps_of_the_optimizer_named_and_leaves_the_model_as_it_was(
    optimizer, monkeypatch
):
    made, real = [], forecasts.build_optimizer
    monkeypatch.setattr(forecasts, "build_optimizer", lambda m, c: made.append(c.optimizer) or real(m, c))
    model = GPT(replace(SMALL, dropout=0.1)).eval()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    speed = measure_speed(model, micro_batch_size=3, context_length=17, seconds=0.0, optimizer=optimizer)
    assert math.isfinite(speed) and speed > 0 and made == [optimizer]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert torch.equal(torch.get_rng_state(), state)
