"""Layouts are data: Llama, Qwen 3 and mixtures of experts both ways, with the numbers of transformers, and
what is refused."""

import json

import pytest
import torch

from tests.storage.test_hugging_face import WORDS, checkpoint, config_is, exported_and_opened
from tests.support.hugging_face import transformers
from tests.support.published import published
from tests.support.tiny import same
from tinylm.errors import CheckpointError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate, prompt_ids
from tinylm.storage import weights
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.text.published import PublishedTokenizer

LLAMAS = {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
SHARED = LLAMAS | {"n_expert": 7, "n_expert_active": 3, "n_shared_expert": 2, "router": "sigmoid"}
SHARED |= {"router_bias": True}
KINDS = {
    "llama": (LLAMAS, transformers.LlamaForCausalLM),
    "qwen3": (LLAMAS | {"qk_norm": True}, transformers.Qwen3ForCausalLM),
    "qwen3_moe": (LLAMAS | {"qk_norm": True, "n_expert": 6}, transformers.Qwen3MoeForCausalLM),
    "glm4_moe": (SHARED, transformers.Glm4MoeForCausalLM),
    "glm4_moe with qk_norm": (SHARED | {"qk_norm": True}, transformers.Glm4MoeForCausalLM),
}
SHAPES = {
    "grouped": {"n_head": 6, "n_kv_head": 2, "n_embd": 36, "n_inner": 29},
    "one head of keys, another base": {"n_head": 5, "n_kv_head": 1, "n_embd": 50, "rope_base": 500.0},
    "not grouped, another epsilon": {"n_head": 3, "n_embd": 18, "norm_eps": 1e-2},
    "as many heads of keys as said": {"n_head": 3, "n_kv_head": 3, "n_embd": 42, "n_inner": 112},
    "untied": {"n_head": 4, "n_kv_head": 2, "n_embd": 24, "tied_head": False},
    "padded vocabulary, deep": {"n_head": 1, "n_embd": 14, "n_layer": 7, "vocab_multiple": 8},
}


@pytest.fixture(params=[(kind, shape) for kind in KINDS for shape in SHAPES], ids=" ".join)
def model_and_kind(request):
    settings, kind = KINDS[request.param[0]]
    return checkpoint(WORDS, **settings, **SHAPES[request.param[1]]), kind


def test_modern_model_goes_to_transformers_and_back_with_its_logits_and_greedy_ids(tmp_path, model_and_kind):
    original, kind = model_and_kind
    theirs, again = exported_and_opened(original, tmp_path / "out", kind)
    assert again.config.shape() == original.config.shape()
    tokens, padding = torch.arange(46).view(2, 23) * 7 % WORDS.vocab_size, torch.tensor([0, 9])
    seen = torch.arange(23) >= padding[:, None]  # (B, T)
    with torch.no_grad():  # rows of different lengths, in a cache, piece by piece
        places = (seen.cumsum(1) - 1).clamp(min=0)
        expected = theirs(tokens, attention_mask=seen.long(), position_ids=places).logits
        cache = original.model.new_cache(padding)
        mine = torch.cat([original.model(piece, cache) for piece in tokens.split([11, 1, 1, 10], 1)], 1)
    assert (mine - expected)[seen].abs().max() < 1e-4


def test_folder_of_transformers_llama_is_read_as_published_ones_are_written(tmp_path):
    """The speed of the rotation by itself, as before transformers 5, and the heads' width left out."""
    original = checkpoint(WORDS, **LLAMAS, **SHAPES["one head of keys, another base"])
    theirs, _ = exported_and_opened(original, tmp_path / "out", transformers.LlamaForCausalLM)
    theirs.save_pretrained(tmp_path / "out")
    assert open_hugging_face(tmp_path / "out").config == original.config  # rope_parameters
    said = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    old = {name: value for name, value in said.items() if name not in ("rope_parameters", "head_dim")}
    old |= {"rope_theta": 500.0, "rope_scaling": None}
    (tmp_path / "out" / "config.json").write_text(json.dumps(old), encoding="utf-8")
    assert open_hugging_face(tmp_path / "out").config == original.config


@pytest.mark.parametrize("kind", ["qwen3_moe", "glm4_moe"])
def test_folder_of_transformers_mixture_is_read_with_every_number(tmp_path, kind):
    settings, model_class = KINDS[kind]
    original = checkpoint(WORDS, **settings, **SHAPES["untied"])
    theirs, _ = exported_and_opened(original, tmp_path / "out", model_class)
    theirs.save_pretrained(tmp_path / "out")  # over ours, all but the tokenizer
    again = open_hugging_face(tmp_path / "out")
    assert again.config.shape() == original.config.shape() and same(again.tensors, original.tensors)


@pytest.mark.parametrize(
    ("kind", "tokenizer", "more"), [("llama", "SmolLM2", 0), ("llama", "Llama 3", 0), ("qwen3", "Qwen", 11)]
)
def test_model_with_its_published_tokenizer_writes_what_transformers_writes(tmp_path, kind, tokenizer, more):
    data, size, library = published(tokenizer)
    settings, model_class = KINDS[kind]
    sizes = {"n_head": 4, "n_kv_head": 2, "n_embd": 24, "vocab_size": size + more}
    original = checkpoint(
        PublishedTokenizer(json.dumps(data, ensure_ascii=False), size + more), **settings | sizes
    )
    write_hugging_face(original, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8")) == data
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert isinstance(theirs, model_class)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    opened = open_hugging_face(tmp_path / "out")
    weights.save(tmp_path / "ours", opened.model, tokenizer=opened.tokenizer.to_json(), notes={})
    again = weights.load(tmp_path / "ours")
    assert again.tokenizer.fingerprint == original.tokenizer.fingerprint
    prompt = "The 123 cats said <|im_end|> é"
    ids = prompt_ids(again.tokenizer, prompt)
    assert read(prompt, add_special_tokens=False)["input_ids"] == again.tokenizer.encode(prompt).tolist()
    ends = [again.tokenizer.begin_of_text, again.tokenizer.end_of_text]
    assert (
        ends
        == [read.bos_token_id, read.eos_token_id]
        == [theirs.config.bos_token_id, theirs.config.eos_token_id]
    )
    theirs.generation_config.eos_token_id = None
    tokens = torch.tensor([ids])
    more_ids = theirs.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=20, do_sample=False, pad_token_id=0
    )[0, len(ids) :].tolist()
    config = GenerationConfig(max_new_tokens=20, temperature=0.0)
    mine = [token for (token,) in generate(again.model, tokens, config, generator=torch.Generator())]
    assert mine == more_ids and again.tokenizer.decode(mine) == library.decode(
        mine, skip_special_tokens=False
    )


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("llama", {"rope_scaling": {"factor": 8.0}}, "rope_scaling is {'factor': 8.0}: use a plain gpt2 or "),
        ("llama", {"rope_parameters": {"rope_type": "llama3"}}, "rope_type is 'llama3'"),
        ("llama", {"attention_bias": True}, "attention_bias is True"),
        ("llama", {"head_dim": 11}, "head_dim is 11"),
        ("llama", {"num_key_value_heads": 4}, "n_kv_head 4 does not divide n_head 6: use 1, 2, 3, 6"),
        ("llama", {"intermediate_size": 31}, r"mlp.down_proj.weight with shape \(36, 29\)"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob is False"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, r"mlp_only_layers is \[1\]"),
        ("qwen3_moe", {"num_experts": 4}, "num_experts is 4"),
        ("qwen3_moe", {"num_experts_per_tok": 7}, "n_expert_active 7 does not fit n_expert 6: use 2 to 6"),
        ("glm4_moe", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("glm4_moe", {"first_k_dense_replace": 1}, "first_k_dense_replace is 1"),
        ("glm4_moe", {"routed_scaling_factor": 2.5}, "routed_scaling_factor is 2.5"),
    ],
)
def test_modern_model_that_is_another_is_refused_with_its_setting(tmp_path, kind, changes, sentence):
    write_hugging_face(checkpoint(WORDS, **KINDS[kind][0], **SHAPES["grouped"]), tmp_path / "out")
    config_is(**changes)(tmp_path / "out")
    with pytest.raises(CheckpointError, match=sentence):
        open_hugging_face(tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [("qwen3_moe", "norm_topk_prob", False), ("glm4_moe", "first_k_dense_replace", 1)],
)
def test_setting_that_is_left_out_has_the_value_that_transformers_gives_it(tmp_path, kind, name, meant):
    write_hugging_face(checkpoint(WORDS, **KINDS[kind][0], **SHAPES["grouped"]), tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert said.pop(name) != meant and getattr(KINDS[kind][1].config_class(), name) == meant
    (tmp_path / "out" / "config.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"{name} is {meant}"):
        open_hugging_face(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"router_bias": False}, "glm4_moe model, it has router_bias False"),
        ({"n_shared_expert": 0}, "glm4_moe model, it has n_shared_expert 0"),
        ({"n_expert": 1, "n_expert_active": 1}, "glm4_moe model, it has n_expert 1"),
        ({"router": "softmax", "router_bias": False}, "qwen3_moe model, it has .*n_shared_expert 2"),
        ({"activation": "gelu"}, "glm4_moe model, it has activation 'gelu'"),
    ],
)
def test_mixture_that_no_layout_can_say_is_refused_with_what_it_has(tmp_path, changes, lacks):
    with pytest.raises(CheckpointError, match=f"here is no {lacks}"):
        write_hugging_face(checkpoint(WORDS, **SHARED | changes, n_embd=44), tmp_path / "no")


def test_model_between_two_layouts_is_refused_with_what_the_nearer_one_lacks(tmp_path):
    mixed = checkpoint(WORDS, **LLAMAS | {"activation": "relu2"}, n_embd=44)
    with pytest.raises(CheckpointError, match="here is no llama model, it has activation 'relu2': export"):
        write_hugging_face(mixed, tmp_path / "no")
