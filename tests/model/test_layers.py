"""Norms, activation functions and the MLP by their formulas; the roles of parameters as declared."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.support.settings import EVERY_CHOICE, SMALL
from tinylm.errors import ConfigError
from tinylm.model.gpt import GPT
from tinylm.model.layers import MLP, Role, activate, make_norm, parameter_roles

B, T, C = 2, 5, 7
MATRICES = ("attn.qkv", "attn.proj", "mlp.up", "mlp.down")


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norm_forgets_scale_and_layernorm_also_shift(kind):
    norm, x = make_norm(kind, C, True).double(), 100 * random(B, T, C)
    assert_close(norm(3 * x), norm(x), rtol=1e-5, atol=1e-6)
    assert torch.allclose(norm(x + 500), norm(x), atol=1e-5) == (kind == "layernorm")
    assert_close(norm(x).square().mean(-1), torch.ones(B, T, dtype=torch.float64), rtol=1e-5, atol=0)


def test_norm_is_gpt2s_where_the_numbers_are_as_small_as_epsilon():
    x = 1e-3 * random(B, T, C)
    layer, rms = (make_norm(kind, C, True).double() for kind in ("layernorm", "rmsnorm"))
    assert_close(layer(x), (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, keepdim=True) + 1e-5).sqrt())
    assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rmsnorm_keeps_the_dtype_of_its_input(dtype):
    assert make_norm("rmsnorm", C, True)(random(B, T, C).to(dtype)).dtype == dtype


def test_norm_has_a_bias_only_where_it_is_asked_for_and_known():
    names = {
        (kind, bias): [name for name, _ in make_norm(kind, C, bias).named_parameters()]
        for kind in ("layernorm", "rmsnorm")
        for bias in (True, False)
    }
    assert names.pop(("layernorm", True)) == ["weight", "bias"]
    assert all(rest == ["weight"] for rest in names.values())


def test_activation_is_gelus_tanh_approximation_or_the_squared_relu():
    x = random(B, T, C)
    expected = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    assert_close(activate("gelu", x), expected, rtol=1e-12, atol=1e-15)
    assert_close(activate("relu2", x), x.clamp(min=0) ** 2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu2"])
def test_mlp_works_on_each_position_by_itself(activation, bias):
    mlp = MLP(C, 53, activation=activation, bias=bias, dropout=0.0).double()
    x = random(B, T, C)
    assert_close(mlp(x)[:, 3], mlp(x[:, 3]), rtol=1e-12, atol=1e-15)
    assert (mlp.up.bias is not None) == (mlp.down.bias is not None) == bias
    assert mlp.up.weight.shape == (53, C)
    assert mlp.down.weight.shape == (C, 53)


def test_mlp_drops_out_while_training_only():
    mlp = MLP(C, 53, activation="gelu", bias=True, dropout=0.5)
    x = torch.ones(1, 211, C)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        zeros = (mlp(x) == 0).double().mean().item()
    assert 0.4 < zeros < 0.6
    assert not (mlp.eval()(x) == 0).any()


class Experts(nn.Module):
    """A router and stacked experts, as a mixture of experts has them."""

    def __init__(self):
        super().__init__()
        self.router = nn.Parameter(torch.ones(3, C))
        self.up = nn.Parameter(torch.ones(3, 4 * C, C))
        self.bias = nn.Parameter(torch.ones(3))
        self.gate = nn.Linear(C, 1)


class DeclaredExperts(Experts):
    def parameter_roles(self):
        return {"router": Role(), "up": Role(muon=True, splits=3, decay=True)}


def test_roles_of_matrices_that_nobody_declares_are_refused_with_what_to_write():
    model = nn.Sequential(nn.Linear(C, C), Experts())
    with pytest.raises(ConfigError) as refusal:
        parameter_roles(model)
    assert str(refusal.value) == (
        "1.router has 2 dimensions and nobody says how to train it: give its module "
        "a method parameter_roles(self) that returns {'router': Role(decay=True)}"
    )


def test_roles_are_what_the_modules_declare_and_torchs_layers_are_known():
    roles = parameter_roles(nn.Sequential(nn.Embedding(C, C), DeclaredExperts(), nn.LayerNorm(C)))
    assert roles == {
        "0.weight": Role(decay=True),
        "1.router": Role(),
        "1.up": Role(muon=True, splits=3, decay=True),
        "1.bias": Role(init="keep"),
        "1.gate.weight": Role(decay=True),
        "1.gate.bias": Role(init="zero"),
        "2.weight": Role(init="one"),
        "2.bias": Role(init="zero"),
    }


def test_roles_declared_outside_go_before_those_declared_inside():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = DeclaredExperts()

        def parameter_roles(self):
            return {"inside.router": Role(muon=True), "inside.gate.weight": Role()}

    inside, around = parameter_roles(DeclaredExperts()), parameter_roles(Around())
    assert around["inside.router"] == Role(muon=True)
    assert around["inside.gate.weight"] == Role() != inside["gate.weight"]
    assert around["inside.up"] == inside["up"]


def test_roles_of_parameters_that_are_not_there_are_refused():
    model = DeclaredExperts()
    del model.router
    with pytest.raises(ConfigError, match="names router, which is not among the 4 parameters"):
        parameter_roles(model)


def test_roles_of_a_gpt_are_one_for_each_parameter_whatever_its_settings():
    matrices = {f"blocks.{i}.{name}.weight" for i in range(3) for name in MATRICES}
    for choice in EVERY_CHOICE:
        model = GPT(replace(SMALL, **choice))
        roles = parameter_roles(model)
        assert list(roles) == [name for name, _ in model.named_parameters()]
        assert {name for name, role in roles.items() if role.muon} == matrices
        assert {name: role.splits for name, role in roles.items() if role.splits > 1} == {
            f"blocks.{i}.attn.qkv.weight": 3 * 5 for i in range(3)
        }
        tables = {name for name in roles if "embedding" in name or name == "head.weight"}
        assert {name for name, role in roles.items() if role.decay} == matrices | tables
        assert all(roles[name].init in ("normal", "residual") for name in matrices | tables)
        assert all(roles[name].init in ("zero", "one") for name in roles.keys() - matrices - tables)
