"""A checkpoint comes back bit for bit, or not at all; and no accident while saving loses one."""

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinylm.errors import CheckpointError, TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.weights import load, save

CONFIG = ModelConfig(vocab_size=7, context_length=5, n_layer=2, n_head=3, n_embd=18)
TOKENIZER = {"kind": "characters", "characters": "\n abcé→"}
NOTES = {"recipe": "a test", "step": 11, "loss": 1.25}


def model(seed=0, config=CONFIG):
    return GPT(config, generator=torch.Generator().manual_seed(seed))


def saved(folder, seed=0, config=CONFIG):
    save(folder, model(seed, config), tokenizer=TOKENIZER, notes=NOTES | {"seed": seed})
    return folder


def same_weights(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def edit_about(folder, **changes):
    about = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))
    (folder / "tinylm.json").write_text(json.dumps(about | changes), encoding="utf-8")


def replace_file(folder, name, content):
    """Put other bytes in and make tinylm.json vouch for them: only what is inside can give them away."""
    (folder / name).write_bytes(content)
    about = json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))
    about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_about(folder, files=about["files"])


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "other")
    content = (folder / "other").read_bytes()
    (folder / "other").unlink()
    replace_file(folder, "model.safetensors", content)


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("tied_head", [True, False])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, position, tied_head):
    config = replace(CONFIG, position=position, tied_head=tied_head, dropout=0.2)
    original = model(3, config)
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


def test_a_checkpoint_is_three_files_that_anyone_can_read_and_nothing_beside_them(tmp_path):
    folder = saved(tmp_path / "runs" / "here")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "tokenizer.json", "tinylm.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["here"]
    reference = tmp_path / "reference"
    reference.mkdir()
    assert folder.stat().st_mode == reference.stat().st_mode
    (reference / "file").write_text("")
    assert {path.stat().st_mode for path in folder.iterdir()} == {(reference / "file").stat().st_mode}
    assert json.loads((folder / "tinylm.json").read_text(encoding="utf-8"))["config"] == CONFIG.to_json()


def test_a_tied_matrix_is_stored_once(tmp_path):
    tied = load_file(saved(tmp_path / "tied") / "model.safetensors")
    untied = load_file(
        saved(tmp_path / "untied", config=replace(CONFIG, tied_head=False)) / "model.safetensors"
    )
    assert untied.keys() - tied.keys() == {"head.weight"}
    assert sum(tensor.numel() for tensor in tied.values()) == model().n_parameters()


def test_a_half_precision_model_comes_back_in_float32(tmp_path):
    original = model().bfloat16()
    save(tmp_path / "half", original, tokenizer=TOKENIZER, notes=NOTES)
    assert same_weights(load(tmp_path / "half").model, original.float())


def test_loading_leaves_the_global_random_state_alone(tmp_path):
    folder, before = saved(tmp_path / "here"), torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tinylm.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "one-bit"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, damage):
    path = saved(tmp_path / "here") / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-7])
    else:
        content[len(content) // 2] ^= 128
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "here")
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, TinyLMError)
    if name != "tinylm.json":
        size, found = len(content), {"missing": "no file", "truncated": f"{len(content) - 7} bytes"}
        assert f"expected {size} bytes with sha256" in str(error.value)
        assert f"found {found.get(damage, f'{size} bytes')}" in str(error.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint at .*nowhere: tinylm.json is missing"):
        load(tmp_path / "nowhere")


def test_the_tensors_must_be_exactly_those_of_the_config(tmp_path):
    name = "blocks.1.mlp.up.weight"
    changes = {
        f"lacks the tensor {name}": lambda tensors: tensors.pop(name),
        "holds the tensor extra, for which": lambda tensors: tensors.update(extra=torch.zeros(2)),
        "holds the tensor head.weight, for which": lambda t: t.update({"head.weight": torch.zeros(7, 18)}),
        rf"{name} with shape \(18, 72\), its config asks for \(72, 18\)": lambda tensors: tensors.update(
            {name: tensors[name].t().contiguous()}
        ),
    }
    for sentence, change in changes.items():
        edit_tensors(saved(tmp_path / "here"), change)
        with pytest.raises(CheckpointError, match=sentence):
            load(tmp_path / "here")


def test_a_config_that_was_edited_is_refused(tmp_path):
    for changes, sentence in {
        "n_embd": (
            {"n_embd": 24},
            r"token_embedding.weight with shape \(7, 18\), its config asks for \(7, 24\)",
        ),
        "n_layer": ({"n_layer": 3}, "lacks the tensor blocks.2"),
        "n_head": ({"n_head": 4}, "n_embd 18 is not a multiple of n_head 4"),
        "unknown": ({"block_size": 5}, "unknown .block_size."),
    }.values():
        edit_about(saved(tmp_path / "here"), config=CONFIG.to_json() | changes)
        with pytest.raises(CheckpointError, match=sentence):
            load(tmp_path / "here")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"version": 3},
            "version 3, this tinylm reads 'tinylm checkpoint' version 1 to 2",
        ),
        ({"version": True}, "version True, this tinylm reads"),
        ({"format": "other"}, "is 'other' version 2"),
        ({"files": None}, "has no files"),
        ({"files": {}}, "does not say which model.safetensors was saved"),
        ({"config": []}, "has no config"),
    ],
)
def test_an_about_file_that_says_something_else_is_refused(tmp_path, changes, sentence):
    edit_about(saved(tmp_path / "here"), **changes)
    with pytest.raises(CheckpointError, match=sentence):
        load(tmp_path / "here")


def test_a_checkpoint_of_version_1_is_read_with_what_it_could_not_say_yet(tmp_path):
    said = CONFIG.to_json()
    del said["residual_init"]
    edit_about(saved(tmp_path / "here"), version=1, config=said)
    assert load(tmp_path / "here").config == CONFIG


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"kind": "characters", "characters": "abcdefgh"},
        {"kind": "bpe", "vocab_size": 8},
        {"kind": "both", "vocab_size": 7, "characters": "abcdefgh"},
    ],
)
def test_a_tokenizer_of_another_size_is_refused_when_saving_and_when_loading(tmp_path, tokenizer):
    sentence = "the tokenizer has 8 tokens and the model has vocab_size 7: they do not belong together"
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
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)  # the trap does work
    assert (tmp_path / "sprung").exists()


def test_a_checkpoint_is_replaced_but_other_files_never_are(tmp_path):
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


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    for notes in ({"loss": float("nan")}, {"model": model()}):
        with pytest.raises(CheckpointError, match="cannot be written as JSON"):
            save(tmp_path / "here", model(), tokenizer=TOKENIZER, notes=notes)
    with pytest.raises(CheckpointError, match="holds a GPT, not a Sequential"):
        save(tmp_path / "here", torch.nn.Sequential(model()), tokenizer=TOKENIZER, notes=NOTES)
    assert not list(tmp_path.iterdir())


class PowerCut(BaseException):
    """Not an error that code could catch and tidy up after."""


STEPS = [
    (weights, "save_file"),
    (Path, "mkdir"),
    (Path, "write_text"),
    (Path, "rename"),
    (os, "fsync"),
    (shutil, "rmtree"),
]


def cut_the_power(monkeypatch, after):
    """Let `after` steps that touch the disk happen; then none happens any more."""
    left = [after]

    def limited(real):
        def step(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return real(*args, **kwargs)

        return step

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, limited(getattr(owner, name)))


def test_a_power_cut_at_any_moment_leaves_the_old_checkpoint_or_the_new_one_whole(tmp_path, monkeypatch):
    outcomes, after = [], 0
    while True:
        folder = saved(tmp_path / f"cut-{after}", seed=1)
        with monkeypatch.context() as patched:
            cut_the_power(patched, after)
            try:
                saved(folder, seed=2)
                finished = True
            except PowerCut:
                finished = False
        found = load(folder)
        outcomes.append(found.notes["seed"])
        assert same_weights(found.model, model(found.notes["seed"]))
        saved(folder, seed=3)  # and the next save is none the worse
        assert load(folder).notes["seed"] == 3
        assert len(list(tmp_path.iterdir())) == after + 1  # nothing is left lying about
        if finished:
            break
        after += 1
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {1, 2}
    assert after > 8


@pytest.mark.parametrize(("owner", "name"), STEPS[:-1], ids=[name for _, name in STEPS[:-1]])
def test_an_error_while_saving_is_raised_and_loses_nothing(tmp_path, monkeypatch, owner, name):
    folder, real, calls = saved(tmp_path / "here", seed=1), getattr(owner, name), []

    def full(*args, **kwargs):
        calls.append(args)
        if name == "rename" and len(calls) != 2:  # fail between the two renames
            return real(*args, **kwargs)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full)
        with pytest.raises(OSError, match="No space left"):
            saved(folder, seed=2)
    assert load(folder).notes["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_all_is_on_the_disk_before_the_name_appears(tmp_path, monkeypatch):
    order = []
    for owner, name in ((os, "fsync"), (Path, "rename")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, name=name, real=real: order.append(name) or real(*args)
        )
    saved(tmp_path / "here")
    assert order == ["fsync"] * 4 + ["rename", "fsync"]  # three files and their folder; then the name
