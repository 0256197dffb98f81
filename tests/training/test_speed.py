"""Speed: measured by real steps that change nothing, and a loss compiles to the same numbers."""

import functools
import math
import warnings
from dataclasses import replace

import pytest
import torch

from tests.support.settings import random_tokens
from tests.support.tiny import same, weights
from tinylm.batch import Batch
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.training import speed as speeds
from tinylm.training.config import TrainConfig
from tinylm.training.muon import MuonAdamW
from tinylm.training.speed import compile_loss, measure_speed

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"fused_loss": False}, ("adamw", next_token_loss)),
        ({"optimizer": "muon"}, ("muon", fused_loss)),
        ({"compile": True}, ("adamw", ("compiled", fused_loss))),
    ],
)
def test_measure_speed_takes_the_steps_of_a_run_with_these_settings_and_leaves_the_model_as_it_was(
    monkeypatch, settings, expected
):
    def step(model, optimizer, *given, config, loss_fn, **more):
        taken.add((config.optimizer, loss_fn))
        assert isinstance(optimizer, MuonAdamW) == (config.optimizer == "muon")
        return train_step(model, optimizer, *given, config=config, **more)

    taken, train_step = set(), speeds.train_step
    monkeypatch.setattr(speeds, "train_step", step)
    monkeypatch.setattr(speeds, "compile_loss", lambda loss_fn: ("compiled", loss_fn))
    model, config = GPT(replace(SMALL, dropout=0.1)).eval(), TrainConfig(micro_batch_size=3, **settings)
    before, state = weights(model), torch.get_rng_state()
    speed = measure_speed(model, config, context_length=17, seconds=0.0)
    assert math.isfinite(speed) and speed > 0 and taken == {expected}
    assert same(weights(model), before)
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert torch.equal(torch.get_rng_state(), state)


def compiled_by(monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def batch():
    return Batch(random_tokens(SMALL, batch=3), random_tokens(SMALL, batch=3, seed=1))


@pytest.mark.slow
def test_compiled_loss_has_the_plain_ones_numbers_for_more_models_than_torch_compiles(monkeypatch):
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
