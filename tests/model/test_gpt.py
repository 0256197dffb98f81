"""GPT: equal to GPT-2, blind to the future, fair at its first step, and clear about wrong input."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tests.support.settings import CHOICES, EVERY_CHOICE, SMALL
from tinylm.errors import TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.model.losses import chunked_loss, next_token_loss
from tinylm.model.rope import rotary_tables

B, T = 2, 7
GPT2S, OTHERS = EVERY_CHOICE[0], EVERY_CHOICE[-1]
ONE_AT_A_TIME = [GPT2S, *(GPT2S | {name: OTHERS[name]} for name in CHOICES), OTHERS]


def in_words(choice):
    return "-".join(f"{name}={value}" if isinstance(value, bool) else value for name, value in choice.items())


every_choice = pytest.mark.parametrize("choice", EVERY_CHOICE, ids=in_words)
one_choice_at_a_time = pytest.mark.parametrize("choice", ONE_AT_A_TIME, ids=in_words)
each_attention = pytest.mark.parametrize("attention", ["fused", "explicit"])


def random_tokens(config=SMALL, *, batch=B, length=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


def lively(model, scale=0.2):
    """Redraw every parameter, biases and gains too, so that no part of the model can be left out unseen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return model


@each_attention
def test_gpt_with_gpt2s_settings_is_hugging_faces_gpt2(attention, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import GPT2Config, GPT2LMHeadModel

    config = replace(SMALL, attention=attention)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    ours = lively(GPT(config).eval())
    copied = {
        "transformer.wte": ours.token_embedding,
        "transformer.wpe": ours.position_embedding,
        "transformer.ln_f": ours.final_norm,
    }
    for i, block in enumerate(ours.blocks):
        copied |= {
            f"transformer.h.{i}.ln_1": block.attn_norm,
            f"transformer.h.{i}.attn.c_attn": block.attn.qkv,
            f"transformer.h.{i}.attn.c_proj": block.attn.proj,
            f"transformer.h.{i}.ln_2": block.mlp_norm,
            f"transformer.h.{i}.mlp.c_fc": block.mlp.up,
            f"transformer.h.{i}.mlp.c_proj": block.mlp.down,
        }
    unset = {name for name, _ in theirs.named_parameters()}
    with torch.no_grad():
        for name, module in copied.items():
            transposed = isinstance(module, nn.Linear)  # GPT-2 calls x @ W a Conv1D
            for kind, parameter in module.named_parameters():
                theirs.get_parameter(f"{name}.{kind}").copy_(parameter.t() if transposed else parameter)
                unset.remove(f"{name}.{kind}")
        tokens = random_tokens(length=SMALL.context_length)
        expected = theirs(tokens).logits
        assert not unset
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
        (gradient,) = torch.autograd.grad(
            logits[:, t].square().sum(), embedded, retain_graph=True
        )  # (B, T, C)
        assert (gradient[:, t + 1 :] == 0).all()
        assert (gradient[:, : t + 1].abs().sum(-1) > 0).all()  # the past and the present do count


@every_choice
def test_logits_of_explicit_and_fused_attention_are_the_same(choice):
    fused = lively(GPT(replace(SMALL, **choice, attention="fused")))
    explicit = lively(GPT(replace(SMALL, **choice, attention="explicit")))
    tokens = random_tokens()
    assert_close(fused(tokens), explicit(tokens), rtol=1e-4, atol=1e-5)
    assert_close(fused.double()(tokens), explicit.double()(tokens), rtol=1e-11, atol=1e-12)


@every_choice
def test_first_loss_is_close_to_that_of_a_uniform_guess(choice):
    config = ModelConfig(vocab_size=67, context_length=29, n_layer=2, n_head=4, n_embd=128, **choice)
    tokens, targets = (
        random_tokens(config, batch=5, length=29),
        random_tokens(config, batch=5, length=29, seed=1),
    )
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


def test_token_shift_changes_nothing_until_it_has_learned_something():
    tokens = random_tokens(SMALL)
    plain, shifted = GPT(SMALL), GPT(replace(SMALL, token_shift=True))
    assert torch.equal(plain(tokens), shifted(tokens))
    lively(shifted.blocks[0].attn.shift)
    assert not torch.allclose(plain(tokens), shifted(tokens))


def test_tied_head_is_the_embedding_itself_and_an_untied_one_is_not():
    tied, untied = GPT(SMALL), GPT(replace(SMALL, tied_head=False))
    assert tied.head.weight is tied.token_embedding.weight
    assert untied.head.weight is not untied.token_embedding.weight
    assert not torch.equal(untied.head.weight, untied.token_embedding.weight)
    assert untied.n_parameters() - tied.n_parameters() == 67 * 30


def test_gpt_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    GPT(SMALL)
    GPT(SMALL, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_follow_the_generator_and_not_the_global_seed():
    def weights(seed):
        return GPT(SMALL, generator=torch.Generator().manual_seed(seed)).state_dict()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = weights(3)
        torch.manual_seed(2)
        assert_close(weights(3), first, rtol=0, atol=0)
    assert not torch.equal(weights(4)["head.weight"], first["head.weight"])
    assert_close(GPT(SMALL).state_dict(), weights(0), rtol=0, atol=0)  # the documented default
    generator = torch.Generator().manual_seed(3)
    GPT(SMALL, generator=generator)
    assert not torch.equal(GPT(SMALL, generator=generator).head.weight, first["head.weight"])


def test_learned_positions_tell_equal_tokens_apart_and_are_all_trained():
    model = lively(GPT(SMALL))
    tokens = torch.full((1, SMALL.context_length), 5)
    assert not torch.allclose(model(tokens)[0, 3], model(tokens)[0, 4], atol=1e-3)
    model(tokens).square().sum().backward()
    assert (model.position_embedding.weight.grad.abs().sum(-1) > 0).all()


@every_choice
def test_gpt_hears_the_order_of_the_past(choice):
    model = lively(GPT(replace(SMALL, **choice, n_layer=1)))  # two blind layers could tell by the mask alone
    tokens = torch.tensor([[11, 2, 31, 5, 61], [5, 31, 2, 11, 61]])
    first, second = model(tokens)[:, -1]
    assert not torch.allclose(first, second, atol=1e-3)


def test_rotary_positions_are_those_of_llama():
    """One layer made of parts we did not write: torch's norms and functions, transformers' rotation."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    model = lively(GPT(replace(SMALL, n_layer=1, position="rotary", norm="rmsnorm")))
    tokens, block = random_tokens(), model.blocks[0]
    llama = LlamaConfig(hidden_size=30, num_attention_heads=5, head_dim=6)
    x = F.embedding(tokens, model.token_embedding.weight)  # (B, T, C)
    normed = F.rms_norm(x, (30,), block.attn_norm.weight, 1e-5)
    q, k, v = block.attn.qkv(normed).view(B, T, 3, 5, 6).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
    cos, sin = LlamaRotaryEmbedding(llama)(x, torch.arange(T)[None])
    q, k = apply_rotary_pos_emb(q, k, cos, sin)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
    x = x + block.attn.proj(mixed.permute(0, 2, 1, 3).reshape(B, T, 30))  # (B, T, C)
    x = x + block.mlp(F.rms_norm(x, (30,), block.mlp_norm.weight, 1e-5))  # (B, T, C)
    expected = model.head(F.rms_norm(x, (30,), model.final_norm.weight, 1e-5))  # (B, T, V)
    assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)


def test_rotary_tables_follow_the_model_and_are_not_saved():
    model = lively(GPT(replace(SMALL, position="rotary")))
    assert not [name for name in model.state_dict() if "rotary" in name]
    faster = GPT(replace(SMALL, position="rotary", rope_base=500.0))
    assert torch.equal(faster.rotary_sin, rotary_tables(SMALL.head_dim, SMALL.context_length, 500.0)[1])
    tokens = random_tokens()
    single = model(tokens)
    assert_close(model.double()(tokens).float(), single, rtol=1e-4, atol=1e-5)
    assert model.to("meta").rotary_cos.is_meta


@one_choice_at_a_time
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
@one_choice_at_a_time
def test_attention_maps_are_what_the_layers_really_do(choice, attention):
    model = lively(GPT(replace(SMALL, **choice, attention=attention)))
    tokens = random_tokens()
    maps = model.attention_maps(tokens)
    assert [tuple(weights.shape) for weights in maps] == [(B, 5, T, T)] * 3
    for block, x, weights in zip(model.blocks, model.residual_stream(tokens), maps, strict=False):
        assert_close(weights.sum(-1), torch.ones(B, 5, T))
        assert (weights.triu(1) == 0).all()
        _, _, v = block.attn.qkv_heads(block.attn_norm(x), None)
        mixed = (weights @ v).transpose(1, 2).flatten(2)  # (B, T, C)
        expected = block.attn(block.attn_norm(x), model.rotary(slice(T)))
        assert_close(block.attn.proj(mixed), expected, rtol=1e-4, atol=1e-5)


def test_residual_stream_ends_in_the_logits():
    model = lively(GPT(SMALL))
    tokens = random_tokens()
    stream = model.residual_stream(tokens)
    assert [tuple(x.shape) for x in stream] == [(B, T, 30)] * 4
    assert torch.equal(stream[0], model.embed(tokens))
    assert torch.equal(model.head(model.final_norm(stream[-1])), model(tokens))


def test_looking_inside_uses_no_dropout_keeps_no_gradient_and_changes_nothing():
    model = lively(GPT(replace(SMALL, dropout=0.5)))
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    tokens = random_tokens()
    random_state = torch.get_rng_state()
    for look in (model.attention_maps, model.residual_stream):
        first, second = look(tokens), look(tokens)
        assert_close(first, second, rtol=0, atol=0)
        assert not any(x.requires_grad for x in first)
        with pytest.raises(TinyLMError):
            look(tokens.float())
        assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(model.residual_stream(tokens)[-1], model.eval().residual_stream(tokens)[-1])


@each_attention
def test_dropout_happens_while_training_only(attention):
    dropping = lively(GPT(replace(SMALL, dropout=0.3, attention=attention)))
    plain = lively(GPT(replace(SMALL, attention=attention)))
    tokens = random_tokens()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.allclose(dropping(tokens), dropping(tokens))
    assert torch.equal(dropping.eval()(tokens), plain(tokens))


UNFIT = "do not fit vocab_size 67: was the text encoded with this model's tokenizer?"


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (
            torch.zeros(1, 24, dtype=torch.long),
            "24 tokens do not fit context_length 23: pass 1 to 23, such as tokens[:, -23:]",
        ),
        (
            torch.zeros(1, 0, dtype=torch.long),
            "0 tokens do not fit context_length 23: pass 1 to 23, such as tokens[:, -23:]",
        ),
        (
            torch.tensor([[3, 67, 5]]),
            f"token ids from 3 to 67 {UNFIT}",
        ),
        (
            torch.tensor([[3, -1, 5]]),
            f"token ids from -1 to 5 {UNFIT}",
        ),
        (torch.zeros(1, 5), "tokens are torch.float32, ids must be int64: convert them with .long()"),
        (
            torch.zeros(1, 5, dtype=torch.uint8),
            "tokens are torch.uint8, ids must be int64: convert them with .long()",
        ),
        (
            torch.zeros(5, dtype=torch.long),
            "tokens have shape (5,), not (B, T): add a batch with tokens[None]",
        ),
    ],
    ids=["too-long", "empty", "id-too-large", "id-negative", "float", "uint8", "no-batch"],
)
def test_tokens_that_cannot_be_read_are_refused_in_one_sentence(tokens, sentence, position):
    model = GPT(replace(SMALL, position=position))
    with pytest.raises(TinyLMError) as error:
        model(tokens)
    assert str(error.value) == sentence


def test_tokens_of_the_first_and_last_id_and_a_full_window_are_read():
    model = GPT(SMALL)
    tokens = torch.tensor([[0, 66] * 11 + [0]])
    assert model(tokens).shape == (1, 23, 67)
    assert_close(model(tokens.int()), model(tokens), rtol=0, atol=0)


@pytest.mark.parametrize("loss_fn", [next_token_loss, chunked_loss(5)], ids=["plain", "chunked"])
@pytest.mark.parametrize("choice", [GPT2S, OTHERS], ids=["tied", "untied"])
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
        nats, _ = loss_fn(model, random_tokens(), random_tokens(seed=1))
        gradients.append(torch.autograd.grad(nats, list(model.parameters())))
    assert_close(padded(random_tokens()), plain(random_tokens()))
    assert_close(*gradients, rtol=1e-4, atol=1e-5)
