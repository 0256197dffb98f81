"""GPT: equal to GPT-2, blind to the future, fair at its first step, and clear about wrong input."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.support import settings
from tests.support.hugging_face import transformers
from tests.support.settings import OTHERS, SMALL, each_attention, every_choice, lively, random_tokens
from tinylm.batch import Batch
from tinylm.device import seeded_rng
from tinylm.errors import TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT, Block
from tinylm.model.losses import fused_loss, next_token_loss
from tinylm.model.rope import rotary_tables
from tinylm.storage.layouts import GPT2

B, T = 2, 7


@each_attention
def test_gpt_with_gpt2s_settings_is_hugging_faces_gpt2(attention):
    config = replace(SMALL, attention=attention)
    shape = transformers.GPT2Config(**GPT2.settings_of(config))
    theirs, ours = transformers.GPT2LMHeadModel(shape).eval(), lively(GPT(config).eval())
    theirs.load_state_dict(GPT2.to_theirs(ours.state_dict(), config))
    tokens = random_tokens(length=SMALL.context_length)
    expected = theirs(tokens).logits
    assert expected.std() > 0.1
    assert_close(ours(tokens), expected, rtol=1e-5, atol=1e-5)


@each_attention
@every_choice
def test_gradient_of_a_future_token_is_exactly_zero(choice, attention):
    model = lively(GPT(replace(SMALL, **choice, attention=attention)))
    embedded = []
    model.token_embedding.register_forward_hook(lambda *args: embedded.append(args[-1]))
    logits = model(random_tokens())
    for t in (0, 4):
        loss = logits[:, t].square().sum()
        (gradient,) = torch.autograd.grad(loss, embedded, retain_graph=True)  # (B, T, C)
        assert (gradient[:, t + 1 :] == 0).all()
        assert (gradient[:, : t + 1].abs().sum(-1) > 0).all()  # the past and the present do count


@every_choice
def test_first_loss_is_close_to_that_of_a_uniform_guess(choice):
    sizes = {"vocab_size": 67, "context_length": 29, "n_layer": 2, "n_head": 4, "n_embd": 128}
    config = ModelConfig(**sizes | choice)
    tokens, targets = (random_tokens(config, batch=5, length=29, seed=seed) for seed in (0, 1))
    with torch.no_grad():
        loss = F.cross_entropy(GPT(config)(tokens).flatten(0, 1), targets.flatten())
    assert abs(loss.item() - math.log(67)) < 0.1


def test_initial_weights_are_gpt2s():
    config = ModelConfig(vocab_size=211, context_length=101, n_layer=7, n_head=4, n_embd=128, tied_head=False)
    for name, parameter in GPT(config).named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            into_the_stream = name.endswith(("proj.weight", "down.weight"))
            expected = 0.02 / math.sqrt(2 * 7) if into_the_stream else 0.02
            assert abs(parameter.std().item() / expected - 1) < 0.03, name
            assert abs(parameter.mean().item()) < 0.03 * expected, name


def test_residual_init_zero_lets_every_block_start_by_adding_nothing():
    config = replace(SMALL, residual_init="zero", bias=True)
    tokens = random_tokens(config, batch=2, length=5)
    first, *rest = GPT(config).residual_stream(tokens)
    assert all(torch.equal(x, first) for x in rest)
    assert not torch.equal(GPT(replace(config, residual_init="scaled")).residual_stream(tokens)[-1], first)


@every_choice
def test_parameters_are_all_trained_and_positions_each(choice):
    model = lively(GPT(replace(SMALL, **choice)))
    model(random_tokens(length=SMALL.context_length)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())
    if model.position_embedding is not None:
        assert model.position_embedding.weight.grad.any(-1).all()


def test_rotary_tables_follow_the_model_and_are_not_saved():
    model = lively(GPT(replace(SMALL, position="rotary")))
    assert not [name for name in model.state_dict() if "rotary" in name]
    faster = GPT(replace(SMALL, position="rotary", rope_base=500.0))
    assert torch.equal(faster.rotary_sin, rotary_tables(SMALL.head_dim, SMALL.context_length, 500.0)[1])
    tokens = random_tokens()
    single = model(tokens)
    assert_close(model.double()(tokens).float(), single, rtol=1e-4, atol=1e-5)
    assert model.to("meta").rotary_cos.is_meta


@settings.one_choice_at_a_time
def test_autocast_to_bfloat16_changes_the_logits_only_a_little(choice):
    model = GPT(replace(SMALL, **choice))
    tokens = random_tokens()
    expected = model(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
        q, k, v = model.blocks[0].attn.qkv_heads(model.embed(tokens), model.rotary(slice(T)))
    assert logits.dtype == q.dtype == k.dtype == v.dtype == torch.bfloat16
    assert (logits - expected).abs().max() < 0.03 * expected.abs().max()
    logits.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@each_attention
@settings.one_choice_at_a_time
def test_attention_maps_are_what_the_layers_really_do(choice, attention):
    model = lively(GPT(replace(SMALL, **choice, attention=attention)))
    tokens = random_tokens()
    maps = model.attention_maps(tokens)
    H = model.config.n_head
    assert [tuple(weights.shape) for weights in maps] == [(B, H, T, T)] * 3
    for block, x, weights in zip(model.blocks, model.residual_stream(tokens), maps, strict=False):
        assert_close(weights.sum(-1), torch.ones(B, H, T))
        assert (weights.triu(1) == 0).all()
        _, _, v = block.attn.qkv_heads(block.attn_norm(x), None)
        mixed = weights @ v.repeat_interleave(H // v.size(1), dim=1)  # (B, H, T, D)
        mixed = mixed.transpose(1, 2).flatten(2)  # (B, T, C)
        expected = block.attn(block.attn_norm(x), model.rotary(slice(T)))
        assert_close(block.attn.proj(mixed), expected, rtol=1e-4, atol=1e-5)


def test_looking_inside_shows_what_leads_to_the_logits_without_dropout_and_changes_nothing():
    model = lively(GPT(replace(SMALL, dropout=0.5)))
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    calm = copy.deepcopy(model).eval()
    last = model.residual_stream(random_tokens())[-1]
    assert torch.equal(calm.head(calm.final_norm(last)), calm(random_tokens()))
    for look in (model.attention_maps, model.residual_stream):
        seen = look(random_tokens())
        assert not any(x.requires_grad for x in seen)
        with pytest.raises(TinyLMError):
            look(random_tokens().float())
        assert [module.training for module in model.modules()] == modes
        assert_close(seen, getattr(calm, look.__name__)(random_tokens()))
    assert torch.equal(torch.get_rng_state(), random_state)


@each_attention
def test_dropout_follows_embedding_attention_and_mlp_while_training_only(attention, monkeypatch):
    told, dropout, fused = [], F.dropout, F.scaled_dot_product_attention

    def spied_fused(*qkv, dropout_p, **options):
        told.append(("fused", dropout_p))
        return fused(*qkv, **options)

    monkeypatch.setattr(F, "dropout", lambda x, p: told.append(("plain", p)) or dropout(x, 0.0))
    monkeypatch.setattr(F, "scaled_dot_product_attention", spied_fused)
    model = GPT(replace(SMALL, dropout=0.3, attention=attention))
    inside = [("fused" if attention == "fused" else "plain", 0.3), ("plain", 0.3), ("plain", 0.3)]
    model(random_tokens())
    assert told == [("plain", 0.3), *inside * 3]
    told.clear()
    model.eval()(random_tokens())
    assert {p for _, p in told} <= {0.0}


UNFIT = "do not fit vocab_size 67: was the text encoded with this model's tokenizer?"
TOO_MANY = "tokens do not fit context_length 23: pass 1 to 23, such as tokens[:, -23:]"


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (torch.zeros(1, 24, dtype=torch.long), f"24 {TOO_MANY}"),
        (torch.tensor([[3, 67, 5]]), f"token ids from 3 to 67 {UNFIT}"),
        (torch.zeros(1, 5), "tokens are torch.float32, ids must be int64: convert them with .long()"),
        (torch.tensor([5]), "tokens (1,) are not (B, T): add a batch with tokens[None]"),
    ],
    ids=["too-long", "id-too-large", "float", "no-batch"],
)
def test_tokens_that_cannot_be_read_are_refused_in_one_sentence(tokens, sentence):
    model = GPT(SMALL)
    first_and_last = torch.tensor([[0, 66] * 11 + [0]])
    assert_close(model(first_and_last.int()), model(first_and_last), rtol=0, atol=0)
    cache = model.new_cache()
    first = model(first_and_last[:, :7], cache)
    with pytest.raises(TinyLMError) as error:
        model(tokens, cache)
    assert str(error.value) == sentence
    # The cache is as it was.
    assert_close(torch.cat((first, model(first_and_last[:, 7:], cache)), dim=1), model(first_and_last))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss], ids=["plain", "fused"])
@pytest.mark.parametrize("choice", [{}, OTHERS], ids=["gpt2", "others"])
def test_activation_checkpointing_changes_no_bit_of_the_gradient_also_with_dropout(choice, loss_fn, compiled):
    found = []
    for again in (False, True):
        model = lively(GPT(replace(SMALL, **choice, dropout=0.3, activation_checkpointing=again)))
        torch.compiler.reset()
        how = torch.compile(loss_fn, fullgraph=True, backend="aot_eager") if compiled else loss_fn
        with seeded_rng("cpu", 3):
            documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1]])
            nats, _ = how(model, Batch(random_tokens(), random_tokens(seed=1), documents))
            nats.sum().backward()
        found.append([nats.detach(), *(parameter.grad for parameter in model.parameters())])
    assert_close(*found, rtol=0, atol=0)


def test_activation_checkpointing_writes_to_a_cache_once(monkeypatch):
    """That it computes each block twice otherwise is seen by the memory that it saves: test_cost."""
    model, calls, forward = GPT(replace(SMALL, activation_checkpointing=True)), [], Block.forward
    monkeypatch.setattr(Block, "forward", lambda block, *given: calls.append(block) or forward(block, *given))
    model(random_tokens(), model.new_cache()).sum().backward()
    assert calls == [*model.blocks]


@pytest.mark.parametrize("loss_fn", [next_token_loss, fused_loss], ids=["plain", "fused"])
@settings.tied_and_untied
def test_padded_vocabulary_shows_in_the_heads_product_and_nowhere_else(choice, loss_fn, monkeypatch):
    padded, plain = GPT(replace(SMALL, **choice, vocab_multiple=64)), GPT(replace(SMALL, **choice))
    assert_close(padded.state_dict(), plain.state_dict(), rtol=0, atol=0)  # drawn alike, saved alike
    rows, linear = set(), F.linear
    monkeypatch.setattr(F, "linear", lambda x, w, *bias: rows.add(len(w)) or linear(x, w, *bias))
    gradients = []
    for model in (lively(padded), lively(plain)):
        rows.clear()
        assert model(random_tokens()).shape == (B, T, 67)
        assert (128 in rows, 67 in rows) == (model is padded, model is plain)
        nats, _ = loss_fn(model, Batch(random_tokens(), random_tokens(seed=1)))
        gradients.append(torch.autograd.grad(nats.sum(), list(model.parameters())))
    assert_close(padded(random_tokens()), plain(random_tokens()))
    assert_close(*gradients, rtol=1e-4, atol=1e-5)
