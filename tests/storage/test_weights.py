"""Weights come back bit for bit, or not at all; what is altered, too large or no number is refused."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from tests.support.tiny import LETTERS, bits_of, by_columns, tiny_gpt
from tinylm.errors import CheckpointError
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.atomic import SEAL, write, write_json
from tinylm.storage.weights import load, save
from tinylm.text.tokenizers import CharTokenizer

CONFIG = tiny_gpt().config
TOTAL = f"{tiny_gpt().n_parameters():,}"
NOTES = {"recipe": "a test", "step": 11, "loss": 1.25}


def saved(folder, original=None, notes=NOTES):
    save(folder, original or tiny_gpt(), tokenizer=LETTERS.to_json(), notes=notes)
    return folder


def same_weights(one, other):
    return bits_of(one.state_dict()) == bits_of(other.state_dict())


def edit_about(folder, **changes):
    """Change tinylm.json and seal it again: only what is said can give it away."""
    about = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))
    about = {name: value for name, value in about.items() if name != SEAL} | changes
    write_json(folder / "tinylm.json", about, sealed=True)


def replace_file(folder, name, content):
    """Put other bytes in and make tinylm.json vouch for them: only what is inside can give them away."""
    files = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))["files"]
    edit_about(folder, files=files | {name: write(folder / name, content)})


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("tied_head", [True, False])
def test_weights_come_back_bitwise(tmp_path, position, tied_head):
    original = tiny_gpt(3, n_head=1, position=position, tied_head=tied_head, dropout=0.2)
    before = torch.get_rng_state()
    checkpoint = load(saved(tmp_path / "here", original))
    assert checkpoint.config == checkpoint.model.config == original.config
    assert (checkpoint.tokenizer, checkpoint.notes) == (LETTERS, NOTES)
    assert same_weights(checkpoint.model, original)
    assert (checkpoint.model.head.weight is checkpoint.model.token_embedding.weight) == tied_head
    assert not checkpoint.model.training
    tokens = torch.tensor([[0, 6, 3, 12, 1]])
    assert torch.equal(checkpoint.model(tokens), original.eval()(tokens))
    assert torch.equal(torch.get_rng_state(), before)
    stored = load_file(tmp_path / "here" / "model.safetensors").values()  # a tied matrix once
    assert sum(tensor.numel() for tensor in stored) == original.n_parameters()


@pytest.mark.parametrize("change", [GPT.bfloat16, by_columns])
def test_half_precision_and_other_orders_in_memory_come_back_by_rows_in_float32(tmp_path, change):
    original = change(tiny_gpt())
    again = load(saved(tmp_path / "here", original)).model
    assert same_weights(again, original.float()) and all(p.is_contiguous() for p in again.parameters())


def test_weights_are_three_files_that_anyone_can_read_and_nothing_beside_them(tmp_path):
    folder = saved(tmp_path / "runs" / "here")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "tokenizer.json", "tinylm.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["here"]
    (tmp_path / "file").touch()
    for mode, paths in ((folder.parent, [folder]), (tmp_path / "file", folder.iterdir())):
        assert {path.stat().st_mode for path in paths} == {mode.stat().st_mode}


def config_of(**changes):
    return {"config": CONFIG.to_json() | changes}


ABOUT = [
    (config_of(n_layer=10**15), rf"holds {TOTAL} parameters and its config asks for [\d,]+:"),
    (config_of(n_head=4), "n_embd 6 is not a multiple of n_head 4"),
    ({"version": 4}, "version is 4: .* the tinylm that wrote it"),
    ({"files": {}}, "model.safetensors is damaged .* expected None"),
    ({"provenance": {"dataset": None}}, "tinylm.json is damaged .* dataset of its provenance is no object"),
]


@pytest.mark.parametrize("changes, sentence", ABOUT)
def test_about_file_that_cannot_be_right_is_refused_before_a_model_is_built(
    tmp_path, monkeypatch, changes, sentence
):
    edit_about(saved(tmp_path / "here"), **changes)
    monkeypatch.setattr(weights, "GPT", None)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


NAME = "blocks.0.mlp.up.weight"
TENSORS = [
    (lambda t: t.pop(NAME), rf"{NAME} with shape None and its model asks for \(24, 6\)"),
    (lambda t: t.update({"two\nlines" * 99: torch.zeros(2)}), r"it has two\\nlines.* asks for None"),
    (lambda t: t.update({NAME: t[NAME].reshape(6, 24)}), rf"{NAME} with shape \(6, 24\) and its model"),
    (lambda t: t[NAME].fill_(math.nan), rf"here/model.safetensors is damaged .* {NAME} holds nan"),
]


@pytest.mark.parametrize("change, sentence", TENSORS)
def test_tensors_must_be_finite_and_exactly_those_of_the_config(tmp_path, change, sentence):
    tensors = load_file(saved(tmp_path / "here") / "model.safetensors")
    change(tensors)
    replace_file(tmp_path / "here", "model.safetensors", to_safetensors(tensors))
    with pytest.raises(CheckpointError, match=sentence):
        _ = load(tmp_path / "here").model


def router_bias(dtype=torch.float32):
    """A GPT's class with one persistent buffer more, and one that is not persistent."""

    class WithBuffer(GPT):
        def __init__(self, config, **options):
            super().__init__(config, **options)
            self.register_buffer("blocks_used", torch.arange(5).to(dtype))
            self.register_buffer("table", torch.ones(3), persistent=False)

    return WithBuffer


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_persistent_buffer_is_saved_and_loaded_like_a_parameter_and_another_is_not(tmp_path, dtype):
    made = router_bias(dtype)
    original, other = made(CONFIG), made(CONFIG)
    original.blocks_used += 2
    checkpoint = load(saved(tmp_path / "here", original))
    checkpoint.fill(other)
    assert torch.equal(other.blocks_used, torch.arange(5) + 2) and other.blocks_used.dtype == dtype
    assert "table" not in checkpoint.tensors
    with pytest.raises(CheckpointError, match=r"it has blocks_used with shape \(5,\).* asks for None"):
        _ = checkpoint.model
    before, plain = bits_of(other.state_dict()), load(saved(tmp_path / "plain"))
    with pytest.raises(CheckpointError, match=r"it has blocks_used with shape None and its model asks for"):
        plain.fill(other)
    assert bits_of(other.state_dict()) == before


def test_tokenizer_that_does_not_fit_is_refused_when_saving_and_when_loading(tmp_path):
    tokenizer, sentence = CharTokenizer("abcdefgh").to_json(), "has 8 tokens and its model 13"
    with pytest.raises(CheckpointError, match=sentence):
        save(tmp_path / "here", tiny_gpt(), tokenizer=tokenizer, notes=NOTES)
    assert not list(tmp_path.iterdir())
    replace_file(saved(tmp_path / "here"), "tokenizer.json", json.dumps(tokenizer).encode())
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


@pytest.mark.parametrize("text", [math.nan, "half a pair: \ud83d"])
def test_saving_refuses_notes_that_json_cannot_hold_and_leaves_nothing(tmp_path, text):
    with pytest.raises(CheckpointError, match=r"tinylm\.json cannot be written as JSON"):
        saved(tmp_path / "here", notes={"text": text})
    assert not list(tmp_path.iterdir())
