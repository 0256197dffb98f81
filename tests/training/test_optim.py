"""Parameter groups, AdamW against torch's plain loop, optimisers that act as one, and the schedule's laws."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.training.muon import Muon
from tinylm.training.optim import adamw, learning_rate, make_optimizer, muon_groups, parameter_groups

PEAK, MINIMUM, WARMUP, STEPS = 3e-3, 2e-4, 13, 131
SCHEDULES = ("cosine", "linear", "constant", "wsd")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.linear = nn.Embedding(11, 7), nn.LayerNorm(7), nn.Linear(7, 5)
        self.head = nn.Linear(7, 11, bias=False)
        self.head.weight = self.embedding.weight


def rate(step, schedule="cosine", **changes):
    numbers = {"peak": PEAK, "minimum": MINIMUM, "warmup_steps": WARMUP, "steps": STEPS} | changes
    return learning_rate(step, schedule=schedule, **numbers)


def test_matrices_decay_and_the_rest_does_not():
    model = Tied()
    decayed, plain = parameter_groups(model, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model.embedding.weight), id(model.linear.weight)}
    assert {id(p) for p in plain["params"]} == {id(p) for p in (*model.norm.parameters(), model.linear.bias)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = Tied()
    model.linear.bias.requires_grad_(False)
    grouped = [id(p) for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_a_decayed_matrix_shrinks_and_a_gain_does_not_when_gradients_are_zero():
    model = Tied()
    optimizer = adamw(model, learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.1 * 0.5 if p.ndim >= 2 else 1))


def test_the_fused_kernel_is_used_where_torch_has_it():
    optimizer = adamw(Tied(), learning_rate=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    assert optimizer.defaults["fused"] is True


def test_without_a_fused_kernel_the_same_numbers_come_from_the_plain_one(monkeypatch):
    theirs = torch.optim.AdamW

    def old_torch(*args, fused=None, **kwargs):
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of ...")
        return theirs(*args, **kwargs)

    def trained():
        torch.manual_seed(0)
        model = Tied()
        optimizer = adamw(model, learning_rate=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
        for step in range(5):
            optimizer.zero_grad()
            model.linear(model.norm(model.embedding(torch.tensor([step, 3])))).square().sum().backward()
            optimizer.step()
        return optimizer.defaults["fused"], model.state_dict()

    with torch.random.fork_rng():
        fused, weights = trained()
        monkeypatch.setattr(torch.optim, "AdamW", old_torch)
        not_fused, plain_weights = trained()
    assert fused and not not_fused
    torch.testing.assert_close(weights, plain_weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_first_step_learns_and_the_warm_up_rises_in_equal_parts_to_the_peak(schedule):
    rates = [rate(step, schedule) for step in range(WARMUP + 1)]
    assert rates[0] == pytest.approx(PEAK / (WARMUP + 1))
    assert rates[-1] == PEAK
    gaps = [b - a for a, b in itertools.pairwise(rates)]
    assert gaps == pytest.approx([PEAK / (WARMUP + 1)] * WARMUP)


@pytest.mark.parametrize("schedule", ("cosine", "linear", "wsd"))
def test_the_last_step_is_exactly_at_the_minimum_and_no_earlier_one_is(schedule):
    assert rate(STEPS - 1, schedule) == MINIMUM
    assert min(rate(step, schedule) for step in range(WARMUP, STEPS - 1)) > MINIMUM
    assert rate(STEPS, schedule) == rate(10 * STEPS, schedule) == MINIMUM


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_stays_between_minimum_and_peak_and_never_rises_after_the_warm_up(schedule):
    rates = [rate(step, schedule) for step in range(WARMUP, STEPS)]
    assert all(MINIMUM <= r <= PEAK for r in rates)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_has_no_jumps(schedule):
    steps, warmup = 10_007, 503
    rates = [rate(step, schedule, steps=steps, warmup_steps=warmup) for step in range(steps)]
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < PEAK / 400


def test_the_cosine_has_half_a_period_between_the_warm_up_and_the_last_step():
    span = STEPS - 1 - WARMUP
    for step in range(WARMUP, STEPS):
        angle = math.pi * (step - WARMUP) / span
        assert rate(step) == pytest.approx(MINIMUM + (PEAK - MINIMUM) * (1 + math.cos(angle)) / 2)
        mirrored = rate(STEPS - 1 - (step - WARMUP))
        assert rate(step) + mirrored == pytest.approx(PEAK + MINIMUM)


def test_the_cosine_agrees_with_torchs_own():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=PEAK)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 1, eta_min=MINIMUM)
    for step in range(STEPS):
        assert rate(step, warmup_steps=0) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_wsd_holds_the_peak_and_falls_over_the_last_fifth():
    rates = [rate(step, "wsd", steps=101) for step in range(101)]
    assert set(rates[WARMUP:81]) == {PEAK}
    assert rates[90] == pytest.approx((PEAK + MINIMUM) / 2)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 2), (4, 5), (4, 6)])
def test_the_shortest_runs_have_a_rate_at_every_step(schedule, warmup, steps):
    rates = [rate(step, schedule, warmup_steps=warmup, steps=steps) for step in range(steps)]
    assert max(rates) == PEAK
    assert all(r > 0 for r in rates)


def small_gpt(**changes):
    return GPT(ModelConfig(vocab_size=13, context_length=7, n_layer=2, n_head=3, n_embd=18, **changes))


MUON = {
    "optimizer": "muon",
    "learning_rate": 0.01,
    "betas": (0.9, 0.99),
    "weight_decay": 0.0,
    "muon_learning_rate": 0.05,
    "muon_momentum": 0.9,
}


def backward(model, seed):
    tokens = torch.randint(13, (2, 7), generator=torch.Generator().manual_seed(seed))
    model(tokens).logsumexp(-1).sum().backward()


@pytest.mark.parametrize("tied_head", (True, False))
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_every_other_parameter_once(tied_head):
    model = small_gpt(tied_head=tied_head)
    adamw_part, muon_part = make_optimizer(model, **MUON).optimizers
    assert isinstance(adamw_part, torch.optim.AdamW)
    assert isinstance(muon_part, Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    of_muon = [names[id(p)] for group in muon_part.param_groups for p in group["params"]]
    of_adamw = [names[id(p)] for group in adamw_part.param_groups for p in group["params"]]
    kinds = ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")
    assert sorted(of_muon) == sorted(f"blocks.{i}.{kind}.weight" for i in range(2) for kind in kinds)
    assert sorted([*of_muon, *of_adamw]) == sorted(names.values())


def test_queries_keys_and_values_of_each_head_are_separate_blocks_for_muon():
    model = small_gpt()
    _, groups = muon_groups(model)
    blocks = {id(p): group["blocks"] for group in groups for p in group["params"]}
    for block in model.blocks:
        assert blocks[id(block.attn.qkv.weight)] == 3 * 3
        for matrix in (block.attn.proj, block.mlp.up, block.mlp.down):
            assert blocks[id(matrix.weight)] == 1


def test_optimizers_together_do_what_each_does_alone():
    one, other = small_gpt(), small_gpt()
    together = make_optimizer(one, **MUON)
    rest, groups = muon_groups(other)
    alone = (
        torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        Muon(groups, lr=0.05, momentum=0.9),
    )
    for step in range(3):
        for model, optimizers in ((one, (together,)), (other, alone)):
            model.zero_grad()
            backward(model, step)
            for optimizer in optimizers:
                optimizer.step()
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    together.zero_grad()
    assert all(p.grad is None for p in one.parameters())


def test_optimizers_saved_and_loaded_go_on_as_if_never_stopped():
    def run(stop):
        model = small_gpt()
        optimizer = make_optimizer(model, **MUON)
        for step in range(6):
            if step == stop:
                state = copy.deepcopy(optimizer.state_dict())
                numbers = [n for group in state["param_groups"] for n in group["params"]]
                assert numbers == list(range(len(list(model.parameters()))))
                optimizer = make_optimizer(model, **(MUON | {"learning_rate": 0.5}))
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
        return model

    for p, q in zip(run(None).parameters(), run(3).parameters(), strict=True):
        assert torch.equal(p, q)


def test_each_group_says_how_its_rate_compares_with_the_schedules():
    groups = make_optimizer(small_gpt(), **MUON).param_groups
    assert {group.get("lr_ratio", 1.0) for group in groups} == {1.0, 0.05 / 0.01}


def test_adamw_alone_is_the_other_choice():
    optimizer = make_optimizer(small_gpt(), **(MUON | {"optimizer": "adamw", "weight_decay": 0.1}))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def frozen(*parts):
    model = small_gpt()
    for part in parts:
        getattr(model, part).requires_grad_(False)
    return model


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_with_nothing_to_train_is_refused(optimizer):
    model = small_gpt().requires_grad_(False)
    with pytest.raises(ConfigError, match=f"^0 of {model.n_parameters()} parameters are trainable"):
        made(model, optimizer)


def test_muon_without_matrices_of_its_own_or_nothing_for_adamw_beside_it_is_refused():
    with pytest.raises(ConfigError, match="0 parameters inside are trainable"):
        made(frozen("blocks"), "muon")
    model = small_gpt().requires_grad_(False)
    for block in model.blocks:
        for p in block.parameters():
            p.requires_grad_(p.ndim == 2)
    with pytest.raises(ConfigError, match="0 parameters outside are trainable"):
        made(model, "muon")
    assert len(made(frozen("blocks"), "adamw").param_groups) == 2


def made(model, optimizer):
    numbers = {"learning_rate": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}
    return make_optimizer(model, optimizer=optimizer, **numbers, muon_learning_rate=0.02, muon_momentum=0.95)
