"""Hugging Face's GPT-2, out and in: transformers opens what we write, and we open what it writes."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hugging_face import transformers
from tests.support.settings import lively
from tests.support.tiny import same
from tinylm.errors import CheckpointError
from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.storage.tokenizer_json import to_tokenizers
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer

pytestmark = pytest.mark.slow

LETTERS = CharTokenizer("\n !abcdefghijklMN")
SMALL = {"context_length": 61, "n_layer": 3, "n_head": 2, "n_embd": 26}
WORDS = BPETokenizer.train("the cat sat on the mat, the dog sat on the cat", 271)


def checkpoint(tokenizer=LETTERS, **changes):
    """A GPT of large random weights with this tokenizer, as `load` would give it."""
    config = ModelConfig(**({"vocab_size": tokenizer.vocab_size} | SMALL | changes))
    model = lively(GPT(config), 0.6).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("router_bias"):  # large enough to choose others
            buffer.copy_(torch.arange(len(buffer)) % 3 / 5)
    return weights.Checkpoint("here", config, weights.tensors_of(model), tokenizer, {})


def assert_same_logits_and_greedy_ids(ours, theirs):
    """The largest difference of logits below 1e-4, where they are some units apart; 50 ids the same."""
    tokens = torch.arange(122).view(2, 61) * 7 % ours.config.vocab_size  # (B, T)
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 1
        assert (ours(tokens) - expected).abs().max() < 1e-4
    prompt = tokens[:1, :5]
    config = GenerationConfig(max_new_tokens=50, temperature=0.0)
    theirs.generation_config.eos_token_id = None  # ours goes on behind the end of a document
    written = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=50, do_sample=False, pad_token_id=0
    )
    mine = [token for (token,) in generate(ours, prompt, config, generator=torch.Generator())]
    assert len(mine) == 50 and mine == written[0, 5:].tolist()
    with torch.no_grad():  # and without a cache
        assert ours(written[:, :-1])[0, 4:].argmax(-1).tolist() == mine


def exported_and_opened(original, folder, kind):
    """The exported model as transformers opens it, of this kind and with our numbers; and as we open it."""
    write_hugging_face(original, folder)
    theirs, loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert isinstance(theirs, kind) and not any(loaded.values())
    config = original.config
    if config.n_expert and (config.n_embd % 4 or config.mlp_hidden % 4):  # which their kernel refuses
        theirs.set_experts_implementation("eager")
    assert_same_logits_and_greedy_ids(original.model, theirs.eval())
    again = open_hugging_face(folder)
    assert same(again.tensors, original.tensors) and again.tokenizer == original.tokenizer
    return theirs, again


@pytest.mark.parametrize(
    "changes", [{}, {"tied_head": False}, {"n_head": 1, "n_embd": 23, "vocab_multiple": 8}]
)
def test_exported_folder_opens_in_transformers_with_our_logits_greedy_ids_and_ends(tmp_path, changes):
    original = checkpoint(WORDS, **changes)
    theirs, _ = exported_and_opened(original, tmp_path / "out", transformers.GPT2LMHeadModel)
    assert sum(p.numel() for p in theirs.parameters()) == original.model.n_parameters()
    assert theirs.config.eos_token_id == theirs.config.bos_token_id == WORDS.end_of_text


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_folder_of_transformers_is_read_with_its_logits_and_greedy_ids(tmp_path, tied, shards):
    sizes = {"vocab_size": WORDS.vocab_size, "n_positions": 61, "n_embd": 26, "n_layer": 3, "n_head": 2}
    config = transformers.GPT2Config(**sizes, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None)
    theirs = lively(transformers.GPT2LMHeadModel(config), 0.6).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="60KB" if shards > 1 else "1GB")
    assert (len([*tmp_path.glob("*.safetensors")]) > 1) == (shards > 1)
    (tmp_path / "tokenizer.json").write_text(json.dumps(to_tokenizers(WORDS)), encoding="utf-8")
    assert_same_logits_and_greedy_ids(open_hugging_face(tmp_path).model, theirs)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder that was written, of characters, tied."""
    folder = tmp_path_factory.mktemp("hugging_face") / "here"
    write_hugging_face(checkpoint(), folder)
    return folder


def config_is(**changes):
    def change(folder):
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(said | changes), encoding="utf-8")

    return change


def tensors_are(change):
    def changed(folder):
        tensors = load_file(folder / "model.safetensors")
        tensors |= {name: tensor.contiguous() for name, tensor in change(tensors).items()}
        save_file(tensors, folder / "model.safetensors")

    return changed


def weight_is(change):
    return tensors_are(lambda tensors: {QKV: change(tensors[QKV])})


def more(name):
    return tensors_are(lambda tensors: {name: tensors[WTE] + 1})


def another_shard_beside(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    save_file({WTE: torch.ones(17, 26)}, folder / "model-00002-of-00002.safetensors")


def bytes_are(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


WTE, QKV = "transformer.wte.weight", "transformer.h.1.attn.c_attn.weight"
THREE = json.dumps(to_tokenizers(CharTokenizer("abc"))).encode()
BROKEN = {
    "no config": (without("config.json"), "there is no checkpoint at here: config.json is missing"),
    "a config cut short": (bytes_are("config.json", b'{"model_'), "config.json is damaged .* not JSON"),
    "a Mamba": (config_is(model_type="mamba"), "not for tinylm, model_type is 'mamba': use a plain gpt2 or "),
    "another activation": (config_is(activation_function="relu"), "activation_function is 'relu'"),
    "a narrow MLP": (config_is(n_inner=52), r"c_fc.bias with shape \(104,\) and its model asks for \(52,\)"),
    "heads that do not divide": (config_is(n_head=3), "n_embd 26 is not a multiple of n_head 3"),
    "layers for no machine": (config_is(n_layer=10**15), "it holds [0-9,]+ parameters and its config asks"),
    "one layer too many": (config_is(n_layer=4), r"has transformer.h.3.\S+ with shape None and its model"),
    "one layer too few": (config_is(n_layer=2), r"has transformer.h.2.\S+ with shape .* asks for None"),
    "untied without a head": (config_is(tie_word_embeddings=False), "has lm_head.weight with shape None"),
    "a tied head of its own": (more("lm_head.weight"), r"has lm_head.weight with shape \(17, 26\)"),
    "a tensor too many": (more("more"), r"has more with shape \(17, 26\)"),
    "one tensor under two names": (more("wte.weight"), "here has two tensors for 'transformer.wte.weight'"),
    "not transposed": (weight_is(lambda w: w.t()), r"c_attn.weight with shape \(78, 26\).* \(26, 78\)"),
    "integers": (weight_is(lambda w: w.to(torch.int8)), r"with shape \(26, 78\) of int8"),
    "not finite": (weight_is(lambda w: w / 0), "holds (infinity|nan)"),
    "quantized weights": (config_is(quantization_config={"bits": 4}), "quantization_config is {'bits': 4}"),
    "no tensors": (without("model.safetensors"), "here has no model.safetensors: save it"),
    "a pickle": (bytes_are("model.safetensors", b"\x80\x04K\x01."), "model.safetensors is damaged"),
    "no tokenizer": (without("tokenizer.json"), "tokenizer.json is missing"),
    "fewer tokens": (bytes_are("tokenizer.json", THREE), "the tokenizer has 3 tokens and its model 17"),
    "a tensor in two shards": (another_shard_beside, "here has two tensors for 'transformer.wte.weight'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_folder_that_is_no_whole_gpt2_is_refused_in_one_sentence(exported, tmp_path, monkeypatch, what):
    change, said = BROKEN[what]
    shutil.copytree(exported, tmp_path / "here")
    change(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_hugging_face("here")
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 400 and str(tmp_path) not in sentence


OTHER = {"position": "rotary", "norm": "rmsnorm", "activation": "relu2", "qk_norm": True, "token_shift": True}
OTHER |= {"bias": False}


@pytest.mark.parametrize("setting", OTHER)
def test_model_that_is_no_gpt2_is_not_exported_and_what_is_another_is_named(tmp_path, setting):
    said = re.escape(f"here is no gpt2 model, it has {setting} {OTHER[setting]!r}: export")
    with pytest.raises(CheckpointError, match=said):
        write_hugging_face(checkpoint(n_embd=28, **{setting: OTHER[setting]}), tmp_path / "out")
    assert not [*tmp_path.iterdir()]
