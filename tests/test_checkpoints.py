"""Tests of tinylm.checkpoints."""

from pathlib import Path

import pytest
import torch

from tinylm import checkpoints
from tinylm.checkpoints import NoCheckpoint, NoCorpus, find, open_checkpoint, run_folder, shown
from tinylm.model import weights
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "MINE", tmp_path / "mine")
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
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
    assert torch.equal(opened.model(tokens), model.eval()(tokens))
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
    with pytest.raises(NoCheckpoint, match="no checkpoint run-1: `python -m tinylm train shakespeare_char`"):
        find("run-1")


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(folders):
    write(folders / "mine" / "run-1" / "checkpoints" / "step_00000007")
    write(folders / "shipped" / "famous")
    with pytest.raises(NoCheckpoint, match=r"did you mean famous\? \(there is famous, run-1\)"):
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
    with pytest.raises(NoCorpus, match="do not name its corpus"):
        _ = open_checkpoint("quiet").corpus


def test_a_folder_is_shown_as_it_can_be_typed_from_here(folders):
    assert shown(folders / "mine" / "run-1") == "mine/run-1"


def test_a_run_is_found_by_its_name_and_by_its_folder(folders):
    write(folders / "mine" / "run-1" / "checkpoints" / "step_00000007")
    for name in ("run-1", "mine/run-1", folders / "mine" / "run-1"):
        assert run_folder(name).resolve() == folders / "mine" / "run-1"
    with pytest.raises(NoCheckpoint, match="no checkpoint run-2: did you mean run-1"):
        run_folder("run-2")
