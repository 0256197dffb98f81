"""Paths and names: how a trained model is found, and what is said of one that is not there or is damaged."""

import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest

from tinylm.errors import CheckpointError, ConfigError, TinyLMError
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.runs import paths
from tinylm.runs.paths import (
    LONGEST,
    display_path,
    find,
    find_run,
    open_checkpoint,
    relative_path,
    validate_name,
)
from tinylm.storage import weights
from tinylm.storage.atomic import SEAL, seal
from tinylm.storage.export import write_hugging_face
from tinylm.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer("abc").to_json()


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **notes) -> None:
    """A checkpoint in that folder; one that is in a run's gets the run's record."""
    sizes = {"vocab_size": 3, "context_length": 5, "n_layer": 1, "n_head": 1, "n_embd": 2}
    if folder.parent.name == "checkpoints":
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent.parent / "record.jsonl").touch()
    weights.save(folder, GPT(ModelConfig(**sizes)), tokenizer=TOKENIZER, notes=notes)


@pytest.fixture
def home(folders):
    """The checkpoints of mine/run-1: one after 7 steps; and shipped/famous."""
    write(folders / "shipped" / "famous")
    home = folders / "mine" / "run-1" / "checkpoints"
    write(home / "step_00000007", corpus="toyworld-plays", step=7, prompt="a")
    return home


def test_checkpoint_is_found_by_its_folder_its_runs_folder_its_runs_name_and_its_shipped_name(folders, home):
    newest = home / "step_00000010"
    for folder in (newest, newest.with_name(".step_00000011.partial")):
        write(folder)
    for name in (newest, "mine/run-1", folders / "mine" / "run-1", "run-1", "run-1/"):
        assert find(name).resolve() == newest
    assert find("famous") == folders / "shipped" / "famous"
    for name in ("run-1", "mine/run-1", folders / "mine" / "run-1"):
        assert find_run(name).resolve() == home.parent


def test_name_on_the_hub_is_asked_for_there_and_a_folder_or_a_run_of_ones_own_never(home, monkeypatch):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or "out")
    write_hugging_face(open_checkpoint("famous"), "out")
    for name, note in (("out", "out"), (Path("out").absolute(), "out"), ("ada/gpt", "ada/gpt")):
        assert open_checkpoint(name).notes == {"imported": note}
    assert open_checkpoint("mine/run-1").corpus == "toyworld-plays"
    with pytest.raises(CheckpointError, match="there is no checkpoint 'mine/run-2': did you mean"):
        open_checkpoint("mine/run-2")
    assert asked == ["ada/gpt"]


NOWHERE = ["famus", "", "/", "x" * 300, "x/" * 3000, "a\0b", "fam\nous"]


@pytest.mark.parametrize("name", NOWHERE)
def test_checkpoint_that_is_not_there_is_refused_in_a_short_sentence_with_the_list_and_a_near_name(
    folders, home, name
):
    for look, words in ((find, "famous, run-1"), (find_run, "run-1")):
        with pytest.raises(CheckpointError, match=words) as refusal:
            look(name)
        assert len(str(refusal.value)) < 150 and len(str(refusal.value).splitlines()) == 1
        assert name != "famus" or look is find_run or "did you mean famous?" in str(refusal.value)
    shutil.rmtree(folders / "mine")
    shutil.rmtree(folders / "shipped")
    with pytest.raises(CheckpointError, match="`python -m tinylm train shakespeare"):
        find(name)


def test_display_path_is_the_way_to_the_courses_own_folders_and_what_was_typed_elsewhere(
    folders, monkeypatch
):
    monkeypatch.setattr(paths, "HOME", folders / "home")
    assert display_path(folders / "mine" / "run-1") == "mine/run-1"
    assert display_path(folders / "home" / "data") == "home/data"
    for typed in ("my.txt", "../my.txt", (folders / "out").as_posix()):
        assert display_path(typed) == typed


def test_relative_path_is_in_full_where_no_way_leads(folders, monkeypatch):
    def windows(path, start=None):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert relative_path(folders / "a" / "my.txt", folders / "b") == "../a/my.txt"
    monkeypatch.setattr(os.path, "relpath", windows)
    assert relative_path("my.txt", paths.HOME) == (folders / "my.txt").as_posix()


ELSEWHERE = ["", ".", "../x", "a\\b", "a b", "-x", ".x", "x.", "a\0", "né", "a/" * 3000, "y" * (LONGEST + 1)]


def test_validate_name_gives_back_what_can_be_a_file_and_refuses_what_leads_elsewhere(tmp_path):
    for name in ("my-first_run.2", "_", "7", "x" * LONGEST, "a..b"):
        assert validate_name(name, "a run") == name
        (tmp_path / f"{name}.jsonl").write_text("")
        assert (tmp_path / f"{name}.jsonl").is_file()
    for name in ELSEWHERE:
        with pytest.raises(ConfigError, match=r"cannot name a run: use letters, .* at most 100") as refusal:
            validate_name(name, "a run")
        assert len(str(refusal.value)) < 250


WRONG = [None, True, 0, -1, 2.5, 1e300, 10**30, "x", "7", "\ud800", "a\0b", [], [1], [[]], {}, {"a": 1}]


def edits(value, wrong):
    """The same JSON with something else in one place: each in turn."""
    for key, inner in value.items():
        yield value | {key: wrong}
        for edited in edits(inner, wrong) if isinstance(inner, dict) else ():
            yield value | {key: edited}


def test_hand_edited_about_file_under_its_own_seal_is_refused_in_a_sentence_or_it_works(home):
    file, refused = home / "step_00000007" / "tinylm.json", 0
    complete = json.loads(file.read_text())
    del complete[SEAL]
    for edited in (edit for wrong in WRONG for edit in edits(complete, wrong)):
        file.write_text(json.dumps(edited | {SEAL: seal(edited)}))
        try:
            opened = open_checkpoint("run-1")
            assert isinstance(opened.corpus, str) and isinstance(opened.prompt, str | None)
            assert len(opened.tokenizer.encode("cab")) == 3
        except TinyLMError as error:
            refused += 1
            assert len(str(error)) < 400 and "\n" not in str(error), edited
    assert refused > 80
