"""Tests of tinylm.runs.paths."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tinylm.errors import CheckpointError, TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.paths import find, open_checkpoint, run_folder, shown
from tinylm.storage import weights
from tinylm.storage.atomic import SEAL, file_digests, sealed
from tinylm.text.tokenizers import CharTokenizer


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, notes: dict | None = None) -> GPT:
    """A checkpoint in that folder; one that is in a run's gets the run's record."""
    config = ModelConfig(vocab_size=3, context_length=5, n_layer=1, n_head=1, n_embd=2, dropout=0.5)
    model = GPT(config)
    if folder.parent.name == "checkpoints" or folder.name == "checkpoint":
        run = folder.parent if folder.name == "checkpoint" else folder.parent.parent
        run.mkdir(parents=True, exist_ok=True)
        (run / "record.jsonl").touch()
    weights.save(folder, model, tokenizer=CharTokenizer("abc").to_json(), notes=notes or {})
    return model


def test_a_checkpoint_is_found_by_its_folder_its_runs_folder_its_runs_name_and_its_shipped_name(folders):
    newest = folders / "mine" / "run-1" / "checkpoints" / "step_00000010"
    for folder in (newest.with_name("step_00000009"), newest, newest.with_name(".step_00000011.partial")):
        write(folder)
    write(folders / "shipped" / "famous")
    for name in (newest, "mine/run-1", folders / "mine" / "run-1", "run-1"):
        assert find(name).resolve() == newest
    assert find("famous") == folders / "shipped" / "famous"


def test_an_opened_checkpoint_is_the_saved_model_ready_to_predict(folders):
    model = write(
        folders / "mine" / "run-1" / "checkpoints" / "step_00000007", {"corpus": "toyworld-plays", "step": 7}
    )
    opened = open_checkpoint("run-1")
    tokens = torch.tensor([opened.tokenizer.encode("cab").tolist()])
    assert not opened.model.training
    for opened_one, saved_one in zip(opened.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(opened_one, saved_one)
    assert_close(opened.model(tokens), model.eval()(tokens))
    assert all(parameter.is_contiguous() for parameter in opened.model.parameters())
    assert (opened.corpus, opened.notes["step"]) == ("toyworld-plays", 7)


def test_a_run_from_before_there_were_several_checkpoints_is_still_opened(folders):
    checkpoint = folders / "mine" / "run-1" / "checkpoint"
    write(checkpoint, {"step": 5})
    assert open_checkpoint("run-1").notes["step"] == 5
    checkpoint.rename(checkpoint.with_name(".checkpoint.earlier"))  # killed while it saved
    assert open_checkpoint("run-1").notes["step"] == open_checkpoint("mine/run-1").notes["step"] == 5


def test_a_damaged_checkpoint_of_a_run_is_refused_with_the_earlier_one_that_can_be_opened(folders):
    home = folders / "mine" / "run-1" / "checkpoints"
    for step in (5, 9, 10):
        write(home / f"step_{step:08d}", {"step": step})
    (home / "step_00000010" / "model.safetensors").write_bytes(b"")
    with pytest.raises(weights.CheckpointError) as refusal:
        open_checkpoint("run-1")
    said = str(refusal.value)
    assert said.startswith("mine/run-1/checkpoints/step_00000010/model.safetensors is not the file")
    instead = said.rpartition("; there is an earlier one, ")[2]
    assert open_checkpoint(instead).notes["step"] == 9


def test_a_run_without_a_checkpoint_says_so_without_naming_the_machines_folders(folders):
    (folders / "mine" / "young").mkdir(parents=True)
    (folders / "mine" / "young" / "record.jsonl").touch()
    with pytest.raises(
        weights.CheckpointError, match="there is no checkpoint at mine/young/checkpoint"
    ) as refusal:
        open_checkpoint("young")
    assert str(folders) not in str(refusal.value)


def test_without_any_checkpoint_the_refusal_says_how_to_make_one():
    with pytest.raises(
        CheckpointError, match="no checkpoint run-1: `python -m tinylm train shakespeare_char`"
    ):
        find("run-1")


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(folders):
    write(folders / "mine" / "run-1" / "checkpoints" / "step_00000007")
    write(folders / "shipped" / "famous")
    with pytest.raises(CheckpointError, match=r"did you mean famous\? \(there is famous, run-1\)"):
        find("famus")


def test_a_folder_without_a_checkpoint_and_an_altered_one_are_refused_when_opened(folders):
    (folders / "empty").mkdir()
    with pytest.raises(weights.CheckpointError):
        open_checkpoint("empty")
    write(folders / "damaged")
    file = folders / "damaged" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(weights.CheckpointError):
        open_checkpoint("damaged")


def test_a_checkpoint_that_does_not_name_its_corpus_says_so_when_asked(folders):
    write(folders / "quiet")
    with pytest.raises(CheckpointError, match="do not name its corpus"):
        _ = open_checkpoint("quiet").corpus


def test_a_folder_is_shown_as_it_can_be_typed_from_here(folders):
    assert shown(folders / "mine" / "run-1") == "mine/run-1"


def test_a_run_is_found_by_its_name_and_by_its_folder(folders):
    write(folders / "mine" / "run-1" / "checkpoints" / "step_00000007")
    for name in ("run-1", "mine/run-1", folders / "mine" / "run-1"):
        assert run_folder(name).resolve() == folders / "mine" / "run-1"
    with pytest.raises(CheckpointError, match="no checkpoint run-2: did you mean run-1"):
        run_folder("run-2")


def test_a_folder_on_another_drive_is_shown_in_full(monkeypatch):
    def windows(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", windows)
    assert shown(Path("D:") / "mine" / "run-1") == "D:/mine/run-1"


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "a\0b"])
def test_a_name_that_no_file_can_have_is_a_checkpoint_that_is_not_there(folders, name):
    write(folders / "mine" / "run-1" / "checkpoint")
    with pytest.raises(CheckpointError, match="did you mean run-1"):
        find(name)


WRONG = [None, True, 0, 7, -1, 2.5, 1e300, 10**30, "x", "7", "\ud800", "a\0b", [], [1], [[]], {}, {"a": 1}]


def places(value, place=()):
    """Where in a JSON object something stands, as tuples of keys."""
    yield place
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*place, key))


def put(value, place, other):
    """The same JSON with something else in one place."""
    return other if not place else {**value, place[0]: put(value[place[0]], place[1:], other)}


@pytest.mark.parametrize("file", ["tinylm.json", "tokenizer.json"])
def test_whatever_a_hand_puts_into_a_json_it_is_refused_in_a_sentence_or_it_works(folders, file):
    config = ModelConfig(vocab_size=3, context_length=5, n_layer=1, n_head=1, n_embd=2, position="rotary")
    folder, tokenizer = folders / "edited", CharTokenizer("abc").to_json()
    weights.save(folder, GPT(config), tokenizer=tokenizer, notes={"corpus": "toyworld-plays", "step": 7})
    about = json.loads((folder / "tinylm.json").read_text())
    whole = json.loads((folder / file).read_text())
    refused = 0
    for place in places(whole):
        for wrong in WRONG:
            (folder / file).write_text(json.dumps(put(whole, place, wrong)))
            if file == "tokenizer.json":  # sealed again: only what is inside can give it away
                sealed = about | {"files": file_digests(folder, ("model.safetensors", file))}
                (folder / "tinylm.json").write_text(json.dumps(sealed))
            try:
                opened = open_checkpoint("edited")
                assert isinstance(opened.corpus, str) and len(opened.tokenizer.encode("cab")) == 3
            except TinyLMError as error:
                refused += 1
                assert len(str(error)) < 400 and "\n" not in str(error), (place, wrong)
    assert refused > 80


def test_a_config_that_asks_for_more_than_a_machine_has_is_refused_before_it_is_built(folders, monkeypatch):
    write(folders / "edited")
    about = json.loads((folders / "edited" / "tinylm.json").read_text())
    held = 3 * 2 + 5 * 2 + 12 * 2 * 2 + 9 * 2 + 3 * 2 * 2
    monkeypatch.setattr(weights, "GPT", None)  # building it would take for ever
    about["config"]["n_layer"] = 10**6
    del about[SEAL]
    (folders / "edited" / "tinylm.json").write_text(json.dumps(sealed(about)))
    with pytest.raises(
        weights.CheckpointError, match=rf"holds {held} parameters, and its config asks for [\d,]+:"
    ):
        open_checkpoint("edited")
