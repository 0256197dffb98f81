"""One step's laws: accumulation, clipping, the loss function, the ranks, what is logged, what is refused."""

import itertools
import math

import pytest
import torch
from torch import nn

from tests.support.tiny import B, T, Tiny, V, make_batches, make_config, same, sgd, tiny_gpt, weights
from tinylm.device import Precision
from tinylm.errors import ConfigError, Divergence
from tinylm.model.losses import chunked_loss, masked_loss, next_token_loss
from tinylm.text.batches import IGNORE_INDEX, Batches
from tinylm.training import step as module
from tinylm.training.ddp import World
from tinylm.training.optim import parameter_groups
from tinylm.training.step import train_step


def keep(tokens, targets):
    """Most targets are not scored, unevenly over the micro-batches."""
    return targets > 7 - 2 * tokens[:, :1] % 3


class Sparse(Batches):
    """Batches that know themselves which targets are scored."""

    def batch(self, step, micro_step=0, micro_steps=1):
        tokens, targets = super().batch(step, micro_step, micro_steps)
        return tokens, torch.where(keep(tokens, targets), targets, IGNORE_INDEX)

    def count_targets(self, step, micro_steps=1):
        return sum(
            int((self.batch(step, i, micro_steps)[1] != IGNORE_INDEX).sum()) for i in range(micro_steps)
        )


def four_steps(kind, micro_batch_size, loss_fn):
    model, plain = Tiny().double(), make_batches()
    batches = kind(plain.tokens, context_length=T, batch_size=micro_batch_size, seed=5)
    config = make_config(micro_batch_size=micro_batch_size, tokens_per_step=6 * T, grad_clip=0)
    optimizer = sgd(model)
    losses = [
        train_step(model, optimizer, batches, step=s, config=config, loss_fn=loss_fn).loss for s in range(4)
    ]
    return losses, weights(model)


@pytest.mark.parametrize(
    "kind, loss_fn",
    [(Batches, next_token_loss), (Sparse, next_token_loss), (Batches, masked_loss(keep))],
    ids=["all", "sparse batches", "masked loss"],
)
def test_accumulated_micro_batches_equal_the_big_batch(kind, loss_fn):
    (pieces, small), (complete, big) = (four_steps(kind, size, loss_fn) for size in (2, 6))
    assert pieces == pytest.approx(complete, rel=1e-6)  # the loss itself is float32
    torch.testing.assert_close(small, big, rtol=1e-5, atol=1e-6)


def test_masked_loss_equals_batches_that_ignore_the_same_targets():
    (losses, ends), (others, other_ends) = (
        four_steps(Sparse, 2, next_token_loss),
        four_steps(Batches, 2, masked_loss(keep)),
    )
    assert losses == others and same(ends, other_ends)


def test_step_equals_plain_torch():
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


def test_loss_function_is_handed_in_and_its_metrics_are_logged_as_means():
    def loss_fn(model, tokens, targets):
        nats, _ = next_token_loss(model, tokens, targets)
        seen.append(float(tokens.float().mean()))
        return nats, {"mean_token": tokens.float().mean(), "nats": nats.detach()}

    for log in (True, False):
        seen, model, config = [], Tiny(), make_config(tokens_per_step=3 * B * T)
        result = train_step(
            model, sgd(model), make_batches(), step=0, config=config, loss_fn=loss_fn, log=log
        )
        assert len(seen) == 3 and isinstance(result.metrics["nats"], float if log else torch.Tensor)
        assert float(result.metrics["mean_token"]) == pytest.approx(sum(seen) / 3)
        assert float(result.metrics["nats"]) / (B * T) == pytest.approx(float(result.loss), rel=1e-6)


def test_chunked_loss_gives_the_step_of_the_plain_one():
    ends = []
    for loss_fn in (next_token_loss, chunked_loss(5)):
        model = tiny_gpt()
        train_step(model, sgd(model), make_batches(), step=0, config=make_config(), loss_fn=loss_fn)
        ends.append(weights(model))
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("norm", ["above", "below", "just below"])
def test_gradient_is_clipped_to_the_norm_and_the_true_norm_is_reported(norm):
    model, reference = Tiny(), Tiny()
    tokens, targets = make_batches().batch(0)
    nn.functional.cross_entropy(reference(tokens).flatten(0, 1), targets.flatten(), reduction="sum").div(
        B * T
    ).backward()
    true = float(nn.utils.get_total_norm([p.grad for p in reference.parameters()]))
    limit = {"above": 0.01, "below": 2 * true, "just below": true * (1 + 1e-7)}[norm]
    nn.utils.clip_grad_norm_(reference.parameters(), limit)
    result = train_step(model, sgd(model), make_batches(), step=0, config=make_config(grad_clip=limit))
    assert result.grad_norm == pytest.approx(true)
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_gradient_is_not_gone_through_when_clipping_is_off_and_nothing_is_logged(monkeypatch):
    model, norms = Tiny(), []
    for name in ("get_total_norm", "clip_grads_with_norm_"):
        real = getattr(nn.utils, name)
        monkeypatch.setattr(nn.utils, name, lambda *a, real=real: norms.append(1) or real(*a))
    result = train_step(model, sgd(model), make_batches(), step=0, config=make_config(grad_clip=0), log=False)
    assert norms == [] and result.grad_norm is None
    result = train_step(model, sgd(model), make_batches(), step=0, config=make_config(grad_clip=0))
    assert norms == [1] and result.grad_norm > 0.1


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


def test_micro_batches_are_fetched_while_the_device_works_on_the_one_before(monkeypatch):
    order = []

    class Telling(Batches):
        def batch(self, step, micro_step=0, micro_steps=1):
            order.append(f"fetch {micro_step}")
            return super().batch(step, micro_step, micro_steps)

    def loss_fn(model, tokens, targets):
        order.append("forward")
        nats, metrics = next_token_loss(model, tokens, targets)
        nats.register_hook(lambda gradient: order.append("backward"))
        return nats, metrics

    real = module.copy_to
    monkeypatch.setattr(module, "copy_to", lambda *a: order.append("copy") or real(*a))
    batches = Telling(make_batches().tokens, context_length=T, batch_size=B, seed=5)
    model, config = Tiny(), make_config(tokens_per_step=3 * B * T)
    train_step(model, sgd(model), batches, step=0, config=config, loss_fn=loss_fn)
    one = ["copy", "copy", "forward", "backward"]
    assert order == ["fetch 0", *one, "fetch 1", *one, "fetch 2", *one]


def test_update_ratio_is_norm_of_update_over_norm_of_weights():
    model, config = Tiny(), make_config(grad_clip=0)
    matrices = [model.embedding.weight, model.head.weight]
    before = [p.detach().clone() for p in matrices]
    result = train_step(model, sgd(model), make_batches(), step=5, config=config)
    ratios = [float((p.detach() - old).norm() / old.norm()) for p, old in zip(matrices, before, strict=True)]
    assert any(result.update_ratio == pytest.approx(ratio, rel=1e-5) for ratio in ratios)
    assert result.tokens_per_second > 0


def test_step_that_is_not_logged_trains_the_same_and_leaves_its_numbers_on_the_device():
    logged, other = Tiny(), Tiny()
    a = train_step(logged, sgd(logged), make_batches(), step=0, config=make_config())
    b = train_step(other, sgd(other), make_batches(), step=0, config=make_config(), log=False)
    assert same(weights(logged), weights(other))
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


class Both(World):
    """Two processes, played one after the other: what each has to say is kept until both have said it."""

    size = 2

    def __init__(self, rank, said):
        self.rank, self.said, self.turn = rank, said, 0

    def mean(self, value):
        pair = self.said.setdefault(self.turn, {})
        pair[self.rank], self.turn = value, self.turn + 1
        return torch.stack([*pair.values()]).mean() if len(pair) == 2 else value


def test_ranks_divide_by_the_targets_of_all_so_that_their_mean_is_the_big_batch():
    config = make_config(micro_batch_size=2, tokens_per_step=4 * T, grad_clip=0)
    plain = make_batches().tokens
    said, gradients = {}, {}
    for rank in (0, 1, 0, 1):  # the second time, each knows what the other says
        batches = Sparse(plain, context_length=T, batch_size=2, seed=5, rank=rank, world_size=2)
        model = Tiny().double()
        world = Both(rank, said)
        result = train_step(model, sgd(model), batches, step=0, config=config, world=world)
        gradients[rank] = [p.grad for p in model.parameters()]
    big, model = Sparse(plain, context_length=T, batch_size=4, seed=5), Tiny().double()
    config = make_config(micro_batch_size=4, tokens_per_step=4 * T, grad_clip=0)
    expected = train_step(model, sgd(model), big, step=0, config=config)
    for p, *both in zip(model.parameters(), gradients[0], gradients[1], strict=True):
        torch.testing.assert_close(sum(both) / 2, p.grad, rtol=1e-6, atol=1e-9)
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)


def test_world_averages_the_gradient_of_every_parameter_once_before_the_optimiser():
    calls = []

    class Halving(World):
        def average_gradients(self, parameters):
            parameters = list(parameters)
            calls.append(len(parameters))
            for p in parameters:
                p.grad.mul_(0.5)

    moved = []
    for world in (World(), Halving()):
        model = Tiny().double()
        before = [p.detach().clone() for p in model.parameters()]
        train_step(model, sgd(model), make_batches(), step=0, config=make_config(grad_clip=0), world=world)
        moved.append([b - p.detach() for b, p in zip(before, model.parameters(), strict=True)])
    assert calls == [len(before)]
    torch.testing.assert_close([2 * half for half in moved[1]], moved[0])


def test_float16_without_a_kept_scaler_is_refused(monkeypatch):
    class Enabled:
        def is_enabled(self):
            return True

    precision = Precision(torch.device("cpu"), "float16", Enabled())
    monkeypatch.setattr(Precision, "of", classmethod(lambda cls, *args: precision))
    model = Tiny()
    with pytest.raises(ConfigError, match="float16 needs 1 scaler"):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config())


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(
    "place, named",
    [("head.weight", "head.weight holds nan"), ("embedding.weight", "embedding.weight holds nan")],
)
def test_divergence_names_a_bad_weight_before_anything_moves(log, place, named):
    model = Tiny()
    with torch.no_grad():
        model.get_parameter(place)[2, 3] = math.nan
    before = weights(model)
    batches = make_batches()
    with pytest.raises(Divergence, match=rf"by now {named}\) at step 3 with learning rate 0\.03$"):
        train_step(model, sgd(model), batches, step=3, config=make_config(), log=log)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("log", [True, False])
def test_divergence_names_a_bad_gradient_where_the_backward_pass_met_it_first(log):
    model = Tiny()
    before = weights(model)
    model.norm.register_full_backward_hook(lambda module, into, out: (into[0] * math.inf,))
    with pytest.raises(
        Divergence, match=r"the gradient of embedding.weight holds (nan|infinity)\) at step 0"
    ):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config(), log=log)
    assert same(weights(model), before)


class Float16(Precision):
    """float16's rules, for the scaler's sake, in float32's arithmetic."""

    @classmethod
    def scaled(cls, scale):
        return cls(torch.device("cpu"), "float16", torch.amp.GradScaler("cpu", init_scale=scale))

    def autocast(self):
        return torch.autocast("cpu", enabled=False)


def test_float16_gradient_may_overflow_because_the_scaler_leaves_that_step_out():
    model = Tiny()
    before = weights(model)
    precision = Float16.scaled(2.0**127)
    result = train_step(model, sgd(model), make_batches(), step=0, config=make_config(), precision=precision)
    assert math.isinf(result.grad_norm) or math.isnan(result.grad_norm)
    assert same(weights(model), before) and precision.scaler.get_scale() == 2.0**126
    for step in range(1, 60):
        train_step(model, sgd(model), make_batches(), step=step, config=make_config(), precision=precision)
    assert not same(weights(model), before)


def test_float16_scale_that_has_fallen_below_one_stops_the_run():
    model = Tiny()
    model.norm.register_full_backward_hook(lambda module, into, out: (into[0] * math.inf,))
    with pytest.raises(Divergence, match=r"float16's scale has fallen to 0\.5 .* at step 0"):
        train_step(
            model, sgd(model), make_batches(), step=0, config=make_config(), precision=Float16.scaled(1.0)
        )
