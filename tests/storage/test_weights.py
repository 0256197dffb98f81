"""Weights come back bit for bit, or not at all; what is altered, too large or no number is refused."""

import contextlib
import hashlib
import json
import math
import os
import pickle
import shutil
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
from tinylm.storage.atomic import SEAL, seal
from tinylm.storage.weights import load, save

CONFIG = ModelConfig(vocab_size=7, context_length=5, n_layer=2, n_head=3, n_embd=18)
TOKENIZER = {"kind": "characters", "characters": "\n abcé→", "lowercase": False, "unknown": None}
NOTES = {"recipe": "a test", "step": 11, "loss": 1.25}
SHIPPED = Path(__file__).parents[2] / "data" / "checkpoints" / "shakespeare_char"


def model(seed=0, config=CONFIG):
    return GPT(config, generator=torch.Generator().manual_seed(seed))


def saved(folder, seed=0, config=CONFIG):
    save(folder, model(seed, config), tokenizer=TOKENIZER, notes=NOTES | {"seed": seed})
    return folder


def same_weights(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def edit_about(folder, **changes):
    """Change tinylm.json and seal it again: only what is said can give it away."""
    about = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))
    del about[SEAL]
    about |= changes
    about |= {SEAL: seal(about)} if changes.get("version", 3) == 3 else {}
    (folder / "tinylm.json").write_text(json.dumps(about), encoding="utf-8")


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
    save(tmp_path / "here", original, tokenizer=TOKENIZER, notes=NOTES)
    checkpoint = load(tmp_path / "here")
    assert checkpoint.config == checkpoint.model.config == config
    assert checkpoint.tokenizer == TOKENIZER
    assert checkpoint.notes == NOTES
    assert same_weights(checkpoint.model, original)
    assert (checkpoint.model.head.weight is checkpoint.model.token_embedding.weight) == tied_head
    assert not checkpoint.model.training
    tokens = torch.tensor([[0, 6, 3, 3, 1]])
    assert torch.equal(checkpoint.model(tokens), original.eval()(tokens))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_three_files_that_anyone_can_read_and_nothing_beside_them(tmp_path):
    folder = saved(tmp_path / "runs" / "here")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "tokenizer.json", "tinylm.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["here"]
    reference = tmp_path / "reference"
    reference.mkdir()
    assert folder.stat().st_mode == reference.stat().st_mode
    (reference / "file").write_text("")
    assert {path.stat().st_mode for path in folder.iterdir()} == {(reference / "file").stat().st_mode}
    assert json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))["config"] == CONFIG.to_json()


def test_tied_matrix_is_stored_once(tmp_path):
    tied = load_file(saved(tmp_path / "tied") / "model.safetensors")
    untied = load_file(
        saved(tmp_path / "untied", config=replace(CONFIG, tied_head=False)) / "model.safetensors"
    )
    assert untied.keys() - tied.keys() == {"head.weight"}
    assert sum(tensor.numel() for tensor in tied.values()) == model().n_parameters()


def test_half_precision_weights_come_back_in_float32(tmp_path):
    original = model().bfloat16()
    save(tmp_path / "half", original, tokenizer=TOKENIZER, notes=NOTES)
    assert same_weights(load(tmp_path / "half").model, original.float())


def test_matrix_stored_by_columns_comes_back_by_rows(tmp_path):
    original = model()
    for matrix in (p for p in original.parameters() if p.ndim == 2):
        matrix.data = matrix.data.t().contiguous().t()
    save(tmp_path / "here", original, tokenizer=TOKENIZER, notes=NOTES)
    again = load(tmp_path / "here").model
    assert same_weights(again, original) and all(p.is_contiguous() for p in again.parameters())


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*nowhere: tinylm.json is missing"):
        load(tmp_path / "nowhere")


def test_tensors_must_be_exactly_those_of_the_config(tmp_path):
    name = "blocks.1.mlp.up.weight"
    changes = {
        r"it holds 7,200 parameters and its config asks for 8,496": lambda tensors: tensors.pop(name),
        r"it holds 8,498 parameters": lambda tensors: tensors.update(extra=torch.zeros(2)),
        rf"{name} with shape None and its model asks for \(72, 18\)": lambda tensors: tensors.update(
            other=tensors.pop(name)
        ),
        rf"{name} with shape \(18, 72\) and its model asks for \(72, 18\)": lambda tensors: tensors.update(
            {name: tensors[name].t().contiguous()}
        ),
    }
    for sentence, change in changes.items():
        edit_tensors(saved(tmp_path / "here"), change)
        with pytest.raises(CheckpointError, match=sentence):
            _ = load(tmp_path / "here").model


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(tmp_path, bad):
    edit_tensors(saved(tmp_path / "here"), lambda tensors: tensors["final_norm.weight"].fill_(bad))
    with pytest.raises(
        CheckpointError, match=r"here/model.safetensors is damaged .* final_norm.weight holds (nan|infinity)"
    ):
        load(tmp_path / "here")
    broken = model()
    broken.final_norm.weight.data[3] = bad
    with pytest.raises(CheckpointError, match=r"final_norm.weight holds .* are not saved"):
        save(tmp_path / "other", broken, tokenizer=TOKENIZER, notes=NOTES)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("change", [{"n_head": 6}, {"activation": "relu2"}, {"rope_base": 77.0}], ids=str)
def test_config_that_was_altered_without_its_seal_is_refused(tmp_path, change):
    about = json.loads((saved(tmp_path / "here") / "tinylm.json").read_text(encoding="utf-8"))
    about["config"] |= change
    (tmp_path / "here" / "tinylm.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"here/tinylm.json is damaged"):
        load(tmp_path / "here")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"n_layer": 3}, r"holds 8,496 parameters and its config asks for 12,618:"),
        ({"n_head": 4}, "n_embd 18 is not a multiple of n_head 4"),
        ({"block_size": 5}, "unknown .*block_size"),
        ({"n_embd": "wide"}, "n_embd is 'wide'"),
        ({"n_layer": 10**15}, r"holds [\d,]+ parameters and its config asks for [\d,]+:"),
        ({"position": "rotary", "context_length": 30_000_000}, r"context_length"),
    ],
)
def test_config_that_does_not_fit_its_weights_is_refused_before_a_model_is_built(
    tmp_path, monkeypatch, change, sentence
):
    edit_about(saved(tmp_path / "here"), config=CONFIG.to_json() | change)
    monkeypatch.setattr(weights, "GPT", None)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 4}, "version is 4"),
        ({"format": "other"}, "format is 'other'"),
        ({"files": None}, "files is None"),
        ({"files": {}}, "model.safetensors is damaged .* expected None"),
        ({"config": []}, r"config is \[\]"),
        ({"more": 1}, "more is unknown"),
    ],
)
def test_about_file_that_says_something_else_is_refused(tmp_path, changes, sentence):
    edit_about(saved(tmp_path / "here"), **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


def test_version_1_the_shipped_checkpoint_opens():
    about = json.loads((SHIPPED / "tinylm.json").read_text(encoding="utf-8"))
    assert about["version"] == 1
    opened = load(SHIPPED)
    assert opened.notes == about["notes"] and opened.model.n_parameters() > 500_000


@pytest.mark.parametrize(
    "version, unsaid", [(1, ("residual_init", "token_shift", "vocab_multiple")), (2, ("vocab_multiple",))]
)
def test_earlier_versions_are_read_with_what_they_could_not_say_yet(tmp_path, version, unsaid):
    said = {name: value for name, value in CONFIG.to_json().items() if name not in unsaid}
    edit_about(saved(tmp_path / "here"), version=version, config=said)
    assert load(tmp_path / "here").config == CONFIG


@pytest.mark.parametrize(
    "tokenizer, sentence",
    [
        (TOKENIZER | {"characters": "abcdefgh"}, "not the model's, which has 7 tokens: 8 tokens"),
        (TOKENIZER | {"kind": "another"}, "not the model's, which has 7 tokens: .*another"),
        ({}, "not the model's, which has 7 tokens: "),
    ],
)
def test_tokenizer_that_does_not_fit_is_refused_when_saving_and_when_loading(tmp_path, tokenizer, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        save(tmp_path / "here", model(), tokenizer=tokenizer, notes=NOTES)
    assert not list(tmp_path.iterdir())
    replace_file(saved(tmp_path / "here"), "tokenizer.json", json.dumps(tokenizer).encode())
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


class Trap:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_loading_runs_no_code_out_of_a_file(tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    for name in ("model.safetensors", "tokenizer.json"):
        replace_file(saved(tmp_path / "here"), name, trap)
        with pytest.raises(CheckpointError):
            load(tmp_path / "here")
    (tmp_path / "here" / "tinylm.json").write_bytes(trap)
    with pytest.raises(CheckpointError):
        load(tmp_path / "here")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)  # the trap does work
    assert (tmp_path / "sprung").exists()


def test_saving_replaces_a_checkpoint_and_never_other_files(tmp_path):
    folder = saved(tmp_path / "here", seed=1)
    saved(folder, seed=2)
    assert same_weights(load(folder).model, model(2))
    (folder / "essay.txt").write_text("precious")
    with pytest.raises(CheckpointError, match=r"holds essay\.txt, which is no part of a checkpoint"):
        saved(folder, seed=3)
    assert (folder / "essay.txt").read_text() == "precious"
    assert same_weights(load(folder).model, model(2))
    with pytest.raises(CheckpointError, match="no part of a checkpoint"):
        saved(folder / "essay.txt")


def test_saving_refuses_what_it_could_not_before_anything_is_written(tmp_path):
    for notes in ({"loss": float("nan")}, {"model": model()}, {"text": "half a pair: \ud83d"}):
        with pytest.raises(CheckpointError, match=r"tinylm\.json cannot be written as JSON"):
            save(tmp_path / "here", model(), tokenizer=TOKENIZER, notes=notes)
    with pytest.raises(CheckpointError, match="holds a GPT, not a Sequential"):
        save(tmp_path / "here", torch.nn.Sequential(model()), tokenizer=TOKENIZER, notes=NOTES)
    assert not list(tmp_path.iterdir())


class PowerCut(BaseException):
    """Not an error that code could catch and tidy up after."""


CALLS = [(Path, "mkdir"), (Path, "write_bytes"), (Path, "rename"), (os, "fsync"), (shutil, "rmtree")]


def cut_the_power(monkeypatch, after):
    """Let so many calls that touch the disk happen; then none happens any more."""
    left = [after]

    def limited(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return real(*args, **kwargs)

        return call

    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, limited(getattr(owner, name)))


def test_power_cut_at_any_moment_leaves_the_old_checkpoint_or_the_new_one_complete(tmp_path, monkeypatch):
    outcomes, finished = [], False
    while not finished:
        folder = saved(tmp_path / f"cut-{len(outcomes)}", seed=1)
        with monkeypatch.context() as patched, contextlib.suppress(PowerCut):
            cut_the_power(patched, after=len(outcomes))
            saved(folder, seed=2)
            finished = True
        found = load(folder)
        outcomes.append(found.notes["seed"])
        assert same_weights(found.model, model(found.notes["seed"]))
        saved(folder, seed=3)  # and the next save is none the worse
        assert load(folder).notes["seed"] == 3
        assert len(list(tmp_path.iterdir())) == len(outcomes)  # nothing is left lying about
    assert outcomes == sorted(outcomes) and set(outcomes) == {1, 2} and len(outcomes) > 8


def test_all_is_on_the_disk_before_the_name_appears(tmp_path, monkeypatch):
    order = []
    for owner, name in ((os, "fsync"), (Path, "rename")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, name=name, real=real: order.append(name) or real(*args)
        )
    saved(tmp_path / "here")
    assert order == ["fsync"] * 4 + ["rename", "fsync"]  # three files and their folder; then the name
