"""A model by its name on the Hub: what is downloaded, and what is said where that fails."""

import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub.utils import filter_repo_objects

from tests.storage.test_hugging_face import WORDS, checkpoint
from tests.support.command_line import ROOT
from tests.support.tiny import same
from tinylm.storage.export import open_hugging_face, write_hugging_face
from tinylm.storage.layouts import GPT2

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["ada/tiny", *GPT2.published])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_model_is_downloaded_by_its_name_a_published_one_at_its_commit_and_nothing_that_holds_code(
    tmp_path, monkeypatch, name, offline
):
    original, files = checkpoint(WORDS), ["pytorch_model.bin", "model.py", "README.md"]
    write_hugging_face(original, tmp_path / "out")
    wanted = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json"]

    def download(asked, *, revision, allow_patterns, local_files_only):
        assert (asked, revision, local_files_only) == (name, GPT2.published.get(name), offline == "1")
        assert [*filter_repo_objects(files + wanted, allow_patterns=allow_patterns)] == wanted
        return str(tmp_path / "out")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setenv("TINYLM_OFFLINE", offline)
    opened = open_hugging_face(name)
    assert same(opened.tensors, original.tensors) and opened.tokenizer == WORDS


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_there_is_one_sentence(tmp_path, offline):
    """The library reads its variables as it is imported, so the command runs in a process of its own."""
    where = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-m", "tinylm", "import", "ada/tiny", "here"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | where | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("tinylm: there is no folder 'ada/tiny', and no such model from the Hub (")
    assert line.endswith("check the name and the connection, and try again") and done.returncode == 2
    assert not (tmp_path / "here").exists()
