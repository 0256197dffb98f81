"""Layouts are data: Llama and Qwen 3 both ways, with the numbers of transformers, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from tests.storage.test_hugging_face import WORDS, checkpoint, config_is, exported_and_opened
from tests.support.hugging_face import transformers
from tests.support.published import published
from tinylm.errors import CheckpointError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate, prompt_ids
from tinylm.model.config import ModelConfig
from tinylm.storage import weights
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.storage.layouts import read_layouts
from tinylm.text.published import PublishedTokenizer

(MIXTURE,) = read_layouts(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8")).values()
LLAMAS = {"position": "rotary", "norm": "rmsnorm", "activation": "swiglu", "bias": False}
KINDS = {
    "llama": (LLAMAS, transformers.LlamaForCausalLM),
    "qwen3": (LLAMAS | {"qk_norm": True}, transformers.Qwen3ForCausalLM),
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
    ],
)
def test_modern_model_that_is_another_is_refused_with_its_setting(tmp_path, kind, changes, sentence):
    write_hugging_face(checkpoint(WORDS, **KINDS[kind][0], **SHAPES["grouped"]), tmp_path / "out")
    config_is(**changes)(tmp_path / "out")
    with pytest.raises(CheckpointError, match=sentence):
        open_hugging_face(tmp_path / "out")


def test_model_between_two_layouts_is_refused_with_what_the_nearer_one_lacks(tmp_path):
    mixed = checkpoint(WORDS, **LLAMAS | {"activation": "relu2"}, n_embd=44)
    with pytest.raises(CheckpointError, match="here is no llama model, it has activation 'relu2': export"):
        write_hugging_face(mixed, tmp_path / "no")


def test_layout_that_stores_stacked_experts_one_by_one_is_a_row():
    """No model of ours has experts yet, so the row is tried on tensors alone."""
    stacked = {"blocks.5.moe.up": torch.randn(3, 4, 2)}
    made = MIXTURE.to_theirs(stacked, ModelConfig())
    assert [*made] == [f"layers.5.experts.{expert}.w1" for expert in range(3)]
    assert torch.equal(made["layers.5.experts.2.w1"], stacked["blocks.5.moe.up"][2])
    assert MIXTURE.our_name("layers.5.experts.2.w1") == "blocks.5.moe.up"
