"""The doctor: planted faults are named, with the tensor where they begin; healthy ones are left alone."""

import math

import pytest
import torch
from torch import nn

from tests.support.tiny import QUIET, V, make_batches, make_config, same, tiny_gpt, weights
from tinylm.course.doctor import first_bad, magnitudes
from tinylm.device import Precision
from tinylm.errors import Divergence
from tinylm.model.losses import IGNORE_INDEX, fused_loss, masked_loss, next_token_loss
from tinylm.training.loop import train

BATCHES = make_batches()
UNCALLED = ("blocks", "position_embedding")  # a list and a table: nobody calls them
NAMES = [n or "the model" for n, _ in tiny_gpt(n_layer=2).named_modules() if n not in UNCALLED]


def in_float16():
    """float16's arithmetic, simulated on a processor."""
    return Precision(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu"))


def patient(**changes):
    return tiny_gpt(**({"n_layer": 2} | changes))


def enlarged(model, name, times):
    with torch.no_grad():
        model.get_parameter(name).mul_(times)
    return model


HEALTHY = [{}, {"loss_fn": fused_loss()}, {"precision": in_float16(), "scale": 2.0**10}]


@pytest.mark.parametrize("asked", HEALTHY, ids=["plain", "fused", "float16"])
def test_first_bad_finds_nothing_in_a_healthy_model_and_leaves_it_as_it_was(asked):
    model = patient(dropout=0.3).train()
    before, random = weights(model), torch.get_rng_state()
    assert first_bad(model, *BATCHES.batch(0), **asked) is None
    assert first_bad(model, BATCHES.batch(0)[0], **asked) is None  # the targets are the tokens that come next
    assert same(before, weights(model)) and model.training and torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None and not p._backward_hooks for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def one_infinity(_, given, output):
    return output.index_put((torch.tensor([0]),), torch.tensor(math.inf))


def gradient_of_nan(_, given, output):
    output.register_hook(lambda gradient: gradient * math.nan)


@pytest.mark.parametrize("name", NAMES)
def test_first_bad_names_the_module_that_makes_it_forward_or_backward(name):
    for plant, part, holds in ((one_infinity, "output", "infinity"), (gradient_of_nan, "gradient", "nan")):
        model = patient()
        module = model if name == "the model" else model.get_submodule(name)
        module.register_forward_hook(plant)
        found = first_bad(model, *BATCHES.batch(0))
        assert (found.part, found.name, found.holds) == (part, name, holds)


def test_first_bad_names_the_input_of_the_module_after_a_fault_between_two():
    model = patient()
    plain = nn.functional.gelu
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nn.functional, "gelu", lambda x, *a, **k: plain(x, *a, **k).log())
        found = first_bad(model, *BATCHES.batch(0))
    assert (found.part, found.name, found.holds) == ("input", "blocks.0.mlp.down", "nan")
    assert "the log of 0" in found.cause


@pytest.mark.parametrize("times, part", [(1e6, "output"), (1.0, "gradient")])
def test_first_bad_knows_float16s_overflow_by_a_look_in_float32(times, part):
    model = enlarged(patient(), "blocks.1.mlp.up.weight", times)
    tokens, targets = BATCHES.batch(0)
    found = first_bad(model, tokens, targets, precision=in_float16(), scale=2.0**24)
    size = magnitudes(model, tokens, targets, scale=2.0**24)[found.part, found.name]
    assert found.part == part and found.holds == "infinity" and size > 65_504
    assert f"float16 overflow: {size:,.0f} is above 65,504" in str(found)
    assert ("a scaler leaves such a step out" in str(found)) == (part == "gradient")
    assert first_bad(model, tokens, targets, scale=2.0**24) is None
    if part == "output":
        assert found.name == "blocks.1.mlp.up"


def test_first_bad_knows_an_overflow_of_the_scores_which_no_module_returns():
    model = enlarged(patient(attention="explicit"), "blocks.1.attn.qkv.weight", 3e4)
    found = first_bad(model, *BATCHES.batch(0), precision=in_float16())
    assert (found.part, found.name) == ("input", "blocks.1.attn.proj")
    assert "float16 overflow: it is " in found.cause and "numbers above 65,504" in found.cause


@pytest.mark.parametrize("optimizer, rate", [("adamw", 1e3), ("adamw", 1e20), ("muon", 1e3)])
def test_first_bad_knows_a_rate_that_was_too_high_by_the_weights(optimizer, rate):
    model, done = patient(), []
    rates = {"learning_rate": rate, "muon_learning_rate": rate, "warmup_steps": 0, "steps": 50}
    config = make_config(optimizer=optimizer, **rates)
    with pytest.raises(Divergence):
        train(model, BATCHES, config, callbacks=[lambda state: done.append(state.progress.step)], **QUIET)
    found = first_bad(model, *BATCHES.batch(done[-1]))
    assert "the learning rate was too high: " in found.cause


def test_first_bad_finds_a_weight_that_a_loop_without_a_look_has_broken():
    model = patient()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    for step in range(3):
        next_token_loss(model, *BATCHES.batch(step))[0].backward()
        optimizer.step()
    found = first_bad(model, *BATCHES.batch(3))
    assert (found.part, found.name) == ("weight", "token_embedding.weight")
    assert str(found).startswith(f"the weight token_embedding.weight holds {found.holds}: an update before")


@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss(), masked_loss(lambda t, y: y > V)])
def test_first_bad_knows_a_batch_without_a_scored_target(loss_fn):
    tokens, targets = BATCHES.batch(0)
    unscored = targets if hasattr(loss_fn, "select") else torch.full_like(targets, IGNORE_INDEX)
    found = first_bad(patient(), tokens, unscored, loss_fn=loss_fn)
    bad = "a bad batch: 0 of 21 targets are scored, so the mean is 0/0"
    assert str(found) == f"the loss of the batch holds nan: {bad}"


def test_first_bad_looks_at_the_norm_as_the_step_does():
    """Each gradient is finite, and their squares are not."""
    model = enlarged(patient(tied_head=False), "head.weight", 1e21)
    found = first_bad(model, *BATCHES.batch(0))
    assert (found.part, found.name) == ("norm", "all gradients")
