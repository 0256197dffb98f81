"""Mixture of experts: one formula for the kernel and the loop, loads that count each token once, balance."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.support.settings import EXPERTS, SMALL, lively, random, random_tokens
from tests.support.tiny import B, T, make_batches, make_config, sgd, tiny_gpt
from tinylm.batch import Batch
from tinylm.errors import ConfigError
from tinylm.model import moe
from tinylm.model.gpt import GPT
from tinylm.model.layers import MLP
from tinylm.model.losses import fused_loss, graded_loss, next_token_loss, token_losses
from tinylm.model.moe import MoE, grouped_product
from tinylm.training.optim import build_optimizer
from tinylm.training.step import train_step

ROUTERS = pytest.mark.parametrize("router", ["softmax", "sigmoid"])
TINY = {"n_expert": 5, "n_expert_active": 2, "router_bias": True, "n_inner": 8, "n_embd": 8}


@ROUTERS
@pytest.mark.parametrize("activation", ["gelu", "relu2", "swiglu"])
def test_one_expert_is_the_dense_mlp_to_the_bit(activation, router):
    dense = replace(SMALL, activation=activation, bias=False)
    mixture = lively(MoE(replace(dense, n_expert=1, n_expert_active=1, router=router)))
    mlp, x = MLP(dense), random(2, 7, SMALL.n_embd, dtype=torch.float32)
    mlp.load_state_dict({f"{n}.weight": w[0] for n, w in mixture.state_dict().items() if "router" not in n})
    assert torch.equal(mixture(x), mlp(x))


@ROUTERS
def test_output_is_the_sum_of_the_best_experts_times_their_gates_and_the_bias_only_chooses(router):
    config = replace(SMALL, **EXPERTS | {"router": router})
    mixture, x = lively(MoE(config)).double(), random(2, 3, config.n_embd)
    plain = mixture(x)
    mixture.router_bias[4] = 9.0  # which every token then chooses
    biased, mlps = mixture(x), []
    for up, gate, down in zip(mixture.up, mixture.gate, mixture.down, strict=True):
        mlps.append((F.silu(x @ gate.t()) * (x @ up.t())) @ down.t())  # each (B, T, C)
    logits = x @ mixture.router.weight.t()  # (B, T, E)
    scores = logits.softmax(-1) if router == "softmax" else logits.sigmoid()
    for out, bias in ((plain, torch.zeros(7)), (biased, mixture.router_bias)):
        for at in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
            of = scores[*at]  # (E,)
            best = sorted(range(7), key=lambda e: of[e] + bias[e], reverse=True)[:3]
            expected = sum(of[e] * mlps[e][*at] for e in best) / sum(of[e] for e in best)
            assert_close(out[*at], expected + mixture.shared(x)[*at], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(plain, biased)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_is_the_loop_in_values_and_gradients_also_where_an_expert_has_no_token(monkeypatch, dtype):
    found, counts = [], torch.tensor([5, 0, 13, 1, 0])
    for kernel in (True, False):
        monkeypatch.setattr(moe, "has_kernel", lambda *_, kernel=kernel: kernel)
        x, matrices = random(19, 24, dtype=dtype), random(5, 16, 24, seed=1, dtype=dtype)
        with torch.enable_grad():
            out = grouped_product(x.requires_grad_(), matrices.requires_grad_(), counts)
            out.backward(random(19, 16, seed=2, dtype=dtype))
        found.append((out.detach(), x.grad, matrices.grad))
    assert_close(*found, rtol=0, atol=0)
    assert found[0][0].std() > 1 and not found[0][2][1].any()


@pytest.mark.parametrize(
    ("sizes", "dtype", "expected"),
    [
        ((16, 24), torch.bfloat16, True),
        ((16, 20), torch.bfloat16, False),  # rows of 40 bytes
        ((17, 24), torch.bfloat16, False),  # whose gradient has such rows
        ((16, 24), torch.float32, False),
    ],
)
def test_kernel_is_used_where_type_and_sizes_fit_it_and_autocast_decides_the_type(
    monkeypatch, sizes, dtype, expected
):
    used, kernel = [], F.grouped_mm
    monkeypatch.setattr(F, "grouped_mm", lambda *given, **more: used.append(1) or kernel(*given, **more))
    x, matrices = random(9, sizes[1], dtype=torch.float32), random(3, *sizes, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = grouped_product(x, matrices, torch.tensor([2, 3, 4]))
    assert out.dtype == dtype and bool(used) == expected
    assert_close(out[2:5].float(), x[2:5] @ matrices[1].t(), rtol=0.02, atol=0.1)


class Told:
    """A GPT with experts that notes the metrics of each step whose update was applied."""

    def __init__(self, **changes):
        self.model, self.metrics = tiny_gpt(**TINY | changes), []
        own = self.model.after_step
        self.model.after_step = lambda metrics: self.metrics.append(metrics) or own(metrics)


@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize(
    "loss_fn", [next_token_loss, fused_loss, graded_loss(lambda _, targets: targets > 3)]
)
def test_load_counts_each_token_of_a_step_once_and_its_imbalance_is_logged(loss_fn, again):
    told, chosen = Told(n_layer=2, activation_checkpointing=again), []
    for block in told.model.blocks:
        block.mlp.router.register_forward_hook(lambda *_: chosen.append(torch.is_grad_enabled()))
    batches, config = make_batches(), make_config(tokens_per_step=3 * B * T)
    told.model.train()
    expected = torch.zeros(2, 5)
    for i in range(3):
        x = told.model.embed(batches.batch(0, i, 3).tokens)
        for layer, block in enumerate(told.model.blocks):
            mid = x + block.attn(block.attn_norm(x))
            ids = block.mlp.route(block.mlp_norm(mid).flatten(0, 1))[1]
            expected[layer] += torch.bincount(ids.flatten(), minlength=5) / 3
            x = block(x)
    chosen.clear()
    result = train_step(told.model, sgd(told.model), batches, step=0, config=config, loss_fn=loss_fn)
    (load,) = (metrics["expert_load"] for metrics in told.metrics)
    assert_close(load, expected) and len(chosen) == 2 * 3 * (1 + again)
    assert_close(load.sum(1), torch.full((2,), 2.0 * B * T))
    highest = float(load.max(1).values.mean())
    assert result.metrics["imbalance"] == pytest.approx(highest / (2 * B * T / 5))


def test_bias_moves_after_each_step_against_its_load_and_is_state_that_no_optimiser_has():
    told = Told(router_bias_rate=2**-8)
    mixture = told.model.blocks[0].mlp
    optimizer = build_optimizer(told.model, make_config(optimizer="muon"))
    trained = {p for group in optimizer.param_groups for p in group["params"]}
    assert trained == {*told.model.parameters()}
    assert "blocks.0.mlp.router_bias" in told.model.state_dict() and mixture.router_bias not in trained
    assert not [name for name in told.model.state_dict() if "load" in name]
    expected = torch.zeros(5)
    for step in range(5):
        told.model.train()
        train_step(told.model, optimizer, make_batches(), step=step, config=make_config(optimizer="muon"))
        load = told.metrics[-1]["expert_load"][0]
        expected += 2**-8 * (load.mean() - load).sign()
        assert_close(mixture.router_bias, expected, rtol=0, atol=0)
    assert expected.unique().numel() > 1


def test_load_that_is_the_mean_but_for_rounding_moves_no_bias():
    """Thirds of 5, 6 and 7, as three micro-batches or processes give them: the mean is 2 but for 1e-7."""
    mixture = MoE(replace(SMALL, **EXPERTS | {"n_expert": 3, "router_bias_rate": 0.5}))
    mixture.balance(torch.tensor([5 / 3, 2 + 2.4e-7, 7 / 3]))
    assert mixture.router_bias.tolist() == [0.5, 0.0, -0.5]


def test_evaluation_notes_no_load_and_a_loss_without_the_loads_is_refused():
    model = tiny_gpt(**TINY).eval()
    tokens = random_tokens(model.config)
    assert next_token_loss(model, Batch(tokens, tokens))[1] == {} and not model.blocks[0].mlp.load.any()

    def bare(model, batch):
        return token_losses(model(batch.tokens), batch.targets), {}

    with pytest.raises(ConfigError, match=r"the loss lacks expert_load .*: return model.metrics\(\) too"):
        train_step(model.train(), sgd(model), make_batches(), step=0, config=make_config(), loss_fn=bare)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # where a graph breaks
@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss])
def test_compiled_loss_has_the_plain_ones_nats_loads_and_gradients_and_one_graph_with_the_kernel(
    loss_fn, again
):
    config = replace(SMALL, **EXPERTS | {"activation_checkpointing": again})
    batch = Batch(random_tokens(config), random_tokens(config, seed=1))
    for dtype in (torch.bfloat16, torch.float32):
        found = []
        for compiled in (False, True):
            torch.compiler.reset()
            model, how = lively(GPT(config)).train(), loss_fn
            if compiled:
                how = torch.compile(loss_fn, backend="aot_eager", fullgraph=dtype == torch.bfloat16)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                nats, metrics = how(model, batch)
            nats.sum().backward()
            gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
            found.append((nats.detach(), metrics["expert_load"], gradients))
        (nats, load, gradients), (other_nats, other_load, other_gradients) = found
        assert torch.equal(load, other_load) and load.sum() == 3 * 14 * config.n_layer
        most = 1e-5 if dtype == torch.float32 else 0.02  # inductor and torch round at other places
        assert_close(other_nats, nats, rtol=most, atol=0)
        assert (other_gradients - gradients).norm() < most * gradients.norm()


def test_experts_of_one_layer_start_unlike_each_other_and_small_where_they_write_into_the_stream():
    model = GPT(replace(SMALL, **EXPERTS | {"n_embd": 60, "n_head": 6, "n_inner": 64}))
    up, down = (model.blocks[0].mlp.get_parameter(name).detach() for name in ("up", "down"))
    assert not torch.equal(up[0], up[1])
    assert float(up.std()) == pytest.approx(0.02, rel=0.05)
    assert float(down.std()) == pytest.approx(0.02 / 6**0.5, rel=0.05)
