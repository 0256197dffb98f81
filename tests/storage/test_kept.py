"""Which checkpoints stay, which go, and which one is taken to go on from."""

import pytest

from tests.storage.test_checkpoint import made
from tinylm.errors import CheckpointError
from tinylm.storage import kept
from tinylm.storage.kept import folder_of, load_newest, prune, saved_steps


def folders(home, *steps):
    for step in steps:
        (home / folder_of(step)).mkdir(parents=True)
        (home / folder_of(step) / "file").write_text("x")


@pytest.mark.parametrize(
    "there, step, best, stay",
    [
        ([0, 5, 10, 15], 15, 5, [5, 10, 15]),
        ([0, 5, 10, 15], 15, 15, [10, 15]),
        ([0, 5, 10, 15], 15, None, [10, 15]),
        ([0, 5, 10, 15], 10, 0, [0, 5, 10, 15]),  # 15 is of a future that is not reached again yet
        ([5, 30, 35], 5, 5, [5, 30, 35]),
        ([7], 7, 3, [7]),
        ([100_000_000, 99_999_999, 5], 100_000_000, None, [99_999_999, 100_000_000]),
    ],
)
def test_the_last_ones_and_the_best_stay(tmp_path, there, step, best, stay):
    folders(tmp_path, *there)
    prune(tmp_path, step=step, best=best, last=2)
    assert saved_steps(tmp_path) == stay
    assert {p.name for p in tmp_path.iterdir()} == {folder_of(s) for s in stay}


def test_what_a_cut_left_behind_goes_and_other_files_stay(tmp_path):
    folders(tmp_path, 5, 10)
    for name in (".step_00000005.removed", ".step_00000015.partial", "notes", "step_x"):
        (tmp_path / name).mkdir()
    prune(tmp_path, step=10, best=None)
    assert {p.name for p in tmp_path.iterdir()} == {"step_00000005", "step_00000010", "notes", "step_x"}
    assert saved_steps(tmp_path) == [5, 10]


def test_one_that_is_removed_loses_its_name_before_its_files(tmp_path, monkeypatch):
    folders(tmp_path, 5, 10, 15)
    seen = []
    monkeypatch.setattr(
        kept.shutil, "rmtree", lambda path, **_: seen.append((path.name, saved_steps(tmp_path)))
    )
    prune(tmp_path, step=15, best=None)
    assert seen == [(".step_00000005.removed", [10, 15])]


def test_a_disk_that_refuses_to_remove_is_no_reason_to_stop(tmp_path, monkeypatch):
    folders(tmp_path, 5, 10, 15)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "rename", refuse)
        prune(tmp_path, step=15, best=None)
    assert saved_steps(tmp_path) == [5, 10, 15]
    prune(tmp_path, step=15, best=None)
    assert saved_steps(tmp_path) == [10, 15]


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Whole checkpoints after 2, 4 and 6 steps in checkpoints/, where we are."""
    monkeypatch.chdir(tmp_path)
    for step in (2, 4, 6):
        made(tmp_path / "checkpoints" / folder_of(step), steps=step)
    return tmp_path / "checkpoints"


def test_the_newest_whole_checkpoint_is_loaded_and_the_damaged_ones_before_it_are_named(three):
    saved, passed_over = load_newest("checkpoints")
    assert (saved.progress.step, passed_over) == (6, [])
    (three / folder_of(6) / "training.safetensors").write_bytes(b"")
    saved, passed_over = load_newest("checkpoints")
    assert saved.progress.step == 4 and len(passed_over) == 1
    assert (
        "checkpoints/step_00000006/training.safetensors is not the file that was saved: expected"
        in passed_over[0]
    )
    (three / folder_of(4) / "tokenizer.json").unlink()
    saved, passed_over = load_newest("checkpoints")
    assert saved.progress.step == 2 and len(passed_over) == 2


def test_without_a_whole_checkpoint_the_refusal_says_what_is_wrong_with_the_newest(three):
    for step in (2, 4, 6):
        (three / folder_of(step) / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"none of the 3 checkpoints .* is whole: .*step_00000006/"):
        load_newest("checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint in nowhere: nothing was saved yet"):
        load_newest("nowhere")


def test_what_the_system_cannot_read_is_passed_over_like_what_is_damaged(three):
    (three / folder_of(8)).write_text("a file where a folder should be")
    (three / folder_of(6) / "training.safetensors").unlink()
    (three / folder_of(6) / "training.safetensors").mkdir()
    saved, passed_over = load_newest("checkpoints")
    assert saved.progress.step == 4
    assert "checkpoints/step_00000008 cannot be read: training.json: Not a directory" in passed_over
    assert "checkpoints/step_00000006 cannot be read: training.safetensors: Is a directory" in passed_over
