"""Parameter groups, AdamW against torch's, Muon with AdamW as one optimiser, and the schedule's laws."""

import copy
import itertools

import pytest
import torch
from torch import nn

from tests.support.tiny import make_config
from tinylm.errors import ConfigError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.layers import Role
from tinylm.training.muon import Muon
from tinylm.training.optim import (
    adamw,
    build_optimizer,
    learning_rate,
    parameter_groups,
    scheduled_rate,
    set_learning_rate,
)

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


def test_weight_decay_is_for_matrices_and_embeddings():
    model = Tied()
    decayed, plain = parameter_groups(model, 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model.embedding.weight), id(model.linear.weight)}
    assert {id(p) for p in plain["params"]} == {id(p) for p in (*model.norm.parameters(), model.linear.bias)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_parameter_groups_hold_every_trainable_parameter_once():
    model = Tied()
    model.linear.bias.requires_grad_(False)
    grouped = [id(p) for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_weight_decay_shrinks_matrices_and_no_norm_when_gradients_are_zero():
    model = Tied()
    optimizer = adamw(model, learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.1 * 0.5 if p.ndim >= 2 else 1))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_learns_from_step_0_and_rises_in_equal_parts_to_the_peak(schedule):
    rates = [rate(step, schedule) for step in range(WARMUP + 1)]
    assert rates[0] == pytest.approx(PEAK / (WARMUP + 1))
    assert rates[-1] == PEAK
    gaps = [b - a for a, b in itertools.pairwise(rates)]
    assert gaps == pytest.approx([PEAK / (WARMUP + 1)] * WARMUP)


@pytest.mark.parametrize("schedule", ("cosine", "linear", "wsd"))
def test_learning_rate_is_at_the_minimum_at_the_last_step_and_not_earlier(schedule):
    assert rate(STEPS - 1, schedule) == MINIMUM
    assert min(rate(step, schedule) for step in range(WARMUP, STEPS - 1)) > MINIMUM
    assert rate(STEPS, schedule) == rate(10 * STEPS, schedule) == MINIMUM


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_stays_between_minimum_and_peak_and_never_rises_after_the_warmup(schedule):
    rates = [rate(step, schedule) for step in range(WARMUP, STEPS)]
    assert all(MINIMUM <= r <= PEAK for r in rates)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_has_no_jumps(schedule):
    steps, warmup = 10_007, 503
    rates = [rate(step, schedule, steps=steps, warmup_steps=warmup) for step in range(steps)]
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) < PEAK / 400


def test_cosine_equals_torchs_own():
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
def test_learning_rate_of_the_shortest_runs_is_above_zero_at_every_step(schedule, warmup, steps):
    rates = [rate(step, schedule, warmup_steps=warmup, steps=steps) for step in range(steps)]
    assert max(rates) == PEAK
    assert all(r > 0 for r in rates)


def test_scheduled_rate_is_the_schedules_where_the_minimum_is_above_zero():
    config = make_config(steps=31)
    for step in range(31):
        expected = rate(step, peak=0.03, minimum=0.003, warmup_steps=3, steps=31)
        assert scheduled_rate(step, config) == expected
        assert scheduled_rate(step, config, peak=0.12) == pytest.approx(4 * expected)


@pytest.mark.parametrize("schedule", ("cosine", "linear", "wsd"))
def test_schedule_to_zero_wastes_no_step(schedule):
    config = make_config(steps=31, schedule=schedule, min_learning_rate=0.0)
    rates = [scheduled_rate(step, config) for step in range(31)]
    assert rates[-1] > 0 == scheduled_rate(31, config)
    if schedule == "linear":  # the fall goes on by as much again
        assert rates[-1] == pytest.approx(rates[-2] - rates[-1])


def small_gpt(**changes):
    return GPT(ModelConfig(vocab_size=13, context_length=7, n_layer=2, n_head=3, n_embd=18, **changes))


def muon(**changes):
    settings = {
        "optimizer": "muon",
        "learning_rate": 0.01,
        "min_learning_rate": 0.001,
        "weight_decay": 0.0,
        "muon_learning_rate": 0.05,
        "muon_momentum": 0.9,
    }
    return make_config(**(settings | changes))


def backward(model, seed):
    tokens = torch.randint(13, (2, 7), generator=torch.Generator().manual_seed(seed))
    model(tokens).logsumexp(-1).sum().backward()


@pytest.mark.parametrize("tied_head", (True, False))
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_every_other_parameter_once(tied_head):
    model = small_gpt(tied_head=tied_head)
    optimizer = build_optimizer(model, muon())
    names = {id(p): name for name, p in model.named_parameters()}
    of = {
        kind: [names[id(p)] for g in optimizer.param_groups if g["kind"] == kind for p in g["params"]]
        for kind in ("muon", "adamw")
    }
    kinds = ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")
    assert sorted(of["muon"]) == sorted(f"blocks.{i}.{kind}.weight" for i in range(2) for kind in kinds)
    assert sorted([*of["muon"], *of["adamw"]]) == sorted(names.values())


def test_muon_cuts_queries_keys_and_values_of_each_head_apart():
    model = small_gpt()
    groups = [g for g in build_optimizer(model, muon()).param_groups if g["kind"] == "muon"]
    splits = {id(p): group["splits"] for group in groups for p in group["params"]}
    for block in model.blocks:
        assert splits[id(block.attn.qkv.weight)] == 3 * 3
        for matrix in (block.attn.proj, block.mlp.up, block.mlp.down):
            assert splits[id(matrix.weight)] == 1


class Experts(nn.Module):
    """A router and stacked experts, as part 4 has them."""

    def __init__(self):
        super().__init__()
        self.norm, self.router = nn.LayerNorm(6), nn.Linear(6, 5, bias=False)
        self.up = nn.Parameter(torch.randn(5, 12, 6, generator=torch.Generator().manual_seed(0)))

    def parameter_roles(self):
        return {"router.weight": Role(decay=True), "up": Role(muon=True, decay=True)}

    def forward(self, x):
        shares = self.router(self.norm(x)).softmax(-1)  # (N, 5)
        return torch.einsum("ne,ehc,nc->nh", shares, self.up, x)  # (N, 12)


def test_muon_goes_by_declared_roles_not_by_dimensions():
    model = Experts()
    rest, experts = build_optimizer(model, muon(weight_decay=0.1)).param_groups
    assert [id(p) for p in experts["params"]] == [id(model.up)] and experts["weight_decay"] == 0.1
    assert rest["kind"] == "adamw" and id(model.router.weight) in [id(p) for p in rest["params"]]
    decayed, plain = build_optimizer(model, muon(optimizer="adamw")).param_groups
    assert {id(p) for p in decayed["params"]} == {id(model.up), id(model.router.weight)}
    assert len(plain["params"]) == 2


def test_muon_moves_stacked_experts_as_if_each_were_a_parameter_of_its_own():
    stacked = Experts()
    apart = [nn.Parameter(matrix.clone()) for matrix in stacked.up.detach()]
    together, alone = Muon([stacked.up], lr=0.1), Muon(apart, lr=0.1)
    for step in range(3):
        stacked.up.grad = torch.randn(5, 12, 6, generator=torch.Generator().manual_seed(step))
        for p, gradient in zip(apart, stacked.up.grad, strict=True):
            p.grad = gradient.clone()
        together.step()
        alone.step()
    torch.testing.assert_close(stacked.up.detach(), torch.stack([p.detach() for p in apart]))


def test_muon_adamw_step_equals_muon_and_torchs_adamw_apart_bitwise():
    one, other = small_gpt(), small_gpt()
    together = build_optimizer(one, muon(weight_decay=0.1))
    theirs = build_optimizer(other, muon()).param_groups
    alone = (
        torch.optim.AdamW(theirs[0]["params"], lr=0.01, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        *(Muon(g["params"], lr=0.05, momentum=0.9, weight_decay=0.1, splits=g["splits"]) for g in theirs[1:]),
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


def test_muon_adamw_state_dict_round_trip_goes_on_bitwise():
    def run(stop):
        model = small_gpt()
        optimizer = build_optimizer(model, muon())
        for step in range(6):
            if step == stop:
                state = copy.deepcopy(optimizer.state_dict())
                numbers = [n for group in state["param_groups"] for n in group["params"]]
                assert numbers == list(range(len(list(model.parameters()))))
                optimizer = build_optimizer(model, muon(learning_rate=0.5, muon_learning_rate=0.7))
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
        return model

    for p, q in zip(run(None).parameters(), run(3).parameters(), strict=True):
        assert torch.equal(p, q)


def test_muon_adamw_is_a_torch_optimizer_with_hooks_and_groups():
    model, called = small_gpt(), []
    optimizer = build_optimizer(model, muon())
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))

    backward(model, 0)
    optimizer.step()
    assert isinstance(optimizer, torch.optim.Optimizer) and called == ["before", "after"]
    extra = nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [extra], "kind": "adamw", "lr": 0.1})
    extra.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(extra.detach(), torch.full((3,), 0.9))


def test_muon_and_adamw_move_by_their_own_peaks():
    optimizer = build_optimizer(small_gpt(), muon())
    for step in (0, 1, 9):
        adamw_rate = set_learning_rate(optimizer, step, muon())
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(adamw_rate * (5 if group["kind"] == "muon" else 1))


def test_muon_trains_where_adamws_rate_is_zero():
    model, config = small_gpt(), muon(learning_rate=0.0, min_learning_rate=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, config)
    backward(model, 0)
    set_learning_rate(optimizer, 3, config)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {
        n for n in before if n.startswith("blocks.") and n.endswith("weight") and "norm" not in n
    }


def test_adamw_alone_is_the_other_choice():
    optimizer = build_optimizer(small_gpt(), muon(optimizer="adamw", weight_decay=0.1))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_model_with_nothing_to_train_is_refused(optimizer):
    model = small_gpt().requires_grad_(False)
    with pytest.raises(ConfigError, match=f"^0 of {model.n_parameters()} parameters are trainable"):
        build_optimizer(model, muon(optimizer=optimizer))


def test_muon_without_matrices_of_its_own_or_nothing_for_adamw_beside_it_is_refused():
    model = small_gpt()
    model.blocks.requires_grad_(False)
    with pytest.raises(ConfigError, match="0 of one of them are trainable"):
        build_optimizer(model, muon())
    assert len(build_optimizer(model, muon(optimizer="adamw")).param_groups) == 2
    for p in model.parameters():
        p.requires_grad_(False)
    for block in model.blocks:
        for p in block.parameters():
            p.requires_grad_(p.ndim == 2)
    with pytest.raises(ConfigError, match="0 of one of them are trainable"):
        build_optimizer(model, muon())
