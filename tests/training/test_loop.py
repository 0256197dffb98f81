"""The loop's laws: accumulation, clipping, the schedule, determinism, and what happens when a run breaks."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.batches import IGNORE, Batches
from tinylm.training import loop
from tinylm.training.config import TrainConfig
from tinylm.training.loop import TrainingError, train, train_step
from tinylm.training.losses import cross_entropy
from tinylm.training.optim import learning_rate, parameter_groups
from tinylm.training.precision import Precision
from tinylm.training.records import RunRecord, read_record

V, C, T, B = 13, 11, 7, 3
QUIET = {"progress": False}


class Tiny(nn.Module):
    """An embedding, a matrix and a gain; dropout only where asked."""

    def __init__(self, dropout=0.0, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding, self.norm, self.head = nn.Embedding(V, C), nn.LayerNorm(C), nn.Linear(C, V)
        for p in (self.embedding.weight, self.head.weight):
            nn.init.normal_(p, std=0.3, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        return self.head(self.dropout(self.norm(self.embedding(tokens))))  # (B, T, V)


def make_config(**changes):
    numbers = {
        "steps": 10,
        "micro_batch_size": B,
        "tokens_per_step": B * T,
        "learning_rate": 0.03,
        "min_learning_rate": 0.003,
        "warmup_steps": 3,
        "eval_every": 0,
        "log_every": 4,
        "seed": 5,
        "dtype": "float32",
    }
    return TrainConfig(**(numbers | changes))


def make_batches(**changes):
    tokens = np.random.default_rng(3).integers(0, V, 1009)
    return Batches(tokens, **({"context_length": T, "batch_size": B, "seed": 5} | changes))


def sgd(model, rate=1.0):
    return torch.optim.SGD(model.parameters(), lr=rate)


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class Sparse(Batches):
    """Batches in which most targets are ignored, unevenly over the micro-batches."""

    def batch(self, step, micro_step=0, micro_steps=1):
        tokens, targets = super().batch(step, micro_step, micro_steps)
        return tokens, torch.where(targets > 7 - 2 * tokens[:, :1] % 3, targets, IGNORE)


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


def test_the_schedule_moves_once_a_step_whatever_the_number_of_micro_batches():
    expected = [
        learning_rate(s, schedule="cosine", peak=0.03, minimum=0.003, warmup_steps=3, steps=10)
        for s in range(10)
    ]
    for micro_steps in (1, 3):
        rates, model, config = [], Tiny(), make_config(tokens_per_step=micro_steps * B * T)
        train(
            model,
            make_batches(),
            config,
            on_step=[lambda r, rates=rates: rates.append(r.learning_rate)],
            **QUIET,
        )
        assert rates == expected


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


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(dropout):
    def trained(noise, **changes):
        torch.rand(noise)  # how the caller's own random numbers stand must not matter
        model = Tiny(dropout)
        train(model, make_batches(seed=changes.get("seed", 5)), make_config(**changes), **QUIET)
        return weights(model)

    with torch.random.fork_rng():
        first = trained(1)
        assert same(first, trained(17))
        assert not same(first, trained(1, seed=6))


def test_training_with_dropout_leaves_the_callers_random_numbers_alone():
    model, before = Tiny(0.3), torch.get_rng_state()
    train(model, make_batches(), make_config(), **QUIET)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_differs_between_steps_ranks_and_seeds():
    model, seen = Tiny(0.5), []
    model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
    for step, rank, seed in itertools.product(range(2), range(2), range(2)):
        batches = make_batches()
        batches.rank = rank
        train_step(model, sgd(model), batches, step=step, config=make_config(seed=seed))
    assert len({mask.numpy().tobytes() for mask in seen}) == 8


def test_ctrl_c_ends_the_run_early_and_a_resumed_run_equals_an_uninterrupted_one():
    config, whole, halves = make_config(), Tiny(0.3), Tiny(0.3)
    optimizers = [torch.optim.AdamW(parameter_groups(m, 0.1), lr=9.0) for m in (whole, halves)]
    train(whole, make_batches(), config, optimizer=optimizers[0], **QUIET)

    def ctrl_c(result):
        if result.step == 3:
            raise KeyboardInterrupt

    history = train(halves, make_batches(), config, optimizer=optimizers[1], on_step=[ctrl_c], **QUIET)
    assert history.interrupted and history.tokens == 4 * B * T
    assert [result.step for result in history.steps] == [0]
    rest = train(halves, make_batches(), config, optimizer=optimizers[1], start_step=4, **QUIET)
    assert not rest.interrupted and [result.step for result in rest.steps] == [4, 8, 9]
    assert same(weights(whole), weights(halves))


def test_evaluation_happens_every_so_many_steps_and_at_the_end_in_eval_mode():
    seen = []

    def evaluate(model):
        seen.append(model.training)
        return 1.5

    model = Tiny().eval()
    history = train(model, make_batches(), make_config(eval_every=4), evaluate=evaluate, **QUIET)
    assert [finished for finished, _ in history.evaluations] == [4, 8, 10]
    assert seen == [False] * 3 and not model.training
    modes = []
    train(
        Tiny(),
        make_batches(),
        make_config(eval_every=2),
        evaluate=evaluate,
        on_step=[lambda result: modes.append(result.step)],
        **QUIET,
    )
    assert modes == list(range(10))


def test_every_step_after_an_evaluation_is_in_training_mode():
    model, modes = Tiny(), []
    model.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    train(model, make_batches(), make_config(eval_every=1), evaluate=lambda m: 0.0, **QUIET)
    assert modes == [True] * 10


def test_logged_steps_are_floats_and_the_last_step_is_always_logged():
    history = train(Tiny(), make_batches(), make_config(), **QUIET)
    assert [result.step for result in history.steps] == [0, 4, 8, 9]
    assert all(isinstance(x, float) for r in history.steps for x in dataclasses.astuple(r)[1:])
    assert history.tokens == 10 * B * T and history.seconds > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_stops_the_run_and_says_where(bad, monkeypatch):
    def broken(logits, targets, n_targets):
        calls.append(1)
        return cross_entropy(logits, targets, n_targets) * (bad if len(calls) == 9 else 1)

    calls = []
    monkeypatch.setattr(loop, "cross_entropy", broken)
    with pytest.raises(
        TrainingError, match=rf"the loss is {bad} at step 8 with learning rate 0\.0\d+ \(step 4 "
    ):
        train(Tiny(), make_batches(), make_config(), **QUIET)


def test_batches_of_another_size_than_configured_are_refused_with_both_numbers():
    with pytest.raises(TrainingError, match="batches of 5 do not match micro_batch_size 3"):
        train(Tiny(), make_batches(batch_size=5), make_config(), **QUIET)


def test_a_global_batch_that_does_not_fit_is_refused_before_anything_moves():
    model = Tiny()
    before = weights(model)
    with pytest.raises(ValueError, match="tokens_per_step 22 is not a multiple"):
        train(model, make_batches(), make_config(tokens_per_step=22), **QUIET)
    assert same(before, weights(model))


def test_float16_without_a_kept_scaler_is_refused(monkeypatch):
    class Enabled:
        def is_enabled(self):
            return True

    precision = Precision(torch.device("cpu"), "float16", Enabled())
    monkeypatch.setattr(Precision, "of", classmethod(lambda cls, *args: precision))
    model = Tiny()
    with pytest.raises(TrainingError, match="float16 needs one scaler"):
        train_step(model, sgd(model), make_batches(), step=0, config=make_config())


def test_a_run_writes_its_record(tmp_path):
    @dataclasses.dataclass
    class Score:
        loss: float
        standard_error: float

    with RunRecord(tmp_path / "record.jsonl", {"recipe": "tiny"}) as record:
        history = train(
            Tiny(),
            make_batches(),
            make_config(eval_every=5),
            evaluate=lambda m: Score(2.5, 0.1),
            record=record,
            **QUIET,
        )
    read = read_record(tmp_path / "record.jsonl")
    assert [line["step"] for line in read.steps] == [0, 4, 8, 9]
    assert [line["loss"] for line in read.steps] == [result.loss for result in history.steps]
    assert [(line["step"], line["loss"], line["standard_error"]) for line in read.evaluations] == [
        (5, 2.5, 0.1),
        (10, 2.5, 0.1),
    ]


def test_a_model_learns_a_pattern():
    tokens = np.tile(np.arange(V), 100)
    batches = Batches(tokens, context_length=T, batch_size=B, seed=5)
    history = train(Tiny(), batches, make_config(steps=200, learning_rate=0.1), **QUIET)
    assert history.steps[0].loss == pytest.approx(math.log(V), abs=0.7)
    assert history.steps[-1].loss < 0.1


def test_the_progress_bar_appears_only_when_asked_for(capsys):
    train(Tiny(), make_batches(), make_config(), progress=False)
    assert capsys.readouterr() == ("", "")
    train(Tiny(), make_batches(), make_config(), progress=True)
    assert "10/10" in capsys.readouterr().err


def test_one_schedule_moves_every_group_by_its_own_ratio():
    model = Tiny()
    groups = [{"params": [model.head.weight], "lr_ratio": 5.0}, {"params": [model.embedding.weight]}]
    optimizer, config = torch.optim.SGD(groups, lr=1.0), make_config()
    for step in (0, 1, 9):
        train_step(model, optimizer, make_batches(), step=step, config=config)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[0] == pytest.approx(5 * rates[1])


def test_the_config_chooses_the_optimiser():
    config = ModelConfig(vocab_size=V, context_length=T, n_layer=1, n_head=1, n_embd=C)
    ends = []
    for name in ("adamw", "muon"):
        model = GPT(config)
        train(model, make_batches(), make_config(optimizer=name), **QUIET)
        ends.append(model.blocks[0].mlp.up.weight.detach())
    assert not torch.allclose(*ends)
