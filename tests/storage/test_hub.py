"""A model by its name on the hub, from a server on this machine: what is fetched, and what is said."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
import torch

from tests.storage.test_hugging_face import WORDS, checkpoint
from tests.support.command_line import ROOT
from tinylm.storage import weights
from tinylm.storage.export import PUBLISHED, open_hugging_face, write_hugging_face

FILE = "model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import sys
from tinylm.__main__ import main
print(*[main(words.split()) for words in sys.argv[1:]])
"""


class Hub(http.server.ThreadingHTTPServer):
    """Serves the files of a folder as each model but those of nobody/, and notes what is asked for."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked = []


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, files = urlsplit(self.path).path.strip("/"), self.server.files
        self.server.asked.append(path)
        said, status, kind = b"{}", 200, "application/json"
        revision = re.search("[0-9a-f]{40}", path)
        head = {"X-Repo-Commit": revision[0] if revision else COMMIT}
        if "nobody/" in path:
            status, head = 404, {"X-Error-Code": "RepoNotFound"}
        elif "/tree/" in path:
            blob = {"type": "file", "oid": COMMIT}
            said = json.dumps([blob | {"path": name, "size": len(files[name])} for name in files]).encode()
        elif path.startswith("api/"):
            siblings = [{"rfilename": name} for name in files]
            said = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": siblings}).encode()
        elif (name := path.rsplit("/", 1)[-1]) in files:
            said, kind = files[name], "application/octet-stream"
            head["ETag"] = f'"{hashlib.sha256(said).hexdigest()}"'
        else:
            status, head = 404, head | {"X-Error-Code": "EntryNotFound"}
        self.send_response(status)
        for name, value in (head | {"Content-Type": kind, "Content-Length": str(len(said))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(said)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "model"
    write_hugging_face(checkpoint(WORDS), folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_bytes(b"a card")
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server, folder
        server.shutdown()
        thread.join()


def typed(folder, url, *commands, **variables):
    """What these commands end with, and what they say to stderr, one after the other in one process."""
    found = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    found |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", CODE, *commands],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | found | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return done.stdout.split("\n")[-2], done.stderr.splitlines()


def test_model_is_fetched_by_its_name_a_published_one_at_its_commit_and_once(hub, tmp_path):
    server, folder = hub
    name = next(iter(PUBLISHED))
    commands = ["import ada/tiny one", f"import {name} two", "sample one --prompt the --max-new-tokens 3"]
    codes, said = typed(tmp_path, server.url, *commands, "import nobody/none three")
    assert codes == "0 0 0 2" and [line[:60] for line in said] == [sentence("nobody/none")[:60]]
    assert not any(".bin" in path or "README" in path for path in server.asked)
    fetched = [path for path in server.asked if path.endswith("model.safetensors")]
    assert {*fetched} == {f"ada/tiny/resolve/{COMMIT}/{FILE}", f"{name}/resolve/{PUBLISHED[name]}/{FILE}"}
    theirs = open_hugging_face(folder)
    for place, source in (("one", "ada/tiny"), ("two", name)):
        opened = weights.load(tmp_path / place)
        assert (opened.config, opened.tokenizer, opened.notes) == (theirs.config, WORDS, {"imported": source})
        assert all(torch.equal(opened.tensors[n], theirs.tensors[n]) for n in opened.tensors)
    commands, asked = [f"import {name} three --overwrite", "import ada/other four"], list(server.asked)
    for offline in ({"HF_HUB_OFFLINE": "1"}, {"TINYLM_OFFLINE": "1"}):
        codes, said = typed(tmp_path, server.url, *commands, **offline)
        assert codes == "0 2" and [line[:60] for line in said] == [sentence("ada/other")[:60]]
        assert asked == server.asked and not (tmp_path / "four").exists()


def test_without_a_network_there_is_one_sentence(tmp_path):
    codes, said = typed(tmp_path, "http://127.0.0.1:9", "import ada/tiny here")
    assert codes == "2" and len(said) == 1 and said[0].startswith(sentence("ada/tiny"))
    assert said[0].endswith("check the name and the connection, and try again")
    assert not (tmp_path / "here").exists()


def sentence(name):
    return f"tinylm: there is no folder '{name}', and no such model from the Hub ("
