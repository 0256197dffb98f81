"""Every call that touches the disk is made to fail, one after the other: no checkpoint is ever lost, and the
run that goes on ends with the very bits of one that nothing happened to."""

import shutil

import pytest

from tests.support.fault_injection import Faults, PowerCut
from tests.support.tiny_run import evaluation, interrupt_at, the_end, tiny
from tinylm.runs import run, task
from tinylm.runs.records import read_record
from tinylm.storage.checkpoint import load_newest, saved_steps

pytestmark = pytest.mark.slow

EXPECTED = {"write", "write_bytes", "mkdir", "rename", "unlink", "fsync", "rmtree"}


def story(monkeypatch, folder):
    """A run of three steps that is stopped after two, and resumed."""
    with monkeypatch.context() as patched:
        interrupt_at(patched, 1)
        run.run_recipe(tiny(steps=3, warmup_steps=1, eval_every=2), name=folder.name, command="")
    run.resume(folder.name)


def go_on(folder):
    """What a person does after the fault: resume, or begin again where nothing had been saved yet."""
    if saved_steps(folder / "checkpoints"):
        saved, passed_over = load_newest(folder / "checkpoints")
        assert passed_over == []
        if read_record(folder / "record.jsonl").has_ended:  # only tidying up went wrong
            return saved.progress.step
        run.resume(folder.name)
        return saved.progress.step
    run.run_recipe(tiny(steps=3, warmup_steps=1, eval_every=2), name=folder.name, command="")
    return 0


@pytest.mark.parametrize("kind", ["refused", "cut"])
def test_disk_fault_at_any_call_loses_no_checkpoint_and_the_end_is_the_same(mine, monkeypatch, kind):
    monkeypatch.setattr(task, "evaluate", lambda *_, **__: evaluation(1.5))
    monkeypatch.setattr(run, "generate_text", lambda *_, **__: "")
    story(monkeypatch, mine / "whole")
    expected, seen, found = the_end(mine / "whole"), set(), set()
    for at in range(1000):
        folder = mine / f"at-{at}"
        with monkeypatch.context() as patched:
            faults = Faults(patched, at, kind)
            try:
                story(patched, folder)
            except (PowerCut, OSError, run.RunError):
                assert faults.hit
        if faults.hit is None:
            break
        seen.add(faults.hit.rpartition(".")[2])
        found.add(go_on(folder))
        assert the_end(folder) == expected, (at, faults.hit)
        shutil.rmtree(folder)
    assert seen == EXPECTED and found == {0, 2, 3} and 60 < at < 300
