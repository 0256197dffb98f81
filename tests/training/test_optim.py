"""Parameter groups, Muon with AdamW as one optimiser of torch's kind, and the schedule's laws."""

import itertools

import pytest
import torch
from torch import nn

from tests.support.tiny import bits_of, make_config, tiny_gpt
from tinylm.errors import ConfigError
from tinylm.training.muon import MuonAdamW
from tinylm.training.optim import adamw, build_optimizer, learning_rate, scheduled_rate, set_learning_rate

PEAK, MINIMUM, WARMUP, STEPS = 3e-3, 2e-4, 13, 131
each_schedule = pytest.mark.parametrize("schedule", ("cosine", "linear", "constant", "wsd"))
each_decaying_schedule = pytest.mark.parametrize("schedule", ("cosine", "linear", "wsd"))


def rate(step, schedule="cosine", **changes):
    numbers = {"peak": PEAK, "minimum": MINIMUM, "warmup_steps": WARMUP, "steps": STEPS} | changes
    return learning_rate(step, schedule=schedule, **numbers)


def test_weight_decay_shrinks_matrices_and_embeddings_and_no_norm_or_bias():
    model = small_gpt()
    optimizer = adamw(model, learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.1 * 0.5 if p.ndim >= 2 else 1))


@each_schedule
def test_schedule_rises_in_equal_parts_to_the_peak_then_never_and_reaches_its_end_at_the_last_step(schedule):
    steps, warmup = 10_007, 503
    rates = [rate(step, schedule, steps=steps, warmup_steps=warmup) for step in range(steps + 1)]
    rising, falling = rates[: warmup + 1], rates[warmup:steps]
    assert rising == pytest.approx([PEAK * (step + 1) / (warmup + 1) for step in range(warmup + 1)])
    assert rising[-1] == PEAK and falling == sorted(falling, reverse=True)
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < PEAK / 400  # no jumps
    end = PEAK if schedule == "constant" else MINIMUM
    assert rates[-2] == rates[-1] == end and (rates[-3] > end or schedule == "constant")


def test_cosine_equals_torchs_own():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=PEAK)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 1, eta_min=MINIMUM)
    for step in range(STEPS):
        assert rate(step, warmup_steps=0) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_wsd_holds_the_peak_and_falls_over_the_last_fifth():
    rates = [rate(step, "wsd", steps=101) for step in range(101)]
    assert set(rates[WARMUP:81]) == {PEAK}
    assert rates[90] == pytest.approx((PEAK + MINIMUM) / 2)


@each_schedule
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 2), (4, 5), (4, 6)])
def test_learning_rate_of_the_shortest_runs_is_above_zero_at_every_step(schedule, warmup, steps):
    rates = [rate(step, schedule, warmup_steps=warmup, steps=steps) for step in range(steps)]
    assert max(rates) == PEAK and min(rates) > 0


@each_decaying_schedule
def test_schedule_to_zero_wastes_no_step(schedule):
    config = make_config(steps=31, schedule=schedule, min_learning_rate=0.0)
    rates = [scheduled_rate(step, config) for step in range(31)]
    assert rates[-1] > 0 == scheduled_rate(31, config)
    if schedule == "linear":  # the fall goes on by as much again
        assert rates[-1] == pytest.approx(rates[-2] - rates[-1])


def small_gpt(**changes):
    return tiny_gpt(n_layer=2, n_head=3, n_embd=18, **changes)


def muon(**changes):
    settings = {"optimizer": "muon", "learning_rate": 0.01, "min_learning_rate": 0.001, "weight_decay": 0.0}
    settings |= {"muon_learning_rate": 0.05, "muon_momentum": 0.9}
    return make_config(**(settings | changes))


def backward(model, seed):
    model.zero_grad()
    tokens = torch.randint(13, (2, 7), generator=torch.Generator().manual_seed(seed))
    loss = model(tokens).logsumexp(-1).sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("tied_head", (True, False))
def test_muon_gets_the_matrices_of_the_blocks_cut_by_heads_and_adamw_each_other_parameter_once(tied_head):
    model = small_gpt(tied_head=tied_head)
    names = {id(p): name for name, p in model.named_parameters()}
    splits = {"attn.qkv": 3 * 3, "attn.proj": 1, "mlp.up": 1, "mlp.down": 1}
    expected = {f"blocks.{i}.{kind}.weight": n for i in range(2) for kind, n in splits.items()}
    groups = build_optimizer(model, muon()).param_groups
    found = [(names[id(p)], group["kind"], group["splits"]) for group in groups for p in group["params"]]
    assert {name: n for name, kind, n in found if kind == "muon"} == expected
    assert sorted(name for name, *_ in found) == sorted(names.values())


def test_muon_adamw_step_equals_muon_and_torchs_adamw_apart_bitwise():
    one, other = small_gpt(), small_gpt()
    together = build_optimizer(one, muon(weight_decay=0.1))
    rest, *matrices = build_optimizer(other, muon(weight_decay=0.1)).param_groups
    alone = (
        torch.optim.AdamW(rest["params"], lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        *(MuonAdamW([group]) for group in matrices),
    )
    for step in range(3):
        for model, optimizers in ((one, (together,)), (other, alone)):
            backward(model, step)
            for optimizer in optimizers:
                optimizer.step()
    assert bits_of(one.state_dict()) == bits_of(other.state_dict())


def test_muon_and_adamw_move_by_their_own_peaks_even_where_one_is_zero():
    for peak in (0.01, 0.0):
        config = muon(learning_rate=peak, min_learning_rate=peak / 10)
        optimizer = build_optimizer(small_gpt(), config)
        for step in (0, 1, 9):
            adamw_rate = set_learning_rate(optimizer, step, config)
            share = scheduled_rate(step, config, 1.0)
            for group in optimizer.param_groups:
                assert group["lr"] == pytest.approx(share * (0.05 if group["kind"] == "muon" else peak))
            assert share > 0 and adamw_rate == pytest.approx(share * peak)


def test_model_with_nothing_to_train_is_refused_and_muon_needs_a_matrix_and_nothing_else():
    model = small_gpt().requires_grad_(False)
    for optimizer in ("adamw", "muon"):
        with pytest.raises(ConfigError, match=f"^0 of {model.n_parameters()} parameters are trainable"):
            build_optimizer(model, muon(optimizer=optimizer))
    model.token_embedding.requires_grad_(True)
    with pytest.raises(ConfigError, match="0 of the trainable parameters are matrices for muon: use optim"):
        build_optimizer(model, muon())
    model.requires_grad_(False)
    matrix = model.blocks[0].mlp.up.weight.requires_grad_(True)
    optimizer, before = build_optimizer(model, muon()), matrix.detach().clone()
    backward(model, 0)
    optimizer.step()
    assert not torch.equal(matrix, before)
