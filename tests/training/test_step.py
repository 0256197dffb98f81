"""One step's laws: accumulation, clipping, the loss function, the ranks, what is logged, what is refused."""

import contextlib
import itertools
import math

import pytest
import torch
from torch import nn

from tests.support import tiny
from tests.support.tiny import B, T, Tiny, V, make_batches, make_config, same, sgd, tiny_gpt, weights
from tinylm.batch import IGNORE_INDEX
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence
from tinylm.model.losses import next_token_loss
from tinylm.text.batches import Batches
from tinylm.training.optim import adamw, build_optimizer, scheduled_rate
from tinylm.training.step import train_step


def step_of(model, step=0, *, optimizer=None, batches=None, config=None, **options):
    optimizer, batches = optimizer or sgd(model), batches or make_batches()
    return train_step(model, optimizer, batches, step=step, config=config or make_config(), **options)


def four_steps(choice, micro_batch_size, model=None):
    model = model or Tiny().double()
    batches = Batches(make_batches().tokens, context_length=T, batch_size=micro_batch_size, seed=5, **choice)
    config = make_config(micro_batch_size=micro_batch_size, tokens_per_step=6 * T, grad_clip=0)
    steps = (step_of(model, i, batches=batches, config=config) for i in range(4))
    return [result.loss for result in steps], weights(model)


@pytest.mark.parametrize(
    "choice",
    [{}, {"keep": tiny.keep}, {"weigh": tiny.weigh}, {"keep": tiny.keep, "weigh": tiny.weigh}],
    ids=" ".join,
)
def test_accumulated_micro_batches_equal_the_big_batch_whatever_is_scored_and_how_much(choice):
    losses, end = four_steps(choice, 6)
    for micro_batch_size in (1, 2, 3):
        other_losses, other_end = four_steps(choice, micro_batch_size)
        assert other_losses == pytest.approx(losses, rel=1e-6)  # the loss itself is float32
        torch.testing.assert_close(other_end, end, rtol=1e-5, atol=1e-6)


def test_weighted_step_is_the_weighted_mean_of_the_nats():
    batches, model = make_batches(keep=tiny.keep, weigh=tiny.weigh), Tiny()
    batch = batches.batch(0)
    nats = nn.functional.cross_entropy(model(batch.tokens).mT, batch.targets, reduction="none")
    counted = tiny.weigh(range(B), batch) * (batch.targets != IGNORE_INDEX)
    expected = float((nats * counted).sum().detach() / counted.sum())
    assert step_of(model, batches=batches).loss == pytest.approx(expected, rel=1e-6)


class Loads(Tiny):
    """A model that is told what its loss function noted, after each update that was applied."""

    def __init__(self):
        super().__init__()
        self.told = []

    def after_step(self, metrics):
        self.told.append((weights(self), metrics))


@pytest.mark.parametrize("log", [True, False])
def test_metrics_of_a_loss_are_means_which_after_step_is_told_and_of_which_the_scalars_are_logged(log):
    def loss_fn(model, batch):
        nats, _ = next_token_loss(model, batch)
        seen.append(torch.bincount(batch.tokens.flatten(), minlength=V).float())
        return nats, {"load": seen[-1], "nats": nats.detach().sum()}

    model, seen = Loads(), []
    result = step_of(model, config=make_config(tokens_per_step=3 * B * T), loss_fn=loss_fn, log=log)
    assert result.metrics.keys() == {"nats"} and isinstance(result.metrics["nats"], float) == log
    assert float(result.metrics["nats"]) / (B * T) == pytest.approx(float(result.loss), rel=1e-6)
    ((at, metrics),) = model.told
    assert same(at, weights(model)) and len(seen) == 3  # the update was applied before
    torch.testing.assert_close(metrics["load"], torch.stack(seen).mean(0))


def test_after_step_is_not_called_where_float16_left_the_update_out():
    model = Loads()
    model.norm.register_full_backward_hook(overflow)
    assert step_of(model, precision=Float16.scaled(2.0**10)).skipped and not model.told


@pytest.mark.parametrize("grad_clip", [0.05, 9.0], ids=["clipped", "below"])
def test_steps_equal_plain_torch_and_report_the_norm_before_clipping(grad_clip):
    model, reference = Tiny(), Tiny()
    batches, config = make_batches(), make_config(grad_clip=grad_clip)
    optimizer = adamw(model, learning_rate=9.0, betas=(0.9, 0.999), weight_decay=0.1)
    groups = [
        {"params": [reference.embedding.weight, reference.head.weight], "weight_decay": 0.1},
        {"params": [reference.norm.weight, reference.norm.bias, reference.head.bias], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups)
    for step in range(3):
        rate = 0.03 * (step + 1) / 4  # of 3 warm-up steps
        for group in groups:
            group["lr"] = rate
        result = step_of(model, step, optimizer=optimizer, batches=batches, config=config)
        batch = batches.batch(step)
        theirs.zero_grad()
        loss = nn.functional.cross_entropy(reference(batch.tokens).mT, batch.targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(reference.parameters(), grad_clip)
        theirs.step()
        torch.testing.assert_close(weights(model), weights(reference))
        assert (result.step, result.learning_rate) == (step, rate)
        assert (result.loss, result.grad_norm) == pytest.approx((loss.item(), norm.item()))
        assert 0.05 < result.grad_norm < 9


def test_update_ratio_is_norm_of_update_over_norm_of_weights():
    model = Tiny()
    matrices = [model.embedding.weight, model.head.weight]
    before = [p.detach().clone() for p in matrices]
    result = step_of(model, 5, config=make_config(grad_clip=0))
    ratios = [float((p.detach() - old).norm() / old.norm()) for p, old in zip(matrices, before, strict=True)]
    assert any(result.update_ratio == pytest.approx(ratio, rel=1e-5) for ratio in ratios)
    assert result.tokens_per_second > 0


@pytest.mark.parametrize("grad_clip", [1.0, 0.0])
def test_step_that_is_not_logged_trains_the_same_and_leaves_its_numbers_on_the_device(grad_clip):
    logged, other, config = Tiny(), Tiny(), make_config(grad_clip=grad_clip)
    a, b = step_of(logged, config=config), step_of(other, config=config, log=False)
    assert same(weights(logged), weights(other)) and a.grad_norm > 0.1 and type(a.grad_norm) is float
    assert isinstance(b.loss, torch.Tensor) and b.loss.item() == a.loss and not b.loss.requires_grad
    assert b.update_ratio is None and b.tokens_per_second is None and (b.grad_norm is None) == (not grad_clip)


def test_dropout_differs_between_steps_ranks_and_seeds():
    model, masks = Tiny(0.5), set()
    model.dropout.register_forward_hook(lambda module, inputs, out: masks.add((out == 0).numpy().tobytes()))
    for step, rank, seed in itertools.product(range(2), range(2), range(2)):
        batches = make_batches()
        batches.rank = rank
        step_of(model, step, batches=batches, config=make_config(seed=seed))
    assert len(masks) == 8


def overflow(module, into, out):
    return (into[0] * math.inf,)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("place", ["head.weight", "embedding.weight", None])
def test_divergence_names_a_bad_weight_or_else_gradient_before_anything_moves(log, place):
    model, named = Tiny(), f"{place} holds nan"
    if place:
        model.get_parameter(place).data[2, 3] = math.nan
    else:
        model.head.register_full_backward_hook(overflow)  # norm and embedding are what is met after it
        named = "the gradient of norm.bias holds (nan|infinity)"
    before = weights(model)
    with pytest.raises(Divergence, match=rf"by now {named}\) at step 3 with learning rate 0\.03$"):
        step_of(model, 3, log=log)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0, equal_nan=True)


class Float16(Precision):
    """float16's rules, for the scaler's sake, in float32's arithmetic."""

    @classmethod
    def scaled(cls, scale):
        return cls(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu", init_scale=scale))

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


def test_float16_without_a_kept_scaler_is_refused(monkeypatch):
    monkeypatch.setattr(Precision, "of", lambda *_: Float16.scaled(1.0))
    with pytest.raises(ConfigError, match="float16 needs 1 scaler"):
        step_of(Tiny())


def test_float16_gradient_is_clipped_as_it_is_after_unscaling():
    plain, scaled = Tiny(), Tiny()
    config = make_config(tokens_per_step=2 * B * T, grad_clip=0.1)
    step_of(plain, config=config)
    step_of(scaled, config=config, precision=Float16.scaled(1024.0))
    torch.testing.assert_close(weights(scaled), weights(plain))


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_float16_step_that_overflows_is_left_out_whole_and_the_next_one_has_its_rate(optimizer, log):
    def state():
        return tiny.bits_of([model.state_dict(), optimizer.state_dict()["state"]])

    model, config, seen = tiny_gpt(), make_config(optimizer=optimizer, steps=20), []
    optimizer = build_optimizer(model, config)
    scaler = torch.amp.GradScaler("cpu", 2.0**24, growth_interval=2)
    options = {"optimizer": optimizer, "config": config, "log": log}
    options["precision"] = Precision(torch.device("cpu"), "float16", scaler)
    for step in range(20):
        was = state()
        result = step_of(model, step, skipped=sum(seen), **options)
        assert result.learning_rate == scheduled_rate(step - sum(seen), config)
        assert result.skipped == (not math.isfinite(result.grad_norm))
        assert result.skipped == (state() == was) or not step  # AdamW's memory is made there, of zeros
        seen.append(result.skipped)
    assert seen[:5] == [True] * 5 and {True, False} <= {*seen[10:]}  # the scale doubles until it overflows


def test_float32_products_of_a_whole_step_are_under_its_precision(monkeypatch):
    @contextlib.contextmanager
    def products(self):
        inside.append(True)
        yield
        inside.pop()

    def loss_fn(*given):
        nats, metrics = next_token_loss(*given)
        nats.register_hook(lambda _: seen.append(("backward", bool(inside))))
        seen.append(("forward", bool(inside)))
        return nats, metrics

    inside, seen, model = [], [], Tiny()
    monkeypatch.setattr(Precision, "products", products)
    optimizer = sgd(model)
    optimizer.register_step_pre_hook(lambda *_: seen.append(("update", bool(inside))))
    step_of(model, optimizer=optimizer, loss_fn=loss_fn)
    assert seen == [("forward", True), ("backward", True), ("update", True)] and not inside


def test_float16_scale_that_has_fallen_below_one_stops_the_run():
    model = Tiny()
    model.norm.register_full_backward_hook(overflow)
    with pytest.raises(Divergence, match=r"float16's scale has fallen to 0\.5 .* at step 0"):
        step_of(model, precision=Float16.scaled(1.0))
