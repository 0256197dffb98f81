"""Corpora for tests: entries of the registry, their files in a cache or a pack, and what a pack declares."""

import hashlib
import json

import numpy as np

from tinylm.text.corpora import CORPORA, Corpus
from tinylm.text.download import RemoteFile

END = "<|endoftext|>"
NOWHERE = "http://127.0.0.1:9/nothing-listens-here"


def written(texts):
    """Return documents as a file of TinyStories has them."""
    return "".join(f"{text}\n{END}\n" for text in texts).encode()


def put_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def remote(files, url=NOWHERE):
    """Return the entries of these files, {name: bytes}, as the registry has them."""
    return tuple(RemoteFile(n, url, len(d), hashlib.sha256(d).hexdigest()) for n, d in files.items())


def register(monkeypatch, name, files, url=NOWHERE, **entry):
    """Enter a corpus of these files into the registry."""
    monkeypatch.setitem(CORPORA, name, Corpus(remote(files, url), **entry))


def declare(pack, name, files, /, **changes):
    """Put the files into a pack whose pack.json declares them as a part of the corpus."""
    put_files(pack / name, files)
    entry = Corpus(remote(files), holds="part", what="two real\nstories").contents | changes
    (pack / "pack.json").write_text(json.dumps({name: entry}))


def llmc(ids=(50_256, 7, 11), magic=20240520, version=1, count=None):
    """Return a shard as llm.c's dev/data/data_common.py writes it: 256 int32, then the ids."""
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, len(ids) if count is None else count
    return header.tobytes() + np.asarray(ids, dtype="<u2").tobytes()
