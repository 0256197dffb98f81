"""Cost against the model's own parameters, torch's FLOP counter and the tensors that training holds."""

from dataclasses import replace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from tests.support.settings import SMALL, every_choice
from tinylm.batch import Batch
from tinylm.model.config import ModelConfig
from tinylm.model.cost import active_parameters, flops_per_token, memory_bytes, parameter_counts
from tinylm.model.gpt import GPT
from tinylm.model.losses import cross_entropy, fused_loss, next_token_loss

ODD = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)
WIDE = ModelConfig(vocab_size=97, context_length=128, n_layer=5, n_head=4, n_embd=128)
MODERN = {"position": "rotary", "norm": "rmsnorm", "activation": "relu2", "qk_norm": True}
MIXTURE = {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "n_expert": 5}
MIXTURE |= {"n_expert_active": 3, "n_shared_expert": 1, "n_inner": 40}
LLAMA = {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias": False, "n_kv_head": 1}


@every_choice
def test_parameter_counts_are_what_the_model_holds_part_by_part(choice):
    config = replace(SMALL, **choice)
    model = GPT(config)
    found = dict.fromkeys(parameter_counts(config), 0)
    for name, parameter in model.named_parameters():  # such as blocks.0.attn.q_norm.weight
        first, _, *rest = *name.split("."), ""
        part = {"attn": "attention", "mlp": "mlp"}.get(rest[0], first) if first == "blocks" else first
        found["norms" if "norm" in name else part] += parameter.numel()
    found["total"] = model.n_parameters()
    assert found == parameter_counts(config)


@pytest.mark.parametrize("changes", [LLAMA, MIXTURE, MIXTURE | {"n_shared_expert": 0, "n_expert": 3}])
def test_active_parameters_are_those_that_get_a_gradient_from_one_token(changes):
    model = GPT(replace(ODD, **changes | {"n_expert_active": 2}))
    model(torch.tensor([[7]])).square().sum().backward()
    expected = sum(p.numel() for p in model.parameters())
    for p in model.parameters():  # of stacked experts, all that were not chosen
        if p.ndim == 3:
            expected -= sum(expert.numel() for expert in p.grad if not expert.any())
    assert active_parameters(model.config) == expected
    assert (expected < parameter_counts(model.config)["total"]) == bool(model.config.n_expert)


@pytest.mark.parametrize(
    "changes", [{}, {"tied_head": False}, {"position": "rotary", "norm": "rmsnorm"}, LLAMA, MIXTURE]
)
def test_flops_per_token_agree_with_torchs_own_counter(changes):
    model = GPT(replace(ODD, attention="explicit", **changes))
    tokens = torch.zeros(2, 37, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens), tokens).backward()
    by_torch = counter.get_total_flops() / tokens.numel()
    assert flops_per_token(model.config) == pytest.approx(by_torch, rel=0.01)


def estimated(config, **settings):
    return memory_bytes(config, 7, **settings) - 16 * parameter_counts(config)["total"]


class MostBytes(TorchDispatchMode):
    """The most bytes of tensors that lay in memory at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.alive[StorageWeakRef(storage)] = storage.nbytes()
        self.alive = {storage: n for storage, n in self.alive.items() if not storage.expired()}
        self.most = max(self.most, sum(self.alive.values()))
        return out


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("sizes", [{}, {"vocab_size": 2048, "n_layer": 2}], ids=["deep", "many ids"])
@pytest.mark.parametrize("changes", [{}, MODERN, LLAMA, MIXTURE], ids=["gpt2", "modern", "llama", "experts"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
def test_memory_estimate_is_near_the_most_that_a_step_has_at_once(again, changes, sizes, fused):
    config = replace(WIDE, activation_checkpointing=again, **changes, **sizes)
    model, tokens = GPT(config), torch.zeros(7, config.context_length, dtype=torch.int64)
    with MostBytes() as found:
        (fused_loss if fused else next_token_loss)(model, Batch(tokens, tokens))[0].sum().backward()
    gradients = 4 * parameter_counts(config)["total"]
    assert 0.85 < estimated(config, fused_loss=fused) / (found.most - gradients) < 1.15


def test_fused_heads_logits_are_as_wide_as_the_arithmetic_that_makes_them():
    """In bfloat16, from the difference of two heads."""
    most = []
    for n in (4096, 12288):
        model, tokens = GPT(replace(WIDE, vocab_size=n)), torch.zeros(7, 128, dtype=torch.int64)
        with MostBytes() as found, torch.autocast("cpu", torch.bfloat16):
            fused_loss(model, Batch(tokens, tokens))
        most.append(found.most)
    wider = (estimated(replace(WIDE, vocab_size=n), dtype="bfloat16", fused_loss=True) for n in (4096, 12288))
    first, second = wider
    assert 0.85 < (second - first) / (most[1] - most[0]) < 1.15
