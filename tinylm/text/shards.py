"""Shards: rows of ids on disk, as `.bin` files with a manifest that tells whether they are complete.

The manifest holds the tokenizer as JSON: ids mean nothing without it. nanoGPT's and llm.c's files are read as
well. Taught in notebook 12_gpt2."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinylm.errors import DataError, short
from tinylm.text.download import atomic_file, sha256, write_json
from tinylm.text.tokenizers import checked_ids, fingerprint, tokenizer_from_json
from tinylm.text.tokens import Tokens, in_pieces

MANIFEST = "manifest.json"
AGAIN = "prepare or fetch it again"
LLMC_HEADER = 256  # int32 numbers in front of the ids: magic, version, count, zeros
LLMC_MAGIC, LLMC_VERSION = 20240520, 1  # llm.c, dev/data/data_common.py: GPT-2's ids in uint16
LLMC_MAGIC_LLAMA = 20240801  # the same for Llama 3, in uint32: refused, not read as something else


def write_shard(path: Path, rows: Iterable[np.ndarray], vocab_size: int) -> None:
    """Write rows of ids into one file, one after the other, atomically.

    The rows are read as they are written, one at a time. Raises DataError for ids outside the vocabulary."""
    with atomic_file(path) as file:
        for row in rows:
            file.write(checked_ids(row, vocab_size).astype(_dtype(vocab_size)).data)


def write_manifest(folder: Path, files: Iterable[Path], tokenizer: dict, source: Any) -> dict[str, Any]:
    """Write the manifest of a folder, which makes shards of these files in it, and return it.

    The files are as write_shard or nanoGPT writes them; `tokenizer` is a tokenizer's `to_json()`. Raises
    DataError for no files, a file without ids, or an odd file name."""
    itemsize = _dtype(tokenizer_from_json(tokenizer).vocab_size).itemsize
    shards = []
    for file in files:
        count = file.stat().st_size // itemsize
        shards.append({"file": file.name, "count": count, "sha256": sha256(file)})
    manifest = _manifest(shards, tokenizer, source)
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the manifest of a folder of shards. Raises DataError for a damaged one, OSError for none.

    It decides which bytes are read, and as what, so all of it must be what write_manifest would write."""
    path = Path(folder) / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        manifest = _manifest(data["shards"], data["tokenizer"], data["source"])
        if odd := [name for name in manifest | data if data.get(name) != manifest.get(name)]:
            raise DataError(f"{short(odd[0])} does not fit the rest")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = error if isinstance(error, DataError) else short(str(error))
        raise DataError(f"the {MANIFEST} of {path.parent.name} is damaged ({why}): {AGAIN}") from error
    return manifest


def _manifest(shards: Sequence[dict[str, Any]], tokenizer: dict, source: Any) -> dict[str, Any]:
    """Return the description of a folder of shards. Raises DataError, or what a dictionary raises, for one
    that cannot be right."""
    names = [shard["file"] for shard in shards]
    for name, shard in zip(names, shards, strict=True):
        # A manifest may come from anywhere: its files must not lead out of its folder, on any system.
        is_plain = re.fullmatch(r"[\w .-]{1,250}\.bin", name)
        if not is_plain or type(shard["count"]) is not int or shard["count"] < 1:
            raise DataError(f"{short(shard['count'])} ids in {short(name)} cannot be: choose a plain name")
    if len(set(names)) < len(names):  # its text would be trained on twice, or trained and validated on
        raise DataError(f"{len(names)} shards have {len(set(names))} names: list each once")
    if not shards:
        raise DataError("there are 0 ids in shards: give at least 1 document with text")
    return {
        "dtype": _dtype(tokenizer_from_json(tokenizer).vocab_size).name,
        "count": sum(shard["count"] for shard in shards),
        "source": source,
        "tokenizer": tokenizer,
        "tokenizer_sha256": fingerprint(tokenizer),
        "shards": [{name: shard[name] for name in ("file", "count", "sha256")} for shard in shards],
    }


def _dtype(vocab_size: int) -> np.dtype:
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")  # nothing else is ever read as ids


def open_tokens(path: str | Path, *, verify: bool = True) -> np.ndarray | Tokens:
    """Open the ids of a folder of our shards, or of one foreign `.bin` file, (N,), without reading them.

    Foreign files are llm.c's shards (a header of 256 int32, then uint16) and nanoGPT's (only uint16); put
    several together with Tokens. Sizes are always checked. With `verify` our own files are read once: their
    sha256 must be right, and every id in the vocabulary. Raises DataError, and OSError for no file."""
    path = Path(path)
    if not os.path.isdir(path):
        if os.path.isfile(path.parent / MANIFEST):
            raise DataError(f"{short(path.name)} lies beside a {MANIFEST}: open the folder of both")
        return _open_foreign(path)
    manifest = read_manifest(path)
    vocab_size = tokenizer_from_json(manifest["tokenizer"]).vocab_size
    dtype, parts = _dtype(vocab_size), []
    for shard in manifest["shards"]:
        file = path / shard["file"]
        size = file.stat().st_size if file.is_file() else 0
        _expect(file, "bytes", shard["count"] * dtype.itemsize, size)
        ids = np.memmap(file, dtype=dtype, mode="r")  # (count,)
        if verify:
            digest, highest = hashlib.sha256(), 0
            for _, piece in in_pieces(ids):
                digest.update(piece.data)
                highest = max(highest, int(piece.max()))
            _expect(file, "sha256", shard["sha256"], digest.hexdigest())
            checked_ids(highest, vocab_size)
        parts.append(ids)
    return parts[0] if len(parts) == 1 else Tokens(parts)


def _open_foreign(path: Path) -> np.ndarray:
    size, begin = path.stat().st_size, 0
    header = np.fromfile(path, dtype="<i4", count=3)
    if len(header) == 3 and header[0] in (LLMC_MAGIC, LLMC_MAGIC_LLAMA):
        _expect(path, "magic number and version", (LLMC_MAGIC, LLMC_VERSION), tuple(header[:2].tolist()))
        begin = 4 * LLMC_HEADER
        _expect(path, "bytes", begin + 2 * int(header[2]), size)
    if size == begin or size % 2:
        raise DataError(f"{path.name} has {size - begin:,} bytes of 2-byte ids: {AGAIN}")
    return np.memmap(path, dtype="<u2", mode="r", offset=begin)  # (count,)


def _expect(path: Path, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise DataError(f"{path.name}: expected {what} {short(expected)}, found {short(found)}: {AGAIN}")
