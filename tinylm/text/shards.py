"""Shards: rows of ids on disk, as `.bin` files with a manifest that tells whether they are complete.

The tokenizer comes in as JSON and is kept with the ids, because ids without their tokenizer mean nothing.
Reads nanoGPT's and llm.c's files as well. Taught in notebook 12_gpt2."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tinylm.errors import DataError, short
from tinylm.text.download import sha256, write_json
from tinylm.text.tokenizers import checked_ids, fingerprint, tokenizer_from_json
from tinylm.text.tokens import Tokens, in_pieces

MANIFEST = "manifest.json"
WRITTEN_AT_ONCE = 64  # rows: many are short
LLMC_HEADER = 256  # int32 numbers in front of the ids: magic, version, count, zeros
LLMC_MAGIC, LLMC_VERSION = 20240520, 1  # llm.c, dev/data/data_common.py: GPT-2's ids in uint16
LLMC_MAGIC_LLAMA = 20240801  # the same for Llama 3, in uint32: refused, not read as something else


def write_shard(path: Path, rows: Iterable[np.ndarray], vocab_size: int) -> None:
    """Write rows of ids into one file, which is on the disk, whole, before it has its name.

    Of the rows only some are in memory at a time. Raises DataError for ids outside the vocabulary."""
    rows, draft = iter(rows), Path(f"{path}.part")
    try:
        with open(draft, "wb") as file:
            while some := [*islice(rows, WRITTEN_AT_ONCE)]:
                ids = checked_ids(np.concatenate(some), vocab_size)
                file.write(ids.astype(_dtype(vocab_size)).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)  # makes room


def write_manifest(folder: Path, files: Iterable[Path], tokenizer: dict, source: Any) -> dict[str, Any]:
    """Write the manifest of a folder, by which these files of ids in it become shards; returns it.

    They are as write_shard writes them, or nanoGPT; `tokenizer` is a tokenizer's `to_json()`. A file without
    ids is removed. The manifest is there whole or not at all. Raises DataError for no ids or an odd name."""
    itemsize = _dtype(tokenizer_from_json(tokenizer).vocab_size).itemsize
    shards = []
    for file in files:
        if count := file.stat().st_size // itemsize:
            shards.append({"file": file.name, "count": count, "sha256": sha256(file)})
        else:
            file.unlink()
    write_json(folder / MANIFEST, manifest := _manifest(shards, tokenizer, source))
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder of shards. Raises DataError for one that cannot be right, OSError for none.

    It decides which bytes are read, and as what: all in it must be what we would have written ourselves."""
    path = Path(folder) / MANIFEST
    try:
        data = json.loads(path.read_bytes())
        manifest = _manifest(data["shards"], data["tokenizer"], data["source"])
        if odd := [name for name in manifest | data if data.get(name) != manifest.get(name)]:
            raise DataError(f"{short(odd[0])} does not fit the rest")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = error if isinstance(error, DataError) else short(str(error))
        raise DataError(f"the {MANIFEST} of {path.parent.name} is damaged ({why}): write it again") from error
    return manifest


def _manifest(shards: Sequence[dict[str, Any]], tokenizer: dict, source: str) -> dict[str, Any]:
    """What lies in a folder of shards; "count" is of all of them together. Raises DataError, or what a
    dictionary raises, for what cannot be."""
    for shard in shards:
        file, count = shard["file"], shard["count"]
        # A manifest may come from anywhere: its files must not lead out of its folder, on any system.
        plain = isinstance(file, str) and re.fullmatch(r"[\w .-]{1,250}\.bin", file)
        if not plain or type(count) is not int or count < 1:
            raise DataError(f"{short(count)} ids in {short(file)} cannot be: choose a plain name")
    if not shards:
        raise DataError("there are 0 ids in shards: give at least 1")
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
    """The ids of a folder of our shards, or of one foreign `.bin` file; not read into memory.

    Foreign are llm.c's shards (a header of 256 int32, then uint16) and nanoGPT's (uint16 and nothing else);
    put several together with Tokens. Sizes are always checked; with `verify` our own files are read once, to
    check their sha256 and that every id is in the vocabulary. Raises DataError, and OSError for no file."""
    path = Path(path)
    if not os.path.isdir(path):
        if os.path.isfile(path.parent / MANIFEST):
            raise DataError(f"{short(path.name)} lies beside a {MANIFEST}: open the folder of both")
        return _open_foreign(path)
    manifest = read_manifest(path)
    vocab_size = tokenizer_from_json(manifest["tokenizer"]).vocab_size
    dtype, parts = _dtype(vocab_size), []
    for shard in manifest["shards"]:
        if not (file := path / shard["file"]).is_file():
            raise DataError(f"there is no file {short(file.name)}: write the shards first")
        _expect(file, "bytes", shard["count"] * dtype.itemsize, file.stat().st_size)
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
    elif size == 0 or size % 2:
        raise DataError(f"{path.name}: expected a whole number of 2-byte ids, found {size:,} bytes")
    return np.memmap(path, dtype="<u2", mode="r", offset=begin)  # (count,)


def _expect(path: Path, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise DataError(f"{path.name}: expected {what} {expected}, found {found}: write or fetch it again")
