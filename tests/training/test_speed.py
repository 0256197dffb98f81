"""Speed: measured by real steps that change nothing, and a loss compiles to the same numbers."""

import functools
import math
import warnings
from dataclasses import replace

import pytest
import torch

from tests.support.settings import random_tokens
from tinylm.batch import Batch
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.training import speed as speeds
from tinylm.training.config import TrainConfig
from tinylm.training.speed import compile_loss, measure_speed

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)


@pytest.mark.parametrize("optimizer", ("adamw", "muon"))
def test_measure_speed_takes_steps_of_the_optimizer_named_and_leaves_the_model_as_it_was(
    optimizer, monkeypatch
):
    made, real = [], speeds.build_optimizer
    monkeypatch.setattr(speeds, "build_optimizer", lambda m, c: made.append(c.optimizer) or real(m, c))
    model = GPT(replace(SMALL, dropout=0.1)).eval()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    speed = measure_speed(
        model, TrainConfig(micro_batch_size=3, optimizer=optimizer), context_length=17, seconds=0.0
    )
    assert math.isfinite(speed) and speed > 0 and made == [optimizer]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_measure_speed_measures_the_loss_that_a_run_with_these_settings_trains(monkeypatch):
    real, losses = speeds.train_step, []
    monkeypatch.setattr(
        speeds, "train_step", lambda *a, loss_fn, **more: losses.append(loss_fn) or real(*a, **more)
    )
    monkeypatch.setattr(speeds, "compile_loss", lambda loss_fn: ("compiled", loss_fn))
    for settings, expected in (
        ({"fused_loss": False}, next_token_loss),
        ({}, fused_loss),
        ({"compile": True}, ("compiled", fused_loss)),
    ):
        losses.clear()
        config = TrainConfig(micro_batch_size=3, **settings)
        measure_speed(GPT(SMALL), config, context_length=17, seconds=0.0)
        assert {*losses} == {expected}


def compiled_by(monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def batch():
    return Batch(random_tokens(SMALL, batch=3), random_tokens(SMALL, batch=3, seed=1))


def test_compiled_loss_has_the_plain_ones_numbers_for_more_models_than_torch_compiles(
    monkeypatch,
):
    graphs = []
    compiled_by(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph.forward)
    for n_layer in range(1, 11):  # torch runs the ninth version of one function as it stands
        model = GPT(replace(SMALL, n_layer=n_layer))
        loss_fn = compile_loss(fused_loss)
        for _ in range(2):
            assert torch.equal(loss_fn(model, batch())[0], fused_loss(model, batch())[0])
        assert len(graphs) == n_layer


def test_loss_that_cannot_be_compiled_says_why_and_what_to_do_and_other_errors_stay_their_own(monkeypatch):
    def no_compiler(graph, inputs):
        warnings.warn("`torch.jit.script_method` is deprecated.", DeprecationWarning, stacklevel=1)
        raise RuntimeError("No working C++ compiler found\nand more")

    def out_of_memory(graph, inputs):
        def run(*given):
            raise RuntimeError("out of memory")

        return run

    compiled_by(monkeypatch, no_compiler)
    words = r"^the loss cannot be compiled here \(No working C\+\+ compiler found\): install a C\+\+ com"
    with pytest.raises(ConfigError, match=words):
        compile_loss(next_token_loss)(GPT(SMALL), batch())
    monkeypatch.undo()
    compiled_by(monkeypatch, out_of_memory)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        compile_loss(next_token_loss)(GPT(SMALL), batch())
