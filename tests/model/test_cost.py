"""Cost against torch's own FLOP counter and against the tensors that the backward pass really keeps."""

from dataclasses import replace

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from tinylm.batch import Batch
from tinylm.model.config import ModelConfig, parameter_counts
from tinylm.model.cost import flops_per_token, memory_bytes
from tinylm.model.gpt import GPT
from tinylm.model.losses import cross_entropy, fused_loss, next_token_loss

SMALL = ModelConfig(vocab_size=31, context_length=37, n_layer=3, n_head=2, n_embd=44, bias=False)
WIDE = ModelConfig(vocab_size=97, context_length=128, n_layer=5, n_head=4, n_embd=128)
MODERN = {"position": "rotary", "norm": "rmsnorm", "activation": "relu2", "qk_norm": True}


@pytest.mark.parametrize("changes", [{}, {"tied_head": False}, {"position": "rotary", "norm": "rmsnorm"}])
def test_flops_per_token_agree_with_torchs_own_counter(changes):
    model = GPT(replace(SMALL, attention="explicit", **changes))
    tokens = torch.zeros(2, 37, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens), tokens).backward()
    by_torch = counter.get_total_flops() / tokens.numel()
    assert flops_per_token(model.config) == pytest.approx(by_torch, rel=0.01)


def kept_for_backward(config):
    """Bytes of the tensors that the backward pass of 7 sequences really keeps, weights left out."""
    model, kept = GPT(config), {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    tokens = torch.zeros(7, config.context_length, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        assert cross_entropy(model(tokens), tokens).isfinite()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


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
@pytest.mark.parametrize("changes", [{}, MODERN], ids=["gpt2", "modern"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "computed again"])
def test_memory_estimate_is_near_the_most_that_a_step_has_at_once(again, changes, sizes, fused):
    config = replace(WIDE, activation_checkpointing=again, **changes, **sizes)
    model, tokens = GPT(config), torch.zeros(7, config.context_length, dtype=torch.int64)
    with MostBytes() as found:
        (fused_loss() if fused else next_token_loss)(model, Batch(tokens, tokens))[0].sum().backward()
    gradients = 4 * parameter_counts(config)["total"]
    assert 0.85 < estimated(config, fused_loss=fused) / (found.most - gradients) < 1.15


def test_fused_heads_logits_are_as_wide_as_the_arithmetic_that_makes_them():
    """In bfloat16 the weights are there a second time, which is no part of the estimate: two heads differ."""
    most = []
    for n in (4096, 12288):
        model, tokens = GPT(replace(WIDE, vocab_size=n)), torch.zeros(7, 128, dtype=torch.int64)
        with MostBytes() as found, torch.autocast("cpu", torch.bfloat16):
            fused_loss()(model, Batch(tokens, tokens))
        most.append(found.most - 2 * model.head.weight.numel())
    wider = (estimated(replace(WIDE, vocab_size=n), dtype="bfloat16", fused_loss=True) for n in (4096, 12288))
    first, second = wider
    assert 0.85 < (second - first) / (most[1] - most[0]) < 1.15


@pytest.mark.parametrize("changes", [{}, MODERN])
def test_memory_estimate_is_near_what_the_backward_pass_keeps(changes):
    config = replace(WIDE, **changes)
    assert 0.85 < estimated(config) / kept_for_backward(config) < 1.15


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="older torch keeps more for an RMSNorm")
@pytest.mark.parametrize("name, value", [*MODERN.items(), ("attention", "explicit"), ("dropout", 0.1)])
def test_memory_estimate_of_each_setting_by_itself_is_near_what_it_adds(name, value):
    changed = replace(WIDE, **{name: value})
    more, by_estimate = (bytes_of(changed) - bytes_of(WIDE) for bytes_of in (kept_for_backward, estimated))
    assert abs(by_estimate - more) < 0.15 * more + 0.01 * estimated(WIDE)
