"""Weights come back bit for bit, or not at all; what is altered, too large or no number is refused."""

import hashlib
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from tinylm.errors import CheckpointError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.atomic import SEAL, write_json
from tinylm.storage.weights import load, save

CONFIG = ModelConfig(vocab_size=7, context_length=5, n_layer=2, n_head=3, n_embd=18)
TOKENIZER = {"kind": "characters", "characters": "\n abcé→", "lowercase": False, "unknown": None}
NOTES = {"recipe": "a test", "step": 11, "loss": 1.25}
SHIPPED = Path(__file__).parents[2] / "data" / "checkpoints" / "shakespeare_char"


def model(seed=0, config=CONFIG):
    return GPT(config, generator=torch.Generator().manual_seed(seed))


def saved(folder, original=None):
    save(folder, original or model(), tokenizer=TOKENIZER, notes=NOTES)
    return folder


def same_weights(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def edit_about(folder, sealed=True, **changes):
    """Change tinylm.json and seal it again: only what is said can give it away."""
    about = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))
    about = {name: value for name, value in about.items() if name != SEAL or not sealed} | changes
    write_json(folder / "tinylm.json", about, sealed=sealed)


def replace_file(folder, name, content):
    """Put other bytes in and make tinylm.json vouch for them: only what is inside can give them away."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))["files"]
    files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_about(folder, files=files)


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    replace_file(folder, "model.safetensors", to_safetensors(tensors))


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("tied_head", [True, False])
def test_weights_come_back_bitwise(tmp_path, position, tied_head):
    config = replace(CONFIG, position=position, tied_head=tied_head, dropout=0.2)
    original, before = model(3, config), torch.get_rng_state()
    checkpoint = load(saved(tmp_path / "here", original))
    assert checkpoint.config == checkpoint.model.config == config
    assert (checkpoint.tokenizer, checkpoint.notes) == (TOKENIZER, NOTES)
    assert same_weights(checkpoint.model, original)
    assert (checkpoint.model.head.weight is checkpoint.model.token_embedding.weight) == tied_head
    assert not checkpoint.model.training
    tokens = torch.tensor([[0, 6, 3, 3, 1]])
    assert torch.equal(checkpoint.model(tokens), original.eval()(tokens))
    assert torch.equal(torch.get_rng_state(), before)
    stored = load_file(tmp_path / "here" / "model.safetensors").values()  # a tied matrix once
    assert sum(tensor.numel() for tensor in stored) == original.n_parameters()


def by_columns(matrices):
    for matrix in (p for p in matrices.parameters() if p.ndim == 2):
        matrix.data = matrix.data.t().contiguous().t()
    return matrices


@pytest.mark.parametrize("change", [GPT.bfloat16, by_columns])
def test_half_precision_and_other_orders_in_memory_come_back_by_rows_in_float32(tmp_path, change):
    original = change(model())
    again = load(saved(tmp_path / "here", original)).model
    assert same_weights(again, original.float()) and all(p.is_contiguous() for p in again.parameters())


def test_weights_are_three_files_that_anyone_can_read_and_nothing_beside_them(tmp_path):
    folder = saved(tmp_path / "runs" / "here")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "tokenizer.json", "tinylm.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["here"]
    reference = tmp_path / "reference"
    reference.write_text("")
    assert folder.stat().st_mode == tmp_path.joinpath("runs").stat().st_mode
    assert {path.stat().st_mode for path in folder.iterdir()} == {reference.stat().st_mode}


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*nowhere: tinylm.json is missing"):
        load(tmp_path / "nowhere")


def config_of(**changes):
    return {"config": CONFIG.to_json() | changes}


ABOUT = [
    (config_of(n_layer=3), r"holds 8,496 parameters and its config asks for 12,618:"),
    (config_of(n_head=4), "n_embd 18 is not a multiple of n_head 4"),
    (config_of(block_size=5), "block_size"),
    (config_of(n_embd="wide"), "n_embd is 'wide'"),
    (config_of(n_layer=10**15), r"holds [\d,]+ parameters and its config asks for [\d,]+:"),
    (config_of(position="rotary", context_length=30_000_000), "context_length"),
    (config_of(activation="relu2") | {"sealed": False}, "here/tinylm.json is damaged .* expected content"),
    ({"version": 4}, "version is 4"),
    ({"format": "other"}, "format is 'other'"),
    ({"files": None}, "files is None"),
    ({"files": {}}, "model.safetensors is damaged .* expected None"),
    ({"config": []}, r"config is \[\]"),
    ({"more": 1}, "more is unknown"),
]


@pytest.mark.parametrize("changes, sentence", ABOUT)
def test_about_file_that_cannot_be_right_is_refused_before_a_model_is_built(
    tmp_path, monkeypatch, changes, sentence
):
    edit_about(saved(tmp_path / "here"), **changes)
    monkeypatch.setattr(weights, "GPT", None)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


NAME = "blocks.1.mlp.up.weight"
TENSORS = [
    (lambda t: t.pop(NAME), "it holds 7,200 parameters and its config asks for 8,496"),
    (lambda t: t.update(extra=torch.zeros(2)), "it holds 8,498 parameters"),
    (lambda t: t.update(other=t.pop(NAME)), rf"{NAME} with shape None and its model asks for \(72, 18\)"),
    (
        lambda t: t.update({NAME: t[NAME].t().contiguous()}),
        rf"{NAME} with shape \(18, 72\) and its model asks for \(72, 18\)",
    ),
    (lambda t: t[NAME].fill_(math.nan), rf"here/model.safetensors is damaged .* {NAME} holds nan"),
    (lambda t: t[NAME].fill_(math.inf), rf"here/model.safetensors is damaged .* {NAME} holds infinity"),
]


@pytest.mark.parametrize("change, sentence", TENSORS)
def test_tensors_must_be_finite_and_exactly_those_of_the_config(tmp_path, change, sentence):
    edit_tensors(saved(tmp_path / "here"), change)
    with pytest.raises(CheckpointError, match=sentence):
        _ = load(tmp_path / "here").model


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_pickle_in_place_of_a_file_is_refused(tmp_path, name):
    replace_file(saved(tmp_path / "here"), name, pickle.dumps({"head.weight": [1.0]}))
    with pytest.raises(CheckpointError, match=rf"here/{name} is damaged"):
        load(tmp_path / "here")


def test_version_1_the_shipped_checkpoint_opens():
    about = json.loads((SHIPPED / "tinylm.json").read_text(encoding="utf-8"))
    assert about["version"] == 1
    opened = load(SHIPPED)
    assert opened.notes == about["notes"] and opened.model.n_parameters() > 500_000


@pytest.mark.parametrize(
    "version, unsaid", [(1, ("residual_init", "token_shift", "vocab_multiple")), (2, ("vocab_multiple",))]
)
def test_earlier_versions_are_read_without_a_seal_and_with_what_they_could_not_say_yet(
    tmp_path, version, unsaid
):
    about = json.loads((saved(tmp_path / "here") / "tinylm.json").read_text(encoding="utf-8"))
    del about[SEAL]
    about["config"] = {name: value for name, value in about["config"].items() if name not in unsaid}
    write_json(tmp_path / "here" / "tinylm.json", about | {"version": version})
    assert load(tmp_path / "here").config == CONFIG
    write_json(tmp_path / "here" / "tinylm.json", about | {"version": 3})
    with pytest.raises(CheckpointError, match="expected content with sha256 None"):
        load(tmp_path / "here")


@pytest.mark.parametrize(
    "tokenizer, found",
    [
        (TOKENIZER | {"characters": "abcdefgh"}, "8 tokens"),
        (TOKENIZER | {"kind": "another"}, ".*another"),
        ({}, ""),
    ],
)
def test_tokenizer_that_does_not_fit_is_refused_when_saving_and_when_loading(tmp_path, tokenizer, found):
    sentence = f"not the model's, which has 7 tokens: {found}"
    with pytest.raises(CheckpointError, match=sentence):
        save(tmp_path / "here", model(), tokenizer=tokenizer, notes=NOTES)
    assert not list(tmp_path.iterdir())
    replace_file(saved(tmp_path / "here"), "tokenizer.json", json.dumps(tokenizer).encode())
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


def test_saving_replaces_a_checkpoint_and_never_other_files(tmp_path):
    folder = saved(saved(tmp_path / "here", model(1)), model(2))
    assert same_weights(load(folder).model, model(2))
    (folder / "essay.txt").write_text("precious")
    for place in (folder, folder / "essay.txt"):
        with pytest.raises(CheckpointError, match=r"holds essay\.txt, no part of a checkpoint"):
            saved(place, model(3))
    assert (folder / "essay.txt").read_text() == "precious"
    assert same_weights(load(folder).model, model(2))


def broken(bad):
    made = model()
    made.final_norm.weight.data[3] = bad
    return made


UNREADABLE = [
    (model(), {"loss": float("nan")}, r"tinylm\.json cannot be written as JSON"),
    (model(), {"model": model()}, r"tinylm\.json cannot be written as JSON"),
    (model(), {"text": "half a pair: \ud83d"}, r"tinylm\.json cannot be written as JSON"),
    (torch.nn.Sequential(model()), NOTES, "only a GPT is saved, not a Sequential"),
    (broken(math.nan), NOTES, "final_norm.weight holds nan: .* are not saved"),
    (broken(math.inf), NOTES, "final_norm.weight holds infinity: .* are not saved"),
]


@pytest.mark.parametrize("original, notes, sentence", UNREADABLE)
def test_saving_refuses_what_could_not_be_read_back_and_leaves_nothing(tmp_path, original, notes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        save(tmp_path / "here", original, tokenizer=TOKENIZER, notes=notes)
    assert not list(tmp_path.iterdir())
