"""Speed: measured by real steps that change nothing, and with the threads that the work is worth."""

import math
from dataclasses import replace

import pytest
import torch

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training import speed as speeds
from tinylm.training.speed import measure_speed, threads_for

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)


@pytest.mark.parametrize("optimizer", ("adamw", "muon"))
def test_measure_speed_takes_steps_of_the_optimizer_named_and_leaves_the_model_as_it_was(
    optimizer, monkeypatch
):
    made, real = [], speeds.build_optimizer
    monkeypatch.setattr(speeds, "build_optimizer", lambda m, c: made.append(c.optimizer) or real(m, c))
    model = GPT(replace(SMALL, dropout=0.1)).eval()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    speed = measure_speed(model, micro_batch_size=3, context_length=17, seconds=0.0, optimizer=optimizer)
    assert math.isfinite(speed) and speed > 0 and made == [optimizer]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_follow_the_work_unless_they_are_asked_for(monkeypatch):
    torch.set_num_threads(2)
    for typed, flops, threads in ((None, 1e3, 1), ("2", 1e3, 2), (None, 1e12, 2)):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if typed:
            monkeypatch.setenv("OMP_NUM_THREADS", typed)
        with threads_for(flops):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
