"""The same numbers on a GPU as on the processor, in each arithmetic. Skipped where there is no GPU."""

import numpy as np
import pytest
import torch

from tests.support.settings import lively
from tinylm.device import Precision, best_device
from tinylm.errors import ConfigError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.config import TrainConfig
from tinylm.training.loop import train
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

GPU = best_device()
pytestmark = pytest.mark.skipif(GPU.type == "cpu", reason="there is no GPU here")
T, B = 31, 5
MODERN = {"position": "rotary", "activation": "relu2", "bias": False, "token_shift": True, "qk_norm": True}
ROUNDING = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}  # of logits of size 1
each_shape = pytest.mark.parametrize("choice", [{}, MODERN], ids=["gpt2", "modern"])


@pytest.fixture(params=["float32", "tf32", "bfloat16", "float16"])
def dtype(request):
    try:
        Precision.of(GPU, request.param)
    except ConfigError as refusal:
        pytest.skip(str(refusal))
    return request.param


def small(**choice):
    return GPT(ModelConfig(vocab_size=67, context_length=T, n_layer=2, n_head=3, n_embd=66, **choice))


def batches():
    return Batches(np.random.default_rng(0).integers(0, 67, 4001), context_length=T, batch_size=B, seed=1)


def config(**changes):
    sizes = {"steps": 60, "micro_batch_size": B, "tokens_per_step": B * T, "warmup_steps": 5, "log_every": 5}
    return TrainConfig(**sizes, learning_rate=3e-3, eval_every=0, **changes)


@each_shape
def test_the_logits_are_those_of_the_processor(choice, dtype):
    model, tokens = small(**choice).eval(), batches().batch(0).tokens
    with torch.no_grad():
        expected = model(tokens)
        with Precision.of(GPU, dtype).autocast():
            found = model.to(GPU)(tokens.to(GPU))
    torch.testing.assert_close(found.float().cpu(), expected, rtol=0, atol=ROUNDING[dtype])


@each_shape
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_one_step_has_the_loss_and_the_gradient_of_the_processor(choice, optimizer, dtype):
    results = []
    for device, arithmetic in (("cpu", "float32"), (GPU, dtype)):
        model, plan = small(**choice).to(device), config(dtype=arithmetic, optimizer=optimizer)
        how = {"step": 0, "config": plan, "precision": Precision.of(device, arithmetic)}
        results.append(train_step(model, build_optimizer(model, plan), batches(), **how))
    here, there = results
    assert there.loss == pytest.approx(here.loss, rel=ROUNDING[dtype])
    assert there.grad_norm == pytest.approx(here.grad_norm, rel=max(0.02, 2 * ROUNDING[dtype]))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_learns_in_each_arithmetic_and_only_float16_has_a_scaler(optimizer, dtype):
    tokens = np.tile(np.arange(67), 60)  # a text that can be learned by heart
    rows = Batches(tokens, context_length=T, batch_size=B, seed=1)
    plan = config(dtype=dtype, optimizer=optimizer)
    history = train(small(**MODERN).to(GPU), rows, plan, show_progress=False)
    assert history.steps[-1].loss < 0.5 * history.steps[0].loss
    assert Precision.of(GPU, dtype).scaler.is_enabled() == (dtype == "float16")


@each_shape
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own
def test_compiled_loss_has_the_loss_and_the_gradient_of_the_plain_one(choice):
    model, batch = small(**choice).to(GPU), batches().batch(0).to(GPU)
    found = []
    for loss_fn in (next_token_loss, torch.compile(next_token_loss)):
        model.zero_grad()
        loss = loss_fn(model, batch)[0].sum()
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)


@each_shape
def test_the_cache_writes_the_same_text_and_as_on_the_processor(choice):
    model, texts = lively(small(**choice).eval(), 0.3), []
    for device, use_cache in (("cpu", True), (GPU, True), (GPU, False)):
        options = GenerationConfig(temperature=0.0, max_new_tokens=20, use_cache=use_cache)
        texts.append(list(generate(model.to(device), [[3, 5, 7]], options, generator=torch.Generator())))
    assert texts[0] == texts[1] == texts[2]
