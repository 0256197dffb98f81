"""Unit tests run on one thread: their tensors are tiny, and on a busy machine two threads spend their time
waiting for each other (the model floor's tests: 93 s with two, 5 s with one).

No test waits for the disk: what a test writes need not survive a power cut, and a sync takes some ten
milliseconds. That files are synced, and before they get their names, is tested by counting the calls.

The fixtures are those of the command line and of runs.
"""

import os
import signal

import pytest
import torch

from tests.support.command_line import CHARACTERS, TRAIN, environment, process
from tinylm.runs import paths, run
from tinylm.text import corpora

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """os.fsync does nothing, and can still be counted."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """data/mine with one tiny run in it, trained by the command itself; (folder, what it printed)."""
    folder = tmp_path_factory.mktemp("data") / "mine"
    done = process(folder, [*TRAIN, "--run", "tiny"])
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    return folder, out


@pytest.fixture
def mine(monkeypatch, tmp_path):
    """An empty data/mine where we are, short texts, and no second spent on measuring the speed."""
    monkeypatch.setattr(paths, "MINE", tmp_path / "mine")
    monkeypatch.setattr(run, "measure_speed", lambda model, **_: 12345.0)
    monkeypatch.setattr(corpora, "GENERATED_CHARACTERS", CHARACTERS)
    monkeypatch.chdir(tmp_path)
    corpora._generated.cache_clear()
    yield tmp_path / "mine"
    corpora._generated.cache_clear()


@pytest.fixture
def nothing_at_hand(mine, monkeypatch, tmp_path):
    """No text but toyworld's, no run, no shipped checkpoint; the working folder is empty."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")


@pytest.fixture
def my_runs(nothing_at_hand, monkeypatch, trained):
    """data/mine with the tiny run in it."""
    monkeypatch.setattr(paths, "MINE", trained[0])
    return trained[0]
