"""One step's laws: accumulation, clipping, the schedule, what is measured, and what is refused."""

import itertools
import math

import pytest
import torch
from torch import nn

from tests.support.tiny import B, T, Tiny, V, make_batches, make_config, same, sgd, weights
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence
from tinylm.text.batches import IGNORE_INDEX, Batches
from tinylm.training.finite import DeferredFiniteCheck
from tinylm.training.optim import parameter_groups
from tinylm.training.step import train_step


class Sparse(Batches):
    """Batches in which most targets are ignored, unevenly over the micro-batches."""

    def batch(self, step, micro_step=0, micro_steps=1):
        tokens, targets = super().batch(step, micro_step, micro_steps)
        return tokens, torch.where(targets > 7 - 2 * tokens[:, :1] % 3, targets, IGNORE_INDEX)


@pytest.mark.parametrize("kind", [Batches, Sparse])
def test_accumulated_micro_batches_equal_the_big_batch(kind):
    results = {}
    for micro_batch_size in (2, 6):
        model = Tiny()
        model.double()
        batches = make_batches()
        batches = kind(batches.tokens, context_length=T, batch_size=micro_batch_size, seed=5)
        config = make_config(micro_batch_size=micro_batch_size, tokens_per_step=6 * T, grad_clip=0)
        optimizer = sgd(model)
        losses = [train_step(model, optimizer, batches, step=s, config=config).loss for s in range(4)]
        results[micro_batch_size] = (losses, weights(model))
    assert results[2][0] == pytest.approx(results[6][0], rel=1e-6)  # the loss itself is float32
    torch.testing.assert_close(results[2][1], results[6][1], rtol=1e-5, atol=1e-6)


def test_one_step_is_what_plain_torch_does():
    model, reference = Tiny(), Tiny()
    batches, config = make_batches(), make_config(grad_clip=0.05)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=9.0)
    groups = [
        {"params": [reference.embedding.weight, reference.head.weight], "weight_decay": 0.1},
        {"params": [reference.norm.weight, reference.norm.bias, reference.head.bias], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.03 / 4)  # step 0 of 3 warm-up steps
    result = train_step(model, optimizer, batches, step=0, config=config)
    tokens, targets = batches.batch(0)
    loss = nn.functional.cross_entropy(reference(tokens).flatten(0, 1), targets.flatten())
    loss.backward()
    norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.05)
    theirs.step()
    torch.testing.assert_close(weights(model), weights(reference))
    assert (result.step, result.learning_rate) == (0, 0.03 / 4)
    assert result.loss == pytest.approx(loss.item()) and result.grad_norm == pytest.approx(norm.item())


def test_the_gradient_is_clipped_to_the_norm_and_the_true_norm_is_reported():
    model, config = Tiny(), make_config(grad_clip=0.01)
    result = train_step(model, sgd(model), make_batches(), step=0, config=config)
    clipped = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    assert clipped == pytest.approx(0.01, rel=1e-3) and result.grad_norm > 0.1
    train_step(model, sgd(model), make_batches(), step=0, config=make_config(grad_clip=0))
    assert math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())) > 0.1


class DoublingScaler:
    """A stand-in for the float16 scaler: multiplies the loss, and divides when asked to unscale."""

    def __init__(self):
        self.calls = []

    def scale(self, loss):
        self.calls.append("scale")
        return loss * 1024

    def unscale_(self, optimizer):
        self.calls.append("unscale")
        for p in optimizer.param_groups[0]["params"]:
            p.grad /= 1024

    def step(self, optimizer):
        self.calls.append("step")
        optimizer.step()

    def update(self):
        self.calls.append("update")


def test_clipping_sees_the_unscaled_gradient():
    plain, scaled = Tiny(), Tiny()
    config, batches = make_config(tokens_per_step=2 * B * T, grad_clip=0.1), make_batches()
    train_step(plain, sgd(plain), batches, step=0, config=config)
    scaler = DoublingScaler()
    precision = Precision(torch.device("cpu"), "float32", scaler)
    result = train_step(scaled, sgd(scaled), batches, step=0, config=config, precision=precision)
    torch.testing.assert_close(weights(scaled), weights(plain))
    assert scaler.calls == ["scale", "scale", "unscale", "step", "update"]
    assert result.loss == pytest.approx(math.log(V), abs=1)


def test_gradients_are_zeroed_once_a_step(monkeypatch):
    model = Tiny()
    optimizer, zeroed = sgd(model), []
    monkeypatch.setattr(type(optimizer), "zero_grad", lambda self, set_to_none=True: zeroed.append(1))
    config = make_config(tokens_per_step=4 * B * T)
    for step in range(2):
        train_step(model, optimizer, make_batches(), step=step, config=config)
    assert len(zeroed) == 2


def test_the_update_ratio_is_length_of_update_over_length_of_weights():
    model, config = Tiny(), make_config(grad_clip=0)
    matrices = [model.embedding.weight, model.head.weight]
    before = [p.detach().clone() for p in matrices]
    result = train_step(model, sgd(model), make_batches(), step=5, config=config)
    ratios = [float((p.detach() - old).norm() / old.norm()) for p, old in zip(matrices, before, strict=True)]
    assert any(result.update_ratio == pytest.approx(ratio, rel=1e-5) for ratio in ratios)
    assert result.tokens_per_second > 0


def test_an_unmeasured_step_trains_the_same_and_leaves_its_numbers_on_the_device():
    measured, unmeasured = Tiny(), Tiny()
    a = train_step(measured, sgd(measured), make_batches(), step=0, config=make_config())
    b = train_step(unmeasured, sgd(unmeasured), make_batches(), step=0, config=make_config(), measure=False)
    assert same(weights(measured), weights(unmeasured))
    assert isinstance(b.loss, torch.Tensor) and b.loss.item() == a.loss and not b.loss.requires_grad
    assert b.update_ratio is None and b.tokens_per_second is None


def test_dropout_differs_between_steps_ranks_and_seeds():
    model, seen = Tiny(0.5), []
    model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
    for step, rank, seed in itertools.product(range(2), range(2), range(2)):
        batches = make_batches()
        batches.rank = rank
        train_step(model, sgd(model), batches, step=step, config=make_config(seed=seed))
    assert len({mask.numpy().tobytes() for mask in seen}) == 8


def test_float16_without_a_kept_scaler_is_refused(monkeypatch):
    class Enabled:
        def is_enabled(self):
            return True

    precision = Precision(torch.device("cpu"), "float16", Enabled())
    monkeypatch.setattr(Precision, "of", classmethod(lambda cls, *args: precision))
    model = Tiny()
    with pytest.raises(ConfigError, match="float16 needs one scaler"):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config())


def test_one_schedule_moves_every_group_by_its_own_ratio():
    model = Tiny()
    groups = [{"params": [model.head.weight], "lr_ratio": 5.0}, {"params": [model.embedding.weight]}]
    optimizer, config = torch.optim.SGD(groups, lr=1.0), make_config()
    for step in (0, 1, 9):
        train_step(model, optimizer, make_batches(), step=step, config=config)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[0] == pytest.approx(5 * rates[1])


@pytest.mark.parametrize("measure", [True, False])
@pytest.mark.parametrize(
    "place, named",
    [("head.weight", "head.weight holds nan"), ("embedding.weight", "embedding.weight holds nan")],
)
def test_a_bad_weight_is_named_before_anything_moves(measure, place, named):
    model = Tiny()
    with torch.no_grad():
        model.get_parameter(place)[2, 3] = math.nan
    before = weights(model)
    batches = make_batches()
    with pytest.raises(Divergence, match=rf"{named} at step 3 with learning rate 0\.03$"):
        train_step(model, sgd(model), batches, step=3, config=make_config(), measure=measure)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("measure", [True, False])
def test_a_bad_gradient_is_named_where_the_backward_pass_met_it_first_and_no_weight_moves(measure):
    model = Tiny()
    before = weights(model)
    model.norm.register_full_backward_hook(lambda module, into, out: (into[0] * math.inf,))
    with pytest.raises(Divergence, match=r"the gradient of embedding.weight holds (nan|infinity) at step 0"):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config(), measure=measure)
    assert same(weights(model), before)


class Float16(Precision):
    """float16's rules, for the scaler's sake, in float32's arithmetic."""

    @classmethod
    def scaled(cls, scale):
        return cls(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu", init_scale=scale))

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


class RunsAhead(Precision):
    """A device that Python does not wait for, such as a GPU, played by the processor."""

    is_synchronous = False


def test_where_python_does_not_wait_unmeasured_steps_are_looked_at_together_and_the_first_bad_one_is_named():
    model, config = Tiny(), make_config()
    precision = RunsAhead.of("cpu", "float32")
    optimizer, unseen = sgd(model), DeferredFiniteCheck(model)

    def step(number, measure=False):
        options = {"config": config, "precision": precision, "unseen": unseen}
        train_step(model, optimizer, make_batches(), step=number, measure=measure, **options)

    for number in (0, 1):
        step(number)
    unseen.look()
    with torch.no_grad():
        model.head.bias[0] = math.inf
    for number in (2, 3):
        step(number)
    with pytest.raises(Divergence, match=r"the loss is nan \(by now .* holds nan\) at step 2 with"):
        step(4, measure=True)


def test_a_float16_gradient_may_overflow_because_the_scaler_leaves_that_step_out():
    model = Tiny()
    before = weights(model)
    precision = Float16.scaled(2.0**127)
    result = train_step(model, sgd(model), make_batches(), step=0, config=make_config(), precision=precision)
    assert math.isinf(result.grad_norm) or math.isnan(result.grad_norm)
    assert same(weights(model), before) and precision.scaler.get_scale() == 2.0**126
    for step in range(1, 60):
        train_step(model, sgd(model), make_batches(), step=step, config=make_config(), precision=precision)
    assert not same(weights(model), before)


def test_a_float16_scale_that_has_fallen_below_one_stops_the_run():
    model = Tiny()
    model.norm.register_full_backward_hook(lambda module, into, out: (into[0] * math.inf,))
    precision = Float16.scaled(1.0)
    with pytest.raises(Divergence, match=r"float16's scale has fallen to 0\.5 .* at step 0"):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config(), precision=precision)
